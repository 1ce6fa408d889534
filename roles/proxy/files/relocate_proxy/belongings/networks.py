"""Bridge networks of tenants that a container brings along: described where it leaves, made where it comes to
and there is none of that name, removed again when we made it and no container has it any more.

Ours bear one label more. It is not carried on; docker compose compares its own labels only.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

from relocate_proxy import engine, paths
from relocate_proxy.belongings.labels import MADE, Labels, marked, unmarked
from relocate_proxy.kernel import logs, vips
from relocate_proxy.protocol import shapes

JsonObject = dict[str, Any]
DEFAULT = "bridge"  # of which every engine has its own
BRIDGE_NAME = "com.docker.network.bridge.name"
# What the engine's bridge driver can be told, and means the same on any host.
CARRIED = {
    BRIDGE_NAME,
    "com.docker.network.bridge.enable_icc",
    "com.docker.network.bridge.enable_ip_masquerade",
    "com.docker.network.bridge.gateway_mode_ipv4",
    "com.docker.network.driver.mtu",
}
# Said of every network, and true of each that is made.
IMPLIED = {"com.docker.network.enable_ipv4": "true", "com.docker.network.enable_ipv6": "false"}


class NetworkError(Exception):
    """A network that cannot come along, in one line."""


@dataclass(frozen=True)
class Option:
    """One of the bridge driver's."""

    key: Annotated[str, CARRIED.__contains__]
    value: Annotated[str, shapes.matches(r"[A-Za-z0-9_.-]{0,64}")]


