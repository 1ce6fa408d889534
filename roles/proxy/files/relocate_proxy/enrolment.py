"""Which VIPs a host serves: those of containers that run on it, by the names that host0 last published."""

from relocate_proxy import engine, nat, paths, records
from relocate_proxy.messages import RestartPolicy

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
    for container in engine.containers():
        name = container["Names"][0].lstrip("/")
        networks = container["NetworkSettings"]["Networks"]
        if name in vips and networks:
            local[next(iter(networks.values()))["IPAddress"]] = vips[name]
    nat.enrol(_arriving() | local)
    return local


def _arriving() -> dict[str, str]:
    """Containers in their window here: the engine does not call them running yet."""
    carried = nat.carried()
    facts = [records.TargetRecord(entry.id).read() for entry in records.remembered()]
    return {each.address: each.vip for each in facts if each and each.address and each.vip in carried}


def revive(container_id: str, policy: RestartPolicy, vip: str, crashed: bool) -> None:
    """Start a container that has ended, as the engine would have, had we not held its policy: one that
    ``crashed``, or else that its host's loss of power has ended.

    Raises EngineError, also while the engine is not up yet.
    """
    if policy.name in ("always", "unless-stopped") or (crashed and policy.name == "on-failure"):
        engine.start(container_id)
        nat.adopt(engine.address(container_id), vip)
