"""Which VIPs a host serves, and for how long: those of containers that run on it, by the names that host0
last published.

A VIP ends with its container and before the engine gives the container's address to another: our runc,
through which every container ends, says so (`left`). It says too that one which had a VIP starts again
(`back`).

    STATE/published.json    what host0 published last, of the whole fleet
    RUN/served/CONTAINER    the address and the VIP of a container that was served since the host has started
    RUN/ended/CONTAINER     it has ended since, whatever the engine says of it a moment later
"""

import fcntl
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from relocate_proxy import engine, paths
from relocate_proxy.belongings import networks
from relocate_proxy.host import records
from relocate_proxy.kernel import flows, units, vips
from relocate_proxy.protocol.messages import RestartPolicy
from relocate_proxy.survey import preflight

INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\Z")
CONTAINER = re.compile(r"[0-9a-f]{64}\Z")
PUBLISHED = paths.STATE / "published.json"
SERVED = paths.RUN / "served"
ENDED = paths.RUN / "ended"
START_SECONDS = 60.0  # a slow engine


def remember(published: dict[str, str]) -> dict[str, str]:
    """Keep ``{container: VIP}`` of the whole fleet for the next boot; return it."""
    if remembered() != published:
        records.write(PUBLISHED, published, durable=True)
    return published


def remembered() -> dict[str, str]:
    """What was published last; empty if nothing was."""
    return records.read(PUBLISHED)


def enrol(published: dict[str, str]) -> dict[str, str]:
    """Serve the running containers among ``published`` that take part, and those being restored here;
    ``{address: VIP}``."""
    with _alone():
        listed, known = engine.containers(), engine.networks()
        closed = networks.internal(known)
        local = {}
        for container in listed:
            if place := _served(container, published, closed):
                address, vip = place
                local[address] = vip
                note(container["Id"], address, vip)
        vips.enrol(_arriving() | local, _bridges(known))
        _forget_removed({str(each["Id"]) for each in engine.containers(everything=True)})
    return local


def _served(container: dict[str, Any], published: dict[str, str], closed: set[str]) -> tuple[str, str] | None:
    """Address and VIP of a container, by the engine's listing; ``closed``: networks without a way out.

    One that takes no part may have the name of one elsewhere that does: the VIP is not its own.
    """
    names = [name.lstrip("/") for name in container["Names"] if name.count("/") == 1]  # the others are links
    mine = next((name for name in names if name in published), None)
    address = networks.way_out(container["NetworkSettings"]["Networks"], closed)
    if mine is None or not address or not preflight.enabled(container.get("Labels") or {}):
        return None
    if (ENDED / str(container["Id"])).exists():
        return None
    return address, published[mine]


def _address(container: dict[str, Any]) -> str:
    """The one by which it is reached; empty if it has none."""
    return networks.way_out(container["NetworkSettings"]["Networks"], networks.internal(engine.networks()))


def _bridges(listing: list[dict[str, Any]]) -> set[str]:
    """The bridges that have a name of their own, beside those that the engine calls br-ID."""
    return {name for name in map(engine.bridge, listing) if INTERFACE.match(name)}


def _arriving() -> dict[str, str]:
    """Containers in their window here: the engine does not call them running yet."""
    carried = vips.carried()
    facts = [records.TargetRecord(entry.id).read() for entry in records.remembered()]
    return {each.address: each.vip for each in facts if each and each.address and each.vip in carried}


def revive(container_id: str, policy: RestartPolicy, vip: str, crashed: bool) -> None:
    """Start a container that has ended, as the engine would have, had we not held its policy: one that
    ``crashed``, or else that its host's loss of power has ended.

    Raises EngineError, also while the engine is not up yet.
    """
    if policy.name in ("always", "unless-stopped") or (crashed and policy.name == "on-failure"):
        engine.start(container_id)
        address = _address(engine.inspect(container_id))
        with _alone():
            vips.adopt(address, vip)
            note(container_id, address, vip)


def note(container_id: str, address: str, vip: str) -> None:
    """Remember for `left` what a container has been given, or is about to be."""
    entry = {"address": address, "vip": vip}
    if records.read(SERVED / container_id) != entry:
        records.write(SERVED / container_id, entry)


def left(container_id: str) -> None:
    """A container has ended: its VIP leads nowhere, and nobody else speaks under it. Idempotent.

    When this returns its address may be another's.
    """
    with _alone():
        entry = records.read(SERVED / container_id)
        if not entry or (ENDED / container_id).exists():
            return
        ENDED.mkdir(parents=True, exist_ok=True)
        (ENDED / container_id).touch()
        vips.disown(entry["address"], entry["vip"])
        flows.forget_flows(entry["address"])


def back(container_id: str) -> None:
    """A container that was served here starts again: it is served again as soon as it runs."""
    (ENDED / container_id).unlink(missing_ok=True)
    command = ["/usr/sbin/relocate-proxy", "readmit", container_id]
    units.start(units.name(container_id[:12], "readmit"), command, paths.RUN / "readmit.error")


def readmit(container_id: str) -> None:
    """Serve a container that is being started, under the VIP of its name; one that never runs is let be.
    Raises EngineError."""
    deadline = time.monotonic() + START_SECONDS
    with suppress(engine.NotFoundError):
        while time.monotonic() < deadline:
            document = engine.inspect(container_id)
            if document["State"]["Running"] and (address := _address(document)):
                return _readmit(document, address)
            time.sleep(0.05)


def _readmit(document: dict[str, Any], address: str) -> None:
    vip = remembered().get(document["Name"].lstrip("/"))
    with _alone():
        gone = (ENDED / str(document["Id"])).exists()
        if vip and not gone and preflight.enabled(document["Config"].get("Labels") or {}):
            vips.adopt(address, vip)
            note(document["Id"], address, vip)


def _forget_removed(existing: set[str]) -> None:
    """What was noted of containers that the engine has no more."""
    for directory in (SERVED, ENDED):
        for path in directory.glob("*"):
            if CONTAINER.match(path.name) and path.name not in existing:
                path.unlink(missing_ok=True)


@contextmanager
def _alone() -> Iterator[None]:
    """What the engine says of containers, and what is done about it, belong together."""
    paths.RUN.mkdir(parents=True, exist_ok=True)
    with (paths.RUN / "enrolment.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
