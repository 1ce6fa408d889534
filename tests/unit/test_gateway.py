"""host0's table of addresses: what one tenant's label says can take nothing from another."""

from pathlib import Path
from typing import Any

import pytest
from relocate_proxy import gateway


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """A gateway with a pool of six; what it routes."""
    set_routes: dict[str, str] = {}
    monkeypatch.setattr(gateway, "VIPS", tmp_path / "vips.json")
    monkeypatch.setattr(gateway.paths, "STATE", tmp_path)
    monkeypatch.setattr(gateway, "settings", lambda: {"pool": "203.0.113.64/29", "host_interface": "lan0"})
    monkeypatch.setattr(gateway, "route", set_routes.__setitem__)
    monkeypatch.setattr(gateway, "_answers", lambda address: address == "203.0.113.65")
    return set_routes


def container(name: str, host: int = 1, vip: str | None = None) -> dict[str, Any]:
    return {"name": name, "host": f"host{host}", "host_address": f"198.18.0.1{host}", "vip": vip}


def test_a_container_keeps_its_address_and_its_route_follows_it(routes: dict[str, str]) -> None:
    first = gateway.publish([container("web"), container("db")])
    assert first == {"vips": {"web": "203.0.113.66", "db": "203.0.113.67"}, "refused": []}
    assert gateway.publish([container("web", 2)])["vips"] == {"web": "203.0.113.66"}
    assert routes["203.0.113.66"] == "198.18.0.12"


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("1.2.3.4; reboot", "not an IPv4 address"),
        ("203.0.113.66\n", "not an IPv4 address"),
        ("::1", "not an IPv4 address"),
        ("203.0.113.66", "belongs to web"),
        ("203.0.113.2", "not in the pool"),
        ("203.0.113.65", "in use on the network"),
    ],
)
def test_a_wish_that_cannot_be_is_that_containers_own_trouble(
    routes: dict[str, str], wanted: str, why: str
) -> None:
    gateway.publish([container("web")])
    answer = gateway.publish([container("odd", 2, wanted), container("web"), container("late")])
    assert answer["vips"] == {"web": "203.0.113.66", "late": "203.0.113.67"}
    (refused,) = answer["refused"]
    assert (refused["name"], refused["host"]) == ("odd", "host2") and why in refused["reason"]
    assert set(routes) == {"203.0.113.66", "203.0.113.67"}


def test_a_container_of_the_same_name_elsewhere_does_not_take_the_address(routes: dict[str, str]) -> None:
    gateway.publish([container("web", 1)])
    answer = gateway.publish([container("web", 1), container("web", 2)])
    assert [entry["host"] for entry in answer["refused"]] == ["host2"]
    assert routes == {"203.0.113.66": "198.18.0.11"}
    both_new = gateway.publish([container("db", 1), container("db", 2)])
    assert both_new["vips"] == {} and len(both_new["refused"]) == 2


def test_a_pool_that_is_exhausted_refuses_only_the_last(routes: dict[str, str]) -> None:
    answer = gateway.publish([container(f"c{number}") for number in range(7)])
    assert len(answer["vips"]) == 5
    assert all("enlarge" in entry["reason"] for entry in answer["refused"])
