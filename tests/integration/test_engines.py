"""Docker 26 plumbs a container's network inside create, Docker 28 between create and start; either keeps
images in overlay2 or in containerd's store, and makes cgroups through systemd or by itself."""

from collections.abc import Iterator
from itertools import pairwise

import pytest
from harness import ECHO, JsonObject, Lab
from talk import Conversation

from relocate_cli.testbed import bed
from relocate_cli.testbed.places import Places
from relocate_cli.testbed.root import Engine

ENGINES = (
    Engine.DOCKER_28,
    Engine.DOCKER_28_CONTAINERD,
    Engine.DOCKER_26_CONTAINERD_CGROUPFS,
    Engine.DOCKER_28_CGROUPFS,
)
FACTS = "{{.ServerVersion}} {{.Driver}} {{.CgroupDriver}}"


@pytest.fixture(scope="module")
def unlike(able: None) -> Iterator[Lab]:
    of = Places.of_user().named("engines")
    bed.down(of)
    try:
        lab = Lab(bed.up(len(ENGINES), ENGINES, of))
        provisioned = lab.relocate("provision", "-e", "storage__encrypt=true")
        assert provisioned.code == 0, provisioned.err
        lab.make_image("host1")
        yield lab
    finally:
        bed.down(of)


def test_the_engines_are_what_they_are_called(unlike: Lab) -> None:
    for host, engine in zip(unlike.hosts, ENGINES, strict=True):
        version, driver, cgroups = unlike.docker(host, "info", "--format", FACTS).split()
        assert version.startswith(f"{engine.release}.")
        assert driver == ("overlayfs" if "containerd" in engine else "overlay2")
        assert cgroups == ("cgroupfs" if "cgroupfs" in engine else "systemd")


def test_a_connection_and_the_files_survive_a_tour_of_unlike_engines(unlike: Lab) -> None:
    unlike.docker("host1", "network", "create", "--label", "com.docker.compose.project=shop", "shop")
    unlike.run("db", "host1", "--network", "shop", f"--publish={ECHO + 100}:{ECHO}")
    unlike.run("web", "host1", "--tty", "--volume", "data:/data")
    conversation = Conversation(unlike.connect("web", ECHO))
    behind = Conversation(unlike.connect("db", ECHO + 100))
    console = unlike.console("web")
    for source, target in pairwise((*unlike.hosts, unlike.hosts[0])):
        console(f"open('/data/tour', 'a').write('{source} ')")
        unlike.expect_moved("web", source, target)
        assert unlike.move("db", source, target)["outcome"] == "moved"
        assert conversation.flows() and behind.flows()
        assert unlike.docker(source, "volume", "ls", "--quiet") == ""
        networks = unlike.docker(source, "network", "ls", "--format", "{{.Name}}").split()
        assert ("shop" in networks) == (source == "host1"), "its tenant made it there"
    assert console("answer = open('/data/tour').read().split()") == unlike.hosts
    for result in (conversation.end(), behind.end()):
        assert result.clean, result
    unlike.docker("host1", "restart", "--time", "1", "web")
    assert sorted(unlike.running("host1")) == ["db", "web"]
    assert unlike.docker("host1", "exec", "web", "cat", "/data/tour").split() == unlike.hosts
    unlike.await_no_leftovers()


def test_what_lies_on_an_encrypted_storage_is_not_to_be_read(unlike: Lab) -> None:
    unlike.clear()
    secret = "a-secret-of-the-tenant"
    unlike.run("web", "host1", "--env", f"SECRET={secret}", f"--publish={ECHO}:{ECHO}")
    shared = unlike.bed.places.storage

    def look(plan: JsonObject) -> None:
        seen = unlike.ssh("host2", "cat", f"/var/lib/relocate/storage/{plan['id']}/spec.json")
        assert secret in seen, "the hosts read it"
        files = [path for path in shared.rglob("*") if path.is_file()]
        assert files
        for path in files:
            assert secret.encode() not in path.read_bytes()
            assert "spec" not in path.name

    assert unlike.move("web", between=look)["outcome"] == "moved"
    unlike.docker("host2", "rm", "--force", "web")
    unlike.await_no_leftovers()
