"""What `relocate simulate` and the closed forms say under exactly the parameters that were declared. Pure.

Twice: with the clock as declared, and *as played*, where a stay is a gap of that clock and the lateness that
the testbed added to it (ticks come late, a move takes time), as seen by looks that are ``look`` apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from relocate_cli import selection
from relocate_cli.clock import DiscreteClock, make_clock
from relocate_cli.experiment.declared import Declared, Policy
from relocate_cli.simulate.engine import Tally
from relocate_cli.simulate.model import Bools, Gaps, Place
from relocate_cli.simulate.policies import Ints, Matrix, MatrixWalk
from relocate_cli.simulate.run import Job, Means, generator, run
from relocate_cli.simulate.setup import Setup

TRIALS = 20_000
_DRAWS = 4000
MEASURES = ("resisted", "resisted_if_aligned", "survives")


@dataclass(frozen=True)
class Expected:
    """A simulated share with its interval, and the exact value where mathematics knows it."""

    value: float
    low: float
    high: float
    exact: float | None


@dataclass(frozen=True)
class Facts:
    """What the testbed was: Δ of its hosts as surveyed, and which of them (numbers, from 0) are captured."""

    delta: Sequence[Sequence[float]]
    captured: tuple[int, ...]


@dataclass(frozen=True)
class Beside:
    """By measure: with the declared clock, and as played; ``played`` is empty if nothing had moved."""

    declared: dict[str, Expected]
    played: dict[str, Expected]


def expect(declared: Declared, policy: Policy, facts: Facts, late: Sequence[float]) -> Beside:
    """Simulate one policy. ``late``: seconds by which each move was later than its clock."""
    setup = Setup(
        hosts=declared.hosts,
        attackers=declared.attackers,
        clock=policy.clock,
        rate=declared.rate,
        threshold=declared.threshold,
        attack_length=declared.attack_length,
        horizon=declared.window,
        tick=declared.tick,
        trials=TRIALS,
    ).checked()
    place = _place(setup, policy, facts)
    found = _measures(setup, setup.gaps(policy.clock), place, policy, declared.seed)
    if policy.clock == "static" or not late:
        return Beside(found, {})
    played = Gaps(_late(declared, policy, late))
    return Beside(found, _measures(setup, played, place, policy, declared.seed))


def _measures(setup: Setup, gaps: Gaps, place: Place, policy: Policy, seed: int) -> dict[str, Expected]:
    jobs = [
        Job(setup.attempt(gaps, "random"), setup.trials),
        Job(setup.attempt(gaps, "aligned"), setup.trials),
        Job(setup.campaign(gaps, place), setup.trials),
    ]
    exact = (
        setup.exact_attempt(gaps, "random"),
        setup.exact_attempt(gaps, "aligned"),
        setup.exact_campaign(gaps, restart=policy.restart) if policy.choice == "random" else None,
    )
    tallies = run(jobs, Means(seed, workers=1))
    return {
        name: _expected(tally, known) for name, tally, known in zip(MEASURES, tallies, exact, strict=True)
    }


def _expected(tally: Tally, exact: float | None) -> Expected:
    # 1 - P(success) may be a rounding error below zero.
    return Expected(tally.resisted, *tally.ci95, None if exact is None else min(max(exact, 0.0), 1.0))


def _late(declared: Declared, policy: Policy, late: Sequence[float]) -> DiscreteClock:
    """Stays as attackers see them: gaps of the clock, each with a lateness that was seen, less one look."""
    rng = generator(declared.seed, 1)
    clock = make_clock(policy.clock, declared.rate, declared.threshold)
    added = rng.choice(np.asarray(late, dtype=float), _DRAWS)
    stays = clock.sample(rng, _DRAWS) + (added - declared.look) / declared.tick
    ticks = np.sort(np.maximum(stays, declared.look / declared.tick))
    chances = np.full(_DRAWS, 1.0 / _DRAWS)
    return DiscreteClock("played", declared.rate, declared.threshold, ticks, chances)


def _place(setup: Setup, policy: Policy, facts: Facts) -> Place:
    if policy.restart:
        return setup.restarts()
    delta = np.asarray(facts.delta, dtype=float)
    others = ~np.eye(len(delta), dtype=bool)
    chances = selection.probabilities(delta, others, choice=policy.choice)
    return Captured(chances, np.zeros_like(delta), setup.attackers, facts.captured)


@dataclass(frozen=True)
class Captured(Matrix):
    """Moves by Δ among these hosts, of which always the same are captured; no attack outlives a move."""

    captured: tuple[int, ...] = ()

    def walk(self) -> "CapturedWalk":
        return CapturedWalk(self, self._accept, self._alias)


class CapturedWalk(MatrixWalk):
    """The same captured hosts in every trial."""

    _rows: Ints
    _at: Ints

    def __init__(self, place: Captured, accept: "np.typing.NDArray[np.float64]", alias: Ints) -> None:
        super().__init__(place, accept, alias)
        self._captured = np.asarray(place.captured, dtype=np.intp)

    def begin(self, rng: np.random.Generator, size: int, captured: bool) -> Bools:
        taken = np.zeros((size, self._hosts), dtype=bool)
        taken[:, self._captured] = True
        self._taken = taken.ravel()
        self._rows = np.arange(size) * self._hosts
        self._at = rng.choice(self._captured, size) if captured else rng.integers(self._hosts, size=size)
        return np.asarray(self._taken[self._rows + self._at])
