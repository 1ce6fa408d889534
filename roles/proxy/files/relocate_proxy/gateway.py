"""host0 as gateway: which VIP belongs to which container, and the one route that says where it is."""

import contextlib
import fcntl
import ipaddress
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from relocate_proxy import nat, paths, preflight, records

VIPS = paths.STATE / "vips.json"
ARP_SECONDS = 0.2  # a neighbour answers in a millisecond or two
ROUTE_PROTOCOL = "186"  # marks our routes, as `ip route show proto 186`


class GatewayError(Exception):
    """The pool is exhausted, or a wanted address is not free."""


def settings() -> dict[str, Any]:
    """What the role wrote: pool, client_interface, host_interface."""
    document: dict[str, Any] = json.loads((paths.CONFIG / "gateway.json").read_text())
    return document


@contextmanager
def _table() -> Iterator[dict[str, dict[str, str]]]:
    """The table ``{container: {"vip", "host"}}``, locked and written back durably."""
    paths.STATE.mkdir(parents=True, exist_ok=True)
    with (paths.STATE / "vips.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = records.read(VIPS)
        table = json.loads(json.dumps(before))
        yield table
        if table != before:
            records.write(VIPS, table, durable=True)


def labelled(hosts: dict[str, Any], addresses: dict[str, str]) -> list[dict[str, Any]]:
    """The containers of survey documents that take part: ``relocate.enable=true``."""
    return [
        {
            "name": container["name"],
            "host": host,
            "host_address": addresses[host],
            "vip": container["labels"].get("relocate.vip"),
        }
        for host, document in hosts.items()
        for container in document["containers"]
        if preflight.enabled(container["labels"])
    ]


def publish(containers: list[dict[str, Any]]) -> dict[str, Any]:
    """Give each container its VIP and set its route; return ``{"vips": {name: VIP}, "refused": [{"name",
    "host", "reason"}]}``.

    ``containers``: as ``labelled`` says. A container keeps its address for as long as it is in the table. One
    that is refused stands in nobody else's way.
    """
    pool = ipaddress.IPv4Network(settings()["pool"])
    vips, refused = {}, []
    with _table() as table:
        for container in containers:
            name, address = container["name"], container["host_address"]
            rivals = [other["host_address"] for other in containers if other["name"] == name]
            try:
                if len(rivals) > 1 and not table.get(name, {}).get("host") == address:
                    raise GatewayError("a container on another host has this name")
                vip = _vip(container, table, pool)
            except GatewayError as error:
                refused.append({"name": name, "host": container["host"], "reason": str(error)})
                continue
            table[name] = {"vip": vip, "host": address}
            vips[name] = vip
        for name, vip in vips.items():
            route(vip, table[name]["host"])
    return {"vips": vips, "refused": refused}


def _vip(container: dict[str, Any], table: dict[str, dict[str, str]], pool: ipaddress.IPv4Network) -> str:
    """The address that the container asks for, has, or can have. Raises GatewayError."""
    owners = {entry["vip"]: owner for owner, entry in table.items()}
    has = table.get(container["name"], {}).get("vip")
    wanted = container.get("vip") or has
    if wanted is None:
        free = (str(address) for address in pool.hosts() if str(address) not in owners)
        wanted = next((address for address in free if not _answers(address)), None)
        if wanted is None:
            raise GatewayError(f"no free address in the pool {pool}: enlarge [gateway] pool")
    if wanted == has:
        return wanted
    if not _is_address(wanted):
        raise GatewayError(f"{wanted}, which it asks for, is not an IPv4 address")
    if owners.get(wanted, container["name"]) != container["name"]:
        raise GatewayError(f"{wanted}, which it asks for, belongs to {owners[wanted]}")
    if ipaddress.ip_address(wanted) not in pool:
        raise GatewayError(f"{wanted}, which it asks for, is not in the pool {pool}")
    if _answers(wanted):
        raise GatewayError(f"{wanted}, which it asks for, is in use on the network already")
    return wanted


def _answers(address: str) -> bool:
    """Whether a machine has this address: this one, or one that answers ARP for it to this one."""
    (path,) = json.loads(nat.run(["ip", "-json", "route", "get", address]))
    if path.get("type") == "local":
        return True
    if "gateway" in path:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.sendto(b"", (address, 9))
    time.sleep(ARP_SECONDS)
    known = json.loads(nat.run(["ip", "-json", "neighbour", "show", "to", address, "dev", path["dev"]]))
    return any("lladdr" in entry for entry in known)


def _is_address(text: str) -> bool:
    try:
        return isinstance(ipaddress.ip_address(text), ipaddress.IPv4Address)
    except ValueError:
        return False


def route(vip: str, host: str) -> None:
    """Point the VIP at a host. Idempotent."""
    interface = settings()["host_interface"]
    nat.run(["ip", "route", "replace", f"{vip}/32", "via", host, "dev", interface, "proto", ROUTE_PROTOCOL])


def withhold(vip: str) -> None:
    """Answer nothing for a container that is only an image: a reset would end connections that may yet
    go on."""
    nat.run(["ip", "route", "replace", "blackhole", f"{vip}/32", "proto", ROUTE_PROTOCOL])


def moved(name: str, host: str) -> None:
    """Remember where a container is now."""
    with _table() as table:
        if name in table:
            table[name]["host"] = host


def restore_routes(busy: set[str]) -> None:
    """After a boot: set the routes of all containers but those of open relocations, ``busy``."""
    for name, entry in records.read(VIPS).items():
        if name not in busy:
            route(entry["vip"], entry["host"])
