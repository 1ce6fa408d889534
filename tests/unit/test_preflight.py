"""Each thing about a container that keeps it where it is, and nothing else does."""

from typing import Any

import pytest
from relocate_proxy import engine
from relocate_proxy.engine import EngineError
from relocate_proxy.survey import holdings, preflight
from relocate_proxy.survey.clients import Client
from relocate_proxy.survey.preflight import obstacles
from relocate_proxy.survey.surroundings import Surroundings


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
        (document if key in ("Mounts", "NetworkSettings", "State", "Id", "Name") else document["HostConfig"])[
            key
        ] = value
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
        ({"Privileged": True}, "privileged"),
        ({"PidMode": "host"}, "host's pid namespace"),
        ({"IpcMode": "host"}, "host's ipc namespace"),
        ({"IpcMode": "shareable"}, "--ipc shareable"),
        ({"AutoRemove": True}, "--rm"),
        ({"State": {"Paused": True}}, "paused"),
        ({"State": {"Restarting": True, "Pid": 0}}, "about to be started again"),
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
        (
            {"NetworkMode": "app", "NetworkSettings": networks(*map(str, range(17)))},
            "attached to 17 networks",
        ),
        ({"NetworkMode": "app", "NetworkSettings": networks("app", address="10.1.0.9")}, "fixed"),
        ({"Links": ["/db:/app/db"]}, "--link"),
        ({"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "80"}]}}, "on 127.0.0.1 only"),
        ({"Mounts": [{"Type": "bind", "Source": "/etc", "Destination": "/e"}]}, "/e is the host's /etc"),
    ],
)
def test_an_obstacle_is_named_and_has_a_remedy(parts: dict[str, Any], reason: str) -> None:
    found = obstacles(inspected(**parts))
    assert len(found) == 1
    assert reason in found[0]["reason"]
    assert found[0]["hint"]


VOLUME = {"Type": "volume", "Name": "data", "Driver": "local", "Destination": "/d", "Source": "/v/data"}


@pytest.mark.parametrize(
    ("options", "driver", "reason"),
    [
        (None, "local", "container backup has its volume data too"),
        (
            {"type": "tmpfs", "device": "tmpfs"},
            "local",
            "volume data cannot come along: it is a mount of this host",
        ),
        ({"type": "nfs", "o": "addr=10.0.0.1", "device": ":/srv"}, "local", ""),
        (None, "rexray", ""),
    ],
)
def test_a_volume_stays_with_who_else_has_it(options: Any, driver: str, reason: str) -> None:
    volumes = {"data": {"Name": "data", "Driver": driver, "Options": options}}
    users = {"data": {"ab" * 32: "web", "cd" * 32: "backup"}}
    web = inspected(Id="ab" * 32, Mounts=[VOLUME])
    found = [entry["reason"] for entry in obstacles(web, Surroundings(volumes=volumes, users=users))]
    assert len(found) == bool(reason) and all(reason in each for each in found)
    alone = Surroundings(volumes=volumes, users={"data": {"ab" * 32: "web"}})
    assert bool(obstacles(web, alone)) == ("cannot" in reason)


def test_a_part_of_a_volume_is_named() -> None:
    mount = {"Type": "volume", "Source": "data", "Target": "/d", "VolumeOptions": {"Subpath": "a"}}
    web = inspected(Mounts=[VOLUME])
    web["HostConfig"]["Mounts"] = [mount]
    (found,) = obstacles(web)
    assert found["reason"] == "/d is a part of a volume"


def test_shared_volumes_and_any_address_are_no_obstacle() -> None:
    volume = {"Type": "volume", "Name": "data", "Driver": "nfs", "Destination": "/d"}
    ports = {
        "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "80"}, {"HostIp": "::", "HostPort": "80"}],
        "81/tcp": None,
    }
    assert obstacles(inspected(Mounts=[volume], PortBindings=ports)) == []


def test_all_obstacles_are_named_at_once() -> None:
    """A tenant should not have to come back for the second one."""
    assert len(obstacles(inspected({"Labels": {}}, Privileged=True, AutoRemove=True))) == 3


def test_a_port_that_the_engine_chose_is_no_obstacle() -> None:
    ports = {"80/tcp": [{"HostIp": "", "HostPort": ""}], "81/tcp": [{"HostIp": "", "HostPort": "8000-8010"}]}
    assert obstacles(inspected(PortBindings=ports, PublishAllPorts=True)) == []


@pytest.mark.parametrize("reference", ["web", "ab" * 32])
@pytest.mark.parametrize(
    ("key", "namespace"), [("NetworkMode", "network"), ("IpcMode", "ipc"), ("PidMode", "pid")]
)
def test_who_shares_its_namespace_is_named(key: str, namespace: str, reference: str) -> None:
    web = inspected(Id="ab" * 32, Name="/web")
    sidecar = inspected(Id="cd" * 32, Name="/vpn", **{key: f"container:{reference}"})
    other = inspected(Id="ef" * 32, Name="/other", **{key: "container:somebody"})
    (found,) = obstacles(web, Surroundings([web, sidecar, other]))
    assert found["reason"] == f"container vpn shares its {namespace} namespace"
    assert found["hint"]


