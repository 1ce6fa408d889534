"""The image repository: who has no certificate of its authority neither lists nor pulls; what it has stays,
and a tenant's words for his images are nobody else's."""

import socket
import ssl
from contextlib import suppress

import pytest
from harness import CONSOLE, ECHO, IMAGE, REPOSITORY, Lab

HOST, PORT = REPOSITORY.split(":")
TRUST = f"/etc/docker/certs.d/{REPOSITORY}"
# What a program says that asks without asking who is there; an error is its answer too.
ASK = """
import socket, ssl
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
{more}
try:
    with context.wrap_socket(socket.create_connection(("{host}", {port}), timeout=5)) as stream:
        stream.sendall(b"{method} {path} HTTP/1.0\\r\\nHost: {host}\\r\\n\\r\\n")
        answer = stream.recv(4096).decode(errors="replace")
except OSError as error:
    answer = "error: " + str(error)
"""
SHOWN = f'context.load_cert_chain("{TRUST}/client.cert", "{TRUST}/client.key")'


def code(path: str, more: str = "", method: str = "GET") -> str:
    return ASK.format(more=more, host=HOST, port=PORT, path=path, method=method)


def of_host(lab: Lab, host: str, path: str, more: str = "", method: str = "GET") -> str:
    return lab.ssh(host, "python3", "-c", code(path, more, method) + "\nprint(answer)")


