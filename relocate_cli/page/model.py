"""What the page says, as facts: no text of its own, no geometry. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from relocate_cli.fleet import Fleet
from relocate_cli.order import natural
from relocate_cli.page import bins
from relocate_cli.page.stays import Seen, Timeline, timeline
from relocate_cli.plan import Outcome, Relocation
from relocate_cli.report import Summary, summarise

MOVES = 1000  # rows of each table; what a browser on a phone still scrolls
FAILURES = 200
REASONS = 30


@dataclass(frozen=True)
class ContainerLine:
    """One container: its moves, what failed, where it is and since when; its window in the middle."""

    name: str
    moves: int
    failures: int
    host: str
    moved_at: float | None
    window_ms: float | None


@dataclass(frozen=True)
class Overdue:
    """A container whose clock has no gap as long as the one since ``since``."""

    container: str
    since: float
    longest: float


@dataclass(frozen=True)
class HostLine:
    """A host as the last survey found it."""

    name: str
    state: str
    containers: int
    kernel: str
    arch: str
    criu: str
    seen_at: float | None


@dataclass(frozen=True)
class Parameter:
    """A setting, its value as people read it, and where it came from."""

    name: str
    value: str
    origin: str


@dataclass(frozen=True)
class Known:
    """What others than the journal of relocations say; ``overdue`` is None if nobody can tell."""

    fleet: Fleet | None
    overdue: tuple[Overdue, ...] | None
    parameters: tuple[Parameter, ...]
    version: str


@dataclass(frozen=True)
class Page:
    """The whole page; lists are bounded and come with the number of what they are of."""

    made_at: float
    since: float | None
    summary: Summary
    total: int
    reasons: tuple[tuple[str, int], ...]
    line: Timeline | None
    windows: bins.Distribution | None
    gaps: bins.Distribution | None
    containers: tuple[ContainerLine, ...]
    containers_of: int
    moves: tuple[Relocation, ...]
    failures: tuple[Relocation, ...]
    failures_of: int
    hosts: tuple[HostLine, ...]
    hosts_of: int
    overdue: tuple[Overdue, ...] | None
    overdue_of: int
    known: Known

    @property
    def numbers(self) -> dict[str, int]:
        """By which number each container is found on the time line."""
        return {name: place for place, name in enumerate(self.line.containers, 1)} if self.line else {}


def build(entries: Sequence[Relocation], known: Known, now: float, since: float = 0.0) -> Page:
    """Add up ``entries``, the oldest first, which began at ``since`` or later; 0 is all there are."""
    failures = [entry for entry in entries if entry.outcome is not Outcome.MOVED]
    seen = _seen(known.fleet)
    lines = _containers(entries, seen or {})
    hosts = _hosts(known.fleet)
    windows = [entry.window_ms / 1000 for entry in entries if entry.window_ms is not None and _moved(entry)]
    summary = summarise(entries)
    overdue = None if known.overdue is None else known.overdue[:FAILURES]
    return Page(
        made_at=now,
        since=since or (entries[0].started if entries else None),
        summary=summary,
        total=len(entries),
        reasons=tuple(summary.reasons.items())[:REASONS],
        line=timeline(entries, seen, now),
        windows=bins.distribution(windows, bins.WINDOW_EDGES),
        gaps=bins.distribution(gaps(entries), bins.GAP_EDGES),
        containers=lines[:MOVES],
        containers_of=len(lines),
        # Those of one container stay in the order in which they were.
        moves=tuple(sorted(entries[-MOVES:], key=lambda entry: natural(entry.container))),
        failures=tuple(failures[: -FAILURES - 1 : -1]),
        failures_of=len(failures),
        hosts=hosts[:MOVES],
        hosts_of=len(hosts),
        overdue=overdue,
        overdue_of=len(known.overdue or ()),
        known=known,
    )


def gaps(entries: Sequence[Relocation]) -> list[float]:
    """Seconds from one move of a container to its next, by their beginnings.

    The gap after the last move is still under way, and not counted.
    """
    found = []
    last: dict[str, float] = {}
    for entry in filter(_moved, entries):
        if entry.container in last:
            found.append(max(0.0, entry.started - last[entry.container]))
        last[entry.container] = entry.started
    return found


def _moved(entry: Relocation) -> bool:
    return entry.outcome is Outcome.MOVED


def _seen(fleet: Fleet | None) -> Mapping[str, Seen] | None:
    if fleet is None:
        return None
    named = Counter(entry.name for entry in fleet.containers)
    return {
        entry.name: Seen(entry.host, entry.started_at)
        for entry in fleet.containers
        if entry.enabled and named[entry.name] == 1  # of two of one name nobody knows which has moved
    }


def _containers(entries: Sequence[Relocation], seen: Mapping[str, Seen]) -> tuple[ContainerLine, ...]:
    """Of every container that moved, was to move, or takes part."""
    own: dict[str, list[Relocation]] = {name: [] for name in seen}
    for entry in entries:
        own.setdefault(entry.container, []).append(entry)
    return tuple(
        _line(name, own[name], seen[name].host if name in seen else "") for name in sorted(own, key=natural)
    )


def _line(name: str, own: Sequence[Relocation], host: str) -> ContainerLine:
    moved = list(filter(_moved, own))
    windows = [entry.window_ms for entry in moved if entry.window_ms is not None]
    if not host and own:
        host = moved[-1].target if moved else own[-1].source
    return ContainerLine(
        name,
        len(moved),
        len(own) - len(moved),
        host,
        moved[-1].ended or moved[-1].started if moved else None,
        median(windows) if windows else None,
    )


def _hosts(fleet: Fleet | None) -> tuple[HostLine, ...]:
    if fleet is None:
        return ()
    return tuple(
        HostLine(
            host.name,
            host.error or ("drained" if host.drained else "answered"),
            len(host.containers),
            host.criu.kernel,
            host.criu.arch,
            host.criu.version,
            host.taken_at,
        )
        for host in sorted(fleet.hosts, key=lambda host: natural(host.name))
    )
