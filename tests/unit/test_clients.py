"""Which command lines of docker wait for the end of which container."""

from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.survey import clients

WEB: dict[str, Any] = {
    "Id": "ab" * 32,
    "Name": "/web",
    "Config": {
        "Image": "app:1",
        "AttachStdout": True,
        "Labels": {
            "com.docker.compose.project": "shop",
            "com.docker.compose.project.working_dir": "/srv/shop",
        },
    },
}


@pytest.mark.parametrize(
    ("line", "waits"),
    [
        ("docker run --rm --name web -p 7000:7000 app:1 serve", True),
        ("/usr/bin/docker -H unix:///run/docker.sock run --name=web app:1", True),
        ("docker container run app:1", True),
        ("docker run --name other app:1", False),
        ("docker run app:2", False),
        ("docker start -a web", True),
        ("docker start -ai abababab", True),
        ("docker start web", False),
        ("docker attach web", True),
        ("docker wait web", True),
        ("docker logs -f web", False),
        ("docker exec web sh", False),
        ("docker compose up", True),
        ("docker --context default compose -p shop up", True),
        ("/usr/libexec/docker/cli-plugins/docker-compose compose up web", True),
        ("docker-compose -p other up", False),
        ("docker compose up -d", False),
        ("docker compose logs -f", False),
        ("docker", False),
        ("dockerd --host fd://", False),
        ("sh -c docker run --name web app:1", False),
    ],
)
def test_who_waits_for_the_end_of_web(tmp_path: Path, line: str, waits: bool) -> None:
    process(tmp_path, 77, line.replace(" ", "\0").encode() + b"\0")
    (tmp_path / "78").mkdir()  # it has just ended
    found = list(clients.waiting(WEB, clients.running(tmp_path)))
    assert [client.pid for client in found] == ([77] if waits else [])


def process(proc: Path, pid: int, line: bytes, namespace: str = "host") -> None:
    """One of /proc. ``namespace``: two of one name are in one pid namespace."""
    (proc / str(pid) / "ns").mkdir(parents=True)
    (proc / str(pid) / "cmdline").write_bytes(line)
    (proc / str(pid) / "cwd").symlink_to("/srv/shop")
    for name in ("host", namespace):
        (proc / name).touch()
    (proc / str(pid) / "ns/pid").symlink_to(proc / namespace)
    if not (proc / "self").exists():
        (proc / "self/ns").mkdir(parents=True)
        (proc / "self/ns/pid").symlink_to(proc / "host")


def test_a_tenant_who_calls_his_program_docker_names_no_neighbour(tmp_path: Path) -> None:
    process(tmp_path, 77, b"docker\0run\0--name\0web\0app:1\0", "tenant")
    process(tmp_path, 78, b"\xff\n\0run\0--name\0web\0app:1\0")
    assert clients.running(tmp_path) == []


def test_of_a_line_of_megabytes_only_dockers_own_is_read_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "LINE_BYTES", 50)
    process(tmp_path, 77, b"docker\0" + b"x" * clients.PROGRAM_BYTES + b"\0" + b"y" * 100)
    process(tmp_path, 78, b"sleep\0" + b"x" * 100_000)
    (client,) = clients.running(tmp_path)
    assert client.pid == 77 and len(client.verb) < clients.PROGRAM_BYTES + 50


def test_what_was_started_with_d_has_nobody_waiting_but_who_attached_later() -> None:
    detached = {**WEB, "Config": {**WEB["Config"], "AttachStdout": False}}
    run, attach = (clients.Client(1, "run", ("--name", "web")), clients.Client(2, "attach", ("web",)))
    assert list(clients.waiting(detached, [run, attach])) == [attach]


def test_compose_of_another_directory_waits_for_others() -> None:
    assert not list(clients.waiting(WEB, [clients.Client(1, "compose up", ("up",), "/srv/other")]))
