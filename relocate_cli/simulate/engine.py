"""The engine: trials are arrays, and one pass of the loop is one gap of all of them.

A block of trials (16,384) lives in the processor's cache; what a block needs does not grow with the number of
trials, so that memory stays the same for 10³ and for 10¹² of them.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from relocate_cli.simulate.laws import Constant, Floats
from relocate_cli.simulate.model import Scenario

Z95 = 1.959963984540054


@dataclass(frozen=True)
class Tally:
    """What is kept of trials; tallies add up.

    ``won``: trials in which an attack succeeded. ``time``, ``square``: sums of the moments of success, in
    ticks, and of their squares. ``curve``: how many had succeeded by each moment asked for.
    """

    trials: int = 0
    won: int = 0
    relocations: int = 0
    time: float = 0.0
    square: float = 0.0
    curve: Floats = field(default_factory=lambda: np.zeros(0))

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(
            self.trials + other.trials,
            self.won + other.won,
            self.relocations + other.relocations,
            self.time + other.time,
            self.square + other.square,
            other.curve if not self.trials else self.curve + other.curve,
        )

    @property
    def success(self) -> float:
        """Share of trials in which an attack succeeded."""
        return self.won / self.trials

    @property
    def resisted(self) -> float:
        """Share of trials in which none did."""
        return 1.0 - self.success

    @property
    def ci95(self) -> tuple[float, float]:
        """Wilson's 95 % interval of `resisted`."""
        return wilson(self.trials - self.won, self.trials)

    @property
    def mean_time(self) -> float:
        """Mean ticks to compromise, of those compromised."""
        return self.time / self.won if self.won else math.inf

    @property
    def time_error(self) -> float:
        """Standard error of `mean_time`."""
        if self.won < 2:
            return math.inf
        return math.sqrt(max(self.square / self.won - self.mean_time**2, 0.0) / self.won)


def wilson(count: float, trials: float) -> tuple[float, float]:
    """95 % confidence interval of a proportion (Wilson 1927); never outside [0, 1], never empty.

    >>> [round(edge, 3) for edge in wilson(10, 10)]
    [0.722, 1.0]
    """
    share, weight = count / trials, Z95**2 / trials
    middle = (share + weight / 2) / (1 + weight)
    reach = Z95 / (1 + weight) * math.sqrt(share * (1 - share) / trials + weight / 4 / trials)
    return (0.0 if count == 0 else middle - reach), (1.0 if count == trials else middle + reach)


def simulate(scenario: Scenario, rng: np.random.Generator, trials: int) -> Tally:
    """Run ``trials`` trials, block by block, all from this one stream of random numbers."""
    total, block = Tally(), scenario.place.block
    for begin in range(0, trials, block):
        total += _block(scenario, rng, min(block, trials - begin))
    return total


def _block(scenario: Scenario, rng: np.random.Generator, size: int) -> Tally:
    law, attacker, gaps, horizon = scenario.law, scenario.attacker, scenario.gaps, scenario.horizon
    walk = scenario.place.walk()
    here = walk.begin(rng, size, scenario.start == "captured")
    own = gaps.residual(rng, size) if scenario.phase == "random" else gaps.sample(rng, size)
    foe = attacker.gaps.residual(rng, size) if attacker.gaps else None
    need = law.sample(rng, size)
    now = np.zeros(size)
    relocations = 0
    moments: list[Floats] = []
    while len(now):
        left = own if foe is None else np.minimum(own, foe)
        wait = rng.exponential(1 / attacker.search_rate, len(now)) if attacker.search_rate else None
        delay = need if wait is None else need + wait
        ends = now + delay
        hit = (delay <= left) & (ends <= horizon)
        hit &= here
        now += left
        alive = now < horizon
        if hit.any():
            moments.append(ends[hit])
            alive &= ~hit
        count = int(np.count_nonzero(alive))
        if count == 0:
            break
        relocations += count if foe is None else int(np.count_nonzero(alive & (own <= foe)))
        here, carried = walk.step(rng, here)
        if scenario.first:
            alive = np.zeros(len(now), dtype=bool) if carried is None else alive & carried
            count = int(np.count_nonzero(alive))
        if carried is not None:
            done = left if wait is None else np.maximum(left - wait, 0.0)
            fresh = law.mean if isinstance(law, Constant) else law.sample(rng, len(now))
            need = np.where(carried, need - done, fresh)
        elif not isinstance(law, Constant):
            need = law.sample(rng, len(now))
        if foe is not None:
            own, foe = own - left, foe - left
        # Ended trials wait at the end of time; when they are many, they go.
        if count < 0.8 * len(now):
            now, need, here = now[alive], need[alive], here[alive]
            walk.keep(alive)
            if foe is not None:
                own, foe = own[alive], foe[alive]
        else:
            now[~alive] = math.inf
        if foe is None:
            own = gaps.sample(rng, len(now))
        else:
            own = np.where(own > 0, own, gaps.sample(rng, len(now)))
            assert attacker.gaps is not None
            foe = np.where(foe > 0, foe, attacker.gaps.sample(rng, len(now)))
    return _tally(scenario, size, relocations, moments)


def _tally(scenario: Scenario, size: int, relocations: int, moments: list[Floats]) -> Tally:
    when = np.concatenate(moments) if moments else np.zeros(0)
    curve = np.zeros(len(scenario.curve))
    if scenario.curve:
        curve = np.searchsorted(np.sort(when), np.asarray(scenario.curve), side="right").astype(float)
    return Tally(size, len(when), relocations, float(when.sum()), float(np.square(when).sum()), curve)
