"""Where containers go: hard constraints first, then a draw that follows Δ and respects capacities. Pure.

A choice turns Δ into weights, and P(host) ∝ weight among the feasible hosts:

softmax    exp(Δ/temperature), the default
equaliser  1/g with g = 1 - |Δ| the reuse of an exploit, so that no host is the better guess for an attacker
random     1
argmax     all on the greatest Δ (Eq. 3.3 as the paper uses it); predictable

A host says itself what makes it different. So that none draws all containers to it by what it says, no host
is chosen with more than ``max_share``, or 1/n of n feasible ones, and what it would have had beyond goes to
the others in proportion (docs/mathematics.md); argmax has no such bound.

Several containers draw at once: logarithms of weights plus Gumbel noise, then the assignment of the greatest
sum that no capacity forbids (perturb and maximise). Where capacity is ample, this is independent drawing.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from relocate_cli.assignment import assign
from relocate_cli.errors import UsageError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
# Of the containers (rows) that would go to a host (column), those that it takes together, in this order.
Admit = Callable[[int, Sequence[int]], Sequence[int]]
Method = Literal["auto", "exact", "fast"]

CHOICES: Final = ("softmax", "equaliser", "argmax", "random")
STAYS: Final = -1
MAX_SHARE: Final = 0.7
_LEAST: Final = 1e-300  # of a feasible host's weight: beyond that a float has no proportions
_LEAST_REUSE: Final = 0.05  # keeps one host without any reuse from drawing everything


def log_weights(delta: npt.ArrayLike, choice: str, temperature: float = 0.1) -> Floats:
    """Logarithms of the weights of a choice, of the shape of ``delta``; argmax is Δ itself.

    Raises UsageError for an unknown choice.
    """
    delta = np.asarray(delta, dtype=float)
    if choice == "softmax":
        return delta / temperature
    if choice == "equaliser":
        return np.asarray(-np.log(np.maximum(1.0 - np.abs(delta), _LEAST_REUSE)))
    if choice == "random":
        return np.zeros_like(delta)
    if choice == "argmax":
        return delta
    raise UsageError(f"there is no choice {choice}", "the choices are " + ", ".join(CHOICES))


def probabilities(
    delta: npt.ArrayLike,
    feasible: npt.ArrayLike,
    *,
    choice: str = "softmax",
    temperature: float = 0.1,
    max_share: float = MAX_SHARE,
    many: npt.ArrayLike = 1,
) -> Floats:
    """P(each host) for a container that draws alone; rows sum to 1, or to 0 where no host is feasible.

    ``delta`` and ``feasible``: shape (hosts,) or (containers, hosts), the source marked infeasible. ``many``:
    for how many equal hosts each column stands; what is returned is P of one of them.

    >>> probabilities([0.2, 0.8, 0.9], [True, True, False], choice="equaliser").round(3).tolist()
    [0.3, 0.7, 0.0]
    """
    feasible = np.asarray(feasible, dtype=bool)
    many = np.where(feasible, np.asarray(many, dtype=float), 0.0)
    weight = np.where(feasible, log_weights(delta, choice, temperature), -np.inf)
    top = weight.max(axis=-1, keepdims=True, initial=-np.inf)
    weight = weight - np.where(np.isfinite(top), top, 0.0)
    chance = np.where(weight == 0.0, 1.0, 0.0) if choice == "argmax" else np.maximum(np.exp(weight), _LEAST)
    chance[~feasible] = 0.0
    whole = (chance * many).sum(axis=-1, keepdims=True)
    chance = np.asarray(chance / np.where(whole > 0, whole, 1.0))
    return chance if choice == "argmax" else _bounded(chance, many, max_share)


def _bounded(chance: Floats, many: Floats, max_share: float) -> Floats:
    """The nearest probabilities (in relative entropy) of which none is above its bound: min(bound, c·P)."""
    count = many.sum(axis=-1, keepdims=True)
    bound = np.maximum(max_share, 1.0 / np.maximum(count, 1.0))
    full = np.zeros(chance.shape, dtype=bool)
    while (more := (chance > bound * (1 + 1e-12)) & ~full).any():
        full |= more
        left = 1.0 - bound * (many * full).sum(axis=-1, keepdims=True)
        rest = (chance * many * ~full).sum(axis=-1, keepdims=True)
        grown = chance * np.maximum(left, 0.0) / np.where(rest > 0, rest, 1.0)
        chance = np.where(full, bound, np.where(full.any(axis=-1, keepdims=True), grown, chance))
    return chance


def choose(
    delta: npt.ArrayLike,
    sources: npt.ArrayLike,
    feasible: npt.ArrayLike,
    slots: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    choice: str = "softmax",
    temperature: float = 0.1,
    max_share: float = MAX_SHARE,
    admit: Admit | None = None,
    method: Method = "auto",
) -> Ints:
    """Draw targets for several containers at once; shape (containers,), `STAYS` where none is left.

    ``delta``: (hosts, hosts), [s, d] is Δ(s→d). ``sources``: (containers,), host of each; never its target.
    ``feasible``: (containers, hosts). ``slots``: (hosts,), how many containers each host takes at most.
    ``admit`` answers for constraints between containers, such as memory and ports, that no count expresses;
    those that it turns away draw again.
    """
    sources = np.asarray(sources, dtype=np.intp)
    count = len(sources)
    allowed = np.array(feasible, dtype=bool)
    allowed[np.arange(count), sources] = False
    room = np.array(slots, dtype=np.intp)
    weight = log_weights(delta, choice, temperature)
    value = weight.astype(np.float32)[sources]
    if choice != "argmax":
        _bound(value, allowed, max_share)
        noise = rng.standard_exponential(value.shape, dtype=np.float32)
        value -= np.log(np.maximum(noise, np.float32(1e-30)))  # Gumbel's law
    targets = np.full(count, STAYS, dtype=np.intp)
    placed: dict[int, list[int]] = {}
    waiting = np.arange(count)
    while waiting.size:
        value[~allowed] = -np.inf
        found = assign(
            value if waiting.size == count else value[waiting],
            room,
            rng=rng,
            method=method,
            similar=(weight, sources[waiting]) if choice == "argmax" else None,
        )
        refused = []
        for host in np.unique(found[found >= 0]).tolist():
            new = rng.permutation(waiting[found == host]).tolist()
            before = placed.get(host, [])
            taken = [*before, *new] if admit is None else list(admit(host, [*before, *new]))
            targets[taken] = host
            away = sorted(set(new).difference(taken))
            allowed[away, host] = False
            refused += away
            placed[host] = taken
            room[host] -= len(taken) - len(before)
        waiting = np.array(refused, dtype=np.intp)
    return targets


def _bound(value: npt.NDArray[np.float32], allowed: Flags, max_share: float) -> None:
    """Hold each container's weights, logarithms of shape (containers, hosts), to `max_share`, in place."""
    masked = np.where(allowed, value, np.float32(-np.inf))
    top = masked.max(axis=1, keepdims=True, initial=-np.inf)
    whole = np.exp(masked - np.where(np.isfinite(top), top, 0)).sum(axis=1)
    bound = np.maximum(max_share, 1.0 / np.maximum(allowed.sum(axis=1), 1))
    rows = np.flatnonzero((whole > 0) & (bound * whole < 1.0))
    if rows.size:  # in a large fleet few, if any
        chance = np.exp(np.maximum(masked[rows] - top[rows], np.log(_LEAST), dtype=np.float64))
        chance[~allowed[rows]] = 0.0
        chance /= chance.sum(axis=1, keepdims=True)
        chance = _bounded(chance, allowed[rows].astype(float), max_share)
        value[rows] = np.log(np.maximum(chance, _LEAST))
