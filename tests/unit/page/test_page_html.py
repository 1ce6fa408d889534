import re
from collections.abc import Callable
from datetime import UTC
from importlib.resources import files
from typing import Any

import pytest
from strict import Strict

from relocate_cli.page import html, model
from relocate_cli.plan import Outcome, Relocation

Moved = Callable[..., Relocation]
HOSTILE = (
    "<script>alert(1)</script>",
    "</title></svg><img src=x onerror=alert(1)>",
    '"\' onload=alert(1) x="',
    "]]><!--",
    "{{ 7*191 }}{% raw %}",
    "&lt;b&gt;",
    "a\x00b\x1b[31m\u202egnp.exe",
    "名" * 30,
    "x" * 5000,
)
NOBODY = model.Known(None, None, (), "0.1.0")


def page(entries: list[Relocation], known: model.Known = NOBODY, now: float = 1e6) -> str:
    return html.render(model.build(entries, known, now), UTC)


def test_the_template_is_in_the_package() -> None:
    assert "<!DOCTYPE html>" in files("relocate_cli").joinpath(html.TEMPLATE).read_text(encoding="utf-8")


def test_a_page_of_nothing_is_a_page() -> None:
    found = Strict(page([]))
    assert found.wrong == []
    assert "Nothing was moved yet." in found.text
    assert found.svgs == []


def test_it_shows_what_the_journal_has(moved: Moved, build: Any, survey: Any, container: Any) -> None:
    entries = [
        moved("web", "h1>h2", 1e6 - 3600),
        moved("web", "h2>h1", 1e6 - 1800, outcome=Outcome.ROLLED_BACK, reason="no space left"),
        moved("web", "h2>h1", 1e6 - 600, window_ms=75.0),
        moved("db", "h1>h2", 1e6 - 500, outcome=Outcome.OPEN),
    ]
    known = model.Known(
        build(survey("h1", container("web")), survey("h2", container("db"))),
        (model.Overdue("db", 1e6 - 9000, 840.0),),
        (model.Parameter("clock.rate", "10", "relocate.toml"),),
        "0.1.0",
    )
    found = Strict(page(entries, known))
    assert found.wrong == []
    assert len(found.svgs) == 3
    for text in (
        "no space left",
        "↺ rolled back",
        "? open",
        "clock.rate",
        "relocate 0.1.0",
        "6.12",
        "14 min",
    ):
        assert text in found.text
    assert "Made 1970-01-12 13:46:40 UTC" in found.text
    assert "since 1970-01-12 12:46:40." in found.text


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_data(name: str, build: Any, survey: Any) -> None:
    entries = [
        Relocation(
            *(name, name, name, name + "2"), started=1e6 - 60, outcome=outcome, reason=name, window_ms=1.0
        )
        for outcome in Outcome
    ]
    known = model.Known(
        build(survey(name, error=name)),
        (model.Overdue(name, 0.0, 1.0),),
        (model.Parameter(name, name, name),),
        name,
    )
    written = page(entries, known)
    found = Strict(written)
    assert found.wrong == []
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", written)
    assert "1337" not in found.text
    if name.isprintable() and len(name) <= html.NAME:
        assert found.text.count(name) > 10  # as it is, to the letter
    else:
        assert "x" * html.SENTENCE not in found.text


def test_it_bounds_a_large_journal(moved: Moved) -> None:
    many = [
        moved(
            f"{number % 3000}{'<' * 255}",
            "{0}{1}>{0}{2}".format(f"host{number % 40}", "&" * 255, '"' * 255),
            1e6 - 60_000 + number,
            outcome=Outcome.ROLLED_BACK if number % 3 else Outcome.MOVED,
            reason=f"{'reason ' * 140}{number}",
        )
        for number in range(50_000)
    ]
    written = page(many)
    assert len(written.encode()) < 4_000_000
    found = Strict(written)
    assert found.wrong == []
    assert "Of 50000 relocations, the last 1000 are drawn." in found.text
    assert "The last 1000 of 50000" in found.text
    assert "The last 200 of 33333, the newest first" in found.text


def test_nothing_rests_on_colour_alone(moved: Moved) -> None:
    written = page([moved("web", "h1>h2", 1e6 - 3600)])
    assert len(re.findall(r'<rect class="bar', written)) == len(
        re.findall(r"<g><title>1 web on h\d", written)
    )
    assert re.search(r'<text class="on on0"[^>]*>web</text>', written)
    style = re.findall(r"\.c\d \{ fill: (#\w+)", written)
    assert set(style) == {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
    for kind in ("prefers-color-scheme: dark", "@media print", "max-width: 40rem", "width=device-width"):
        assert kind in written
