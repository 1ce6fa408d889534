"""A baseline after NOMAD (Moon, Sekar, Reiter, CCS 2015): bound what neighbours can have leaked in a window.

Clients hold replicas, hosts hold at most so many. L[i, j] counts the epochs of the window in which replicas
i and j shared a host, the next one included. What client b learns of client a depends on whether a's
replicas hold the same secret (R, else NR) and whether b's collaborate (C, else NC). Each epoch at most
``budget`` replicas move.
"""

from collections import deque
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import optimize, sparse

from relocate_cli.errors import UsageError
from relocate_cli.simulate.laws import Floats

Ints = npt.NDArray[np.intp]
MODELS: Final = ("rc", "rnc", "nrc", "nrnc")
_SECONDS = 20.0


@dataclass(frozen=True)
class Case:
    """``clients`` of ``replicas`` each, client by client in every array of shape (clients · replicas,)."""

    model: str
    clients: int
    replicas: int
    hosts: int
    capacity: int
    budget: int

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise UsageError(f"model: there is no {self.model}", "the models are " + ", ".join(MODELS))
        for name in ("clients", "replicas", "capacity", "budget"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: at least 1, not {getattr(self, name)}")
        if self.hosts * self.capacity < self.size:
            raise UsageError(
                f"capacity: {self.hosts} hosts of {self.capacity} places do not hold {self.size} replicas"
            )

    @property
    def size(self) -> int:
        """Replicas in all."""
        return self.clients * self.replicas

    def leak(self, shared: Floats) -> tuple[float, float]:
        """(objective, tie-break) of L, shape (size, size). Smaller is better.

        The sum over ordered pairs of clients; for <R,C> the worst pair, since the sum hardly changes when
        hosts are full. The tie-break is the sum of squares.
        """
        pairs = shared.reshape(self.clients, self.replicas, self.clients, self.replicas)
        learnt = {
            "rc": lambda: pairs.sum(axis=(1, 3)),
            "rnc": lambda: pairs.sum(axis=1).max(axis=2),
            "nrc": lambda: pairs.sum(axis=3).max(axis=1),
            "nrnc": lambda: pairs.max(axis=(1, 3)),
        }[self.model]()
        others = learnt[~np.eye(self.clients, dtype=bool)]
        return float(others.max() if self.model == "rc" else others.sum()), float(np.square(others).sum())


def together(at: Ints) -> Floats:
    """1 where two replicas share a host."""
    return np.asarray(at[:, None] == at[None, :], dtype=float)


def greedy(case: Case, past: Floats, at: Ints) -> Ints:
    """The best single move or swap, again and again, while it helps and the budget lasts."""
    now = at.copy()
    best = case.leak(past + together(now))
    while True:
        found = None
        load = np.bincount(now, minlength=case.hosts)
        moves = [
            ((v, h),) for v in range(case.size) for h in np.flatnonzero(load < case.capacity) if h != now[v]
        ]
        swaps = [((v, now[w]), (w, now[v])) for v in range(case.size) for w in range(v) if now[v] != now[w]]
        for change in [*moves, *swaps]:
            tried = now.copy()
            for replica, host in change:
                tried[replica] = host
            if np.count_nonzero(tried != at) <= case.budget:
                value = case.leak(past + together(tried))
                if value < best:
                    best, found = value, tried
        if found is None:
            return now
        now = found


def exact(case: Case, past: Floats, at: Ints) -> Ints | None:
    """The optimum by mixed-integer programming (HiGHS); None if it is not found within 20 seconds.

    x[v, h] places replica v, z[i, j] ≥ x[i, h] + x[j, h] - 1 is sharing, l[a, b] bounds what b learns of a.
    """
    size, hosts, clients, each = case.size, case.hosts, case.clients, case.replicas
    owner = np.arange(size) // each
    pairs = [(i, j) for i in range(size) for j in range(i) if owner[i] != owner[j]]
    z = {pair: size * hosts + number for number, pair in enumerate(pairs)}
    learns = [(a, b) for a in range(clients) for b in range(clients) if a != b]
    leaks = {pair: size * hosts + len(pairs) + number for number, pair in enumerate(learns)}
    worst = size * hosts + len(pairs) + len(learns)
    rows: list[tuple[dict[int, float], float, float]] = []  # coefficients, lower, upper
    for v in range(size):
        rows.append(({v * hosts + h: 1.0 for h in range(hosts)}, 1.0, 1.0))
    for h in range(hosts):
        rows.append(({v * hosts + h: 1.0 for v in range(size)}, 0.0, float(case.capacity)))
    rows.append(({v * hosts + int(at[v]): 1.0 for v in range(size)}, float(size - case.budget), np.inf))
    for (i, j), column in z.items():
        for h in range(hosts):
            rows.append(({i * hosts + h: 1.0, j * hosts + h: 1.0, column: -1.0}, -np.inf, 1.0))
    for (a, b), leak in leaks.items():
        for group in _groups(case, a, b):
            known = sum(past[i, j] for i, j in group)
            terms = {z[max(pair), min(pair)]: -1.0 for pair in group}
            rows.append(({leak: 1.0, **terms}, float(known), np.inf))
        rows.append(({worst: 1.0, leak: -1.0}, 0.0, np.inf))
    matrix = sparse.lil_array((len(rows), worst + 1))
    for number, (terms, _, _) in enumerate(rows):
        for column, value in terms.items():
            matrix[number, column] = value
    aim = np.zeros(worst + 1)
    aim[[worst] if case.model == "rc" else list(leaks.values())] = 1.0
    whole = np.zeros(worst + 1, dtype=np.uint8)
    whole[: size * hosts] = 1
    upper = np.full(worst + 1, np.inf)
    upper[: size * hosts + len(pairs)] = 1.0
    answer: Any = optimize.milp(
        aim,
        integrality=whole,
        bounds=optimize.Bounds(0.0, upper),
        constraints=optimize.LinearConstraint(matrix.tocsr(), [r[1] for r in rows], [r[2] for r in rows]),
        options={"time_limit": _SECONDS},
    )
    if answer.status != 0:
        return None
    placed = answer.x[: size * hosts].reshape(size, hosts)
    return np.asarray(placed.argmax(axis=1), dtype=np.intp)


def _groups(case: Case, a: int, b: int) -> list[list[tuple[int, int]]]:
    """Sums of L whose maximum is what client b learns of client a."""
    victims = range(a * case.replicas, (a + 1) * case.replicas)
    spies = range(b * case.replicas, (b + 1) * case.replicas)
    if case.model == "rc":
        return [[(i, j) for i in victims for j in spies]]
    if case.model == "rnc":
        return [[(i, j) for i in victims] for j in spies]
    if case.model == "nrc":
        return [[(i, j) for j in spies] for i in victims]
    return [[(i, j)] for i in victims for j in spies]


def random_moves(case: Case, at: Ints, rng: np.random.Generator) -> Ints:
    """As many moves as the budget allows, to hosts with a free place; swaps where there is none."""
    now = at.copy()
    for replica in rng.permutation(case.size)[: case.budget]:
        load = np.bincount(now, minlength=case.hosts)
        free = np.flatnonzero(load < case.capacity)
        free = free[free != now[replica]]
        if len(free):
            now[replica] = rng.choice(free)
    return now


def start(case: Case, rng: np.random.Generator) -> Ints:
    """A random placement within the capacities."""
    places = np.repeat(np.arange(case.hosts), case.capacity)
    return np.asarray(rng.permutation(places)[: case.size])


class Window:
    """What was shared in the last W epochs but one: the next epoch is being decided."""

    def __init__(self, epochs: int, size: int) -> None:
        self._kept: deque[Floats] = deque(maxlen=max(epochs - 1, 0))
        self._none = np.zeros((size, size))

    @property
    def past(self) -> Floats:
        """L without the coming epoch."""
        return np.asarray(sum(self._kept, self._none))

    def add(self, at: Ints) -> None:
        """An epoch has passed with this placement."""
        self._kept.append(together(at))
