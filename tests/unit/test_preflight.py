"""Each thing about a container that keeps it where it is, and nothing else does."""

import subprocess
import sys
from typing import Any

import pytest
from relocate_proxy.preflight import droppable, held, obstacles


def inspected(config: dict[str, Any] | None = None, **parts: Any) -> dict[str, Any]:
    """What the engine says of a container that can move; ``parts`` replace keys of it."""
    document: dict[str, Any] = {
        "Config": {"Labels": {"relocate.enable": "true"}, "Tty": False, **(config or {})},
        "HostConfig": {
            "NetworkMode": "bridge", "Privileged": False, "Devices": [], "DeviceRequests": None,
            "PidMode": "", "IpcMode": "private", "UTSMode": "", "UsernsMode": "", "Runtime": "runc",
            "Links": None,
            "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
        },
        "Mounts": [{"Type": "tmpfs", "Destination": "/run"}],
        "NetworkSettings": {"Networks": {"bridge": {"IPAMConfig": None}}},
    }  # fmt: skip
    for key, value in parts.items():
        (document if key in ("Mounts", "NetworkSettings") else document["HostConfig"])[key] = value
    return document


def test_an_ordinary_container_can_move() -> None:
    assert obstacles(inspected()) == []


def networks(*names: str, address: str = "") -> dict[str, Any]:
    return {"Networks": {name: {"IPAMConfig": {"IPv4Address": address}} for name in names}}


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"config": {"Labels": None}}, "no label relocate.enable"),
        ({"config": {"Labels": {"relocate.enable": "false"}}}, "no label relocate.enable"),
        ({"config": {"Labels": {"relocate.enable": "true"}, "Tty": True}}, "terminal"),
        ({"Privileged": True}, "privileged"),
        ({"PidMode": "host"}, "host's pid namespace"),
        ({"IpcMode": "host"}, "host's ipc namespace"),
        ({"IpcMode": "container:0123"}, "another container's ipc namespace"),
        ({"UTSMode": "host"}, "host's uts namespace"),
        ({"UsernsMode": "host"}, "host's userns namespace"),
        ({"Runtime": "kata"}, "runtime is kata"),
        ({"Devices": [{"PathOnHost": "/dev/kvm"}]}, "device /dev/kvm"),
        ({"DeviceRequests": [{"Driver": "nvidia"}]}, "GPU"),
        ({"NetworkMode": "host", "NetworkSettings": networks("host")}, "host's network"),
        ({"NetworkMode": "none", "NetworkSettings": networks("none")}, "no network"),
        ({"NetworkMode": "container:0123", "NetworkSettings": networks()}, "another container's network"),
        ({"NetworkMode": "app", "NetworkSettings": networks()}, "no network"),
        ({"NetworkMode": "app", "NetworkSettings": networks("app", "db")}, "attached to 2 networks"),
        ({"NetworkMode": "app", "NetworkSettings": networks("app", address="10.1.0.9")}, "fixed"),
        ({"Links": ["/db:/app/db"]}, "--link"),
        ({"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "80"}]}}, "on 127.0.0.1 only"),
        ({"Mounts": [{"Type": "bind", "Source": "/etc", "Destination": "/e"}]}, "/e is the host's /etc"),
        (
            {"Mounts": [{"Type": "volume", "Name": "data", "Driver": "local", "Destination": "/d"}]},
            "volume data",
        ),
    ],
)
def test_an_obstacle_is_named_and_has_a_remedy(parts: dict[str, Any], reason: str) -> None:
    found = obstacles(inspected(**parts))
    assert len(found) == 1
    assert reason in found[0]["reason"]
    assert found[0]["hint"]


def test_shared_volumes_and_any_address_are_no_obstacle() -> None:
    volume = {"Type": "volume", "Name": "data", "Driver": "nfs", "Destination": "/d"}
    ports = {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "80"}, {"HostIp": "::", "HostPort": "80"}],
        "81/tcp": None,
    }
    assert obstacles(inspected(Mounts=[volume], PortBindings=ports)) == []


def test_all_obstacles_are_named_at_once() -> None:
    """A tenant should not have to come back for the second one."""
    assert len(obstacles(inspected({"Labels": {}, "Tty": True}, Privileged=True))) == 3


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import socket; s = socket.create_server(('127.0.0.1', 0)); u = socket.socketpair()", ""),
        ("import select; e = select.epoll(); n = __import__('socket').socket(16, 3, 0)", ""),
        ("import ctypes; assert ctypes.CDLL(None).inotify_init() > 0", ""),
        (
            "import ctypes; c = ctypes.CDLL(None); c.inotify_add_watch(c.inotify_init(), b'/', 256)",
            "inotify watch of its root file system",
        ),
        ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)", "dump: MPTCP socket"),
        (
            "import ctypes; assert ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(256)) > 0",
            "dump: io_uring",
        ),
        ("import ctypes; assert ctypes.CDLL(None).syscall(447, 0) > 0", "dump: secret memory"),
    ],
)
def test_what_a_process_holds_that_cannot_be_dumped_is_named(program: str, reason: str) -> None:
    command = [sys.executable, "-c", f"{program}; print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            pytest.skip("this kernel has no such thing")
        found = held([str(process.pid)])
        process.communicate(b"\n")
    assert [entry for entry in found if reason not in entry["reason"]] == []
    assert len(found) == bool(reason)


def test_memory_that_the_kernel_may_drop_is_seen() -> None:
    program = "import mmap; m = mmap.mmap(-1, 4096, flags=mmap.MAP_ANONYMOUS | 8); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            pytest.skip("this kernel has no MAP_DROPPABLE (Linux 6.11)")
        found = droppable(["999999999", str(process.pid)])
        process.communicate(b"\n")
    assert found


def test_a_process_that_has_ended_holds_nothing() -> None:
    assert held(["999999999"]) == []
    assert not droppable(["999999999"])
