"""What attackers saw, from their own logs: which target, for how long without a break. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from relocate_cli.errors import RelocateError

MISSES = 2  # looks in a row without an answer: it is gone; one may be lost to a busy machine


@dataclass(frozen=True)
class Look:
    """One look around: what answered, by ``name/process``, and at which address."""

    at: float
    found: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Sight:
    """A stay of one process of a target in an attacker's sight, from the first look to the last that saw it.

    ``open``: it was in sight when the log ended.
    """

    attacker: str
    target: str
    address: str
    begin: float
    end: float
    open: bool

    @property
    def seconds(self) -> float:
        """How long."""
        return self.end - self.begin


def read(attacker: str, log: str) -> tuple[Look, ...]:
    """The looks of an attacker's log; a last line that was not ended is left out.

    Raises RelocateError with the first line that is none: nothing is judged by half a log.
    """
    whole = log[: log.rfind("\n") + 1]
    looks = []
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            looks.append(_look(line))
        except ValueError:
            raise RelocateError(
                f"{attacker}'s log is not understood, line {number}: {line[:60]!r}",
                "without it nobody can judge",
            ) from None
    return tuple(looks)


def _look(line: str) -> Look:
    moment, *rest = line.split()
    at = float(moment)
    pairs = [word.split("=") for word in rest]
    if not math.isfinite(at) or any(len(pair) != 2 or "/" not in pair[0] for pair in pairs):
        raise ValueError(line)
    return Look(at, frozenset((who, where) for who, where in pairs))


def sights(attacker: str, looks: Sequence[Look], begin: float, end: float) -> tuple[Sight, ...]:
    """Stays in sight within [begin, end], in the order of their beginnings.

    A process that was started anew, or has another address, is another stay: whatever the attacker had
    learned of the old one is worth nothing.
    """
    seen: dict[tuple[str, str], list[float]] = {}  # first look, last look, misses since
    done: list[Sight] = []

    def close(key: tuple[str, str], still: bool) -> None:
        first, last, _ = seen.pop(key)
        done.append(Sight(attacker, key[0].partition("/")[0], key[1], first, last, still))

    for look in looks:
        if not begin <= look.at <= end:
            continue
        for key in look.found:
            first = seen[key][0] if key in seen else look.at
            seen[key] = [first, look.at, 0]
        for key in [key for key in seen if key not in look.found]:
            seen[key][2] += 1
            if seen[key][2] >= MISSES:
                close(key, still=False)
    for key in list(seen):
        close(key, still=True)
    return tuple(sorted(done, key=lambda sight: (sight.begin, sight.target)))


def longest_pause(logs: Iterable[Sequence[Look]]) -> float:
    """The longest time between two looks of one attacker: he is blind in it."""
    return max(
        (later.at - look.at for looks in logs for look, later in pairwise(looks)),
        default=0.0,
    )
