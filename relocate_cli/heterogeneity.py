"""How different two hosts are: Δ of Eq. 3.3 and the measures that keep its weights but mend it. Pure.

Δ = wc(Cd - Cs) + wn(Nd - Ns) + ws(Sd - Ss), s the source and d the target; the weights count as shares, so
that |Δ| ≤ 1 whatever they are. A matrix m of this module has m[s, d] for Δ(s→d).

gower     mean distance of the features (Gower 1971): numbers |x-y|/range, strings 0 or 1, sets Jaccard
signed    the paper's difference of positions; see `Differences` for what is wrong with it
entropy   gower with each feature weighted by its Shannon entropy in the pool: what all share counts nothing
cve       Jaccard distance of the vulnerabilities, the feature ``cves`` of a group
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from relocate_cli.errors import UsageError
from relocate_cli.order import natural

FeatureValue = str | float | frozenset[str]
Features = Mapping[str, Mapping[str, FeatureValue]]
Floats = npt.NDArray[np.float64]
_Matrix = npt.NDArray[np.float32]  # fleets are large, features few
_Column = Sequence[FeatureValue | None]  # one feature of all hosts, None where a host lacks it

MEASURES: Final = ("gower", "signed", "entropy", "cve")
GROUPS: Final = ("C", "N", "S")
CVES: Final = "cves"


@dataclass(frozen=True)
class Differences:
    """Δ of every ordered pair of hosts, by feature group; shapes (hosts, hosts).

    ``signed`` is antisymmetric, a potential: its argmax does not depend on the source, and a container
    that follows it goes back and forth between two hosts. All others are distances in [0, 1].
    """

    measure: str
    shares: Mapping[str, float]
    groups: Mapping[str, Floats]
    total: Floats

    @property
    def similarity(self) -> Floats:
        """How far an exploit for one host may work on the other: 1 - |Δ|."""
        return np.asarray(1.0 - np.abs(self.total))


def differences(
    hosts: Sequence[Features], *, measure: str = "gower", weights: Mapping[str, float] | None = None
) -> Differences:
    """Δ between all ``hosts``, each given as its features by group; missing weights are 1.

    A feature that one of two hosts lacks counts as different, one that both lack does not count.
    Raises UsageError for an unknown measure, weights without a share, or `cve` without vulnerabilities.

    >>> a = {"C": {"kernel": "6.1", "cpus": 4.0}, "S": {"open": frozenset({"ssh", "ntp"})}}
    >>> b = {"C": {"kernel": "6.9", "cpus": 4.0}, "S": {"open": frozenset({"ssh"})}}
    >>> found = differences([a, b])
    >>> {group: matrix[0, 1].item() for group, matrix in found.groups.items()}
    {'C': 0.5, 'N': 0.0, 'S': 0.5}
    >>> round(found.total[0, 1].item(), 4)
    0.3333
    """
    if measure not in MEASURES:
        raise UsageError(f"there is no measure {measure}", "the measures are " + ", ".join(MEASURES))
    shares = _shares(weights or {})
    if measure == "cve":
        shares = _shares({group: shares[group] * _with_cves(hosts, group) for group in GROUPS})
    found = {group: _group(hosts, group, measure).astype(np.float64) for group in GROUPS}
    total = np.zeros((len(hosts), len(hosts)))
    for group, share in shares.items():
        total += share * found[group]
    return Differences(measure, shares, found, total)


def effective_hosts(similarity: Floats, shares: npt.ArrayLike | None = None) -> float:
    """How many wholly different hosts a pool is worth: exp H with H = -Σ p_i ln (Zp)_i.

    ``similarity`` Z has shape (hosts, hosts), ones on its diagonal; ``shares`` p, equal by default, sum to 1.
    Leinster and Cobbold, Measuring diversity, Ecology 93 (2012), order q = 1.

    >>> effective_hosts(np.eye(4)), effective_hosts(np.ones((4, 4)))
    (4.0, 1.0)
    """
    count = len(similarity)
    if count == 0:
        return 0.0
    p = np.full(count, 1.0 / count) if shares is None else np.asarray(shares, dtype=float)
    return float(np.exp(-special.xlogy(p, similarity @ p)[p > 0].sum()))


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    given = {group: float(weights.get(group, 1.0)) for group in GROUPS}
    whole = sum(given.values())
    if min(given.values()) < 0 or not 0 < whole < math.inf:
        raise UsageError("the weights of C, N and S must be zero or more, not all zero", "such as 1, 1, 1")
    return {group: weight / whole for group, weight in given.items()}


def _with_cves(hosts: Sequence[Features], group: str) -> float:
    """1 if the operator gave the vulnerabilities of this group, 0 if not; half is an error."""
    known = [CVES in host.get(group, {}) for host in hosts]
    if any(known) and not all(known):
        raise UsageError(
            f"some hosts have a list of vulnerabilities for group {group}, {known.count(False)} have none",
            f"give every host relocate_features.{group}.{CVES} in the inventory; a host without any has []",
        )
    if group == GROUPS[-1] and not any(CVES in host.get(name, {}) for host in hosts for name in GROUPS):
        raise UsageError(
            "the measure cve needs the vulnerabilities of each host",
            f"give every host relocate_features.C.{CVES} in the inventory, see docs/mathematics.md",
        )
    return float(bool(known) and known[0])


def _group(hosts: Sequence[Features], group: str, measure: str) -> _Matrix:
    """Δ of one feature group, unweighted."""
    features = [host.get(group, {}) for host in hosts]
    names = sorted(set(chain.from_iterable(features)))
    names = [name for name in names if (name == CVES) == (measure == "cve")]
    columns = [[entry.get(name) for entry in features] for name in names]
    counts = [_entropy(column) if measure == "entropy" else 1.0 for column in columns]
    columns = [column for column, count in zip(columns, counts, strict=True) if count > 0]
    counts = [count for count in counts if count > 0]
    if not columns:
        return np.zeros((len(hosts), len(hosts)), dtype=np.float32)
    if measure == "signed":
        position = np.mean([_position(column) for column in columns], axis=0)
        return np.asarray(position[None, :] - position[:, None], dtype=np.float32)
    total = np.zeros((len(hosts), len(hosts)), dtype=np.float32)
    counted = np.full((1, 1), sum(counts), dtype=np.float32)
    for column, count in zip(columns, counts, strict=True):
        total += np.float32(count) * _distance(column)
        lacking = np.array([value is None for value in column])
        if lacking.any():
            counted = counted - np.float32(count) * (lacking[:, None] & lacking[None, :])
    np.divide(total, counted, out=total, where=counted > 0.5 * min(counts))
    return total


def _distance(column: _Column) -> _Matrix:
    """Gower's distance of one feature: in [0, 1], symmetric, zero between equals."""
    values = [value for value in column if value is not None]
    if all(isinstance(value, frozenset) for value in values):
        return _jaccard(column)
    if all(_is_number(value) for value in values):
        numbers = _numbers(column)
        distance: _Matrix = np.abs(numbers[:, None] - numbers[None, :])
        span = np.nanmax(numbers) - np.nanmin(numbers)
        if span > 0:
            distance /= span
        lacking = np.isnan(numbers)
        if lacking.any():
            distance[lacking[:, None] != lacking[None, :]] = 1.0
            distance[lacking[:, None] & lacking[None, :]] = 0.0
        return distance
    codes = _codes(column)
    return np.asarray(codes[:, None] != codes[None, :], dtype=np.float32)


