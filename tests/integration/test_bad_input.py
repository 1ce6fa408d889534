"""What cannot be done is refused in one line, with the documented exit code, and nothing is touched."""

import fcntl
from pathlib import Path

import pytest
from harness import CONSOLE, IMAGE, Ended, JsonObject, Lab

USAGE, REFUSED, LOCKED = 2, 3, 5


def state_of(lab: Lab) -> JsonObject:
    """All that a move would change: containers, their processes and policies, routes, relocations."""
    script = """
        docker ps --all --quiet | xargs --no-run-if-empty docker inspect --format \
            '{{.Name}} {{.Id}} {{.State.Pid}} {{.RestartCount}} {{.HostConfig.RestartPolicy.Name}}'
        ls /var/lib/relocate/open 2>/dev/null || true"""
    hosts = {host: lab.shell(host, script) for host in lab.hosts}
    journals = lab.shell(
        "host0", "ls /var/lib/relocate/journal /var/lib/relocate/storage 2>/dev/null || true"
    )
    return {**hosts, "journals": journals}


def expect_refused(ended: Ended, code: int, *words: str) -> None:
    """One line of complaint with ``words``, this exit code, nothing on stdout."""
    assert ended.code == code, ended.err
    complaints = [line for line in ended.err.splitlines() if line.startswith("relocate: ")]
    assert len(complaints) == 1, ended.err
    assert "Traceback" not in ended.err
    for word in words:
        assert word in complaints[0]
    assert ended.out == ""


@pytest.fixture
def web(lab: Lab) -> Lab:
    """A tenant on host1 that could move."""
    lab.run("web")
    return lab


def test_names_that_do_not_exist(web: Lab) -> None:
    before = state_of(web)
    expect_refused(web.relocate("move", "wbe", "--to", "host2"), USAGE, "wbe", "did you mean web?")
    expect_refused(web.relocate("move", "web", "--to", "hots2"), USAGE, "hots2", "did you mean host2?")
    assert state_of(web) == before


def test_a_container_whose_tenant_does_not_take_part(web: Lab) -> None:
    web.docker("host1", "run", "--detach", "--name", "private", IMAGE)
    before = state_of(web)
    expect_refused(
        web.relocate("move", "private", "--to", "host2"), REFUSED, "private", "relocate.enable=true"
    )
    assert state_of(web) == before


def test_a_container_that_is_there_already(web: Lab) -> None:
    before = state_of(web)
    expect_refused(web.relocate("move", "web", "--to", "host1"), REFUSED, "host1", "already there")
    assert state_of(web) == before


def test_two_containers_of_one_name(web: Lab) -> None:
    web.make_image("host2", "somebody:else")
    web.docker("host2", "run", "--detach", "--name", "web", f"--publish=9000:{CONSOLE}", "somebody:else")
    before = state_of(web)
    # The one that takes part is meant; where its namesake is, it cannot go.
    expect_refused(web.relocate("move", "web"), REFUSED, "host2", "container of that name")
    assert state_of(web) == before


def test_a_container_that_cannot_move(web: Lab) -> None:
    label = ("--label", "relocate.enable=true")
    web.docker("host1", "run", "--detach", "--name", "bound", *label, "--volume", "/tmp:/data", IMAGE)
    before = state_of(web)
    expect_refused(web.relocate("move", "bound", "--to", "host2"), REFUSED, "bound", "/data")
    assert state_of(web) == before


def test_a_port_that_is_taken_on_the_only_other_host(web: Lab) -> None:
    web.make_image("host2", "somebody:else")
    web.docker("host2", "run", "--detach", "--name", "squatter", "--publish=7001:7001", "somebody:else")
    before = state_of(web)
    expect_refused(web.relocate("move", "web"), REFUSED, "host2", "7001")
    assert state_of(web) == before


def test_a_host_that_does_not_answer(web: Lab) -> None:
    before = state_of(web)
    web.bed.cut("host2")
    try:
        expect_refused(web.relocate("move", "web", "--to", "host2"), REFUSED, "host2")
    finally:
        web.bed.join("host2")
    assert state_of(web) == before


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("all:\n  hosts:\n    host1:\n", "relocate_hosts"),
        ("all: [this is\n", "inventory"),
        ("relocate_hosts:\n  hosts:\n    a:\n    b:\n", "relocate_gateway"),
        (None, "no-such-file"),
    ],
)
def test_a_wrong_inventory(lab: Lab, tmp_path: Path, text: str | None, word: str) -> None:
    path = tmp_path / ("inventory.yml" if text else "no-such-file")
    if text:
        path.write_text(text)
    expect_refused(lab.relocate("move", "web", "--inventory", str(path)), USAGE, word)


def test_another_run_holds_the_lock(web: Lab) -> None:
    before = state_of(web)
    web.state.mkdir(exist_ok=True)
    with (web.state / "lock").open("a+") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        expect_refused(web.relocate("move", "web", "--to", "host2"), LOCKED, "another run", "--wait")
    assert state_of(web) == before


def test_the_storage_is_missing(web: Lab) -> None:
    before = state_of(web)
    web.shell("host1", "umount /var/lib/relocate/storage")
    try:
        ended = web.relocate("move", "web", "--to", "host2", "--json")
    finally:
        web.shell(
            "host1", "systemctl start var-lib-relocate-storage.mount || mount /var/lib/relocate/storage"
        )
    assert ended.code in (1, REFUSED), ended.err
    assert "storage" in ended.err
    assert state_of(web)["host1"] == before["host1"]
