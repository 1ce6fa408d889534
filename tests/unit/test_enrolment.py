"""Which containers of a host are served, by the engine's listing."""

from typing import Any

import pytest
from relocate_proxy.host import enrolment
from relocate_proxy.kernel import vips

VIPS = {"web": "203.0.113.64", "db": "203.0.113.65"}


def container(name: str, address: str, labels: dict[str, str] | None = None) -> dict[str, Any]:
    """An entry of /containers/json, linked to from another container."""
    networks = {"none": {"IPAddress": ""}, "shop": {"IPAddress": address}}
    names = [f"/other/{name}", f"/{name}"]
    return {"Names": names, "Labels": labels, "NetworkSettings": {"Networks": networks}}


def containers() -> list[dict[str, Any]]:
    taking_part = {"relocate.enable": "true"}
    return [
        container("web", "172.18.0.2", taking_part),
        container("db", "172.18.0.3"),
        container("db", "172.18.0.4", {"relocate.enable": "false"}),
        container("other", "172.18.0.5", taking_part),
    ]


def networks() -> list[dict[str, Any]]:
    names = ["shop0", "docker0", 'a"b', "-x"]
    return [{"Options": {"com.docker.network.bridge.name": name}} for name in names] + [{"Options": None}]


def test_only_who_takes_part_is_served_and_bridges_are_known_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(enrolment.engine, "containers", containers)
    monkeypatch.setattr(enrolment.engine, "networks", networks)
    monkeypatch.setattr(enrolment, "_arriving", lambda: {"172.18.0.9": "203.0.113.66"})
    monkeypatch.setattr(vips, "enrol", lambda *what: given.extend(what))
    assert enrolment.enrol(VIPS) == {"172.18.0.2": "203.0.113.64"}
    assert given == [{"172.18.0.9": "203.0.113.66", "172.18.0.2": "203.0.113.64"}, {"shop0", "docker0"}]
