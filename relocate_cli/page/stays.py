"""Which container was where when, as far as relocations tell. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relocate_cli.order import natural
from relocate_cli.plan import Outcome, Relocation


@dataclass(frozen=True)
class Stay:
    """A container on a host. ``sure``: a relocation has ended it, or nothing has."""

    container: str
    host: str
    begin: float
    end: float
    sure: bool = True


@dataclass(frozen=True)
class Mark:
    """An attempt that moved nothing, on the host where the container was."""

    container: str
    host: str
    at: float
    text: str


@dataclass(frozen=True)
class Lane:
    """One host: its stays in tracks, such that those of one track do not overlap, and its failed attempts."""

    host: str
    tracks: tuple[tuple[Stay, ...], ...]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Timeline:
    """The fleet from ``begin`` to ``end``, by host; ``containers`` in the order of their numbers, from 1.

    ``moves`` attempts are in it, of ``of``; ``left_out`` containers had no room.
    """

    begin: float
    end: float
    lanes: tuple[Lane, ...]
    containers: tuple[str, ...]
    moves: int
    of: int
    left_out: int


@dataclass(frozen=True)
class Seen:
    """Where the last survey found a container, which has run there since ``started_at``."""

    host: str
    started_at: float


def timeline(
    entries: Sequence[Relocation],
    seen: Mapping[str, Seen] | None,
    now: float,
    *,
    moves: int = 1000,
    containers: int = 60,
) -> Timeline | None:
    """The newest ``moves`` of ``entries``, which are the oldest first; None if there are none.

    ``seen`` is by container, None if there was no survey. ``containers`` are drawn at most:
    those that moved last.
    """
    shown = entries[-moves:]
    if not shown:
        return None
    begin = shown[0].started
    end = max(now, begin + 1, *(entry.ended or entry.started for entry in shown))
    by_name: dict[str, list[Relocation]] = {}
    for entry in reversed(shown):
        by_name.setdefault(entry.container, []).append(entry)
    names = [*by_name, *sorted(set(seen or ()) - set(by_name), key=natural)]
    chosen = tuple(sorted(names[:containers], key=natural))
    found: list[Stay] = []
    marks: list[Mark] = []
    for name in chosen:
        own = by_name.get(name, [])[::-1]
        found += _stays(name, own, seen, begin, end)
        marks += [
            Mark(name, entry.source, entry.started, f"{entry.outcome}: {entry.reason}")
            for entry in own
            if entry.outcome is not Outcome.MOVED
        ]
    hosts = {stay.host for stay in found} | {mark.host for mark in marks}
    lanes = tuple(
        Lane(
            host,
            _tracks([stay for stay in found if stay.host == host]),
            tuple(mark for mark in marks if mark.host == host),
        )
        for host in sorted(hosts, key=natural)
    )
    return Timeline(begin, end, lanes, chosen, len(shown), len(entries), len(names) - len(chosen))


def _stays(
    name: str, own: Sequence[Relocation], seen: Mapping[str, Seen] | None, begin: float, end: float
) -> list[Stay]:
    """Where a container was from its relocations, oldest first, and where the survey found it."""
    here = (seen or {}).get(name)
    if not own:
        return [Stay(name, here.host, min(max(begin, here.started_at), end), end)] if here else []
    found = []
    host, since = own[0].source, begin
    for entry in own:
        if entry.outcome is Outcome.MOVED:
            # From a host other than the last target: someone else has moved it, or made it anew.
            found.append(Stay(name, host, since, max(since, entry.started), sure=host == entry.source))
            host, since = entry.target, max(since, entry.ended or entry.started)
    found.append(Stay(name, host, since, end, sure=seen is None or (here is not None and here.host == host)))
    return found


def _tracks(stays: Sequence[Stay]) -> tuple[tuple[Stay, ...], ...]:
    """As few tracks as possible: each stay goes into the first that is free."""
    tracks: list[list[Stay]] = []
    for stay in sorted(stays, key=lambda stay: (stay.begin, stay.end, natural(stay.container))):
        free = next((track for track in tracks if track[-1].end <= stay.begin), None)
        if free is None:
            tracks.append([stay])
        else:
            free.append(stay)
    return tuple(map(tuple, tracks))
