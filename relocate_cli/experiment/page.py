"""The experiment as one page that needs nothing else: where things lie, and the template that draws them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files

from relocate_cli.experiment.beside import MEASURES
from relocate_cli.experiment.declared import STATIC
from relocate_cli.experiment.result import CLAIMS, FACTS, MATCHED, Result, Verdict, facts, notes, said
from relocate_cli.order import natural

WIDTH = 600.0  # of every drawing, in its own units
_LEFT, _RIGHT = 110.0, 20.0
_LANE = 13.0
TITLES: Mapping[str, str] = {
    "resisted": "Attacks resisted that begin at any moment",
    "resisted_if_aligned": "Attacks resisted that begin as the target arrives",
    "survives": "Survival to the horizon",
}
_MOST_MOVES = 500


@dataclass(frozen=True)
class Mark:
    """A share: where its middle and the ends of its interval lie; ``kind`` is a shape."""

    kind: str
    x: float
    low: float
    high: float
    y: float
    told: str


@dataclass(frozen=True)
class Row:
    """A policy in a figure."""

    name: str
    y: float
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Figure:
    """One measure of every policy, from 0 to 1; ``claim`` is where the paper's value lies."""

    title: str
    rows: tuple[Row, ...]
    height: float
    claim: float | None


@dataclass(frozen=True)
class Stay:
    """A target on a host."""

    target: str
    host: str
    begin: float
    end: float


@dataclass(frozen=True)
class Bar:
    """A stay, or (inside it) what an attacker saw."""

    x: float
    y: float
    width: float
    kind: str
    label: str
    told: str


@dataclass(frozen=True)
class Band:
    """A host of a time line."""

    host: str
    attacker: str
    y: float
    height: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Line:
    """The time line of one turn."""

    name: str
    seconds: float
    height: float
    bands: tuple[Band, ...]


@dataclass(frozen=True)
class Bin:
    """How many gaps are below ``to`` milliseconds and not below the bin before."""

    text: str
    count: int
    width: float
    y: float


def render(result: Result) -> str:
    """The page. Every name is escaped; nothing is loaded from anywhere, and nothing runs."""
    from relocate_cli.page.html import escaping

    source = files("relocate_cli.experiment").joinpath("report.html.j2").read_text(encoding="utf-8")
    names = [result.headline, *(name for name in MEASURES if name != result.headline)]
    gaps = [
        move.gap_ms for entry in result.verdicts for move in entry.played.moves if move.gap_ms is not None
    ]
    moves = [(entry, move) for entry in result.verdicts for move in entry.played.moves]
    return (
        escaping()
        .from_string(source)
        .render(
            result=result,
            claim=CLAIMS[result.declared.kind],
            matched=MATCHED,
            figures=[figure(result, name) for name in names],
            lines=[line(entry, result.hosts, result.declared.attack) for entry in result.verdicts],
            bins=bins(gaps),
            gaps=len(gaps),
            moves=moves[:_MOST_MOVES],
            all_moves=len(moves),
            head=FACTS,
            facts=facts(result),
            notes=notes(result),
            told=result.declared.told(),
            width=WIDTH,
            left=_LEFT,
            across=_across,
        )
    )


def figure(result: Result, name: str) -> Figure:
    """Live, as declared and as played, a line of three for each policy."""
    rows = []
    for place, entry in enumerate(result.verdicts):
        y = 14.0 + place * 48
        marks = []
        live = entry.shares[name]
        if live.value is not None:
            told = f"live {said(live)}"
            marks.append(
                Mark("live", _across(live.value), _across(live.low), _across(live.high), y + 8, told)
            )
        for kind, found, down in (
            ("declared", entry.beside.declared.get(name), 20),
            ("played", entry.beside.played.get(name), 32),
        ):
            if found is not None:
                exact = "" if found.exact is None else f", exact {found.exact:.3f}"
                told = f"simulated as {kind} {found.value:.3f}{exact}"
                low, high = _across(found.low), _across(found.high)
                marks.append(Mark(kind, _across(found.value), low, high, y + down, told))
        rows.append(Row(entry.name, y, tuple(marks)))
    claim = _claim(result) if name == result.headline else None
    return Figure(TITLES[name], tuple(rows), 14.0 + 48 * len(rows), claim)