def test_a_line_of_a_listing_is_a_neighbour_too() -> None:
    line = {"Id": "cd" * 32, "Names": ["/vpn"], "HostConfig": {"NetworkMode": f"container:{'ab' * 32}"}}
    (found,) = obstacles(inspected(Id="ab" * 32, Name="/web"), Surroundings([line]))
    assert "container vpn" in found["reason"]


@pytest.mark.parametrize("driver", ["macvlan", "ipvlan", "overlay"])
def test_a_network_that_is_no_bridge_is_named(driver: str) -> None:
    lan = inspected(NetworkMode="lan", NetworkSettings=networks("lan"))
    (found,) = obstacles(lan, Surroundings(drivers={"lan": driver, "bridge": "bridge"}))
    assert found["reason"] == f"its network lan is {driver}, not a bridge"
    assert obstacles(lan, Surroundings(drivers={"lan": "bridge"})) == []


def test_a_network_that_means_something_on_its_own_host_alone_is_named() -> None:
    shop = inspected(NetworkMode="shop", NetworkSettings=networks("shop"))
    (found,) = obstacles(shop, Surroundings(drivers={"shop": "bridge"}, fixed={"shop": "its option x"}))
    assert found["reason"] == "its network shop cannot be made elsewhere: its option x"


def test_the_hosts_network_is_named_once() -> None:
    host = inspected(NetworkMode="host", NetworkSettings=networks("host"))
    assert len(obstacles(host, Surroundings(drivers={"host": "host"}))) == 1


def test_who_waits_for_its_end_is_named() -> None:
    web = inspected({"AttachStdout": True, "Image": "app:1"}, Id="ab" * 32, Name="/web")
    (found,) = obstacles(web, Surroundings(clients=[Client(7, "run", ("--name", "web", "app:1"))]))
    assert "`docker run` (pid 7)" in found["reason"] and "-d" in found["hint"]


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """A container with two processes from outside; what the engine says of its execs, by path."""
    answers: dict[str, dict[str, Any]] = {}

    def ask(path: str) -> dict[str, Any]:
        if path not in answers:
            raise EngineError(path)
        return answers[path]

    monkeypatch.setattr(engine, "look_up", ask)
    monkeypatch.setattr(preflight, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(holdings, "processes_of", lambda pid: [str(pid)])
    monkeypatch.setattr(
        holdings, "strangers", lambda pids, patience: {"41": "worker --loop", "42": "curl -f localhost"}
    )
    return answers


def session(pid: int, *words: str) -> dict[str, Any]:
    return {"Pid": pid, "ProcessConfig": {"entrypoint": words[0], "arguments": list(words[1:])}}


RUNNING = {"Id": "ab" * 32, "State": {"Pid": 40}}


def test_what_docker_exec_has_started_is_named(entered: dict[str, dict[str, Any]]) -> None:
    found = obstacles(inspected(**RUNNING))
    assert [entry["reason"].split(" was ")[0] for entry in found] == [
        "process worker --loop (pid 41)",
        "process curl -f localhost (pid 42)",
    ]
    assert all("docker exec" in entry["reason"] and entry["hint"] for entry in found)


@pytest.mark.parametrize(
    ("test", "words"),
    [
        (["CMD", "curl", "-f", "localhost"], ("curl", "-f", "localhost")),
        (["CMD-SHELL", "curl -f localhost"], ("/bin/sh", "-c", "curl -f localhost")),
    ],
)
def test_a_health_check_that_runs_is_no_obstacle(
    entered: dict[str, dict[str, Any]], test: list[str], words: tuple[str, ...]
) -> None:
    """It would end with the move, and the engine starts the next one on the target."""
    entered[f"/containers/{'ab' * 32}/json"] = {"ExecIDs": ["gone", "e1", "e2"]}
    entered["/exec/e1/json"] = session(41, "worker", "--loop")
    entered["/exec/e2/json"] = session(42, *words)
    (found,) = obstacles(inspected({"Healthcheck": {"Test": test}}, **RUNNING))
    assert "worker --loop (pid 41)" in found["reason"]


def test_a_health_check_that_the_engine_knows_a_moment_later_is_no_obstacle(
    entered: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holdings, "strangers", lambda pids, patience: {"42": "curl"})
    pids = iter([0, 0, 42])

    class Late(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            return next(pids) if key == "Pid" else super().__getitem__(key)

    entered[f"/containers/{'ab' * 32}/json"] = {"ExecIDs": ["e1"]}
    entered["/exec/e1/json"] = Late(session(0, "curl"))
    assert obstacles(inspected({"Healthcheck": {"Test": ["CMD", "curl"]}}, **RUNNING)) == []


def test_a_health_check_that_has_ended_meanwhile_is_no_obstacle(
    entered: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = iter([{"42": "curl"}, {"43": "curl"}])
    monkeypatch.setattr(holdings, "strangers", lambda pids, patience: next(looks))
    assert obstacles(inspected({"Healthcheck": {"Test": ["CMD", "curl"]}}, **RUNNING)) == []
