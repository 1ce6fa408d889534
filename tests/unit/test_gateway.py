"""host0's table of addresses: what one tenant's label, or one host's silence, says can take nothing from
another."""

import json
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.host0 import gateway
from relocate_proxy.host0.answers import Labelled

KNOWN = {f"host{number}": f"198.18.0.1{number}" for number in (1, 2, 3)}


@pytest.fixture
def routes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """A gateway with a pool of six; what it routes."""
    set_routes: dict[str, str] = {}
    monkeypatch.setattr(gateway, "VIPS", tmp_path / "vips.json")
    monkeypatch.setattr(gateway.paths, "STATE", tmp_path)
    monkeypatch.setattr(gateway, "settings", lambda: {"pool": "203.0.113.64/29", "host_interface": "lan0"})
    monkeypatch.setattr(gateway, "route", set_routes.__setitem__)
    monkeypatch.setattr(gateway, "unroute", set_routes.pop)
    monkeypatch.setattr(gateway, "routed", lambda: {v: (h, "lan0") for v, h in set_routes.items()})
    monkeypatch.setattr(gateway, "answered", lambda: set(set_routes))
    monkeypatch.setattr(gateway, "_answering", lambda asked: {a: False for a in asked if a == "203.0.113.65"})
    return set_routes


def publish(busy: dict[str, set[str]] | None = None, **heard: list[str | Labelled]) -> dict[str, Any]:
    """Publish what the hosts that are named have said."""
    said = {
        host: [each if isinstance(each, Labelled) else Labelled(each, None) for each in containers]
        for host, containers in heard.items()
    }
    return gateway.publish(said, KNOWN, busy or {})


def test_a_container_keeps_its_address_and_its_route_follows_it(routes: dict[str, str]) -> None:
    first = publish(host1=["web", "db"])
    assert first == {"vips": {"web": "203.0.113.66", "db": "203.0.113.67"}, "refused": []}
    assert publish(host1=[], host2=["web"])["vips"] == {"web": "203.0.113.66"}
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
    publish(host1=["web"])
    answer = publish(host2=[Labelled("odd", wanted)], host1=["web", "late"])
    assert answer["vips"] == {"web": "203.0.113.66", "late": "203.0.113.67"}
    (refused,) = answer["refused"]
    assert (refused["name"], refused["host"]) == ("odd", "host2") and why in refused["reason"]
    assert set(routes) == {"203.0.113.66", "203.0.113.67"}


def test_a_container_of_the_same_name_elsewhere_does_not_take_the_address(routes: dict[str, str]) -> None:
    publish(host1=["web"])
    answer = publish(host1=["web"], host2=["web"])
    assert [entry["host"] for entry in answer["refused"]] == ["host2"]
    assert routes == {"203.0.113.66": "198.18.0.11"}
    both_new = publish(host1=["db"], host2=["db"])
    assert both_new["vips"] == {}
    assert len(both_new["refused"]) == 2


def test_nobody_takes_the_name_of_a_host_that_is_silent(routes: dict[str, str]) -> None:
    publish(host1=["web"], host2=[])
    answer = publish(host2=["web"])
    assert answer["vips"] == {"web": "203.0.113.66"}, "host1 keeps what it has, whether it is asked or not"
    (refused,) = answer["refused"]
    assert refused["host"] == "host2" and "198.18.0.11" in refused["reason"]
    assert routes == {"203.0.113.66": "198.18.0.11"}
    assert publish(host1=[], host2=["web"])["refused"] == []
    assert routes == {"203.0.113.66": "198.18.0.12"}


