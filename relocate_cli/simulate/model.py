"""What is simulated: hosts, the attacker, the law of an attack and the policy against it.

All times are in ticks. The attacker holds one container on each of m of n hosts, the strongest that m can be;
an attack succeeds if attacker and target share a host for its whole length A (Section 4 of the paper).
"""

import math
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from relocate_cli.clock import Clock
from relocate_cli.errors import UsageError
from relocate_cli.simulate.laws import AttackLaw, Floats

Bools = npt.NDArray[np.bool_]
Start = Literal["captured", "random"]
Phase = Literal["random", "aligned"]
FOREVER: Final = 1e300  # a horizon that is never reached, yet smaller than an infinite gap
_MOST_MOVES: Final = 1e8


@dataclass(frozen=True)
class Gaps:
    """The gaps that a clock gives, with one tick of the clock ``scale`` ticks long."""

    clock: Clock
    scale: float = 1.0

    @property
    def mean(self) -> float:
        """Expected gap in ticks; ``inf`` if it never fires."""
        return self.clock.mean * self.scale

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Whole gaps in ticks, shape (size,)."""
        gaps = self.clock.sample(rng, size)
        return gaps if self.scale == 1.0 else gaps * self.scale

    def residual(self, rng: np.random.Generator, size: int) -> Floats:
        """What is left of a gap at a random moment: long gaps are met more often; a uniform part is left."""
        if self.clock.kind in ("static", "exponential"):
            return self.sample(rng, size)
        ticks, chances = self.clock.pmf()
        met = np.cumsum(ticks * chances)
        picked = np.searchsorted(met / met[-1], rng.random(size), side="right")
        return ticks[np.minimum(picked, len(ticks) - 1)] * rng.random(size) * self.scale


class Walk(Protocol):
    """How relocations change whether the target's host is captured, for a block of trials at once."""

    def begin(self, rng: np.random.Generator, size: int, captured: bool) -> Bools:
        """Place the targets; which of them are on a captured host, shape (size,)."""

    def step(self, rng: np.random.Generator, here: Bools) -> tuple[Bools, Bools | None]:
        """Move all: which are captured now, and which attacks survived the move (None: none did)."""

    def keep(self, which: Bools) -> None:
        """Forget the other trials."""


class Place(Protocol):
    """Where a policy moves to; the recipe of a `Walk`."""

    def walk(self) -> Walk:
        """A new walk for one block of trials."""

    @property
    def block(self) -> int:
        """How many trials at a time keep memory small and caches warm."""


@dataclass(frozen=True)
class Hop:
    """Moves that need no host's name: q = P(captured | was captured), p = P(captured | was free).

    ``carry`` is the chance that the attack survives a move from one captured host to another.
    """

    q: float
    p: float
    share: float
    carry: float = 0.0
    block: int = 16384

    def walk(self) -> "Hop":
        return self

    def begin(self, rng: np.random.Generator, size: int, captured: bool) -> Bools:
        return np.ones(size, dtype=bool) if captured else rng.random(size) < self.share

    def step(self, rng: np.random.Generator, here: Bools) -> tuple[Bools, Bools | None]:
        if self.q == self.p == 1.0:
            return here, rng.random(len(here)) < self.carry if self.carry else None
        draw = rng.random(len(here))
        now = draw < np.where(here, self.q, self.p)
        return now, here & (draw < self.q * self.carry) if self.carry else None

    def keep(self, which: Bools) -> None:
        pass


def anywhere(hosts: int, attackers: int, carry: float = 0.0) -> Hop:
    """Every other host is as likely: q = (m-1)/(n-1), p = m/(n-1)."""
    if hosts == attackers:
        return Hop(1.0, 1.0, 1.0, carry)
    others = hosts - 1
    return Hop((attackers - 1) / others, attackers / others, attackers / hosts, carry)


def in_place(hosts: int, attackers: int) -> Hop:
    """Self-cleaning restart (SCIT): the attack is thrown back, the neighbour stays."""
    return Hop(1.0, 0.0, attackers / hosts)


def found_anywhere(carry: float = 0.0) -> Hop:
    """An attacker who chases is near at every gap, after his search."""
    return Hop(1.0, 1.0, 1.0, carry)


@dataclass(frozen=True)
class Attacker:
    """``search_rate`` σ: how fast he finds the target after each move (0: he does not look for it).

    ``gaps``: he moves too, by this clock. ``carry`` ρ: chance that progress survives a move to another
    captured host.
    """

    search_rate: float = 0.0
    gaps: Gaps | None = None
    carry: float = 0.0


@dataclass(frozen=True)
class Scenario:
    """One experiment. ``first`` ends a trial with the first attack, thwarted or not."""

    gaps: Gaps
    place: Place
    law: AttackLaw
    attacker: Attacker = Attacker()
    horizon: float = FOREVER
    start: Start = "captured"
    phase: Phase = "random"
    first: bool = False
    curve: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.horizon < FOREVER and self.horizon / self.gaps.mean > _MOST_MOVES:
            raise UsageError(
                f"horizon: {self.horizon:g} ticks are {self.horizon / self.gaps.mean:.0e} moves a trial",
                "shorten the horizon or lengthen the gap",
            )

    def until(self, horizon: float, curve: tuple[float, ...] = ()) -> "Scenario":
        """The same from a random start to this horizon, every attack counted."""
        return replace(self, start="random", first=False, horizon=horizon, curve=curve)


def check(
    *,
    hosts: int,
    attackers: int,
    carry: float,
    horizon: float,
    law: AttackLaw,
    search_rate: float,
    trials: int,
    capacity: int = 0,
    targets: int = 1,
) -> None:
    """Raise UsageError that names the first parameter that makes no sense; ``capacity`` 0 means ample."""
    if hosts < 2:
        raise UsageError(f"hosts: at least 2 are needed to move, not {hosts}")
    if attackers < 1:
        raise UsageError(f"attackers: at least 1, not {attackers}")
    if attackers > hosts:
        raise UsageError(
            f"attackers: {attackers} do not fit on {hosts} hosts, one on each", "attackers ≤ hosts"
        )
    if trials < 1:
        raise UsageError(f"trials: at least 1, not {trials}")
    if targets < 1:
        raise UsageError(f"targets: at least 1, not {targets}")
    if capacity < 0 or (capacity and hosts * capacity <= attackers + targets):
        raise UsageError(
            f"capacity: {capacity} a host leave no place beside {attackers} attackers and {targets} targets",
            f"at least {(attackers + targets) // hosts + 1}",
        )
    if not 0 <= carry <= 1:
        raise UsageError(f"carry: a probability, not {carry:g}")
    if not (math.isfinite(search_rate) and search_rate >= 0):
        raise UsageError(f"search-rate: zero or more a tick, not {search_rate:g}")
    if not (math.isfinite(horizon) and horizon > 0):
        hint = "" if math.isfinite(law.mean) else "the mean attack is infinite: give a horizon"
        raise UsageError(f"horizon: a number of ticks above zero, not {horizon:g}", hint)
    shortest = float(law.mean) if law.name == "constant" else 0.0
    if law.name == "empirical":
        shortest = float(getattr(law, "lengths")[0])  # noqa: B009  # only Empirical has lengths
    if horizon < shortest:
        raise UsageError(
            f"horizon: no attack of {shortest:g} ticks fits into {horizon:g}", f"at least {shortest:g}"
        )
