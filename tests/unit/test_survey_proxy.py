"""What a host says of itself: the document's shape, from a real socket, real files and real programs."""

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy import engine as engine_module
from relocate_proxy import paths
from relocate_proxy.engine import EngineError
from relocate_proxy.survey import containers, holdings, survey

WEB: dict[str, Any] = {
    "Id": "ab" * 32,
    "Name": "/web",
    "Config": {"Image": "app:1", "Labels": {"relocate.enable": "true"}, "Tty": False},
    "State": {"StartedAt": "2026-01-02T03:04:05.123456789Z", "Pid": 1},
    "HostConfig": {"NetworkMode": "bridge"},
    "NetworkSettings": {
        "Networks": {"bridge": {"IPAddress": "172.17.0.2"}},
        "Ports": {
            "80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}]
        },
    },
}
ANSWERS: dict[str, Any] = {
    "/containers/json": [{"Id": WEB["Id"]}],
    f"/containers/{WEB['Id']}/json": WEB,
    "/version": {"Components": [{"Name": "Engine", "Version": "26.1.5"}]},
    "/networks": [{"Name": "bridge", "Driver": "bridge", "IPAM": {"Config": [{"Subnet": "172.17.0.0/16"}]}},
                  {"Name": "host", "Driver": "host", "IPAM": {"Config": None}}],
    "/volumes": {"Volumes": None, "Warnings": None},
    "/containers/json?all=true": [],
    "/images/json": [{"RepoTags": ["app:1"]}, {"RepoTags": None}],
}  # fmt: skip


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """An engine on a socket that answers what the test puts into the dictionary; 404 for anything else."""
    answers = dict(ANSWERS)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "docker.sock"))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    path = connection.recv(4096).split()[1].decode()
                    status = b"200 OK" if path in answers else b"404 Not Found"
                    answer = answers.get(path)
                    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                    connection.sendall(
                        b"HTTP/1.0 " + status + b"\r\nContent-Type: application/json\r\n\r\n" + body
                    )

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        monkeypatch.setattr(engine_module, "SOCKET", str(tmp_path / "docker.sock"))
        monkeypatch.setattr(survey, "DOCKER_ROOT", tmp_path)
        monkeypatch.setattr(paths, "TARGETS", tmp_path / "target")
        yield answers
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_light_survey_has_containers_and_capacity_alone(engine: dict[str, Any]) -> None:
    document = survey.survey(light=True)
    assert set(document) == {"taken_at", "capacity", "containers"}
    (web,) = document["containers"]
    assert web["name"] == "web"
    assert web["ip"] == "172.17.0.2"
    assert web["ports"] == ["tcp/8080"]
    assert web["started_at"] == pytest.approx(1767323045.123456)
    assert web["obstacles"] == []
    assert "tcp/8080" in document["capacity"]["published_ports"]
    assert 0 < document["capacity"]["memory_free_bytes"] <= document["capacity"]["memory_bytes"]


def test_networks_and_the_ports_that_the_engine_chose_are_told(engine: dict[str, Any]) -> None:
    """Of a port published without a number, what counts is the one that clients use."""
    path = f"/containers/{WEB['Id']}/json"
    host = {"NetworkMode": "0123abcd", "PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": ""}]}}
    ports = {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}]}
    settings = {"Networks": {"shop_default": {"IPAddress": "172.18.0.3"}}, "Ports": ports}
    engine[path] = {**WEB, "HostConfig": host, "NetworkSettings": settings}
    engine["/networks"] = [
        *ANSWERS["/networks"],
        {"Name": "lan", "Driver": "macvlan", "IPAM": {"Config": []}},
        {"Name": "shop_default", "Driver": "bridge", "IPAM": {"Config": []}},
    ]
    document = survey.survey(light=True)
    (web,) = document["containers"]
    assert (web["networks"], web["ports"], web["obstacles"]) == (["shop_default"], ["tcp/32768"], [])
    assert document["capacity"]["no_bridges"] == {"host": "host", "lan": "macvlan"}


def test_a_sidecar_and_a_foreign_network_are_obstacles(engine: dict[str, Any]) -> None:
    sidecar = {
        **WEB,
        "Id": "cd" * 32,
        "Name": "/vpn",
        "HostConfig": {"NetworkMode": f"container:{WEB['Id']}"},
    }
    engine["/containers/json"] = [{"Id": WEB["Id"]}, {"Id": sidecar["Id"]}]
    engine[f"/containers/{sidecar['Id']}/json"] = sidecar
    engine["/networks"] = [{"Name": "bridge", "Driver": "macvlan"}]
    web, _ = survey.survey(light=True)["containers"]
    reasons = [entry["reason"] for entry in web["obstacles"]]
    assert reasons == [
        "container vpn shares its network namespace",
        "its network bridge is macvlan, not a bridge",
    ]


