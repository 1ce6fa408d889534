"""How long an attack takes: constant, exponential, gamma, lognormal, or lengths from a file.

Each law gives the sampler that the engine draws from and the three functions that the closed forms need:
F(t) = P(A ≤ t), its integral ∫₀ᵗF = E[(t-A)⁺], and the Laplace transform L(s) = E[e^{-sA}].
Times are in ticks, as in clock.py.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from relocate_cli.errors import UsageError

Floats = npt.NDArray[np.float64]

LAWS: Final = ("constant", "exponential", "gamma", "lognormal", "empirical")


@dataclass(frozen=True)
class AttackLaw(ABC):
    """A distribution of attack lengths with this ``mean``, in ticks."""

    mean: float

    @abstractmethod
    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        """Draw ``size`` attack lengths in ticks."""

    @abstractmethod
    def cdf(self, t: npt.ArrayLike) -> Floats:
        """P(A ≤ t), elementwise."""

    @abstractmethod
    def excess(self, t: npt.ArrayLike) -> Floats:
        """E[(t-A)⁺] = ∫₀ᵗ P(A ≤ u) du in ticks, elementwise; ``t`` is finite."""

    @abstractmethod
    def laplace(self, s: float) -> float:
        """E[e^{-sA}] for a rate ``s`` ≥ 0 a tick."""

    @property
    def name(self) -> str:
        """The word that chooses this law on the command line."""
        return type(self).__name__.lower()


@dataclass(frozen=True)
class Constant(AttackLaw):
    """Every attack takes the mean."""

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        return np.full(size, self.mean)

    def cdf(self, t: npt.ArrayLike) -> Floats:
        return np.asarray(np.asarray(t, dtype=float) >= self.mean, dtype=float)

    def excess(self, t: npt.ArrayLike) -> Floats:
        return np.maximum(np.asarray(t, dtype=float) - self.mean, 0.0)

    def laplace(self, s: float) -> float:
        return math.exp(-s * self.mean)


@dataclass(frozen=True)
class Gamma(AttackLaw):
    """Gamma of this shape r; r = 4 is Erlang-4, r = 1 is the exponential."""

    shape: float = 2.0

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        if self.shape == 1.0:
            return rng.exponential(self.mean, size)
        return rng.gamma(self.shape, self.mean / self.shape, size)

    def cdf(self, t: npt.ArrayLike) -> Floats:
        scaled = np.maximum(np.asarray(t, dtype=float), 0.0) * self.shape / self.mean
        return np.asarray(special.gammainc(self.shape, scaled))

    def excess(self, t: npt.ArrayLike) -> Floats:
        time = np.maximum(np.asarray(t, dtype=float), 0.0)
        scaled = time * self.shape / self.mean
        return np.asarray(
            time * special.gammainc(self.shape, scaled)
            - self.mean * special.gammainc(self.shape + 1.0, scaled)
        )

    def laplace(self, s: float) -> float:
        return float((1.0 + s * self.mean / self.shape) ** -self.shape)


@dataclass(frozen=True)
class Exponential(Gamma):
    """Memoryless: the attacker searches for a secret at random."""

    shape: float = field(default=1.0, init=False)


@dataclass(frozen=True)
class Lognormal(AttackLaw):
    """Lognormal; ``sigma`` is the standard deviation of ln A."""

    sigma: float = 1.0

    @property
    def _log_median(self) -> float:
        return math.log(self.mean) - self.sigma**2 / 2

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        return rng.lognormal(self._log_median, self.sigma, size)

    def _z(self, t: npt.ArrayLike) -> Floats:
        with np.errstate(divide="ignore"):
            logs = np.log(np.maximum(np.asarray(t, dtype=float), 0.0))
        return np.asarray((logs - self._log_median) / self.sigma)

    def cdf(self, t: npt.ArrayLike) -> Floats:
        return np.asarray(special.ndtr(self._z(t)))

    def excess(self, t: npt.ArrayLike) -> Floats:
        z = self._z(t)
        return np.asarray(
            np.maximum(np.asarray(t, dtype=float), 0.0) * special.ndtr(z)
            - self.mean * special.ndtr(z - self.sigma)
        )

    def laplace(self, s: float) -> float:
        # E[g(Z)] for a normal Z by the trapezoid rule, which converges geometrically for such integrands.
        z = np.linspace(-12.0, 12.0, 4801)
        density = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        return float(np.sum(density * np.exp(-s * np.exp(self._log_median + self.sigma * z))) * (z[1] - z[0]))


@dataclass(frozen=True)
class Empirical(AttackLaw):
    """Lengths that somebody measured, each as likely as another. ``inf`` is an attack that never ends."""

    lengths: Floats = field(compare=False, repr=False)
    _sums: Floats = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sums", np.concatenate(([0.0], np.cumsum(self.lengths))))

    def sample(self, rng: np.random.Generator, size: int) -> Floats:
        return self.lengths[rng.integers(len(self.lengths), size=size)]

    def _below(self, t: npt.ArrayLike) -> npt.NDArray[np.intp]:
        return np.asarray(np.searchsorted(self.lengths, np.asarray(t, dtype=float), side="right"))

    def cdf(self, t: npt.ArrayLike) -> Floats:
        return np.asarray(self._below(t) / len(self.lengths))

    def excess(self, t: npt.ArrayLike) -> Floats:
        below = self._below(t)
        return np.asarray((below * np.asarray(t, dtype=float) - self._sums[below]) / len(self.lengths))

    def laplace(self, s: float) -> float:
        finite = self.lengths[np.isfinite(self.lengths)]
        return float(np.exp(-s * finite).sum() / len(self.lengths))


def make_law(
    kind: str = "constant", mean: float = 1.0, shape: float = 0.0, file: Path | None = None
) -> AttackLaw:
    """The law of this kind. ``shape`` is r of gamma and σ of lognormal; 0 takes the law's own default.

    Raises UsageError that names the parameter.

    >>> make_law("gamma", 10.0, 4.0).laplace(0.266)
    0.130119...
    """
    if kind not in LAWS:
        raise UsageError(f"attack: there is no law {kind}", "the laws are " + ", ".join(LAWS))
    if kind == "empirical":
        if file is None:
            raise UsageError("attack-file: an empirical law needs a file of lengths", "one number a line")
        return read_lengths(file)
    if not (math.isfinite(mean) and mean > 0):
        raise UsageError(f"attack-length: a number of ticks above zero, not {mean:g}", "try 7")
    if not (math.isfinite(shape) and shape >= 0):
        raise UsageError(f"attack-shape: a number above zero, not {shape:g}", "r of gamma, σ of lognormal")
    if kind == "constant":
        return Constant(mean)
    if kind == "exponential":
        return Exponential(mean)
    return Gamma(mean, shape or 2.0) if kind == "gamma" else Lognormal(mean, shape or 1.0)


def read_lengths(file: Path) -> Empirical:
    """Read attack lengths in ticks, separated by white space or commas; ``#`` begins a comment.

    Raises UsageError that names the file and the line.
    """
    try:
        lines = file.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"attack-file: {file} cannot be read: {error}", "one number a line") from None
    values: list[float] = []
    for number, line in enumerate(lines, start=1):
        for word in line.partition("#")[0].replace(",", " ").split():
            try:
                value = float(word)
            except ValueError:
                value = math.nan
            if not value > 0:
                raise UsageError(
                    f"attack-file: {file}:{number}: not a length above zero: {word}", "one number a line"
                )
            values.append(value)
    if not values:
        raise UsageError(f"attack-file: {file} holds no attack length", "one number a line")
    return Empirical(sum(values) / len(values), np.sort(np.asarray(values)))
