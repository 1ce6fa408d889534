"""Where containers of a fleet shall go: facts and settings in, moves and reasons out. Pure.

Hard constraints are `constraints.why_not`'s and those that only hold between containers; Δ comes after them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from relocate_cli import heterogeneity, selection
from relocate_cli.constraints import THERE, why_not
from relocate_cli.errors import RelocateError
from relocate_cli.fleet import Container, Fleet, Host
from relocate_cli.heterogeneity import Differences
from relocate_cli.plan import Move
from relocate_cli.settings import Settings


@dataclass(frozen=True)
class Prospect:
    """What speaks for a host as the target of a container: Δ, Δ by group, P(chosen); ``why`` not, else "".

    ``unbounded``: P(chosen) if no bound held it (`[selection] max_share`).
    """

    host: str
    delta: float
    groups: Mapping[str, float]
    why: str
    probability: float
    unbounded: float

    @property
    def held(self) -> bool:
        """Whether it would be chosen more often, if there were no bound."""
        return self.unbounded > self.probability + 1e-9


@dataclass(frozen=True)
class Placement:
    """``moves`` that respect all constraints together, and why the other containers stay."""

    moves: tuple[Move, ...]
    staying: Mapping[str, str]


def differences(fleet: Fleet, settings: Settings) -> Differences:
    """Δ between all hosts, in the order of ``fleet.hosts``."""
    chosen = settings.heterogeneity
    return heterogeneity.differences(
        [host.features for host in fleet.hosts], measure=chosen.measure, weights=asdict(chosen.weights)
    )


def prospects(fleet: Fleet, container: Container, settings: Settings) -> tuple[Prospect, ...]:
    """Every host as a target for ``container`` alone, the likeliest first."""
    source = fleet.host(container.host)
    place = fleet.hosts.index(source)
    found = differences(fleet, settings)
    why = [why_not(container, source, target, settings.facts_ttl) for target in fleet.hosts]
    chance, unbounded = (
        selection.probabilities(
            found.total[place],
            [not reason for reason in why],
            choice=settings.selection.choice,
            temperature=settings.selection.temperature,
            max_share=share,
        )
        for share in (settings.selection.max_share, 1.0)
    )
    listed = [
        Prospect(
            target.name,
            float(found.total[place, index]),
            {group: float(matrix[place, index]) for group, matrix in found.groups.items()},
            why[index],
            float(chance[index]),
            float(unbounded[index]),
        )
        for index, target in enumerate(fleet.hosts)
    ]
    return tuple(sorted(listed, key=lambda entry: (-entry.probability, entry.why, -entry.delta, entry.host)))


def place(
    fleet: Fleet, containers: Iterable[Container], settings: Settings, rng: np.random.Generator
) -> Placement:
    """Draw a target for each of ``containers``, jointly; those without a feasible host stay, told why."""
    staying: dict[str, str] = {}
    movable: list[Container] = []
    for entry in containers:
        try:
            fleet.check_movable(fleet.container(entry.name), settings.facts_ttl)
        except RelocateError as error:
            staying[entry.name] = error.message
        else:
            movable.append(entry)
    if not movable:
        return Placement((), staying)
    index = {host.name: number for number, host in enumerate(fleet.hosts)}
    sources = [fleet.host(entry.host) for entry in movable]
    why = [
        [why_not(entry, source, target, settings.facts_ttl) for target in fleet.hosts]
        for entry, source in zip(movable, sources, strict=True)
    ]
    feasible = np.array([[not reason for reason in row] for row in why])
    least = max(1, min(entry.memory_bytes for entry in movable))
    targets = selection.choose(
        differences(fleet, settings).total,
        [index[entry.host] for entry in movable],
        feasible,
        [min(len(movable), _free(host) // least) for host in fleet.hosts],
        rng=rng,
        choice=settings.selection.choice,
        temperature=settings.selection.temperature,
        max_share=settings.selection.max_share,
        admit=lambda host, wanted: _together(fleet.hosts[host], movable, wanted),
    )
    moves = []
    for entry, reasons, target in zip(movable, why, targets.tolist(), strict=True):
        if target != selection.STAYS:
            moves.append(Move(entry.name, entry.host, fleet.hosts[target].name, entry.vip))
        else:
            staying[entry.name] = _summary(fleet, reasons)
    return Placement(tuple(moves), staying)


def _free(host: Host) -> int:
    """Bytes of memory that containers may take; a host that does not say has enough."""
    return host.capacity.memory_free_bytes if host.capacity.memory_bytes else 1 << 62


def _together(host: Host, containers: Sequence[Container], wanted: Sequence[int]) -> list[int]:
    """Those of ``wanted`` that fit on ``host`` together, in this order."""
    memory, ports, groups, taken = _free(host), set[str](), set[str](), list[int]()
    for number in wanted:
        entry = containers[number]
        rivals = groups - {entry.group} if entry.group else set()
        if entry.memory_bytes > memory or entry.ports & ports or rivals:
            continue
        taken.append(number)
        memory -= entry.memory_bytes
        ports |= entry.ports
        groups |= {entry.group} - {""}
    return taken


def _summary(fleet: Fleet, reasons: Sequence[str]) -> str:
    """Why no host takes a container, one reason a host."""
    said = [
        f"{host.name}: {why}" for host, why in zip(fleet.hosts, reasons, strict=True) if why and why != THERE
    ]
    if len(said) < len(fleet.hosts) - 1:
        said.append("the others are taken by containers that move with it")
    return "no host can take it: " + ("; ".join(said[:6]) or "the inventory has one host")
