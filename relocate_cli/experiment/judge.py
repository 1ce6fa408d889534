"""Which attacks succeeded, by the attackers' own logs and nothing else. Pure.

An attack of length A succeeds if the target stays in one attacker's sight for A without a break (Section 4 of
the paper). Intervals are of 95 %, at the number of independent attacks that the spread between stays, or
between targets, is worth: attacks on one stay share its fate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from relocate_cli.experiment.sights import Sight


@dataclass(frozen=True)
class Turn:
    """What was watched: ``targets``, from ``begin`` to ``end``; ``attack`` is A, in seconds."""

    targets: tuple[str, ...]
    begin: float
    end: float
    attack: float


@dataclass(frozen=True)
class Share:
    """A share with its interval, of ``parts`` independent stays or targets; None if nothing was watched."""

    value: float | None
    low: float
    high: float
    parts: int
    worth: float


def share(parts: Sequence[tuple[float, float]]) -> Share:
    """The share Σs/Σw of pairs (s, w) with 0 ≤ s ≤ w, each pair independent of the others.

    Wilson's interval, at the sample size that a plain proportion of this variance would have; as many as the
    pairs if all agree, for then there is no variance to see.

    >>> found = share([(1.0, 1.0)] * 10)
    >>> round(found.low, 3), found.high, found.worth
    (0.722, 1.0, 10.0)
    """
    from relocate_cli.simulate.engine import wilson

    used = [(part, weight) for part, weight in parts if weight > 0]
    whole = sum(weight for _, weight in used)
    if not whole:
        return Share(None, 0.0, 1.0, 0, 0.0)
    value = min(sum(part for part, _ in used) / whole, 1.0)
    count = len(used)
    worth = float(count)
    if count > 1:
        spread = sum((part - value * weight) ** 2 for part, weight in used) / whole**2
        variance = spread * count / (count - 1)
        if variance > 0:
            # One stay of many moments is one stay: never worth more than the pairs are.
            worth = max(1.0, min(value * (1 - value) / variance, float(count)))
    low, high = wilson(value * worth, worth)
    return Share(value, low, high, count, worth)


def resisted(turn: Turn, seen: Sequence[Sight]) -> Share:
    """Of attacks on a target in sight, begun at any moment: those thrown back.

    A moment counts if the attack's fate is known by the end of the turn. A stay of length L has L such
    moments, and the attack succeeds from all but the last A.
    """
    latest = turn.end - turn.attack
    parts = []
    for sight in seen:
        begun = max(0.0, min(sight.end, latest) - sight.begin)
        won = min(max(0.0, min(sight.end - turn.attack, latest) - sight.begin), begun)
        # Of who was in sight at the last look, nobody knows what came between it and the turn's end.
        parts.append((0.0, won) if sight.open else (begun - won, begun))
    return share(parts)


def resisted_if_aligned(turn: Turn, seen: Sequence[Sight]) -> Share:
    """Of attacks begun as the target comes into sight: those thrown back."""
    known = [sight for sight in seen if sight.begin <= turn.end - turn.attack]
    return share([(float(sight.seconds < turn.attack), 1.0) for sight in known])


def windows(turn: Turn, horizon: float) -> int:
    """How many windows of ``horizon`` seconds the turn has, one after the other."""
    return math.floor((turn.end - turn.begin) / horizon + 1e-9)


def survives(turn: Turn, seen: Sequence[Sight], horizon: float) -> Share:
    """Of windows of ``horizon`` seconds, those in which no attack on a target succeeded.

    Attacks begin with the window. Windows of one target are one part: it is where it was.
    """
    count = windows(turn, horizon)
    parts = []
    for target in turn.targets:
        own = [sight for sight in seen if sight.target == target]
        held = sum(_held(own, turn, turn.begin + place * horizon, horizon) for place in range(count))
        parts.append((float(held), float(count)))
    return share(parts)


def _held(own: Sequence[Sight], turn: Turn, begin: float, horizon: float) -> bool:
    """Whether no sight covers A within the window."""
    return all(min(sight.end, begin + horizon) - max(sight.begin, begin) < turn.attack for sight in own)
