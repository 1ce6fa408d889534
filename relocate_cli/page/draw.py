"""Where each thing of the two kinds of charts lies, in units of their SVG's view box. Pure."""

from dataclasses import dataclass
from unicodedata import east_asian_width

from relocate_cli.page.bins import Distribution
from relocate_cli.page.stays import Stay, Timeline
from relocate_cli.render import age
from relocate_cli.said import line

COLOURS = 7  # of the template's palette; then the outline differs
OUTLINES = 3
WIDTH = 1000.0
_TRACK, _NAME, _AXIS = 20.0, 22.0, 26.0
_LETTER = 7.5  # of the labels' font, at most


@dataclass(frozen=True)
class Bar:
    """A stay; ``label`` is empty where there is no room, ``number`` is the container's."""

    x: float
    y: float
    width: float
    label: str
    number: int
    stay: Stay

    @property
    def colour(self) -> int:
        return (self.number - 1) % COLOURS

    @property
    def outline(self) -> int:
        return (self.number - 1) // COLOURS % OUTLINES


@dataclass(frozen=True)
class Cross:
    """A failed attempt."""

    x: float
    y: float
    at: float
    text: str


@dataclass(frozen=True)
class HostBand:
    """A host's part of the time line."""

    host: str
    y: float
    height: float
    bars: tuple[Bar, ...]
    crosses: tuple[Cross, ...]


@dataclass(frozen=True)
class Tick:
    """A moment of the axis, and the end of its label that lies there."""

    x: float
    at: float
    anchor: str


@dataclass(frozen=True)
class LineChart:
    """The time line."""

    height: float
    bands: tuple[HostBand, ...]
    ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Row:
    """A bin of a distribution: its text, its bar's length, its count."""

    y: float
    text: str
    length: float
    count: int


@dataclass(frozen=True)
class BinChart:
    """A distribution, lying: one row a bin."""

    height: float
    rows: tuple[Row, ...]


def line_chart(found: Timeline) -> LineChart:
    """Bands of hosts, one below the other; time goes to the right."""
    numbers = {name: place for place, name in enumerate(found.containers, 1)}
    scale = WIDTH / (found.end - found.begin)

    def across(moment: float) -> float:
        return min(max((moment - found.begin) * scale, 0.0), WIDTH)

    bands = []
    y = _AXIS
    for lane in found.lanes:
        bars: list[Bar] = []
        for place, track in enumerate(lane.tracks):
            top = y + _NAME + place * _TRACK
            for stay in track:
                x, number = across(stay.begin), numbers[stay.container]
                width = max(across(stay.end) - x, 1.0)
                bars.append(Bar(x, top, width, _label(stay.container, number, width), number, stay))
        crosses = tuple(
            Cross(across(mark.at), _row_of(bars, mark.container, mark.at, y + _NAME), mark.at, mark.text)
            for mark in lane.marks
        )
        height = _NAME + max(len(lane.tracks), 1) * _TRACK + 6
        bands.append(HostBand(lane.host, y, height, tuple(bars), crosses))
        y += height
    ticks = tuple(
        Tick(WIDTH * part / 4, found.begin + (found.end - found.begin) * part / 4, anchor)
        for part, anchor in enumerate(("start", "middle", "middle", "middle", "end"))
    )
    return LineChart(y, tuple(bands), ticks)


def bin_chart(found: Distribution, room: float = 220.0) -> BinChart:
    """Rows from the least to the greatest; the fullest bin's bar is ``room`` long."""
    most = max(each.count for each in found.bins)
    rows = tuple(
        Row(22.0 * place, _between(each.low, each.high), room * each.count / most, each.count)
        for place, each in enumerate(found.bins)
    )
    return BinChart(22.0 * len(rows), rows)


def span(seconds: float) -> str:
    """A length of time as people say it.

    >>> span(0.0615), span(1.5), span(90.0)
    ('62 ms', '1.5 s', '90 s')
    """
    if abs(seconds) < 1:
        return f"{seconds * 1000:.3g} ms" if abs(seconds) < 0.01 else f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2g} s" if seconds < 10 else age(seconds)


def _between(low: float | None, high: float | None) -> str:
    if low is None:
        return "" if high is None else f"below {span(high)}"
    return f"{span(low)} or more" if high is None else f"{span(low)} – {span(high)}"


def _label(name: str, number: int, width: float) -> str:
    """The name, the number, or nothing: what there is room for."""
    for text in (line(name), f"{number}"):
        if sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text) * _LETTER + 8 <= width:
            return text
    return ""


def _row_of(bars: list[Bar], container: str, at: float, otherwise: float) -> float:
    return next(
        (bar.y for bar in bars if bar.stay.container == container and bar.stay.begin <= at <= bar.stay.end),
        otherwise,
    )
