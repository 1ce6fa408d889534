"""The page needs nothing else, says everything, and escapes what is not its own."""

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from relocate_cli.experiment import page
from relocate_cli.experiment.result import Result
from relocate_cli.experiment.turn import Played

Make = Callable[..., Result]
Play = Callable[..., Played]
VOID = {"meta", "line", "circle", "path", "rect", "br", "link", "img"}


class Tags(HTMLParser):
    """Every element and attribute; fails on one that is not closed in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, (tag, self.open)
        self.open.pop()


def parsed(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    return tags


def test_it_is_well_formed_and_loads_and_runs_nothing(found: Make, played: Play) -> None:
    text = page.render(found(played("static", away=101, moves=()), played(), played("exponential", away=3)))
    tags = parsed(text)
    names = {tag for tag, _ in tags.seen}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    attributes = {name for _, found_here in tags.seen for name in found_here}
    assert not [name for name in attributes if name.startswith("on") or name in ("src", "href", "xlink:href")]
    assert "url(" not in text and "@import" not in text
    assert sum(tag == "svg" for tag, _ in tags.seen) == 7, "three figures, three time lines, gaps"


def test_hostile_names_stay_text(found: Make, played: Play) -> None:
    name = "\"><script>alert(1)</script>&lt;'x"
    turn = played(target=name, looks={}, errors=(f"{name} failed",))
    text = page.render(found(turn))
    assert "<script" not in text and "&lt;script&gt;" in text
    assert not {tag for tag, _ in parsed(text).seen} & {"script"}


def test_shapes_and_words_tell_the_marks_apart_without_colour(found: Make) -> None:
    text = page.render(found())
    for shape in ('<circle class="live"', '<path class="declared"', '<rect class="played"'):
        assert shape in text
    assert "simulated as declared 0.500, exact 0.500" in text and "live 0." in text
    assert "viewport" in text and "@media print" in text


def test_hosts_are_counted_as_people_count(found: Make, played: Play) -> None:
    entry = found().verdicts[0]
    line = page.line(entry, ("host10", "host2", "host1"), 20.0)
    assert [band.host for band in line.bands] == ["host1", "host2", "host10"]


def test_a_stay_ends_where_the_next_begins_and_a_sight_lies_in_it(found: Make) -> None:
    entry = found().verdicts[0]
    stays = [(stay.host, stay.begin, stay.end) for stay in page.stays(entry) if stay.target == "target1"]
    assert stays == [("host1", 1000, 1040), ("host2", 1042, 1100)]
    late = replace(entry.played, end=1041.0)
    assert [stay.host for stay in page.stays(replace(entry, played=late)) if stay.target == "target1"] == [
        "host1"
    ]
    band = page.line(entry, ("host1", "host2"), 20.0).bands[0]
    assert [bar.kind for bar in band.bars] == ["stay", "stay", "won"]
    assert [bar.kind for bar in page.line(entry, ("host1",), 60.0).bands[0].bars] == ["stay", "stay", "sight"]


def test_every_mark_lies_on_the_axis(found: Make) -> None:
    for exact in (0.0, 1.0):
        for row in page.figure(found(exact=exact), "resisted").rows:
            for mark in row.marks:
                if mark.kind != "live":
                    assert mark.low >= page._LEFT - 10 and mark.high <= page.WIDTH + 10


def test_bins_count_every_gap_once() -> None:
    bins = page.bins([70.0, 74.9, 75.0, 1000.0])
    assert sum(each.count for each in bins) == 4 and len(bins) <= 21
    assert page.bins([]) == []
    assert [(each.text, each.count) for each in page.bins([80.0])] == [("75–100 ms", 1)]


@pytest.mark.parametrize("kind", ["time", "space"])
def test_the_papers_claim_is_beside_the_headline(kind: str, found: Make, played: Play) -> None:
    from relocate_cli.experiment.declared import Declared

    declared = Declared(kind, attack_length=4.0, tick=5.0, horizon=10.0)  # type: ignore[arg-type]
    name = "threshold" if kind == "time" else "high"
    turns = [played("static", away=101, moves=(), declared=declared), played(name, declared=declared)]
    text = page.render(found(*turns, declared=declared))
    assert len(re.findall(r'<line class="claim"', text)) == 1
    assert "reproduced" not in text and "matched under these declared parameters" in text
