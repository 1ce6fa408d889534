"""Give every container one host and no host more than it has room for, at the greatest total value. Pure.

Exact for few: the Hungarian method on one column a slot (`scipy.optimize.linear_sum_assignment`).
For many: Bertsekas' auction. Unplaced containers bid for their best host, at what it is worth to them over
their second best; a full host keeps its highest bids, and its price is the lowest of these. When everybody is
placed, the total is within containers x ε of the optimum (D. Bertsekas, Network Optimization, 1998, ch. 7).
"""

from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating[Any]]
Floats32 = npt.NDArray[np.float32]
Ints = npt.NDArray[np.intp]

EXACT_UP_TO = 300_000  # containers x slots, about 0.1 s
# All of what follows is relative to the spread of the values.
_EPSILON = 3e-3
_JITTER = 1e-3  # among equal hosts bidders spread; below ε, so that it costs nothing that ε would not
_STAYS_WORTH = -2.0  # a container stays only where moving it would cost others more than the spread
_ROUNDING = 1e-6  # of float32, relative: values may have it, what they were made from may not
_CLASSES = 128
_PATIENCE = 30  # bids a container before ε doubles


def assign(
    value: npt.ArrayLike,
    slots: npt.ArrayLike,
    *,
    rng: np.random.Generator,
    method: Literal["auto", "exact", "fast"] = "auto",
    similar: tuple[Floats, Ints] | None = None,
) -> Ints:
    """The host of each container, shape (containers,); -1 where no room is left. Ties fall at random.

    ``value``: (containers, hosts), -inf where infeasible. ``slots``: (hosts,), room of each.
    ``similar``: (hosts, hosts) values by source and the source of each container, from which ``value`` was
    made; lets the fast method see which hosts are alike, and saves it a price war between them.
    """
    value = np.asarray(value)
    count = len(value)
    slots = np.asarray(slots, dtype=np.intp).clip(0, count)
    feasible = np.isfinite(value)
    if not feasible.any() or not slots.any():
        return np.full(count, -1, dtype=np.intp)
    high = float(value.max())
    low = float(value.min(where=feasible, initial=high) if similar is None else similar[0].min())
    spread = high - low
    if spread <= _ROUNDING * max(abs(high), 1.0):
        spread = 1.0  # all alike
    if method == "exact" or (method == "auto" and count * slots.sum() <= EXACT_UP_TO):
        return _exact((value - low) / spread, slots, rng)
    candidates = np.flatnonzero(feasible[:, slots > 0].any(axis=1))
    if candidates.size > slots.sum():  # a lot decides who waits; in a war, every price would rise to the top
        candidates = rng.choice(candidates, int(slots.sum()), replace=False)
    if candidates.size == count:
        return _fast(value, slots, rng, similar, low, spread)
    found = np.full(count, -1, dtype=np.intp)
    few = None if similar is None else (similar[0], similar[1][candidates])
    found[candidates] = _fast(value[candidates], slots, rng, few, low, spread)
    return found


def _exact(value: Floats, slots: Ints, rng: np.random.Generator) -> Ints:
    from scipy.optimize import linear_sum_assignment

    count, hosts = value.shape
    column = np.repeat(np.arange(hosts), slots)
    feasible = np.isfinite(value)
    never = -2.0 * (count + 1)  # worse than anything, so that as many as can do move
    noisy = np.where(feasible, value + 1e-9 * rng.random(value.shape), never)
    rows, chosen = linear_sum_assignment(noisy[:, column], maximize=True)
    found = np.full(count, -1, dtype=np.intp)
    found[rows] = np.where(feasible[rows, column[chosen]], column[chosen], -1)
    return found


