"""Where a container that has not run yet is attached, as its network namespace tells it. That of one that
runs is its tenant's to change, if he has NET_ADMIN."""

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from relocate_proxy import engine
from relocate_proxy.kernel import shell

JsonObject = dict[str, Any]


class EndpointError(Exception):
    """A container's network is not what the engine says, in one line."""


@dataclass(frozen=True)
class Endpoint:
    """``interface``: the container's end of the cable."""

    network: str
    address: str
    interface: str


def of_namespace(namespace: list[str], networks: Mapping[str, list[str]]) -> tuple[Endpoint, ...]:
    """What is in the network namespace that these options of nsenter(1) mean; first the way out, then by the
    names of the networks. ``networks``: subnets of each, by its name.

    Raises EndpointError unless there is one address in each network.
    """

    def ip(*words: str) -> list[JsonObject]:
        answer: list[JsonObject] = json.loads(shell.run(["nsenter", *namespace, "ip", "-json", "-4", *words]))
        return answer

    found = {
        endpoint.network: endpoint
        for link in ip("address", "show")
        if link["ifname"] != "lo"
        for entry in link.get("addr_info", ())
        for endpoint in _endpoints(link, entry.get("local", ""), networks)
    }
    if missing := sorted(networks.keys() - found.keys()):
        raise EndpointError(f"it has no address in its network {missing[0]}")
    ways = {route["dev"] for route in ip("route", "show", "default")}
    return tuple(sorted(found.values(), key=lambda each: (each.interface not in ways, each.network)))


def _endpoints(link: JsonObject, address: str, networks: Mapping[str, list[str]]) -> list[Endpoint]:
    return [
        Endpoint(name, address, str(link["ifname"]))
        for name, subnets in networks.items()
        if any(ipaddress.ip_address(address) in ipaddress.ip_network(subnet) for subnet in subnets)
    ]


def subnets(names: list[str]) -> dict[str, list[str]]:
    """Of the networks of this host, those of IPv4. Raises EngineError."""
    documents = {name: engine.ask(f"/networks/{quote(name)}") for name in names}
    return {
        name: [part["Subnet"] for part in document["IPAM"].get("Config") or [] if ":" not in part["Subnet"]]
        for name, document in documents.items()
    }
