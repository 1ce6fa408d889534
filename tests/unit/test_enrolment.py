"""Which containers of a host are served, by the engine's listing, and for how long."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.host import enrolment
from relocate_proxy.kernel import vips

ID = {"web": "a", "db": "b", "other": "c"}
RUNC = Path(__file__).parents[2] / "roles/proxy/files/bin/runc"
VIPS = {"web": "203.0.113.64", "db": "203.0.113.65"}


def container(name: str, address: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """An entry of /containers/json, linked to from another container."""
    networks = {"none": {"IPAddress": ""}, "shop": {"IPAddress": address}}
    names = [f"/other/{name}", f"/{name}"]
    return {
        "Id": ID[name] + address[-1] * 63,
        "Names": names,
        "Labels": labels,
        "NetworkSettings": {"Networks": networks},
    }


def containers(everything: bool = False) -> list[dict[str, Any]]:
    taking_part = {"relocate.enable": "true"}
    return [
        container("web", "172.18.0.2", taking_part),
        container("db", "172.18.0.3"),
        container("db", "172.18.0.4", {"relocate.enable": "false"}),
        container("other", "172.18.0.5", taking_part),
    ]


def networks() -> list[dict[str, Any]]:
    names = ["shop0", "docker0", 'a"b', "-x"]
    named = [{"Id": "f" * 64, "Options": {"com.docker.network.bridge.name": name}} for name in names]
    return [*named, {"Id": "e" * 64, "Options": None}]


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What the kernel is told, on a host with these containers."""
    told: list[Any] = []
    monkeypatch.setattr(enrolment.paths, "RUN", tmp_path)
    monkeypatch.setattr(enrolment, "SERVED", tmp_path / "served")
    monkeypatch.setattr(enrolment, "ENDED", tmp_path / "ended")
    monkeypatch.setattr(enrolment.engine, "containers", containers)
    monkeypatch.setattr(enrolment.engine, "networks", networks)
    monkeypatch.setattr(enrolment, "_arriving", dict)
    monkeypatch.setattr(enrolment, "remembered", lambda: VIPS)
    monkeypatch.setattr(vips, "enrol", lambda *what: told.append(what))
    for name in ("adopt", "disown"):
        monkeypatch.setattr(vips, name, lambda *what, name=name: told.append((name, *what)))
    monkeypatch.setattr(enrolment.flows, "forget_flows", lambda address: told.append(("forget", address)))
    return told


def test_only_who_takes_part_is_served_and_bridges_are_known_by_name(
    done: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enrolment, "_arriving", lambda: {"172.18.0.9": "203.0.113.66"})
    assert enrolment.enrol(VIPS) == {"172.18.0.2": "203.0.113.64"}
    bridges = {"shop0", "docker0", "br-" + "e" * 12}
    assert done == [({"172.18.0.9": "203.0.113.66", "172.18.0.2": "203.0.113.64"}, bridges)]


WEB = "a" + "2" * 63


def test_a_container_that_has_ended_is_served_no_more_whatever_the_engine_says(done: list[Any]) -> None:
    enrolment.enrol(VIPS)
    done.clear()
    enrolment.left(WEB)
    enrolment.left(WEB)
    assert done == [("disown", "172.18.0.2", "203.0.113.64"), ("forget", "172.18.0.2")]
    assert enrolment.enrol(VIPS) == {}, "the engine's listing is late"


def test_a_container_that_never_had_an_address_takes_none_away(done: list[Any]) -> None:
    enrolment.enrol(VIPS)
    done.clear()
    enrolment.left("b" + "3" * 63)
    assert done == []


@pytest.mark.parametrize(
    ("labels", "name", "served"),
    [
        ({"relocate.enable": "true"}, "web", True),
        ({"relocate.enable": "false"}, "web", False),
        (None, "web", False),
        ({"relocate.enable": "true"}, "renamed", False),
    ],
)
def test_one_that_starts_again_is_served_at_its_new_address(
    done: list[Any], monkeypatch: pytest.MonkeyPatch, labels: dict[str, str] | None, name: str, served: bool
) -> None:
    enrolment.enrol(VIPS)
    enrolment.left(WEB)
    started: list[list[str]] = []
    monkeypatch.setattr(enrolment.units, "start", lambda unit, command, stderr: started.append(command))
    enrolment.back(WEB)
    assert started == [["/usr/sbin/relocate-proxy", "readmit", WEB]]
    networks = {"Networks": {"bridge": {"IPAddress": "172.18.0.7"}}}
    document = {"Id": WEB, "Name": f"/{name}", "Config": {"Labels": labels}, "State": {"Running": True}}
    monkeypatch.setattr(enrolment.engine, "inspect", lambda each: document | {"NetworkSettings": networks})
    done.clear()
    enrolment.readmit(WEB)
    assert done == ([("adopt", "172.18.0.7", "203.0.113.64")] if served else [])


def test_what_is_noted_of_containers_that_are_removed_goes(done: list[Any], tmp_path: Path) -> None:
    enrolment.note("d" * 64, "172.18.0.8", "203.0.113.70")
    enrolment.enrol(VIPS)
    assert [path.name for path in (tmp_path / "served").iterdir()] == [WEB]


@pytest.mark.parametrize(
    ("verb", "files", "said"),
    [
        ("delete", ["served"], ["left", "runc"]),
        ("delete", [], ["runc"]),
        ("start", ["served"], ["back", "runc"]),
        ("start", ["served", "target"], ["runtime"]),
        ("delete", ["served", "target"], ["left", "runtime"]),
        ("state", ["served"], ["runc"]),
    ],
)
def test_our_runc_says_who_ends_and_who_starts_again(
    tmp_path: Path, verb: str, files: list[str], said: list[str]
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, words in (("python3", "$3"), ("runc", "runc")):
        (tools / name).write_text(f"#!/bin/sh\necho {words} >>{tmp_path}/said\n")
        (tools / name).chmod(0o755)
    script = RUNC.read_text().replace("/run/relocate", str(tmp_path)).replace("PATH=", f"PATH={tools}:")
    for name in files:
        (tmp_path / name).mkdir()
        (tmp_path / name / WEB).touch() if name == "served" else (tmp_path / name / WEB).mkdir()
    command = ["sh", "-c", script, "runc", "--log", "/x", verb, WEB]
    subprocess.run(command, check=True, env=dict(os.environ))
    assert (tmp_path / "said").read_text().split() == said