def _jaccard(column: _Column) -> _Matrix:
    """1 - |A∩B|/|A∪B|; two empty sets are equal. Counts by one matrix product of the distinct sets."""
    codes = _codes(column)
    distinct: dict[FeatureValue | None, None] = dict.fromkeys(column)
    sets = [value if isinstance(value, frozenset) else frozenset[str]() for value in distinct]
    sizes = np.array([len(entry) for entry in sets], dtype=np.float32)
    index: defaultdict[str, int] = defaultdict()
    index.default_factory = index.__len__
    places = np.fromiter(map(index.__getitem__, chain.from_iterable(sets)), dtype=np.intp)
    rows = np.repeat(np.arange(len(sets)), sizes.astype(np.intp))
    # What all have is shared by all, what one has by none: neither needs a column.
    owners = np.bincount(places, minlength=1)
    useful = (owners > 1) & (owners < len(sets))
    kept = useful[places]
    has = np.zeros((len(sets), int(useful.sum())), dtype=np.float32)
    has[rows[kept], (np.cumsum(useful) - 1)[places[kept]]] = 1.0
    same: _Matrix = has @ has.T
    same += np.float32((owners == len(sets)).sum())
    union = sizes[:, None] + sizes[None, :]
    np.fill_diagonal(same, sizes)
    union -= same
    np.divide(same, union, out=same, where=union > 0)
    same[union == 0] = 1.0
    distance = np.subtract(np.float32(1.0), same, out=same)
    if None in distinct:
        lacking = np.array([value is None for value in distinct])
        distance[lacking[:, None] != lacking[None, :]] = 1.0
    return distance if len(sets) == len(column) else distance[codes[:, None], codes[None, :]]


def _position(column: _Column) -> Floats:
    """A number in [0, 1] for each host, which the paper needs: scaled numbers, string ranks, set sizes.

    Strings are ranked with their numbers compared as numbers, so that 6.9 is before 6.12; lacking it is 0.
    """
    present = [value for value in column if value is not None]
    if all(_is_number(value) for value in present):
        place = _numbers(column).astype(np.float64)
        place -= np.nanmin(place)
    elif all(isinstance(value, frozenset) for value in present):
        place = np.array([len(value) if isinstance(value, frozenset) else 0.0 for value in column])
    else:
        order = {text: rank for rank, text in enumerate(sorted(set(map(_text, present)), key=natural))}
        place = np.array([0.0 if value is None else order[_text(value)] for value in column])
    place = np.nan_to_num(place)
    return np.asarray(place / (place.max() or 1.0))


def _entropy(column: _Column) -> float:
    """Shannon entropy, in nats, of the values that a feature has in the pool."""
    chances = np.array(list(Counter(column).values())) / max(len(column), 1)
    return float(special.entr(chances).sum())


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbers(column: _Column) -> _Matrix:
    return np.array([value if _is_number(value) else np.nan for value in column], dtype=np.float32)


def _codes(column: _Column) -> npt.NDArray[np.int32]:
    """Equal values get equal numbers, in the order of appearance."""
    seen: dict[FeatureValue | None, int] = {}
    return np.array([seen.setdefault(value, len(seen)) for value in column], dtype=np.int32)


def _text(value: FeatureValue) -> str:
    return " ".join(sorted(value)) if isinstance(value, frozenset) else str(value)