def _fast(
    value: AnyFloats,
    slots: Ints,
    rng: np.random.Generator,
    similar: tuple[Floats, Ints] | None,
    low: float,
    spread: float,
) -> Ints:
    scaled = np.subtract(value, low, dtype=np.float32)
    scaled /= np.float32(spread)
    scaled += rng.integers(0, 256, value.shape, dtype=np.uint8) * np.float32(_JITTER / 256)
    scaled[:, slots == 0] = -np.inf
    price = np.zeros(len(slots), dtype=np.float32)
    if similar is not None:
        price = _class_prices((similar[0] - low) / spread, similar[1], slots)
    found = _auction(scaled, slots, price.copy())
    room = np.bincount(found[found >= 0], minlength=len(slots)) < slots
    if price.any() and np.isfinite(scaled[found < 0][:, room]).any():
        found = _auction(scaled, slots, np.zeros_like(price))  # the prices to start from were too high
    return found


def _auction(value: Floats32, slots: Ints, price: Floats32) -> Ints:
    """The auction itself; all unplaced bid in each round. Changes ``price``."""
    count, hosts = value.shape
    found = np.full(count, -1, dtype=np.intp)
    bid = np.zeros(count, dtype=np.float32)
    epsilon, bids, patience = np.float32(_EPSILON), 0, _PATIENCE * count
    waiting = np.arange(count)
    space = np.empty_like(value)  # once: fresh pages cost more than the arithmetic
    while waiting.size:
        bids += waiting.size
        if bids > patience:
            epsilon, patience = epsilon * 2, patience * 2
        gain = space[: waiting.size]
        np.take(value, waiting, axis=0, out=gain, mode="clip")
        gain -= price
        row = np.arange(waiting.size)
        best = gain.argmax(axis=1)
        first = gain[row, best]
        gain[row, best] = -np.inf
        second = np.maximum(gain.max(axis=1), np.float32(_STAYS_WORTH))
        going = first > _STAYS_WORTH  # prices only rise: the others stay for good
        waiting, best = waiting[going], best[going]
        found[waiting] = best
        bid[waiting] = price[best] + (first - second)[going] + epsilon
        contested = np.zeros(hosts + 1, dtype=bool)  # the last one stands for -1, nowhere
        contested[best] = True
        bidders = np.flatnonzero(contested[found])
        order = bidders[np.lexsort((-bid[bidders], found[bidders]))]
        host = found[order]
        rank = np.arange(order.size) - np.searchsorted(host, np.arange(hosts))[host]
        last = rank == slots[host] - 1
        price[host[last]] = bid[order[last]]
        waiting = order[rank >= slots[host]]
        found[waiting] = -1
    return found


def _class_prices(by_source: Floats, sources: Ints, slots: Ints) -> Floats32:
    """Prices to start from: the dual of the transport problem between classes of hosts that are alike.

    Zero if there are too many classes. They start a little too low, since a price that is too high leaves
    room on a host that the optimum fills.
    """
    from scipy import sparse
    from scipy.optimize import linprog

    classes: dict[bytes, int] = {}
    kind = np.array([classes.setdefault(row.tobytes(), len(classes)) for row in by_source.round(6)])
    width = len(classes)
    if width > _CLASSES:
        return np.zeros(len(slots), dtype=np.float32)
    first, alike = np.unique(kind, return_index=True, return_counts=True)[1:]
    between = by_source[np.ix_(first, first)] - _STAYS_WORTH
    np.fill_diagonal(between, np.where(alike == 1, 0.0, between.diagonal()))  # nobody goes where it is
    limits = np.concatenate([np.bincount(kind[sources], minlength=width), np.bincount(kind, slots, width)])
    sums = [
        sparse.kron(sparse.eye(width), np.ones((1, width))),
        sparse.kron(np.ones((1, width)), sparse.eye(width)),
    ]
    solved = linprog(
        -between.ravel(), A_ub=cast(Any, sparse.vstack(sums).tocsr()), b_ub=limits, method="highs"
    )
    price = -solved.ineqlin.marginals[width:] - 2 * _EPSILON
    return np.asarray(np.maximum(price, 0.0)[kind], dtype=np.float32)