def test_a_host_that_is_in_no_inventory_any_more_owns_nothing(
    routes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(host3=["web"])
    monkeypatch.delitem(KNOWN, "host3")
    assert publish(host1=["web"], host2=[])["refused"] == []
    assert publish(host1=["web"], host3=["x"])["vips"] == {"web": "203.0.113.66"}


def test_an_open_relocation_alone_decides_where_its_container_is(routes: dict[str, str]) -> None:
    """Committed, and the target is silent: a route to the source would lead to a frozen copy."""
    publish(host1=["web"], host2=[], host3=[])
    routes["203.0.113.66"] = "198.18.0.12"  # the coordinator's
    between = {"web": {"host1", "host2"}}
    for seen in ({"host1": ["web"]}, {"host1": ["web"], "host2": ["web"]}, {"host1": [], "host2": []}):
        assert publish(between, **seen) == {"vips": {"web": "203.0.113.66"}, "refused": []}
    assert [entry["host"] for entry in publish(between, host3=["web"])["refused"]] == ["host3"]
    assert routes == {"203.0.113.66": "198.18.0.12"}
    assert gateway.table()["web"].host == "198.18.0.11"


def test_an_address_is_free_again_when_its_container_has_been_gone_for_long(
    routes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(gateway.time, "time", lambda: now[0])
    publish(host1=["web"], host2=["db"])
    for after, seen in ((0, []), (3000, ["web"]), (3000, []), (3000, [])):
        now[0] += after
        publish(host1=seen)
    assert gateway.table().keys() == {"web", "db"}, "it was here in between, and host2 is silent"
    publish({"web": {"host1", "host2"}}, host1=[])
    now[0] += 3000
    publish(host1=[])
    now[0] += 3700
    assert publish(host1=[])["vips"] == {"db": "203.0.113.67"}
    assert routes == {"203.0.113.67": "198.18.0.12"}
    assert publish(host1=["new"])["vips"]["new"] == "203.0.113.66"


def test_a_table_of_before_is_read(routes: dict[str, str]) -> None:
    gateway.VIPS.write_text(json.dumps({"web": {"vip": "203.0.113.70", "host": "198.18.0.11"}}))
    assert publish(host1=["web"])["vips"] == {"web": "203.0.113.70"}
    gateway.moved("web", "198.18.0.12")
    assert gateway.table()["web"] == gateway.Entry("203.0.113.70", "198.18.0.12")


def test_only_a_route_that_is_not_right_is_set(
    routes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(host1=["web", "db"])
    routes.pop("203.0.113.67")
    done: list[str] = []
    monkeypatch.setattr(gateway, "route", lambda vip, host: done.append(vip))
    gateway.restore_routes(set())
    assert done == ["203.0.113.67"]


def test_a_wish_that_is_granted_later_takes_the_old_route_away(routes: dict[str, str]) -> None:
    publish(host1=["web"])
    assert publish(host1=[Labelled("web", "203.0.113.70")])["vips"] == {"web": "203.0.113.70"}
    assert routes == {"203.0.113.70": "198.18.0.11"}


def test_a_pool_that_is_exhausted_refuses_only_the_last(routes: dict[str, str]) -> None:
    answer = publish(host1=[f"c{number}" for number in range(7)])
    assert len(answer["vips"]) == 6
    assert all("enlarge" in entry["reason"] for entry in answer["refused"])
    assert list(answer["vips"].values())[-1] == "203.0.113.65", "what another machine answers for comes last"


def test_a_machine_that_answers_for_the_whole_pool_does_not_take_it_away(
    routes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []

    def all_but_own(addresses: list[str]) -> dict[str, bool]:
        asked.append(addresses)
        return {address: address == "203.0.113.65" for address in addresses}

    monkeypatch.setattr(gateway, "_answering", all_but_own)
    monkeypatch.setattr(gateway, "settings", lambda: {"pool": "203.0.112.0/23", "host_interface": "lan0"})
    assert publish(host1=["web"])["vips"] == {"web": "203.0.112.1"}
    assert [len(addresses) for addresses in asked] == [gateway.PROBES], (
        "nor its time: they are asked together"
    )
    monkeypatch.setattr(gateway, "settings", lambda: {"pool": "203.0.113.64/30", "host_interface": "lan0"})
    assert publish(host1=["web", "db"])["vips"] == {"web": "203.0.112.1", "db": "203.0.113.66"}
    assert "enlarge" in publish(host1=["web", "db", "late"])["refused"][0]["reason"]


def test_a_route_whose_address_is_not_answered_for_is_set_again(
    routes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(host1=["web", "db"])
    monkeypatch.setattr(gateway, "answered", lambda: {"203.0.113.66"})
    done: list[str] = []
    monkeypatch.setattr(gateway, "route", lambda vip, host: done.append(vip))
    gateway.restore_routes(set())
    assert done == ["203.0.113.67"]
