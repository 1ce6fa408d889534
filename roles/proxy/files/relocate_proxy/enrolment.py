"""Which VIPs a host serves: those of containers that run on it, by the names that host0 last published."""

from typing import Any

from relocate_proxy import engine, nat, paths, records

PUBLISHED = paths.STATE / "published.json"


def remember(vips: dict[str, str]) -> dict[str, str]:
    """Keep ``{container: VIP}`` of the whole fleet for the next boot; return it."""
    if remembered() != vips:
        records.write(PUBLISHED, vips, durable=True)
    return vips


def remembered() -> dict[str, str]:
    """What was published last; empty if nothing was."""
    return records.read(PUBLISHED)


def enrol(vips: dict[str, str]) -> dict[str, str]:
    """Serve the running containers among ``vips`` and those being restored here; ``{address: VIP}``."""
    local = {}
    for container in engine.client().containers():
        name = container["Names"][0].lstrip("/")
        networks = container["NetworkSettings"]["Networks"]
        if name in vips and networks:
            local[next(iter(networks.values()))["IPAddress"]] = vips[name]
    nat.enrol(_arriving() | local)
    return local


def _arriving() -> dict[str, str]:
    """Containers in their window here: the engine does not call them running yet."""
    carried = nat.carried()
    facts = [records.read(records.facts_file(entry["id"], "target")) for entry in records.remembered()]
    return {each["address"]: each["vip"] for each in facts if each and each["vip"] in carried}


def revive(facts: dict[str, Any]) -> None:
    """Start the container that a power loss ended, as the engine would have, had we not held its policy.

    Raises EngineError, also while the engine is not up yet.
    """
    if facts["restart_policy"]["Name"] in ("always", "unless-stopped"):
        engine.start(facts["container_id"])
        nat.adopt(engine.address(facts["container_id"]), facts["vip"])
