"""host0 as gateway: which VIP belongs to which container, and the one route that says where it is.

A name's owner is the host where its container was last seen, or moved to. It stays the owner until that
host itself has said that it has no such container: one that is silent, or whose answer is malformed, loses
nothing.
"""

import contextlib
import fcntl
import ipaddress
import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import islice
from typing import Any

from relocate_proxy import paths
from relocate_proxy.host import records
from relocate_proxy.host0.answers import Labelled, is_address
from relocate_proxy.kernel import shell

VIPS = paths.STATE / "vips.json"
ARP_SECONDS = 0.2  # a neighbour answers in a millisecond or two
PROBES = 32  # addresses that are looked at together
ROUTE_PROTOCOL = "186"  # marks our routes, as `ip route show proto 186`
RELEASE_SECONDS = 3600.0  # a container that its tenant makes anew gets the address that it had


class GatewayError(Exception):
    """The pool is exhausted, a wanted address is not free, or a name is somebody else's."""


@dataclass(frozen=True)
class Entry:
    """What a container has: its address, the address of its host, and since when, if so, it is on none."""

    vip: str
    host: str
    gone_since: float | None = None


@dataclass(frozen=True)
class Seen:
    """A container that takes part, where it was seen; ``wanted`` is the address that its label asks for."""

    name: str
    host: str
    host_address: str
    wanted: str | None = None


Table = dict[str, Entry]


def settings() -> dict[str, Any]:
    """What the role wrote: pool, client_interface, host_interface."""
    document: dict[str, Any] = json.loads((paths.CONFIG / "gateway.json").read_text())
    return document


def table() -> Table:
    """Every container that has an address, by name."""
    return {name: Entry(**entry) for name, entry in records.read(VIPS).items()}


