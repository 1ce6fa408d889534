"""Whole fleets, tick by tick as `relocate tick` moves them: all that are due at once, never beyond capacity.

One trial is a fleet with its attackers; its containers share both, so that intervals count trials, not
containers. Equal hosts are one class: Δ is a matrix of classes, and 10,000 hosts cost what their classes do.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from relocate_cli import selection
from relocate_cli.errors import UsageError
from relocate_cli.heterogeneity import differences
from relocate_cli.simulate.engine import Z95, wilson
from relocate_cli.simulate.laws import AttackLaw, Floats
from relocate_cli.simulate.model import Gaps
from relocate_cli.simulate.policies import synthetic_features
from relocate_cli.simulate.run import generator

Ints = npt.NDArray[np.intp]
_ROUNDS = 20  # how often a container that found its host full draws again before it stays for this tick


@dataclass(frozen=True)
class Hosts:
    """``kind``: class of each host, (hosts,). ``room``: places of each, (hosts,).

    ``delta``, ``reuse`` and ``feasible``: of classes, (kinds, kinds). ``at``: hosts of the containers, or
    None to place them at random.
    """

    kind: Ints
    room: Ints
    delta: Floats
    reuse: Floats
    feasible: npt.NDArray[np.bool_]
    containers: int
    at: Ints | None = None

    def __len__(self) -> int:
        return len(self.kind)


@dataclass(frozen=True)
class Rule:
    """``choice`` is one of selection's, "low", or "restart" (in place)."""

    name: str
    gaps: Gaps
    choice: str = "random"


@dataclass(frozen=True)
class Play:
    """All trials of one run: what `run.spread` hands to every worker."""

    hosts: Hosts
    rules: tuple[Rule, ...]
    law: AttackLaw
    attackers: int
    horizon: float
    aligned: bool = False


@dataclass(frozen=True)
class Outcome:
    """Of one trial: containers that survived, relocations, moves that found no place, the fullest host."""

    survived: int
    relocations: int
    stayed: int
    fullest: int


def synthetic_hosts(hosts: int, containers: int, capacity: int, seed: int, kinds: int = 64) -> Hosts:
    """``hosts`` of at most ``kinds`` classes; ``capacity`` 0 gives a quarter more places than containers."""
    if hosts < 2 or containers < 1:
        raise UsageError("hosts, targets: a fleet has at least 2 hosts and 1 container")
    if kinds < 1:
        raise UsageError(f"kinds: at least 1 kind of host, not {kinds}")
    kinds = min(kinds, hosts)
    found = differences(synthetic_features(kinds, seed))
    kind = generator(seed, 1 << 29).permutation(np.arange(hosts) % kinds)
    room = np.full(hosts, capacity or math.ceil(1.25 * containers / hosts) + 1)
    return Hosts(kind, room, found.total, found.similarity, np.ones((kinds, kinds), dtype=bool), containers)


def play(shared: Play, seed: int, task: tuple[int, int]) -> Outcome:
    """Trial ``task[1]`` of rule ``task[0]``."""
    rule = shared.rules[task[0]]
    return Trial(shared, rule, generator(seed, *task)).run()


