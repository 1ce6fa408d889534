"""What an attacker saw is what his log says, no more."""

import pytest

from relocate_cli.errors import RelocateError
from relocate_cli.experiment.sights import Look, longest_pause, read, sights


def looks(*found: str, every: float = 1.0) -> tuple[Look, ...]:
    """One look a second; each text has what answered, such as ``a/1=172.17.1.2``."""
    return read("eve", "".join(f"{100 + every * place:.3f} {line}\n" for place, line in enumerate(found)))


A, B = "a/1=172.17.1.2", "b/9=172.17.1.3"


def test_a_target_is_seen_from_the_first_look_to_the_last() -> None:
    (sight,) = sights("eve", looks("", A, A, A, "", ""), 0, 1000)
    assert (sight.attacker, sight.target, sight.address) == ("eve", "a", "172.17.1.2")
    assert (sight.begin, sight.end, sight.open) == (101, 103, False)
    assert sight.seconds == 2


def test_one_look_without_an_answer_ends_nothing_two_do() -> None:
    assert [sight.seconds for sight in sights("eve", looks(A, "", A), 0, 1000)] == [2]
    assert [sight.seconds for sight in sights("eve", looks(A, "", "", A), 0, 1000)] == [0, 0]


def test_who_is_in_sight_at_the_end_may_stay_longer() -> None:
    assert [sight.open for sight in sights("eve", looks(A, A, ""), 0, 1000)] == [True]
    assert [sight.open for sight in sights("eve", looks(A, "", ""), 0, 1000)] == [False]


def test_another_process_or_another_address_is_another_stay() -> None:
    restarted = "a/2=172.17.1.2"
    moved = "a/1=172.17.1.9"
    for other in (restarted, moved):
        found = sights("eve", looks(A, A, other, other), 0, 1000)
        assert [(sight.begin, sight.end) for sight in found] == [(100, 101), (102, 103)]


def test_targets_are_told_apart_and_ordered_by_their_beginning() -> None:
    found = sights("eve", looks(A, f"{A} {B}", f"{A} {B}"), 0, 1000)
    assert [(sight.target, sight.begin) for sight in found] == [("a", 100), ("b", 101)]


def test_only_the_turn_counts() -> None:
    (sight,) = sights("eve", looks(A, A, A, A, A), 101, 103)
    assert (sight.begin, sight.end, sight.open) == (101, 103, True)


@pytest.mark.parametrize("line", ["soon a/1=x", "1.0 a", "1.0 a=x", "1.0 a/1=x=y", "inf a/1=x", ""])
def test_a_line_that_is_no_look_is_named(line: str) -> None:
    with pytest.raises(RelocateError, match="line 2"):
        read("eve", f"1.0 {A}\n{line}\n")


def test_a_line_that_was_not_ended_is_left_out() -> None:
    assert len(read("eve", f"1.0 {A}\n2.0 a/1=172.1")) == 1
    assert read("eve", "1.0") == ()


def test_blindness_is_the_longest_pause_of_one_attacker() -> None:
    apart = looks(A, A, every=3.0)
    assert longest_pause([looks(A, A), apart]) == 3
    assert longest_pause([(), looks(A)]) == 0
