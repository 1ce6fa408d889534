from collections.abc import Callable

from relocate_cli.page import bins, draw
from relocate_cli.page.stays import timeline
from relocate_cli.plan import Outcome, Relocation

Moved = Callable[..., Relocation]


def chart(*entries: Relocation) -> draw.LineChart:
    found = timeline(entries, None, 100.0)
    assert found is not None
    return draw.line_chart(found)


def test_time_goes_to_the_right_and_everything_is_within(moved: Moved) -> None:
    found = chart(moved("web", "h1>h2", 0.0), moved("db", "h2>h1", 50.0))
    bars = {(bar.stay.container, bar.stay.host): bar for band in found.bands for bar in band.bars}
    assert bars["db", "h1"].x == 510.0
    assert bars["db", "h1"].width == 490.0
    for band in found.bands:
        for bar in band.bars:
            assert band.y <= bar.y <= band.y + band.height <= found.height
            assert 0 <= bar.x <= bar.x + bar.width <= draw.WIDTH + 1


def test_a_bar_bears_its_name_or_its_number_or_nothing(moved: Moved) -> None:
    name = "a-rather-long-name-of-a-container"
    moves = [moved(name, "h1>h2", 0.0), moved(name, "h2>h1", 60.0), moved(name, "h1>h2", 64.0)]
    labels = {bar.stay.begin: bar.label for band in chart(*moves).bands for bar in band.bars}
    assert labels == {0.0: "", 1.0: name, 61.0: "1", 65.0: name}


def test_wide_letters_need_twice_the_room(moved: Moved) -> None:
    labels = {
        letter: chart(moved(letter * 20, "h1>h2", 79.0)).bands[1].bars[0].label for letter in ("a", "名")
    }
    assert labels["a"] == "a" * 20
    found = chart(moved("a" * 20, "h1>h2", 0.0), moved("a" * 20, "h2>h1", 20.0))
    assert "a" * 20 in {bar.label for bar in found.bands[1].bars}
    found = chart(moved("名" * 20, "h1>h2", 0.0), moved("名" * 20, "h2>h1", 20.0))
    assert {bar.label for bar in found.bands[1].bars} == {"1"}


def test_containers_differ_in_colour_or_outline(moved: Moved) -> None:
    found = chart(*(moved(f"c{number}", "h1>h2", 0.0) for number in range(21)))
    assert len({(bar.colour, bar.outline) for band in found.bands for bar in band.bars}) == 21


def test_a_failed_attempt_lies_on_its_containers_bar(moved: Moved) -> None:
    moves = [moved("db", "h1>h2", 0.0), moved("web", "h1>h2", 30.0, outcome=Outcome.FAILED, reason="why")]
    band = chart(*moves).bands[0]
    (cross,) = band.crosses
    assert (cross.x, cross.y, cross.text) == (300.0, band.bars[1].y, "failed: why")


def test_a_distribution_lies_row_by_row() -> None:
    found = bins.distribution([0.06, 0.06, 0.08, 1000.0], bins.WINDOW_EDGES)
    assert found is not None
    rows = draw.bin_chart(found, room=200.0).rows
    assert (rows[0].text, rows[0].length, rows[0].count) == ("50 ms – 70 ms", 200.0, 2)
    assert (rows[-1].text, rows[-1].length) == ("70 s or more", 100.0)