class Trial:
    """One fleet through time; arrays are over containers."""

    def __init__(self, shared: Play, rule: Rule, rng: np.random.Generator) -> None:
        self._hosts, self._rule, self._law, self._rng = shared.hosts, rule, shared.law, rng
        self._horizon = shared.horizon
        hosts, count = shared.hosts, shared.hosts.containers
        self._captured = np.zeros(len(hosts), dtype=bool)
        self._captured[rng.choice(len(hosts), shared.attackers, replace=False)] = True
        places = hosts.room - self._captured if hosts.at is None else hosts.room
        self._at = _spread_out(places, count, rng) if hosts.at is None else hosts.at.copy()
        self._free = places - np.bincount(self._at, minlength=len(hosts))
        self._need = shared.law.sample(rng, count)
        self._arrived = np.zeros(count)
        self._due = rule.gaps.sample(rng, count) if shared.aligned else rule.gaps.residual(rng, count)
        self._lost = np.zeros(count, dtype=bool)
        self._chances = Chances(hosts, rule.choice)

    def run(self) -> Outcome:
        relocations = stayed = 0
        fullest = int(np.bincount(self._at).max())
        soonest = float(self._due.min())
        while soonest < self._horizon:
            now = math.ceil(soonest)
            due = np.flatnonzero(self._due <= now)
            if now < self._horizon:
                moved = self._move(due, float(now))
                relocations += moved
                stayed += len(due) - moved
                fullest = max(fullest, int(np.bincount(self._at).max()))
            self._due[due] = np.maximum(now, self._due[due]) + self._rule.gaps.sample(self._rng, len(due))
            soonest = float(self._due.min())
        self._judge(np.arange(len(self._at)), self._horizon)
        return Outcome(int(np.count_nonzero(~self._lost)), relocations, stayed, fullest)

    def _judge(self, which: Ints, now: float) -> None:
        near = self._captured[self._at[which]]
        self._lost[which] |= near & (self._need[which] <= now - self._arrived[which])

    def _move(self, due: Ints, now: float) -> int:
        self._judge(due, now)
        before = self._at[due]
        after = before if self._rule.choice == "restart" else self._draw(due)
        gone = after != before
        moved = due if self._rule.choice == "restart" else due[gone]
        old, new = self._at[moved], after if self._rule.choice == "restart" else after[gone]
        kind = self._hosts.kind
        reuse = self._hosts.reuse[kind[old], kind[new]] if self._rule.choice != "restart" else 0.0
        near = self._captured[old] & self._captured[new]
        carried = near & (self._rng.random(len(moved)) < reuse)
        rest = self._need[moved] - (now - self._arrived[moved])
        self._need[moved] = np.where(carried & (rest > 0), rest, self._law.sample(self._rng, len(moved)))
        self._arrived[moved] = now
        np.add.at(self._free, old, 1)
        np.subtract.at(self._free, new, 1)
        self._at[moved] = new
        return len(moved)

    def _draw(self, due: Ints) -> Ints:
        """Targets of all that are due; a place is free only if it was so before this tick."""
        targets, free = self._at[due].copy(), self._free.copy()
        waiting = self._rng.permutation(len(due))
        for _ in range(_ROUNDS):
            source = self._at[due[waiting]]
            drawn = self._proposals(source)
            able = np.flatnonzero(drawn != source)
            order = able[np.argsort(drawn[able], kind="stable")]
            hosts = drawn[order]
            first = np.searchsorted(hosts, hosts, side="left")
            taken = order[np.arange(len(order)) - first < free[hosts]]
            targets[waiting[taken]] = drawn[taken]
            np.subtract.at(free, drawn[taken], 1)
            waiting = np.delete(waiting, taken)
            if not len(waiting) or not (free > 0).any():
                break
        return targets

    def _proposals(self, source: Ints) -> Ints:
        """One host each, by the policy's chances; the source itself where no other host is feasible."""
        return self._chances.draw(source, self._rng)


class Chances:
    """P(host | source host) by class: the class's weight by selection times its hosts, then one of them."""

    def __init__(self, hosts: Hosts, choice: str) -> None:
        kinds = len(hosts.delta)
        self._kind, self._sizes = hosts.kind, np.bincount(hosts.kind, minlength=kinds)
        self._members = np.argsort(hosts.kind, kind="stable")
        self._first = np.cumsum(self._sizes) - self._sizes
        self._rank = np.empty(len(hosts), dtype=np.intp)  # of a host in its class
        self._rank[self._members] = np.arange(len(hosts)) - self._first[hosts.kind[self._members]]
        others = np.maximum(self._sizes - np.eye(kinds, dtype=np.intp), 0)
        delta = -hosts.delta if choice == "low" else hosts.delta
        name = "softmax" if choice in ("low", "high", "restart") else choice
        chance = selection.probabilities(delta, hosts.feasible & (others > 0), choice=name, many=others)
        weight = chance * others
        steps = np.cumsum(weight, axis=1)
        self._able = steps[:, -1] > 0
        # Row k lies in [k, k+1): one search serves all rows.
        self._steps = (
            steps / np.where(self._able, steps[:, -1], 1.0)[:, None] + np.arange(kinds)[:, None]
        ).ravel()

    def draw(self, source: Ints, rng: np.random.Generator) -> Ints:
        """A host for each source host, never itself unless no other is feasible."""
        kind, kinds = self._kind[source], len(self._sizes)
        able = self._able[kind]
        part = rng.random((2, len(source))) * (1 - 1e-9)
        goal = np.minimum(
            np.searchsorted(self._steps, kind + part[0], side="right") - kind * kinds, kinds - 1
        )
        same = goal == kind
        pick = (part[1] * (self._sizes[goal] - same)).astype(np.intp)
        pick += same & (pick >= self._rank[source])
        place = np.where(able, self._first[goal] + pick, 0)
        return np.where(able, self._members[place], source)


def _spread_out(places: Ints, count: int, rng: np.random.Generator) -> Ints:
    if places.sum() < count:
        raise UsageError(
            f"capacity: {int(places.sum())} places are too few for {count} containers beside the attackers",
            "raise --capacity or --hosts",
        )
    return np.asarray(rng.permutation(np.repeat(np.arange(len(places)), np.maximum(places, 0)))[:count])


def interval(shares: npt.ArrayLike) -> tuple[float, float, float]:
    """Mean of per-trial shares and its 95 % interval, by Student's t; by Wilson's if all are equal."""
    values = np.asarray(shares, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, 0.0, 1.0
    if np.ptp(values) == 0.0:
        return mean, *wilson(round(mean * len(values)), len(values))
    reach = float(
        special.stdtrit(len(values) - 1, special.ndtr(Z95)) * values.std(ddof=1) / math.sqrt(len(values))
    )
    return mean, max(mean - reach, 0.0), min(mean + reach, 1.0)
