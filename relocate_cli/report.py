"""What the journal adds up to: outcomes, windows, how often each container moved. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

from relocate_cli.plan import Noted, Outcome, Relocation


@dataclass(frozen=True)
class Spread:
    """Least, middle and greatest of some milliseconds; ``p95`` is not exceeded by 95 of 100."""

    min: float
    median: float
    p95: float
    max: float


@dataclass(frozen=True)
class Summary:
    """Relocations by outcome, their windows (None if none moved), moves by container and by way, reasons."""

    outcomes: dict[str, int]
    window_ms: Spread | None
    containers: dict[str, int]
    ways: dict[tuple[str, str], int]
    reasons: dict[str, int]
    compared: int = 0  # moves of which the copy was compared with what was frozen
    mended: dict[str, int] = field(default_factory=dict)  # in how many of them something of a kind was
    harmless: dict[str, int] = field(default_factory=dict)


def spread(values: Sequence[float]) -> Spread | None:
    """How ``values`` are spread, None if there are none.

    >>> spread([3.0, 1.0, 2.0])
    Spread(min=1.0, median=2.0, p95=3.0, max=3.0)
    """
    if not values:
        return None
    ordered = sorted(values)
    return Spread(ordered[0], median(ordered), ordered[-(-len(ordered) * 95 // 100) - 1], ordered[-1])


def summarise(entries: Sequence[Relocation]) -> Summary:
    """Add up ``entries``; every outcome is named, also those that never were."""
    moved = [entry for entry in entries if entry.outcome is Outcome.MOVED]
    counted = Counter(entry.outcome for entry in entries)
    inventories = [entry.inventory for entry in moved if entry.inventory]
    return Summary(
        outcomes={str(outcome): counted[outcome] for outcome in Outcome},
        window_ms=spread([entry.window_ms for entry in moved if entry.window_ms is not None]),
        containers=dict(Counter(entry.container for entry in moved).most_common()),
        ways=dict(Counter((entry.source, entry.target) for entry in moved).most_common()),
        reasons=dict(
            Counter(entry.reason for entry in entries if entry.outcome is not Outcome.MOVED).most_common()
        ),
        compared=len(inventories),
        mended=dict(Counter(kind for each in inventories for kind in _kinds(each.mended)).most_common()),
        harmless=dict(Counter(kind for each in inventories for kind in _kinds(each.harmless)).most_common()),
    )


def _kinds(noted: Sequence[Noted]) -> set[str]:
    return {each.kind for each in noted}
