"""The judge against turns whose verdict is known, and against the closed forms."""

import numpy as np
import pytest

from relocate_cli.clock import make_clock
from relocate_cli.experiment import judge
from relocate_cli.experiment.judge import Turn, share
from relocate_cli.experiment.sights import Sight
from relocate_cli.simulate import closed_form
from relocate_cli.simulate.engine import wilson
from relocate_cli.simulate.laws import make_law


def seen(*spans: tuple[float, float], target: str = "a", still: bool = False) -> list[Sight]:
    return [Sight("eve", target, "172.17.1.2", begin, end, still) for begin, end in spans]


def test_a_stay_of_ten_resists_seven_of_ten_beginnings_of_an_attack_of_three_and_none_if_aligned() -> None:
    turn = Turn(("a",), 0, 100, 3)
    stay = seen((10, 20))
    assert judge.resisted(turn, stay).value == pytest.approx(0.3)
    assert judge.resisted_if_aligned(turn, stay).value == 0
    assert judge.resisted_if_aligned(turn, seen((10, 12))).value == 1


def test_a_target_that_never_leaves_resists_nothing_however_short_the_turn() -> None:
    for length in (5, 20, 100):
        turn = Turn(("a",), 0, length, 3)
        for last_look in (length, length - 0.6):
            assert judge.resisted(turn, seen((0, last_look), still=True)).value == 0


def test_attacks_whose_end_nobody_saw_do_not_count() -> None:
    turn = Turn(("a",), 0, 10, 3)
    found = judge.resisted(turn, seen((8, 10), still=True))
    assert (found.value, found.parts) == (None, 0)
    assert judge.resisted_if_aligned(turn, seen((8, 10), still=True)).value is None


def test_survival_is_of_windows_and_of_targets_that_nobody_saw_too() -> None:
    turn = Turn(("a", "b"), 0, 20, 3)
    found = judge.survives(turn, seen((8, 12)), 10)
    assert (found.value, found.parts) == (1.0, 2), "four seconds over two windows win in neither"
    found = judge.survives(turn, seen((5, 9)), 10)
    assert (found.value, found.parts) == (0.75, 2)
    assert judge.windows(turn, 6) == 3


def test_another_targets_sight_does_not_count_against_it() -> None:
    turn = Turn(("a", "b"), 0, 10, 3)
    assert judge.survives(turn, seen((0, 9), target="b"), 10).value == 0.5


def test_no_sight_nothing_to_judge() -> None:
    turn = Turn(("a",), 0, 10, 3)
    assert judge.resisted(turn, []).value is None
    assert judge.survives(turn, [], 10).value == 1


def test_a_plain_proportion_has_wilsons_interval() -> None:
    found = share([(1.0, 1.0)] * 30 + [(0.0, 1.0)] * 10)
    low, high = wilson(30, 40)
    assert found.value == 0.75
    assert (found.low, found.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


def test_many_moments_of_few_stays_are_worth_few() -> None:
    found = share([(0.0, 50.0), (50.0, 50.0), (0.0, 50.0), (50.0, 50.0)])
    assert found.value == 0.5 and found.worth <= 4
    assert found.high - found.low > 0.6


@pytest.mark.parametrize(("kind", "length"), [("threshold", 7.0), ("truncated", 9.0), ("exponential", 5.0)])
def test_long_logs_agree_with_the_closed_forms(kind: str, length: float) -> None:
    clock, law = make_clock(kind, 10, 0.1), make_law("constant", length)
    ends = np.cumsum(clock.sample(np.random.default_rng(1), 4000))
    stays = seen(*zip([0.0, *ends[:-1].tolist()], ends.tolist(), strict=True))
    turn = Turn(("a",), 0, float(ends[-1]), length)
    for found, exact in (
        (judge.resisted(turn, stays), 1 - closed_form.success_random_phase(clock, law)),
        (judge.resisted_if_aligned(turn, stays), 1 - closed_form.success_aligned(clock, law)),
    ):
        assert found.value is not None
        assert found.low - 0.01 <= exact <= found.high + 0.01


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    clock, law = make_clock("exponential", 5, 0.1), make_law("constant", 5.0)
    exact, rng, held, runs = (
        1 - closed_form.success_random_phase(clock, law),
        np.random.default_rng(2),
        0,
        300,
    )
    for _ in range(runs):
        ends = np.cumsum(clock.sample(rng, 60))
        stays = seen(*zip([0.0, *ends[:-1].tolist()], ends.tolist(), strict=True))
        found = judge.resisted(Turn(("a",), 0, float(ends[-1]), 5.0), stays)
        held += found.low <= exact <= found.high
    assert held / runs > 0.88