@dataclass(frozen=True)
class Network:
    """What the target makes one of. ``subnets``: the source's, of which an address would not be new."""

    name: Annotated[str, shapes.matches(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")]
    internal: bool = False
    labels: Labels = ()
    options: Annotated[tuple[Option, ...], shapes.at_most(len(CARRIED))] = ()
    subnets: Annotated[tuple[Annotated[str, shapes.matches(r"[0-9./]{9,18}")], ...], shapes.at_most(8)] = ()

    @property
    def interface(self) -> str:
        """The bridge's name, if the tenant gave it one."""
        return next((option.value for option in self.options if option.key == BRIDGE_NAME), "")


def unable(document: JsonObject) -> str:
    """Why the engine's ``document`` of a bridge network describes none that can be made elsewhere; or empty.

    >>> unable({"Name": "shop", "Options": {"com.docker.network.bridge.host_binding_ipv4": "10.0.0.1"}})
    'its option com.docker.network.bridge.host_binding_ipv4 is of this host'
    """
    for key, value in (document.get("Options") or {}).items():
        if key not in CARRIED and IMPLIED.get(key) != value:
            return f"its option {key} is of this host"
    try:
        described(document)
    except shapes.ShapeError as error:
        return f"{error}"
    return ""


def described(document: JsonObject) -> Network:
    """A network as the engine's ``document`` of it says. Raises ShapeError."""
    options = unmarked(document.get("Options"))
    config = (document.get("IPAM") or {}).get("Config") or []
    return shapes.read(
        Network,
        {
            "name": document["Name"],
            "internal": bool(document.get("Internal")),
            "labels": unmarked(document.get("Labels")),
            "options": [option for option in options if option["key"] in CARRIED],
            "subnets": [part["Subnet"] for part in config if ":" not in part.get("Subnet", ":")],
        },
    )


def of_container(inspect: JsonObject) -> list[JsonObject]:
    """What the specification of a container says of the networks that its target may have to make.

    Raises NetworkError or EngineError.
    """
    found = []
    for name, settings in inspect["NetworkSettings"]["Networks"].items():
        if name == DEFAULT:
            continue
        document = engine.ask(f"/networks/{quote(settings['NetworkID'])}")
        if why := unable(document):
            raise NetworkError(f"network {name} cannot come along: {why}")
        found.append(shapes.write(described(document)))
    return found


def internal(listing: list[JsonObject]) -> set[str]:
    """Names of the networks without a way out."""
    return {str(each["Name"]) for each in listing if each.get("Internal")}


def ranked(attached: JsonObject, closed: set[str]) -> list[str]:
    """Names of the networks in which a container has an address: that of its way out, the others by name.
    ``attached``: its networks as the engine lists them, ``closed``: those that are internal.

    Of several the engine takes the first by priority, then by name (libnetwork, endpoint.go: Less).
    """

    def rank(name: str) -> tuple[bool, int, str]:
        return name in closed, -int(attached[name].get("GwPriority") or 0), name

    names = sorted((name for name in attached if attached[name].get("IPAddress")), key=rank)
    return names[:1] + sorted(names[1:])


def way_out(attached: JsonObject, closed: set[str]) -> str:
    """The address by which a container is reached and sends; empty if it has none."""
    names = ranked(attached, closed)
    return str(attached[names[0]]["IPAddress"]) if names else ""


def read(documents: Any) -> list[Network]:
    """What `of_container` said, checked. Raises ShapeError."""
    if not isinstance(documents, list):
        raise shapes.ShapeError("the networks are not a list")
    return [shapes.read(Network, document) for document in documents]


@contextmanager
def arranged(relocation: str, networks: list[Network]) -> Iterator[None]:
    """See to it that the networks are here; while this lasts, none of ours is removed for want of containers.

    Raises NetworkError or EngineError.
    """
    with _lock():
        for network in networks:
            _make(relocation, network)
        yield


def sweep() -> None:
    """Remove those of ours that no container has any more, running or not. One that the engine keeps is left
    to the next sweep. Raises EngineError."""
    with _lock():
        ours = engine.ask("/networks", filters={"label": [MADE]})
        used = {name for each in engine.containers(True) for name in each["NetworkSettings"]["Networks"]}
        for network in ours:
            if network["Name"] not in used:
                _remove(network["Id"], network["Name"])


@contextmanager
def _lock() -> Iterator[None]:
    paths.STATE.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(paths.STATE / "networks.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _make(relocation: str, network: Network) -> None:
    for known in engine.ask("/networks"):
        if known["Name"] == network.name:
            if known["Driver"] != "bridge":
                raise NetworkError(
                    f"network {network.name} of this host is {known['Driver']}, not a bridge: rename one"
                )
            return
    if Path("/sys/class/net", network.interface or "-").exists():  # it is taken: the engine finds another
        network = replace(network, options=tuple(o for o in network.options if o.key != BRIDGE_NAME))
    identity = _create(relocation, network)
    if {*_subnets(identity)} & {*network.subnets}:
        identity = _create_elsewhere(relocation, network, identity)
    if network.interface:
        vips.know_bridge(network.interface)
    logs.of(relocation).info("network %s is made", network.name)


def _create_elsewhere(relocation: str, network: Network, identity: str) -> str:
    """Make it anew while its first subnet is taken: the engine chooses by itself, and an address that is the
    same on both hosts would be no new one."""
    taken = [{"Subnet": subnet} for subnet in _subnets(identity)]
    _remove(identity, network.name)
    body = {"Driver": "bridge", "Internal": True, "Labels": {MADE: relocation}, "IPAM": {"Config": taken}}
    name = f"{MADE}-{relocation}"
    place = str(engine.ask("/networks/create", "POST", {"Name": name, **body})["Id"])
    try:
        return _create(relocation, network)
    finally:
        _remove(place, name)


def _create(relocation: str, network: Network) -> str:
    body = {
        "Name": network.name,
        "Driver": "bridge",
        "Internal": network.internal,
        "EnableIPv6": False,
        "Labels": marked(network.labels, relocation),
        "Options": {option.key: option.value for option in network.options},
    }
    return str(engine.ask("/networks/create", "POST", body)["Id"])


def _subnets(identity: str) -> list[str]:
    config = engine.ask(f"/networks/{identity}")["IPAM"].get("Config") or []
    return [part["Subnet"] for part in config if part.get("Subnet")]


def _remove(identity: str, name: str) -> None:
    try:
        engine.ask(f"/networks/{identity}", "DELETE")
    except engine.NotFoundError:
        return
    except engine.EngineError as error:
        logs.of("").warning("network %s stays for now: %s", name, error)