def of_client(lab: Lab, path: str) -> str:
    with lab.bed.entered("client"):
        plain = socket.socket()
    plain.settimeout(5)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with plain, suppress(OSError):
        plain.connect((HOST, int(PORT)))
        with context.wrap_socket(plain) as stream:
            stream.sendall(f"GET {path} HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
            return stream.recv(4096).decode(errors="replace")
    return "error"


def image_of(lab: Lab, host: str, name: str = "web") -> tuple[str, str]:
    """What a container was created from, and what it really is."""
    told = lab.docker(host, "inspect", "--format", "{{.Config.Image}} {{.Image}}", name).split()
    return told[0], told[1]


def path_of(lab: Lab, host: str) -> str:
    """Where the repository has the image of the container."""
    return f"/v2/relocate/{image_of(lab, host)[1].removeprefix('sha256:')[:32]}/manifests/latest"


def test_who_has_no_certificate_neither_lists_nor_pulls(lab: Lab) -> None:
    lab.run("web")
    lab.expect_moved("web")
    console = lab.console("web")
    for path in ("/v2/", "/v2/_catalog", path_of(lab, "host2")):
        assert " 200 " in of_host(lab, "host1", path, SHOWN).splitlines()[0]
        said = {
            "a tenant": console(code(path)),
            "a client": of_client(lab, path),
            "a host that shows nothing": of_host(lab, "host1", path),
            "the storage host": of_host(lab, "host0", path),
        }
        assert [who for who, answer in said.items() if not answer.startswith("error")] == [], said
    own = "openssl req -x509 -newkey rsa:2048 -nodes -subj '/CN=RELOCATE host' -keyout /tmp/k -out /tmp/c"
    lab.shell("host1", f"{own} 2>/dev/null")
    assert of_host(lab, "host1", "/v2/", 'context.load_cert_chain("/tmp/c", "/tmp/k")').startswith("error")
    lab.shell("host1", "rm /tmp/c /tmp/k")


def test_a_host_takes_nothing_away(lab: Lab) -> None:
    lab.run("web")
    lab.expect_moved("web")
    path = path_of(lab, "host2")
    head = of_host(lab, "host1", path, SHOWN)
    digest = next(line for line in head.splitlines() if line.startswith("Docker-Content-Digest")).split()[1]
    target = path.replace("latest", digest)
    assert " 405 " in of_host(lab, "host1", target, SHOWN, "DELETE").splitlines()[0]
    assert " 200 " in of_host(lab, "host1", path, SHOWN).splitlines()[0]


def test_keys_and_certificates_are_roots_and_the_registrys_alone(lab: Lab) -> None:
    assert lab.shell("host1", f"stat -c '%a %U' {TRUST}/client.key").strip() == "600 root"
    modes = lab.shell("host0", "cd /etc/relocate/repository; stat -c '%a %U' ca.key *.key").splitlines()
    assert sorted(set(modes)) == ["600 docker-registry", "600 root"]


def test_an_image_that_the_repository_has_lost_is_sent_again(lab: Lab) -> None:
    """The engine remembers to have pushed it."""
    lab.run("web")
    lab.expect_moved("web")
    lab.docker("host2", "rm", "--force", "web")
    digests = "{{range .RepoDigests}}{{println .}}{{end}}"
    assert REPOSITORY in lab.docker("host1", "image", "inspect", "--format", digests, IMAGE)
    lab.shell("host2", "docker image ls --all --quiet | xargs --no-run-if-empty docker rmi --force")
    lab.shell("host0", "systemctl stop docker-registry; rm -r /var/lib/relocate/registry/docker")
    lab.shell("host0", "systemctl start docker-registry")
    lab.run("web")
    lab.expect_moved("web")
    lab.await_no_leftovers()


def test_a_tenants_name_for_his_image_is_no_name_on_another_host(lab: Lab) -> None:
    poisoned = "debian:13"
    lab.docker("host1", "tag", IMAGE, poisoned)
    options = [f"--publish={port}:{port}" for port in (ECHO, CONSOLE)]
    lab.docker("host1", "run", "--detach", "--name=web", "--label=relocate.enable=true", *options, poisoned)
    lab.publish("web", "host1")
    try:
        identity = image_of(lab, "host1")[1]
        lab.expect_moved("web")
        assert image_of(lab, "host2") == (identity, identity)
        assert lab.shell("host2", f"docker image inspect {poisoned} 2>/dev/null", check=False).strip() == "[]"
        ran = lab.shell("host2", f"docker run --rm --pull never {poisoned} true 2>&1", check=False)
        assert "No such image" in ran or "Unable to find image" in ran, ran
        lab.expect_moved("web", "host2", "host1")
        assert image_of(lab, "host1") == (poisoned, identity)
    finally:
        lab.docker("host1", "rm", "--force", "web")
        lab.docker("host1", "rmi", poisoned)


def test_a_name_that_is_anothers_on_the_target_stays_that(lab: Lab) -> None:
    lab.make_image("host2", "debian:13")
    theirs = lab.docker("host2", "image", "inspect", "--format", "{{.Id}}", "debian:13")
    lab.docker("host1", "tag", IMAGE, "debian:13")
    lab.docker("host1", "run", "--detach", "--name=web", "--label=relocate.enable=true",
               f"--publish={CONSOLE}:{CONSOLE}", "debian:13")  # fmt: skip
    lab.publish("web", "host1")
    try:
        identity = image_of(lab, "host1")[1]
        assert identity != theirs
        lab.expect_moved("web")
        assert image_of(lab, "host2") == (identity, identity)
        assert lab.docker("host2", "image", "inspect", "--format", "{{.Id}}", "debian:13") == theirs
    finally:
        lab.clear()
        lab.docker("host1", "rmi", "debian:13")
        lab.docker("host2", "rmi", "debian:13")


@pytest.fixture
def old_certificate(lab: Lab) -> str:
    """host1's, kept by somebody."""
    lab.shell("host1", f"cp {TRUST}/client.cert /root/c; cp {TRUST}/client.key /root/k")
    return 'context.load_cert_chain("/root/c", "/root/k")'


def test_a_certificate_that_was_stolen_is_worth_nothing_under_a_new_authority(
    lab: Lab, old_certificate: str
) -> None:
    assert " 200 " in of_host(lab, "host1", "/v2/", old_certificate).splitlines()[0]
    lab.shell("host0", "rm -r /etc/relocate/repository")
    renewed = lab.relocate("provision", "--json")
    assert renewed.code == 0, renewed.err
    assert {entry["host"] for entry in renewed.document()["changed"]} == {"host0", "host1", "host2"}
    assert of_host(lab, "host1", "/v2/", old_certificate).startswith("error")
    assert " 200 " in of_host(lab, "host1", "/v2/", SHOWN).splitlines()[0]
    lab.shell("host1", "rm /root/c /root/k")
    assert lab.relocate("provision", "--json").document()["changed"] == []
    lab.run("web")
    lab.expect_moved("web")