def _claim(result: Result) -> float | None:
    """The paper's value on the axis of the headline's figure, if it has one there."""
    if result.declared.kind == "time":
        return _across(0.87)
    still = next((entry.shares["survives"].value for entry in result.verdicts if entry.name == STATIC), None)
    return _across(min(1.29 * still, 1.0)) if still else None


def _across(share: float) -> float:
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)


def stays(entry: Verdict) -> list[Stay]:
    """Where each target was, by the controller's journal; a restart in place ends a stay too."""
    found = []
    played = entry.played
    for target, host in played.placed.targets.items():
        since = played.begin
        for move in sorted(played.moves, key=lambda move: move.begin):
            if move.target == target and move.outcome in ("moved", "restarted"):
                found.append(Stay(target, host, since, max(since, move.begin)))
                host, since = move.host, move.end
        found.append(Stay(target, host, since, max(since, played.end)))
    return [stay for stay in found if stay.begin < played.end]


def line(entry: Verdict, hosts: Sequence[str], attack: float) -> Line:
    """Host by host who was there, and inside each bar when an attacker saw it."""
    played = entry.played
    scale = (WIDTH - _LEFT - _RIGHT) / max(played.end - played.begin, 1.0)

    def bar(begin: float, end: float, y: float, kind: str, label: str, told: str) -> Bar:
        begin, end = (min(max(moment, played.begin), played.end) for moment in (begin, end))
        x = _LEFT + (begin - played.begin) * scale
        told = f"{told}, {begin - played.begin:.0f} to {end - played.begin:.0f} s"
        return Bar(round(x, 1), round(y, 1), round(max((end - begin) * scale, 1.0), 1), kind, label, told)

    found = stays(entry)
    captured = {host: name for name, host in played.placed.attackers.items()}
    bands, y = [], 18.0
    for host in sorted(hosts, key=natural):
        here = [stay for stay in found if stay.host == host]
        lanes = {name: place for place, name in enumerate(sorted({s.target for s in here}, key=natural))}
        bars = []
        for stay in here:
            top = y + 2 + _LANE * lanes[stay.target]
            wide = (stay.end - stay.begin) * scale > 16
            label = stay.target.removeprefix("target") if wide else ""
            bars.append(bar(stay.begin, stay.end, top, "stay", label, f"{stay.target} on {host}"))
        for sight in entry.seen:
            if sight.attacker == captured.get(host) and sight.target in lanes:
                top = y + 2 + _LANE * lanes[sight.target] + _LANE - 5
                told = f"{sight.attacker} sees {sight.target}"
                won = "won" if sight.seconds >= attack else "sight"
                bars.append(bar(sight.begin, sight.end, top, won, "", told))
        height = max(_LANE * len(lanes), _LANE) + 4
        bands.append(Band(host, captured.get(host, ""), y, height, tuple(bars)))
        y += height
    return Line(entry.name, played.end - played.begin, y + 4, tuple(bands))


def bins(gaps: Sequence[float], step: float = 25.0) -> list[Bin]:
    """Gaps in steps of ``step`` ms, wider if there were too many rows."""
    if not gaps:
        return []
    while max(gaps) / step > 20:
        step *= 2
    counts = [0] * (int(max(gaps) // step) + 1)
    for gap in gaps:
        counts[int(gap // step)] += 1
    first = next(place for place, count in enumerate(counts) if count)
    room = WIDTH - _LEFT - 60
    return [
        Bin(
            f"{place * step:.0f}–{(place + 1) * step:.0f} ms",
            count,
            round(room * count / max(counts), 1),
            20.0 * (place - first),
        )
        for place, count in enumerate(counts)
        if place >= first
    ]
