"""Hard constraints: why a host cannot take a container, in a few words. Facts only, no taste. Pure."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from relocate_cli.fleet import Container, Host

THERE = "it is already there"
CLOCK_SECONDS = 5.0  # a container's clock must not jump by more
DROPPABLE_SINCE = (6, 11)
AIO_EVENTS_PER_CPU = 4  # fs/aio.c: the least that a context is made for, whatever was asked for
# From which kernel on, which CRIU is needed, and what older ones do there.
DEFECTS = (
    ((6, 16), (4, 2), "cannot dump a TCP socket (checkpoint-restore/criu#2718)"),
    ((0,), (4,), "is too old to restore what this program dumps"),
)


def why_not(container: "Container", source: "Host", target: "Host", ttl: float) -> str:
    """Why ``target`` cannot take ``container``; "" if it can.

    ``ttl``: seconds after which facts are too old to decide on.
    """
    if source.name == target.name:
        return THERE
    images = container.memory_bytes + container.layer_bytes
    return (
        _closed(target, ttl)
        or _occupied(container, target)
        or _named(container.name, target)
        or _strangers(container, target)
        or defect(target)
        or between(source, target)
        or _lacking(container, target)
        or _too_large(images, target.capacity.storage_free_bytes, "shared storage")
        or _too_large(container.layer_bytes, target.capacity.disk_free_bytes, "disk")
    )


def why_not_restore(
    name: str, container: "Container | None", source: "Host | None", target: "Host", ttl: float
) -> str:
    """Why ``target`` cannot restore the image of the container ``name``, which lies on the storage already.

    ``container``: what the last survey that saw it said, None if there is none; ``source``: where it was
    dumped, None if it is no host of the inventory any more. What is not known forbids nothing but to meet
    tenants of a group: those must not find out that it was another's.
    """
    if why := _closed(target, ttl) or _named(name, target) or defect(target):
        return why
    known = source is not None and source.criu.arch and target.criu.arch
    if source is not None and known and (why := between(source, target)):
        return why
    if container is None:
        group = min(target.groups, default="")
        return f"tenant group {group} is there, and its own is not known" if group else ""
    return (
        _occupied(container, target)
        or _strangers(container, target)
        or _lacking(container, target)
        or _too_large(container.layer_bytes, target.capacity.disk_free_bytes, "disk")
    )


def between(source: "Host", target: "Host") -> str:
    """Why nothing of ``source`` can go on at ``target``, and what to change; "" if it can."""
    if source.criu.arch != target.criu.arch:
        return f"{source.criu.arch} does not restore on {target.criu.arch}"
    if missing := sorted(source.criu.cpu_flags - target.criu.cpu_flags):
        return f"its CPU lacks {missing[0]}"
    if lacking := sorted(source.criu.features - target.criu.features):
        return f"its kernel or CRIU lacks {lacking[0]}"
    skew = target.clock_seconds - source.clock_seconds
    if abs(skew) > CLOCK_SECONDS:
        ahead = "ahead of" if skew > 0 else "behind"
        return f"its clock is {abs(skew):.0f} s {ahead} that of {source.name}: run a time service on both"
    there, here = target.capacity.mtu, source.capacity.mtu
    if there and there < here:
        return f"its network carries packets of {there} bytes, that of {source.name} of {here}: raise its MTU"
    return ""


def defect(host: "Host") -> str:
    """Why no container can leave or reach this host, and what to change; "" if it is as it should be."""
    criu = host.criu
    if criu.check not in ("", "ok"):
        return f"criu check: {criu.check}"
    if criu.cgroup != 2:
        return "it has no cgroup2 at /sys/fs/cgroup: boot it with systemd.unified_cgroup_hierarchy=1"
    for since, good, trouble in DEFECTS:
        if criu.version and _number(criu.kernel) >= since and _number(criu.version) < good:
            wanted = ".".join(map(str, good))
            return f"CRIU {criu.version} on kernel {criu.kernel} {trouble}: install CRIU {wanted} or later"
    return ""


def stale(host: "Host", ttl: float) -> str:
    """Why the facts of ``host`` are not to be relied on; "" if they are."""
    if host.error:
        return host.error
    if host.taken_at is None:
        return "it was never surveyed"
    return f"its facts are {host.age() / 60:.0f} minutes old" if host.age() > ttl else ""


def _closed(target: "Host", ttl: float) -> str:
    return stale(target, ttl) or ("it is drained" if target.drained else "")


def _occupied(container: "Container", target: "Host") -> str:
    """What it needs there and cannot have, since others have it or nobody does."""
    if taken := sorted(container.ports & target.capacity.published_ports):
        return f"port {taken[0]} is taken"
    if target.capacity.memory_bytes and container.memory_bytes > target.capacity.memory_free_bytes:
        free = target.capacity.memory_free_bytes >> 20
        return f"{container.memory_bytes >> 20} MiB of memory do not fit in {free} MiB"
    others = target.capacity.no_bridges  # a bridge of the container's is made where there is none
    if taken := sorted(container.networks & others.keys()):
        return f"its network {taken[0]} is {others[taken[0]]}, not a bridge: rename one of the two"
    known = target.capacity.volumes
    if known is None:
        return ""
    if missing := sorted(container.shared_volumes - known):
        return f"it has no volume {missing[0]}: make it there as it is where the container runs"
    if taken := sorted(container.volumes & known):
        return f"it has a volume {taken[0]} already: remove it if it is not needed"
    return ""


def _named(name: str, target: "Host") -> str:
    return "it has a container of that name" if name in target.names else ""


def _strangers(container: "Container", target: "Host") -> str:
    rivals = target.groups - {container.group} if container.group else frozenset()
    return f"tenant group {min(rivals)} is there" if rivals else ""


def _lacking(container: "Container", target: "Host") -> str:
    """What its memory needs of the kernel."""
    kernel, possible = target.criu.kernel, target.capacity.possible_cpus
    if container.droppable and kernel and _number(kernel) < DROPPABLE_SINCE:
        return f"kernel {kernel} has no MAP_DROPPABLE, which its getrandom uses: 6.11 has, or start it there"
    if 0 < container.aio_events < AIO_EVENTS_PER_CPU * possible:
        return (
            f"its {possible} possible processors make larger AIO contexts than CRIU can fill: start it there"
        )
    return ""


def _too_large(size: int, free: int, what: str) -> str:
    return f"{size >> 20} MiB do not fit in {free >> 20} MiB of {what}" if free and size > free else ""


def _number(version: str) -> tuple[int, ...]:
    """The leading numbers of a version, comparable.

    >>> _number("6.18.44-cloud"), _number("4.2")
    ((6, 18, 44), (4, 2))
    """
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()
