"""When a container moves: the clocks of Eq. 3.1 and 3.2 and the ones to compare them with. Pure.

All times are in ticks, counted from the start of the container or from its last relocation. The paper's
equations are X ~ Poisson(λ), P(X = k) = λ^k e^-λ / k! (3.1) and "alert when P(X = k) > T" (3.2). Its words
make a clock that an attacker can foresee (`threshold`); `truncated` keeps λ and T and draws instead.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from relocate_cli.errors import UsageError

Floats = npt.NDArray[np.float64]
Size = int | tuple[int, ...] | None

KINDS: Final = ("truncated", "threshold", "cumulative", "exponential", "periodic", "static")
# At an integer λ pmf(λ) = pmf(λ - 1), but not in floating point; so equal means equal within this.
TOLERANCE: Final = 1e-11
LONGEST: Final = 1e9


@dataclass(frozen=True)
class Clock(ABC):
    """A distribution of the gap between two relocations. ``rate`` is λ, ``threshold`` T."""

    kind: str
    rate: float
    threshold: float

    @abstractmethod
    def sample(self, rng: np.random.Generator, size: Size = None) -> Floats:
        """Draw gaps in ticks; an array of ``size`` (0-d if None), ``inf`` where it never fires."""

    @abstractmethod
    def pmf(self) -> tuple[Floats, Floats]:
        """Ticks, ascending, and their probabilities: two arrays of one length."""

    @abstractmethod
    def cdf(self, ticks: npt.ArrayLike) -> Floats:
        """P(gap ≤ ticks), elementwise."""

    @property
    @abstractmethod
    def mean(self) -> float:
        """Expected gap in ticks."""

    @property
    def max_gap(self) -> float:
        """No gap is longer than this many ticks; ``inf`` if there is no bound."""
        return float(self.pmf()[0].max(initial=0.0))

    @property
    def first_alert(self) -> float:
        """The earliest tick that can come; ``inf`` if none does."""
        return float(self.pmf()[0][0])

    @property
    def entropy_bits(self) -> float:
        """What an attacker who counts ticks cannot foresee of a gap: its Shannon entropy."""
        chance = self.pmf()[1]
        return float(special.entr(chance).sum() / math.log(2)) + 0.0

    @property
    def predictable(self) -> bool:
        """Whether an attacker who knows λ and T, or has watched one gap, knows the next."""
        return self.entropy_bits == 0.0


@dataclass(frozen=True)
class DiscreteClock(Clock):
    """Finitely many gaps are possible: truncated, threshold, cumulative and periodic."""

    ticks: Floats = field(compare=False, repr=False)
    chances: Floats = field(compare=False, repr=False)
    _steps: Floats = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        steps = np.cumsum(self.chances)
        steps[-1] = 1.0
        object.__setattr__(self, "_steps", steps)

    def sample(self, rng: np.random.Generator, size: Size = None) -> Floats:
        if len(self.ticks) == 1:
            return np.full(() if size is None else size, self.ticks[0])
        return np.asarray(self.ticks[np.searchsorted(self._steps, rng.random(size), side="right")])

    def pmf(self) -> tuple[Floats, Floats]:
        return self.ticks, self.chances

    def cdf(self, ticks: npt.ArrayLike) -> Floats:
        before = np.searchsorted(self.ticks, np.asarray(ticks, dtype=float), side="right")
        return np.asarray(np.concatenate(([0.0], self._steps))[before])

    @property
    def mean(self) -> float:
        return float(self.ticks @ self.chances)


@dataclass(frozen=True)
class ExponentialClock(Clock):
    """A Poisson process: gaps are exponential with mean λ ticks, memoryless and unbounded.

    Samples are continuous. `pmf` is its form on the grid of ticks, the geometric distribution of the same
    mean (always 1 if λ ≤ 1), cut where less than 1e-9 is left.
    """

    def sample(self, rng: np.random.Generator, size: Size = None) -> Floats:
        return np.asarray(rng.exponential(self.rate, size))

    def pmf(self) -> tuple[Floats, Floats]:
        each = min(1.0, 1.0 / self.rate)
        last = 1 if each == 1.0 else math.ceil(math.log(1e-9) / math.log1p(-each))
        ticks = np.arange(1.0, last + 1)
        return ticks, each * (1.0 - each) ** (ticks - 1)

    def cdf(self, ticks: npt.ArrayLike) -> Floats:
        return np.asarray(-np.expm1(-np.maximum(np.asarray(ticks, dtype=float), 0.0) / self.rate))

    @property
    def mean(self) -> float:
        return self.rate

    @property
    def max_gap(self) -> float:
        return math.inf

    @property
    def entropy_bits(self) -> float:
        each = min(1.0, 1.0 / self.rate)
        return float(special.entr(each) + special.entr(1.0 - each)) / each / math.log(2) + 0.0

    @property
    def predictable(self) -> bool:
        return False


@dataclass(frozen=True)
class StaticClock(Clock):
    """Never: the fleet without a moving target, to compare with."""

    def sample(self, rng: np.random.Generator, size: Size = None) -> Floats:
        return np.full(() if size is None else size, math.inf)

    def pmf(self) -> tuple[Floats, Floats]:
        return np.array([math.inf]), np.array([1.0])

    def cdf(self, ticks: npt.ArrayLike) -> Floats:
        return np.zeros_like(np.asarray(ticks, dtype=float))

    @property
    def mean(self) -> float:
        return math.inf


def poisson_pmf(ticks: npt.ArrayLike, rate: float) -> Floats:
    """Eq. 3.1, P(X = k) for each k of ``ticks``.

    >>> poisson_pmf([6, 10], 10.0).round(4).tolist()
    [0.0631, 0.1251]
    """
    k = np.asarray(ticks, dtype=float)
    return np.asarray(np.exp(special.xlogy(k, rate) - special.gammaln(k + 1.0) - rate))


def alerts(rate: float, threshold: float) -> Floats:
    """Eq. 3.2: every k ≥ 0 with P(X = k) > T, ascending; they are neighbours, since the pmf has one hump.

    >>> [alerts(10.0, t)[:1].tolist() for t in (0.01, 0.05, 0.1, 0.2)]
    [[4.0], [6.0], [8.0], []]
    """
    # -ln pmf grows at least like (k-λ)²/(2(λ+|k-λ|)), so nothing beyond this distance is above T.
    depth = max(0.0, -math.log(threshold))
    reach = math.ceil(2 * depth + math.sqrt(2 * depth * rate)) + 2
    k = np.arange(max(0, math.floor(rate) - reach), math.ceil(rate) + reach + 1, dtype=float)
    return k[poisson_pmf(k, rate) > threshold * (1 + TOLERANCE)]


def make_clock(kind: str = "truncated", rate: float = 10.0, threshold: float = 0.05) -> Clock:
    """The clock of this kind; kinds without a T ignore ``threshold``.

    Raises UsageError if λ and T never fire or fire for ever, with the nearest values that work.

    >>> clock = make_clock("truncated", 10, 0.05)
    >>> clock.first_alert, clock.max_gap, round(clock.entropy_bits, 2)
    (6.0, 14.0, 3.11)
    """
    if not 0 < rate <= LONGEST:
        raise UsageError(f"a clock's rate is a number of ticks above zero, not {rate:g}", "try 10")
    if kind == "exponential":
        return ExponentialClock(kind, rate, threshold)
    if kind == "static":
        return StaticClock(kind, rate, threshold)
    if kind == "periodic":
        return _certain(kind, rate, threshold, rate)
    if kind not in KINDS:
        raise UsageError(f"there is no clock of kind {kind}", "the kinds are " + ", ".join(KINDS))
    if not (math.isfinite(threshold) and threshold > 0):
        raise UsageError(f"a clock's threshold is a probability above zero, not {threshold:g}", "try 0.05")
    low, high = working_thresholds(kind, rate)
    if threshold * (1 + TOLERANCE) < low:
        raise _useless(kind, rate, threshold, f"fires for ever: P(X = 0) = {low:.3g} is above T")
    if threshold * (1 + TOLERANCE) >= high:
        raise _useless(kind, rate, threshold, f"never fires: no probability exceeds {high:.3g}")
    if kind == "cumulative":
        return _certain(kind, rate, threshold, _first_cumulative(rate, threshold))
    k = alerts(rate, threshold)
    if kind == "threshold":
        return _certain(kind, rate, threshold, k[0])
    k = k[k >= 1]
    weight = poisson_pmf(k, rate)
    return DiscreteClock(kind, rate, threshold, k, weight / weight.sum())


def _certain(kind: str, rate: float, threshold: float, tick: float) -> DiscreteClock:
    return DiscreteClock(kind, rate, threshold, np.array([float(tick)]), np.ones(1))


def _first_cumulative(rate: float, threshold: float) -> float:
    """First k with P(X ≤ k) > T."""
    k = max(0.0, float(np.floor(special.pdtrik(min(threshold, 1 - 1e-16), rate))) - 2)
    while special.pdtr(k, rate) <= threshold * (1 + TOLERANCE) and special.pdtrc(k, rate) > 0.0:
        k += 1
    return k


def working_thresholds(kind: str, rate: float) -> tuple[float, float]:
    """The interval [low, high) of T that works with this λ; empty if low ≥ high."""
    hump = float(poisson_pmf(max(1.0, math.floor(rate)), rate))
    if kind == "truncated":
        return 0.0, hump
    return math.exp(-rate), hump if kind == "threshold" else 1.0


def working_rates(kind: str, threshold: float) -> tuple[float, float]:
    """The interval of λ that works with this T, without its upper end; empty if low ≥ high."""
    if kind == "cumulative":
        return (-math.log(threshold), math.inf) if threshold < 1 else (math.inf, math.inf)
    if threshold >= 1 / math.e:  # the most that P(X = k) reaches for any k ≥ 1, at λ = 1
        return math.inf, 0.0
    below, above = 1.0, 1.0 / (6 * threshold**2) + 2  # Stirling: the hump is below 1/√(2πλ)
    while above - below > 1e-12 * above:
        middle = (below + above) / 2
        if float(poisson_pmf(math.floor(middle), middle)) > threshold:
            below = middle
        else:
            above = middle
    low = -float(special.lambertw(-threshold).real) if kind == "truncated" else -math.log(threshold)
    return low, below


def _useless(kind: str, rate: float, threshold: float, why: str) -> UsageError:
    choices = []
    low, high = working_thresholds(kind, rate)
    if low < high and (near := _inside(threshold, low, high)) is not None:
        choices.append(f"threshold {near:.6g} with rate {rate:g}")
    low, high = working_rates(kind, threshold)
    if low < high and (near := _inside(rate, low, high)) is not None:
        choices.append(f"rate {near:.6g} with threshold {threshold:g}")
    choices = choices or ["threshold 0.05 with rate 10"]
    message = f"a {kind} clock with rate {rate:g} and threshold {threshold:g} {why}"
    return UsageError(message, "nearest that work: " + ", or ".join(choices))


def _inside(value: float, low: float, high: float) -> float | None:
    """The number in [low, high) nearest to ``value``, of three digits or as many more as it needs."""
    edge = low if value < low else high
    for digits in range(2, 8):
        unit = 10.0 ** (math.floor(math.log10(edge)) - digits)
        near = math.ceil(edge / unit) * unit if value < low else (math.ceil(edge / unit) - 1) * unit
        if low <= near < high and near > 0:
            return float(f"{near:.{digits + 1}g}")
    return None
