from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from relocate_cli.page.stays import Seen, Stay, timeline
from relocate_cli.plan import Outcome, Relocation

Moved = Callable[..., Relocation]


def stays(entries: list[Relocation], seen: dict[str, Seen] | None = None, now: float = 100.0) -> list[Stay]:
    found = timeline(entries, seen, now)
    assert found is not None
    every = [stay for lane in found.lanes for track in lane.tracks for stay in track]
    return sorted(every, key=lambda stay: (stay.container, stay.begin))


def test_nothing_was_moved() -> None:
    assert timeline([], {"web": Seen("h1", 0.0)}, 100.0) is None


def test_a_container_is_where_its_moves_have_taken_it(moved: Moved) -> None:
    assert stays([moved("web", "h1>h2", 10.0), moved("web", "h2>h1", 50.0)]) == [
        Stay("web", "h1", 10.0, 10.0),
        Stay("web", "h2", 11.0, 50.0),
        Stay("web", "h1", 51.0, 100.0),
    ]


def test_who_was_moved_by_others_did_not_stay_for_sure(moved: Moved) -> None:
    found = stays([moved("web", "h1>h2", 10.0), moved("web", "h3>h1", 50.0)])
    assert [(stay.host, stay.sure) for stay in found] == [("h1", True), ("h2", False), ("h1", True)]


def test_the_survey_says_whether_it_is_still_there(moved: Moved) -> None:
    entries = [moved("web", "h1>h2", 10.0)]
    sure = {
        host: stays(entries, {"web": Seen(host, 0.0)} if host else {})[-1].sure for host in ("h2", "h1", "")
    }
    assert sure == {"h2": True, "h1": False, "": False}


def test_who_never_moved_is_where_the_survey_found_it_since_it_started(moved: Moved) -> None:
    found = stays([moved("web", "h1>h2", 10.0)], {"db": Seen("h1", 40.0), "old": Seen("h1", 1.0)})
    assert Stay("db", "h1", 40.0, 100.0) in found
    assert Stay("old", "h1", 10.0, 100.0) in found


def test_an_attempt_that_failed_is_a_mark_and_the_stay_goes_on(moved: Moved) -> None:
    failed = moved("web", "h1>h2", 20.0, outcome=Outcome.ROLLED_BACK, reason="no space")
    found = timeline([failed], None, 100.0)
    assert found is not None
    (lane,) = found.lanes
    assert [(mark.at, mark.text) for mark in lane.marks] == [(20.0, "rolled_back: no space")]
    assert lane.tracks == ((Stay("web", "h1", 20.0, 100.0),),)


def test_hosts_and_containers_are_in_the_order_people_count(moved: Moved) -> None:
    found = timeline([moved("c10", "h10>h2", 1.0), moved("c2", "h2>h10", 2.0)], None, 9.0)
    assert found is not None
    assert [lane.host for lane in found.lanes] == ["h2", "h10"]
    assert found.containers == ("c2", "c10")


def test_it_is_bounded_and_says_by_how_much(moved: Moved) -> None:
    entries = [moved(f"c{number}", "h1>h2", float(number)) for number in range(10)]
    found = timeline(entries, None, 99.0, moves=5, containers=2)
    assert found is not None
    assert (found.moves, found.of, found.left_out, found.begin) == (5, 10, 3, 5.0)
    assert found.containers == ("c8", "c9")


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.floats(0, 50)), min_size=1))
def test_no_track_holds_two_at_a_time_and_no_stay_ends_before_it_begins(
    drawn: list[tuple[str, int, float]],
) -> None:
    entries = [
        Relocation("", name, f"h{host}", f"h{host + 1}", started=at, ended=at - 1, outcome=Outcome.MOVED)
        for name, host, at in sorted(drawn, key=lambda entry: entry[2])
    ]
    found = timeline(entries, None, 60.0)
    assert found is not None
    for lane in found.lanes:
        for track in lane.tracks:
            assert all(first.end <= second.begin for first, second in pairwise(track))
            assert all(found.begin <= stay.begin <= stay.end <= found.end for stay in track)
