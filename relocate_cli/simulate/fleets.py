"""`relocate simulate fleet`: every policy on the surveyed fleet, or on a synthetic one of any size."""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from relocate_cli.errors import RefusedError, UsageError
from relocate_cli.simulate.fleet import Hosts, Play, Rule, interval, play
from relocate_cli.simulate.report import Line, Measure, Report
from relocate_cli.simulate.run import Means, spread
from relocate_cli.simulate.sensitivity import declared
from relocate_cli.simulate.setup import Setup

if TYPE_CHECKING:
    from relocate_cli.fleet import Fleet
    from relocate_cli.settings import Settings

_CHOICES = ("low", "random", "high", "equaliser", "argmax")


def surveyed(fleet: "Fleet", settings: "Settings", capacity: int = 0) -> Hosts:
    """Hosts, containers that take part, Δ by the operator's own measure, and which host takes from which.

    ``capacity`` 0: as many more containers as free memory holds, judged by the mean container.
    Raises RefusedError if there is nothing to move, or nowhere.
    """
    from relocate_cli import placement
    from relocate_cli.fleet import why_not

    if len(fleet.hosts) < 2 or not fleet.movable:
        raise RefusedError(
            f"no fleet to simulate: {len(fleet.hosts)} hosts, {len(fleet.movable)} containers that take part",
            "`relocate survey`, or --synthetic",
        )
    found = placement.differences(fleet, settings)
    index = {host.name: place for place, host in enumerate(fleet.hosts)}
    at = np.array([index[entry.host] for entry in fleet.movable])
    # A container without needs of its own shows what two hosts allow each other: kernel, CPU, drained or not.
    probe = replace(fleet.movable[0], name="", labels={}, ports=frozenset(), memory_bytes=0)
    feasible = np.array(
        [
            [not why_not(probe, source, target, float("inf")) for target in fleet.hosts]
            for source in fleet.hosts
        ]
    )
    mean = max(1.0, float(np.mean([entry.memory_bytes for entry in fleet.movable])))
    there = np.bincount(at, minlength=len(fleet.hosts))
    spare = [
        int(host.capacity.memory_free_bytes / mean) if host.capacity.memory_bytes else len(at)
        for host in fleet.hosts
    ]
    room = np.full(len(there), capacity) if capacity else there + np.array(spare)
    if (room < there).any():
        raise UsageError(f"capacity: {capacity} is less than a host already runs, {int(there.max())}")
    return Hosts(np.arange(len(there)), room, found.total, found.similarity, feasible, len(at), at)


def fleet(setup: Setup, means: Means, hosts: Hosts) -> Report:
    """Survival of the containers under each policy, with moves, and moves that found every host full."""
    attackers = setup.attackers or max(1, len(hosts) // 3)
    setup = replace(setup, hosts=len(hosts), attackers=attackers, targets=hosts.containers)
    replace(setup, capacity=0).checked()
    if setup.search_rate or setup.attacker_gap:
        raise UsageError("search-rate, attacker-gap: a fleet's attackers are passive", "see `simulate time`")
    gaps = setup.gaps(setup.clock)
    rules = (
        Rule("static", setup.gaps("static")),
        *(Rule(choice, gaps, choice) for choice in _CHOICES),
        Rule("restart (SCIT)", gaps, "restart"),
    )
    shared = Play(hosts, rules, setup.law, attackers, setup.horizon, setup.phase == "aligned")
    tasks = [(number, trial) for number in range(len(rules)) for trial in range(setup.trials)]
    outcomes = list(spread(play, shared, tasks, means))
    lines = []
    for number, rule in enumerate(rules):
        found = outcomes[number * setup.trials : (number + 1) * setup.trials]
        exact = _exact_static(setup, hosts) if rule.name == "static" else None
        survival = Measure(*interval([entry.survived / hosts.containers for entry in found]), exact)
        figures: dict[str, float | str | None] = {
            "relocations_per_trial": float(np.mean([entry.relocations for entry in found])),
            "found_no_place": float(np.mean([entry.stayed for entry in found])),
            "fullest_host": float(max(entry.fullest for entry in found)),
            "moves_per_hour": setup.moves_per_hour(rule.gaps),
            "downtime_minutes_per_year": setup.downtime(
                rule.gaps, setup.restart_ms if rule.choice == "restart" else None
            ),
        }
        lines.append(Line(rule.name, {"survival": survival}, figures))
    base = lines[0].measures["survival"].value
    head = {
        "hosts": len(hosts),
        "containers": hosts.containers,
        "survival": {line.name: line.measures["survival"].value for line in lines},
        "relative_improvement": lines[3].measures["survival"].value / base - 1 if base else None,
        "trials": setup.trials,
        "seed": means.seed,
    }
    told = {
        name: value
        for name, value in declared(setup).items()
        if name not in ("start", "search rate", "carry")
    }
    return Report(
        "fleet",
        "policies",
        lines,
        head,
        {**told, "reuse of exploits": "1-|Δ|"},
        (),
        (
            f"{hosts.containers} containers on {len(hosts)} hosts; a trial is a whole fleet, "
            f"with {attackers} captured hosts.",
        ),
    )


def _exact_static(setup: Setup, hosts: Hosts) -> float | None:
    """Attackers fill places first; so a container beside none of them is likelier than 1 - m/n."""
    room = int(hosts.room[0])
    if hosts.at is not None:
        near = setup.attackers / len(hosts)
    elif (hosts.room == room).all():
        near = setup.attackers * (room - 1) / (len(hosts) * room - setup.attackers)
    else:
        return None
    return 1 - near * float(setup.law.cdf(setup.horizon))
