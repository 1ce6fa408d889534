"""Where each policy moves to among hosts that differ; Δ and its choices are the product's own classes."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from relocate_cli import selection
from relocate_cli.errors import UsageError
from relocate_cli.heterogeneity import FeatureValue, differences, effective_hosts
from relocate_cli.simulate.laws import Floats
from relocate_cli.simulate.model import Bools
from relocate_cli.simulate.run import generator

Ints = npt.NDArray[np.intp]
MOST_HOSTS = 2000  # Δ of more takes gigabytes; `relocate simulate fleet` groups equal hosts instead
CHOICES = ("low", "random", "high", "equaliser", "argmax")


@dataclass(frozen=True)
class Pool:
    """Hosts that differ: Δ and the reuse of an exploit, both (hosts, hosts)."""

    delta: Floats
    reuse: Floats

    @property
    def effective(self) -> float:
        """How many wholly different hosts they are worth (Leinster and Cobbold)."""
        return effective_hosts(self.reuse)


def synthetic_features(hosts: int, seed: int, kinds: int = 4) -> list[dict[str, dict[str, FeatureValue]]]:
    """Hosts whose features are drawn from ``kinds`` values each, declared here; the paper gives none."""
    rng = generator(seed, 1 << 30)

    def one(name: str) -> FeatureValue:
        # Zipf-like shares: fleets have a house standard and exceptions.
        weight = 1.0 / np.arange(1, kinds + 1)
        return f"{name}-{rng.choice(kinds, p=weight / weight.sum())}"

    names = {
        "C": ("cpu", "kernel", "distribution"),
        "N": ("bridge", "driver"),
        "S": ("runtime", "libc", "agent"),
    }
    return [
        {group: {name: one(name) for name in entry} for group, entry in names.items()} for _ in range(hosts)
    ]


def synthetic_pool(hosts: int, seed: int) -> Pool:
    """Synthetic hosts with Gower's Δ; an exploit is reused with chance 1-Δ, declared here."""
    if hosts > MOST_HOSTS:
        raise UsageError(
            f"hosts: {hosts} different ones are too many for a matrix of Δ, {MOST_HOSTS} at most",
            "`relocate simulate fleet` groups equal hosts",
        )
    found = differences(synthetic_features(hosts, seed))
    return Pool(found.total, found.similarity)


def chances(pool: Pool, choice: str, temperature: float = 0.1) -> Floats:
    """P(s→d) of a choice, shape (hosts, hosts); never the source.

    ``high`` is the product's default, softmax over Δ; ``low`` the same over -Δ.
    """
    others = ~np.eye(len(pool.delta), dtype=bool)
    if choice == "low":
        return selection.probabilities(-pool.delta, others, choice="softmax", temperature=temperature)
    name = "softmax" if choice == "high" else choice
    return selection.probabilities(pool.delta, others, choice=name, temperature=temperature)


def foreseen(pool: Pool, moves: Floats, attackers: int) -> float:
    """P(an attack outlives a move) if its attacker knows Δ and the choice, and holds the best hosts for it.

    The mean over sources of the ``attackers`` greatest P(s→d)·reuse(s, d), which the equaliser keeps low.
    """
    likely = np.sort(moves * pool.reuse, axis=1)[:, -attackers:]
    return float(likely.sum(axis=1).mean())


@dataclass(frozen=True)
class Matrix:
    """Moves by a matrix of chances; an attack survives the move s→d with chance ``reuse``[s, d].

    Attackers hold ``attackers`` hosts, drawn anew for every trial.
    """

    chances: Floats
    reuse: Floats
    attackers: int
    _alias: Ints = field(init=False, compare=False, repr=False)
    _accept: Floats = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        accept, alias = alias_tables(self.chances)
        object.__setattr__(self, "_accept", accept.ravel())
        object.__setattr__(self, "_alias", alias.ravel())

    @property
    def block(self) -> int:
        """The table of captured hosts has a row a trial."""
        return max(64, min(16384, (1 << 22) // len(self.chances)))

    def walk(self) -> "MatrixWalk":
        return MatrixWalk(self, self._accept, self._alias)


class MatrixWalk:
    """Each trial's host and its set of captured hosts."""

    def __init__(self, place: Matrix, accept: Floats, alias: Ints) -> None:
        self._place, self._accept, self._alias = place, accept, alias
        self._reuse = place.reuse.ravel()
        self._hosts = len(place.chances)

    def begin(self, rng: np.random.Generator, size: int, captured: bool) -> Bools:
        hosts, attackers = self._hosts, self._place.attackers
        order = np.argpartition(rng.random((size, hosts)), attackers - 1, axis=1)
        taken = np.zeros((size, hosts), dtype=bool)
        np.put_along_axis(taken, order[:, :attackers], True, axis=1)
        self._taken = taken.ravel()
        self._rows = np.arange(size) * hosts
        self._at = order[:, 0].copy() if captured else rng.integers(hosts, size=size)
        return np.asarray(self._taken[self._rows + self._at])

    def step(self, rng: np.random.Generator, here: Bools) -> tuple[Bools, Bools]:
        hosts = self._hosts
        slot = self._at * hosts + rng.integers(hosts, size=len(self._at))
        to = np.where(rng.random(len(slot)) < self._accept[slot], slot % hosts, self._alias[slot])
        now = self._taken[self._rows + to]
        carried = here & now & (rng.random(len(to)) < self._reuse[self._at * hosts + to])
        self._at = to
        return now, carried

    def keep(self, which: Bools) -> None:
        self._at, self._rows = self._at[which], self._rows[which]


def alias_tables(rows: Floats) -> tuple[Floats, Ints]:
    """Walker's alias method for every row of a matrix of chances: (acceptance, alias), of its shape."""
    count = rows.shape[1]
    accept = rows * count
    alias = np.tile(np.arange(count), (len(rows), 1))
    for own, other in zip(accept, alias, strict=True):
        small = [i for i in range(count) if own[i] < 1.0]
        large = [i for i in range(count) if own[i] >= 1.0]
        while small and large:
            poor, rich = small.pop(), large[-1]
            other[poor] = rich
            own[rich] -= 1.0 - own[poor]
            if own[rich] < 1.0:
                small.append(large.pop())
        own[small + large] = 1.0
    return accept, alias
