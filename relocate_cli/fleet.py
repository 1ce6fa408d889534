"""Hosts and containers as the last survey found them, and the questions that verbs ask about them."""

import difflib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from relocate_cli.constraints import defect
from relocate_cli.constraints import stale as stale
from relocate_cli.constraints import why_not as why_not
from relocate_cli.errors import RefusedError, UsageError
from relocate_cli.plan import Move
from relocate_cli.said import line

FeatureValue = str | float | frozenset[str]
GROUPS = ("C", "N", "S")
LABEL = "relocate.enable"
LAZY = "relocate.lazy"


@dataclass(frozen=True)
class Obstacle:
    """Why a container cannot move, and what its tenant would have to change."""

    reason: str
    hint: str


@dataclass(frozen=True)
class Container:
    """A container on a host. ``ports`` are published ports of the host, such as "tcp/80".

    ``droppable``: it has memory that no kernel before 6.11 restores. ``aio_events``: the size of its smallest
    AIO context, 0 without one. ``networks``: those of Docker that it is attached to, as far as is known.
    ``layer_bytes``: of its files, the volumes' among them. ``volumes``: those with a name that travel;
    ``shared_volumes`` do not.
    """

    name: str
    id: str
    host: str
    image: str
    labels: Mapping[str, str]
    started_at: float
    ip: str
    ports: frozenset[str]
    memory_bytes: int
    obstacles: tuple[Obstacle, ...]
    layer_bytes: int = 0
    droppable: bool = False
    aio_events: int = 0
    networks: frozenset[str] = frozenset()
    volumes: frozenset[str] = frozenset()
    shared_volumes: frozenset[str] = frozenset()
    vip: str = ""

    @property
    def enabled(self) -> bool:
        """Whether its tenant lets it take part."""
        return self.labels.get(LABEL, "").lower() == "true"

    @property
    def lazy(self) -> bool:
        """Whether its memory may follow it after it runs elsewhere."""
        return self.labels.get(LAZY, "").lower() == "true"

    @property
    def group(self) -> str:
        """The tenant group: no two containers of different groups share a host; "" shares with everyone."""
        return line(self.labels.get("relocate.group", ""))


@dataclass(frozen=True)
class Capacity:
    """What a host has and what of it is free; 0 where it does not say.

    ``disk_free_bytes`` are for writable layers and volumes, ``storage_free_bytes`` for images on the shared
    storage; ``no_bridges``: networks of Docker that are of another driver, which it names; ``volumes``: all
    of them, None where it does not say.
    """

    cpus: float = 0.0
    memory_bytes: int = 0
    memory_free_bytes: int = 0
    disk_free_bytes: int = 0
    storage_free_bytes: int = 0
    mtu: int = 0
    possible_cpus: int = 0
    published_ports: frozenset[str] = frozenset()
    no_bridges: Mapping[str, str] = field(default_factory=dict)
    volumes: frozenset[str] | None = None


@dataclass(frozen=True)
class Criu:
    """What decides whether a dump of one host restores on another."""

    version: str = ""
    check: str = ""
    kernel: str = ""
    arch: str = ""
    cgroup: int = 2
    cpu_flags: frozenset[str] = frozenset()
    features: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Host:
    """A container host.

    ``taken_at`` is when it last answered a survey, None if it never did; ``error`` is why it last did not.
    ``clock_seconds`` is by how much its clock is at least ahead of the controller's.
    """

    name: str
    taken_at: float | None
    features: Mapping[str, Mapping[str, FeatureValue]]
    capacity: Capacity = field(default_factory=Capacity)
    criu: Criu = Criu()
    containers: tuple[Container, ...] = ()
    drained: bool = False
    error: str = ""
    clock_seconds: float = 0.0

    @cached_property
    def names(self) -> frozenset[str]:
        """Of its containers."""
        return frozenset(entry.name for entry in self.containers)

    @cached_property
    def groups(self) -> frozenset[str]:
        """Tenant groups that have a container on it."""
        return frozenset(entry.group for entry in self.containers if entry.group)

    def age(self, now: float | None = None) -> float:
        """Seconds since the facts were taken; infinite if never."""
        return (
            float("inf") if self.taken_at is None else (time.time() if now is None else now) - self.taken_at
        )


@dataclass(frozen=True)
class Fleet:
    """All container hosts, in the order of their names."""

    hosts: tuple[Host, ...]

    @cached_property
    def containers(self) -> tuple[Container, ...]:
        """Every container, host by host."""
        return tuple(container for host in self.hosts for container in host.containers)

    @property
    def movable(self) -> tuple[Container, ...]:
        """The containers that take part and have no obstacle."""
        return tuple(entry for entry in self.containers if entry.enabled and not entry.obstacles)

    def host(self, name: str) -> Host:
        """The host of this inventory name. Raises UsageError that names the nearest one."""
        if found := self._hosts.get(name):
            return found
        raise UsageError(
            f"there is no host {name}", _nearest(name, (host.name for host in self.hosts), "host")
        )

    def container(self, name: str) -> Container:
        """The one container of this name. Raises UsageError if there is none, or more than one.

        Of several it is the one that can move, if only one can: others do not take it from its tenant by
        bearing its name, since host0 has refused them an address.
        """
        found = self._named.get(name, [])
        if len(able := [entry for entry in found if entry.enabled and not entry.obstacles]) == 1:
            return able[0]
        if not found:
            hint = _nearest(name, (entry.name for entry in self.containers), "container")
            raise UsageError(f"there is no container {name}", hint)
        if len(found) > 1:
            where = " and ".join(entry.host for entry in found)
            raise UsageError(
                f"there are {len(found)} containers {name}, on {where}", "rename one: docker rename"
            )
        return found[0]

    @cached_property
    def _hosts(self) -> dict[str, Host]:
        return {host.name: host for host in self.hosts}

    @cached_property
    def _named(self) -> dict[str, list[Container]]:
        found: dict[str, list[Container]] = {}
        for entry in self.containers:
            found.setdefault(entry.name, []).append(entry)
        return found

    def check_movable(self, container: Container, ttl: float) -> None:
        """Raise RefusedError with the first reason for which this container cannot move anywhere.

        ``ttl``: seconds after which facts are too old to decide on.
        """
        for obstacle in container.obstacles:
            raise RefusedError(f"container {container.name} cannot move: {obstacle.reason}", obstacle.hint)
        source = self.host(container.host)
        if why := stale(source, ttl):
            raise RefusedError(f"host {source.name}: {why}", "see that it answers, then `relocate survey`")
        if why := defect(source):
            raise RefusedError(f"host {source.name}: {why}", "`relocate check` names every host's defects")

    def move(self, container: Container, target: Host, *, ttl: float) -> Move:
        """The move of ``container`` to ``target``. Raises RefusedError if it cannot be done.

        ``ttl``: seconds after which facts are too old to decide on.
        """
        self.check_movable(container, ttl)
        source = self.host(container.host)
        if why := why_not(container, source, target, ttl):
            raise RefusedError(
                f"container {container.name} cannot go to {target.name}: {why}",
                f"`relocate check {container.name}` says where it can go",
            )
        return Move(container.name, source.name, target.name, container.vip)


def _nearest(name: str, known: Iterable[str], kind: str) -> str:
    names = sorted(known)
    if not names:
        return "the survey found none; see `relocate survey`"
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else f"the {kind}s are " + ", ".join(names[:8])