@contextmanager
def _table() -> Iterator[Table]:
    """The table, locked and written back durably."""
    paths.STATE.mkdir(parents=True, exist_ok=True)
    with (paths.STATE / "vips.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = table()
        changed = dict(before)
        yield changed
        if changed != before:
            records.write(VIPS, {name: asdict(entry) for name, entry in changed.items()}, durable=True)


def publish(
    heard: Mapping[str, list[Labelled]], known: Mapping[str, str], busy: Mapping[str, set[str]]
) -> dict[str, Any]:
    """Give each container its VIP and set its route; return ``{"vips": {name: VIP}, "refused": [{"name",
    "host", "reason"}]}``.

    ``heard``: the containers of each host that answered; ``known``: the address of each host that there is;
    ``busy``: containers of relocations that are open, with their hosts: these alone decide where the
    container is. A container keeps its address for as long as it is in the table. One that is refused
    stands in nobody else's way.
    """
    seen = [
        Seen(each.name, host, known[host], each.wanted)
        for host in heard
        if host in known
        for each in heard[host]
    ]
    silent = {known[host] for host in known.keys() - heard.keys()}
    pool = ipaddress.IPv4Network(settings()["pool"])
    refused = []
    with _table() as entries:
        for container in seen:
            try:
                _take_in(container, seen, entries, silent, busy, pool)
            except GatewayError as error:
                refused.append({"name": container.name, "host": container.host, "reason": str(error)})
        _release(entries, seen, silent, busy, time.time())
        here = {each.name for each in seen} & entries.keys() - _homeless(refused, seen)
        vips = {n: e.vip for n, e in entries.items() if n in here or n in busy or e.host in silent}
        restore_routes(set(busy) | (entries.keys() - vips.keys()), entries)
    return {"vips": vips, "refused": refused}


def _take_in(
    container: Seen,
    seen: list[Seen],
    entries: Table,
    silent: set[str],
    busy: Mapping[str, set[str]],
    pool: ipaddress.IPv4Network,
) -> None:
    """Enter a container into the table. Raises GatewayError."""
    name, has = container.name, entries.get(container.name)
    if name in busy:
        if container.host not in busy[name]:
            raise GatewayError("a container that is being moved has this name")
        return
    owner = has.host if has else None
    if owner != container.host_address:
        if sum(other.name == name for other in seen) > 1:
            raise GatewayError("a container on another host has this name")
        if owner in silent:
            raise GatewayError(
                f"a container on {owner} has this name until that host answers or leaves the inventory"
            )
    entries[name] = Entry(_vip(container, entries, pool), container.host_address)
    if has and has.vip != entries[name].vip:
        unroute(has.vip)


def _homeless(refused: list[dict[str, str]], seen: list[Seen]) -> set[str]:
    """The names all of whose containers were refused."""
    strangers = {(entry["name"], entry["host"]) for entry in refused}
    return {each.name for each in seen} - {
        each.name for each in seen if (each.name, each.host) not in strangers
    }


def _release(
    entries: Table, seen: list[Seen], silent: set[str], busy: Mapping[str, set[str]], now: float
) -> None:
    """Take back the addresses of containers that have been gone for long: the pool is finite."""
    here = {each.name for each in seen} | busy.keys()
    for name, entry in list(entries.items()):
        if name in here or entry.host in silent:
            entries[name] = replace(entry, gone_since=None)
        elif entry.gone_since is None or entry.gone_since > now:  # the clock was set back
            entries[name] = replace(entry, gone_since=now)
        elif now - entry.gone_since > RELEASE_SECONDS:
            unroute(entry.vip)
            del entries[name]


def _vip(container: Seen, entries: Table, pool: ipaddress.IPv4Network) -> str:
    """The address that the container asks for, has, or can have. Raises GatewayError."""
    owners = {entry.vip: owner for owner, entry in entries.items()}
    has = entries[container.name].vip if container.name in entries else None
    wanted = container.wanted or has
    if wanted is None:
        return _free(str(address) for address in pool.hosts() if str(address) not in owners)
    if wanted == has:
        return wanted
    if not is_address(wanted):
        raise GatewayError(f"{wanted}, which it asks for, is not an IPv4 address")
    if owners.get(wanted, container.name) != container.name:
        raise GatewayError(f"{wanted}, which it asks for, belongs to {owners[wanted]}")
    if ipaddress.ip_address(wanted) not in pool:
        raise GatewayError(f"{wanted}, which it asks for, is not in the pool {pool}")
    if _answering([wanted]):
        raise GatewayError(f"{wanted}, which it asks for, is in use on the network already")
    return wanted


def _free(addresses: Iterator[str]) -> str:
    """The first of ``addresses`` that no machine has. Raises GatewayError.

    Where a machine answers for all that are looked at, it lies, or the pool is not ours: the pool's own
    promise is that nobody else uses it, and one machine on the wire must not take it away from all.
    """
    looked_at = list(islice(addresses, PROBES))
    taken = _answering(looked_at)
    quiet = [address for address in looked_at if address not in taken]
    ours = quiet or [address for address in looked_at if not taken[address]]
    if not ours:
        raise GatewayError(f"no free address in the pool {settings()['pool']}: enlarge [gateway] pool")
    return ours[0]


def _answering(addresses: list[str]) -> dict[str, bool]:
    """Which of ``addresses`` a machine has; True if that is this one, False if one answers ARP for it."""
    found: dict[str, bool] = {}
    asked: dict[str, str] = {}
    for address in addresses:
        (path,) = json.loads(shell.run(["ip", "-json", "route", "get", address]))
        if path.get("type") == "local":
            found[address] = True
        elif "gateway" not in path:
            asked[address] = path["dev"]
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
                probe.sendto(b"", (address, 9))
    if asked:
        time.sleep(ARP_SECONDS)
        for entry in json.loads(shell.run(["ip", "-json", "neighbour", "show"])):
            if "lladdr" in entry and asked.get(entry["dst"]) == entry.get("dev"):
                found[entry["dst"]] = False
    return found


def route(vip: str, host: str) -> None:
    """Point the VIP at a host, and answer ARP for it towards clients. Idempotent."""
    interface = settings()["host_interface"]
    _set(vip, f"{vip}/32 via {host} dev {interface}")


def withhold(vip: str) -> None:
    """Answer nothing for a container that is only an image: a reset would end connections that may yet
    go on."""
    _set(vip, f"blackhole {vip}/32")


def _set(vip: str, path: str) -> None:
    """In one process, since a window waits for it. ARP is answered for each VIP by an entry of its own: what
    the kernel is asked for beside is somebody else's to answer. Permanent ones outlive a lost carrier."""
    shell.run(
        ["ip", "-batch", "-"],
        f"route replace {path} proto {ROUTE_PROTOCOL}\n"
        f"neighbour replace proxy {vip} dev {settings()['client_interface']} nud permanent\n",
    )


def unroute(vip: str) -> None:
    """Point the VIP nowhere. Idempotent."""
    shell.succeeds(["ip", "neighbour", "delete", "proxy", vip, "dev", settings()["client_interface"]])
    if vip in routed():
        shell.run(["ip", "route", "delete", f"{vip}/32", "proto", ROUTE_PROTOCOL])


def routed() -> dict[str, tuple[str, str]]:
    """Our routes: VIP to host and interface, both empty for one that is withheld."""
    listing = json.loads(shell.run(["ip", "-json", "route", "show", "proto", ROUTE_PROTOCOL]) or "[]")
    return {each["dst"]: (each.get("gateway", ""), each.get("dev", "")) for each in listing}


def answered() -> set[str]:
    """The addresses for which this machine answers ARP towards clients."""
    command = ["ip", "-json", "neighbour", "show", "proxy", "dev", settings()["client_interface"]]
    return {each["dst"] for each in json.loads(shell.run(command) or "[]")}


def moved(name: str, host: str) -> None:
    """Remember where a container is now."""
    with _table() as entries:
        if name in entries:
            entries[name] = replace(entries[name], host=host, gone_since=None)


def restore_routes(busy: set[str], entries: Table | None = None) -> None:
    """Set the routes of all containers but those of open relocations, ``busy``, where they are not right
    already: one that begins now has set its own, or will."""
    have, heard, interface = routed(), answered(), settings()["host_interface"]
    for name, entry in (table() if entries is None else entries).items():
        right = have.get(entry.vip) == (entry.host, interface) and entry.vip in heard
        if name not in busy and not right:
            route(entry.vip, entry.host)
