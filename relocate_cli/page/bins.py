"""How some spans of time are spread: counts between edges that people read easily. Pure."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from relocate_cli.report import Spread, spread

# Seconds.
WINDOW_EDGES = tuple(
    digit * scale / 1000 for scale in (1, 10, 100, 1000, 10000) for digit in (1, 1.5, 2, 3, 5, 7)
)
GAP_EDGES = (
    *(1.0, 2.0, 5.0, 10.0, 20.0, 30.0),
    *(60.0 * minutes for minutes in (1, 2, 5, 10, 15, 20, 30)),
    *(3600.0 * hours for hours in (1, 2, 3, 6, 12)),
    *(86400.0 * days for days in (1, 2, 4, 7, 14, 30)),
)


@dataclass(frozen=True)
class Bin:
    """How many values are at ``low`` or above and below ``high``; None where there is no bound."""

    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True)
class Distribution:
    """Values in seconds: how they are spread, and the bins from the least to the greatest."""

    spread: Spread
    bins: tuple[Bin, ...]
    total: int


def distribution(values: Sequence[float], edges: Sequence[float]) -> Distribution | None:
    """Count ``values`` between ``edges``, which ascend; None if there are none.

    >>> [(found.low, found.high, found.count) for found in distribution([1.0, 1.5, 9.0], (1, 2, 5)).bins]
    [(1, 2, 2), (2, 5, 0), (5, None, 1)]
    """
    found = spread(values)
    if found is None:
        return None
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[bisect_right(edges, value)] += 1
    bounds = [None, *edges, None]
    bins = [Bin(bounds[place], bounds[place + 1], count) for place, count in enumerate(counts)]
    filled = [place for place, count in enumerate(counts) if count]
    return Distribution(found, tuple(bins[filled[0] : filled[-1] + 1]), len(values))
