"""Where a container is attached, as its network namespace tells it."""

import json
from typing import Any

import pytest
from relocate_proxy.host import endpoints
from relocate_proxy.host.endpoints import EndpointError

LO = {"ifname": "lo", "addr_info": [{"local": "127.0.0.1"}]}
BACK = {"ifname": "eth0", "link_index": 7, "addr_info": [{"local": "172.18.0.2"}]}
FRONT = {"ifname": "eth1", "link_index": 9, "addr_info": [{"local": "172.19.0.3"}]}
SUBNETS = {"back": ["172.18.0.0/16"], "front": ["172.19.0.0/16"]}


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    said: dict[str, Any] = {
        "address": [LO, BACK, FRONT],
        "route": [{"dst": "default", "dev": "eth1"}],
    }

    def run(command: list[str]) -> str:
        return json.dumps(next(said[word] for word in command if word in said))

    monkeypatch.setattr(endpoints.shell, "run", run)
    return said


def test_the_way_out_comes_first_then_the_others_by_name(host: dict[str, Any]) -> None:
    found = endpoints.of_namespace([], SUBNETS)
    assert [(each.network, each.address, each.interface) for each in found] == [
        ("front", "172.19.0.3", "eth1"),
        ("back", "172.18.0.2", "eth0"),
    ]
    host["route"] = []
    assert [each.network for each in endpoints.of_namespace([], SUBNETS)] == ["back", "front"]


def test_a_network_without_an_address_is_named(host: dict[str, Any]) -> None:
    host["address"] = [LO, BACK]
    with pytest.raises(EndpointError, match="no address in its network front"):
        endpoints.of_namespace([], SUBNETS)
