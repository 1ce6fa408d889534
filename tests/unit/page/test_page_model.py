from collections.abc import Callable
from typing import Any

from relocate_cli.page import model
from relocate_cli.plan import Outcome, Relocation

Moved = Callable[..., Relocation]
NOBODY = model.Known(None, None, (), "0")


def test_gaps_are_between_the_moves_of_one_container(moved: Moved) -> None:
    failed = moved("web", "h2>h1", 20.0, outcome=Outcome.ROLLED_BACK)
    entries = [moved("web", "h1>h2", 0.0), moved("db", "h1>h2", 5.0), failed, moved("web", "h2>h1", 30.0)]
    assert model.gaps(entries) == [30.0]


def test_containers_are_in_the_order_people_count_with_all_that_take_part(
    moved: Moved, build: Any, survey: Any, container: Any
) -> None:
    fleet = build(survey("h1", container("c3"), container("other", labels={})), survey("h2", container("c2")))
    failed = moved("c2", "h2>h1", 20.0, outcome=Outcome.FAILED)
    entries = [moved("c10", "h1>h2", 0.0), moved("c2", "h1>h2", 1.0, window_ms=80.0), failed]
    page = model.build(entries, model.Known(fleet, (), (), "0"), 100.0)
    assert page.containers == (
        model.ContainerLine("c2", 1, 1, "h2", 2.0, 80.0),
        model.ContainerLine("c3", 0, 0, "h1", None, None),
        model.ContainerLine("c10", 1, 0, "h2", 1.0, 60.0),
    )
    assert page.numbers == {"c2": 1, "c3": 2, "c10": 3}
    assert [host.name for host in page.hosts] == ["h1", "h2"]


def test_two_of_one_name_are_nobodys_place(moved: Moved, build: Any, survey: Any, container: Any) -> None:
    fleet = build(survey("h1", container("web")), survey("h2", container("web")))
    assert model.build([], model.Known(fleet, (), (), "0"), 100.0).containers == ()


def test_windows_are_those_of_moves(moved: Moved) -> None:
    entries = [
        moved("web", "h1>h2", 0.0, window_ms=60.0),
        moved("web", "h2>h1", 9.0, window_ms=9e3, outcome=Outcome.ROLLED_BACK),
    ]
    found = model.build(entries, NOBODY, 100.0).windows
    assert found is not None
    assert (found.total, found.spread.max) == (1, 0.06)


def test_moves_are_by_container_and_failures_the_newest_first(moved: Moved) -> None:
    entries = [
        moved(name, "h1>h2", float(at), outcome=outcome)
        for at, (name, outcome) in enumerate(
            [("c10", Outcome.MOVED), ("c2", Outcome.OPEN), ("c10", Outcome.FAILED), ("c2", Outcome.MOVED)]
        )
    ]
    page = model.build(entries, NOBODY, 100.0)
    assert [(entry.container, entry.started) for entry in page.moves] == [
        ("c2", 1.0),
        ("c2", 3.0),
        ("c10", 0.0),
        ("c10", 2.0),
    ]
    assert [entry.started for entry in page.failures] == [2.0, 1.0]


def test_since_is_what_was_asked_for_or_the_first_relocation(moved: Moved) -> None:
    entries = [moved("web", "h1>h2", 50.0)]
    found = [model.build(entries, NOBODY, 100.0, since).since for since in (0.0, 40.0)]
    assert found == [50.0, 40.0]
    assert model.build([], NOBODY, 100.0).since is None


def test_lists_are_bounded_and_say_of_how_many(moved: Moved) -> None:
    entries = [moved(f"c{n}", "h1>h2", float(n), outcome=Outcome.FAILED, reason=str(n)) for n in range(1500)]
    page = model.build(entries, NOBODY, 2000.0)
    assert (len(page.moves), page.total) == (model.MOVES, 1500)
    assert (len(page.failures), page.failures_of) == (model.FAILURES, 1500)
    assert (len(page.containers), page.containers_of) == (model.MOVES, 1500)
    assert len(page.reasons) == model.REASONS
