"""Which VIPs a host serves: those of containers that run on it, by the names that host0 last published."""

import re
from typing import Any

from relocate_proxy import engine, paths
from relocate_proxy.belongings import networks
from relocate_proxy.host import records
from relocate_proxy.kernel import vips
from relocate_proxy.protocol.messages import RestartPolicy
from relocate_proxy.survey import preflight

BRIDGE_NAME = "com.docker.network.bridge.name"
INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}\Z")
PUBLISHED = paths.STATE / "published.json"


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
    listing = engine.networks()
    closed = networks.internal(listing)
    local = dict(filter(None, (_served(container, published, closed) for container in engine.containers())))
    vips.enrol(_arriving() | local, _bridges(listing))
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
    return address, published[mine]


def _bridges(listing: list[dict[str, Any]]) -> set[str]:
    """The bridges that have a name of their own; the engine calls the others br-ID."""
    names = {(network.get("Options") or {}).get(BRIDGE_NAME) for network in listing}
    return {name for name in names if name and INTERFACE.match(name)}


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
        attached = engine.inspect(container_id)["NetworkSettings"]["Networks"]
        vips.adopt(networks.way_out(attached, networks.internal(engine.networks())), vip)