def test_a_container_that_cannot_be_read_hides_no_other(engine: dict[str, Any]) -> None:
    broken = {
        "Id": "cd" * 32,
        "Name": "/odd",
        "Config": {"Image": "x", "Labels": {"relocate.enable": "true"}},
    }
    engine["/containers/json"] = [{"Id": broken["Id"]}, {"Id": WEB["Id"]}]
    engine[f"/containers/{broken['Id']}/json"] = broken
    odd, web = survey.survey(light=True)["containers"]
    assert (odd["name"], web["obstacles"]) == ("odd", [])
    assert set(odd) >= {"id", "image", "labels", "started_at", "ip", "ports", "memory_bytes"}
    assert "could not be read" in odd["obstacles"][0]["reason"] and odd["obstacles"][0]["hint"]


NAMED = "import ctypes; ctypes.CDLL(None).prctl(15, b'\\xff\\n\\x1b[2J'); print(flush=True); input()"


def test_no_name_of_a_process_stops_a_survey(engine: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that are no text, a line break and a terminal's command, in a process and on its command line."""
    command = [sys.executable, "-c", NAMED, b"\xff\n"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        assert b"\xff" in Path(f"/proc/{process.pid}/comm").read_bytes()
        monkeypatch.setattr(holdings, "processes_of", lambda pid: [str(process.pid)])
        (web,) = survey.survey(light=True)["containers"]
        process.communicate(b"\n")
    assert (web["name"], web["obstacles"]) == ("web", []) and web["memory_bytes"] > 0


def test_a_container_with_too_much_to_see_delays_nobody(
    engine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has that as its obstacle; and who has less to see comes first."""
    many = {**WEB, "Id": "cd" * 32, "Name": "/many", "State": {**WEB["State"], "Pid": 2}}
    engine["/containers/json"] = [{"Id": many["Id"]}, {"Id": WEB["Id"]}]
    engine[f"/containers/{many['Id']}/json"] = many
    crowd = {1: ["1"], 2: ["1"] * 1_000_000}
    monkeypatch.setattr(holdings, "processes_of", lambda pid: crowd.get(pid, []))
    monkeypatch.setattr(containers, "CONTAINER_SECONDS", 2.0)  # a busy machine has seen the other by then
    seen: list[int] = []
    real = containers.container

    def watched(inspect: Any, around: Any, patience: Any) -> Any:
        seen.append(inspect["State"]["Pid"])
        return real(inspect, around, patience)

    monkeypatch.setattr(containers, "container", watched)
    found, web = survey.survey(light=True)["containers"]
    assert seen == [1, 2]
    assert (found["name"], web["name"], web["obstacles"]) == ("many", "web", [])
    (only,) = found["obstacles"]
    assert "longer than 2.0 s to look at" in only["reason"]


def test_of_the_labels_only_ours_leave_the_host_and_none_is_long(engine: dict[str, Any]) -> None:
    labels = {"relocate.enable": "true", "relocate.group": "g" * 5000, "token": "secret", "relocate.x": "y"}
    engine[f"/containers/{WEB['Id']}/json"] = {**WEB, "Config": {**WEB["Config"], "Labels": labels}}
    document = survey.survey(light=True)
    assert "secret" not in json.dumps(document)
    assert document["containers"][0]["labels"] == {"relocate.enable": "true", "relocate.group": "g" * 256}


def test_obstacles_without_end_are_told_so_far(
    engine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [{"reason": f"process {pid} of it is being traced", "hint": ""} for pid in range(5000)]
    monkeypatch.setattr(holdings, "held", lambda pids, patience: many)
    (web,) = survey.survey(light=True)["containers"]
    assert len(web["obstacles"]) == containers.MOST_OBSTACLES


def test_what_is_not_published_yet_stops_no_survey(engine: dict[str, Any]) -> None:
    ports = {"80/tcp": [{"HostIp": "0.0.0.0"}, {"HostIp": "::", "HostPort": ""}], "81/tcp": None}
    engine[f"/containers/{WEB['Id']}/json"] = {**WEB, "NetworkSettings": {"Networks": None, "Ports": ports}}
    (web,) = survey.survey(light=True)["containers"]
    assert (web["ports"], web["networks"]) == ([], [])


def test_an_answer_that_is_no_json_is_one_container_less(engine: dict[str, Any]) -> None:
    engine["/containers/json"] = [{"Id": "cd" * 32}, {"Id": WEB["Id"]}]
    engine[f"/containers/{'cd' * 32}/json"] = b"{"
    (web,) = survey.survey(light=True)["containers"]
    assert web["name"] == "web"


def test_a_layer_of_many_files_is_read_so_far_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (tmp_path / f"{number % 4}").mkdir(exist_ok=True)
        (tmp_path / f"{number % 4}" / str(number)).write_bytes(b"x" * 4096)
    inspect = {"GraphDriver": {"Data": {"UpperDir": str(tmp_path)}}}
    whole = containers.written(inspect)
    assert whole >= 20 * 4096
    monkeypatch.setattr(containers, "WALK_ENTRIES", 10)
    assert 0 < containers.written(inspect) < whole
    monkeypatch.setattr(containers, "WALK_ENTRIES", 1000)
    assert containers.written(inspect, seconds=-1.0) < whole
    assert containers.written({"GraphDriver": None}) == 0


def test_processors_that_may_come_are_counted(tmp_path: Path) -> None:
    (tmp_path / "possible").write_text("0-3,8\n")
    assert survey.possible_cpus(tmp_path / "possible") == 5
    assert survey.possible_cpus(tmp_path / "missing") == 0


def test_a_full_survey_can_be_sent_as_json(engine: dict[str, Any]) -> None:
    document = json.loads(json.dumps(survey.survey(light=False)))
    assert document["features"]["N"]["subnets"] == ["172.17.0.0/16"]
    assert document["features"]["S"]["images"] == ["app:1"]
    assert document["features"]["C"]["container_runtime"] == ["Engine=26.1.5"]
    assert set(document["criu"]["cpu_flags"]) <= set(document["features"]["C"]["cpu_flags"])


def test_a_container_that_is_arriving_is_left_out(engine: dict[str, Any]) -> None:
    """The engine would not answer for it until its relocation has ended."""
    (paths.TARGETS / WEB["Id"]).mkdir(parents=True)
    del engine[f"/containers/{WEB['Id']}/json"]
    assert survey.survey(light=True)["containers"] == []


def test_a_container_that_has_just_gone_is_left_out(engine: dict[str, Any]) -> None:
    del engine[f"/containers/{WEB['Id']}/json"]
    assert survey.survey(light=True)["containers"] == []


def test_no_engine_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "SOCKET", str(tmp_path / "nobody"))
    with pytest.raises(EngineError, match="does not answer"):
        survey.survey(light=True)


def test_ports_on_which_others_can_reach_a_listener(tmp_path: Path) -> None:
    """Loopback, established and closed sockets do not count, IPv4 or IPv6."""
    head = "sl local rem st"
    any4, lo4, lan4 = "00000000", "0100007F", "0B0012C6"
    any6, lo6 = "0" * 32, "0" * 24 + "01000000"
    tcp = [
        f"0: {any4}:0016 0:0 0A",
        f"1: {lo4}:0017 0:0 0A",
        f"2: {lan4}:0018 0:0 01",
        f"3: {lan4}:1F90 0:0 0A",
    ]
    tcp6 = [f"0: {any6}:0050 0:0 0A", f"1: {lo6}:0051 0:0 0A"]
    (tmp_path / "tcp").write_text("\n".join([head, *tcp]) + "\n")
    (tmp_path / "tcp6").write_text("\n".join([head, *tcp6]) + "\n")
    (tmp_path / "udp").write_text(f"{head}\n0: {any4}:0035 0:0 07\n")
    assert set(survey.listening(tmp_path)) == {"tcp/22", "tcp/8080", "tcp/80", "udp/53"}


def test_units_are_traced_to_their_packages(tmp_path: Path) -> None:
    (tmp_path / "openssh-server.list").write_text("/usr/sbin/sshd\n/usr/lib/systemd/system/ssh.service\n")
    (tmp_path / "libc6:amd64.list").write_text("/lib/x86_64-linux-gnu/libc.so.6\n")
    (tmp_path / "getty:amd64.list").write_text(
        "/lib/systemd/system/getty@.service\n/lib/systemd/system/x.d/y.conf\n"
    )
    assert survey.unit_owners(tmp_path) == {"ssh.service": "openssh-server", "getty@.service": "getty"}


@pytest.fixture
def collected() -> Callable[..., survey.Outputs]:
    """Outputs of the programs; keywords replace them."""

    def make(**changes: tuple[int, str]) -> survey.Outputs:
        outputs = {"criu version": (0, "Version: 4.2.1\n"), "criu check": (0, "Looks good.\n")}
        outputs |= {f"criu {feature}": (1, "") for feature in survey.CRIU_FEATURES}
        return outputs | {key.replace("_", " ", 1): value for key, value in changes.items()}

    return make


def test_criu_says_what_it_can(collected: Callable[..., survey.Outputs]) -> None:
    found = survey.criu(collected(criu_uffd=(0, "uffd is supported\n")))
    assert (found["version"], found["check"], found["features"]) == ("4.2.1", "ok", ["uffd"])


def test_criu_that_fails_says_why(collected: Callable[..., survey.Outputs]) -> None:
    words = "Warn  (criu/kerndat.c:1): odd\nError (criu/cr-check.c:2): no ptrace\n"
    assert survey.criu(collected(criu_check=(1, words)))["check"] == "Error (criu/cr-check.c:2): no ptrace"
    assert survey.criu(collected(criu_check=(1, "not installed")))["check"] == "not installed"


def test_only_installed_packages_and_no_dull_sections(collected: Callable[..., survey.Outputs]) -> None:
    rows = "ii \tnet\tssh=1:9\nrc \tnet\tgone=1\nii \tcontrib/fonts\tfonts-x=2\nun \t\tnever=\n"
    assert survey.package_rows(collected(packages=(0, rows))) == [
        ("net", "ssh=1:9"),
        ("fonts", "fonts-x=2"),
    ]
