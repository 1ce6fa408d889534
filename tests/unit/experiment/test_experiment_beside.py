"""What is expected is what `relocate simulate` says under the same parameters."""

import pytest

from relocate_cli.experiment.beside import MEASURES, Facts, expect
from relocate_cli.experiment.declared import Declared, policies

FLAT = Facts([[0.0 if a == b else 0.5 for a in range(4)] for b in range(4)], (0, 2))


def test_the_threshold_clock_is_figure_4s() -> None:
    found = expect(Declared("time"), policies("time")["threshold"], FLAT, ())
    assert found.played == {}
    assert found.declared["resisted"].exact == pytest.approx(0.875)
    assert found.declared["resisted"].low <= 0.875 <= found.declared["resisted"].high
    assert found.declared["resisted_if_aligned"].value < 0.001
    assert set(found.declared) == set(MEASURES)


def test_static_resists_nothing_and_survives_where_nobody_is() -> None:
    found = expect(Declared("time"), policies("time")["static"], FLAT, (3.0,))
    assert found.declared["resisted"].value == 0.0
    assert found.declared["survives"].exact == 0.5
    assert found.declared["survives"].value == pytest.approx(0.5, abs=0.02)
    assert found.played == {}


def test_lateness_makes_stays_longer_and_looks_make_them_shorter() -> None:
    policy = policies("time")["threshold"]
    for late, look in ((11.0, 1.0), (5.0, 1.0)):
        found = expect(Declared("time", look=look), policy, FLAT, (late,))
        stay = 8 + (late - look) / 10
        assert found.played["resisted"].exact == pytest.approx(1 - (stay - 7) / stay)


def test_restarts_stay_where_they_are() -> None:
    found = expect(Declared("time"), policies("time")["restart"], FLAT, ())
    moved = expect(Declared("time"), policies("time")["threshold"], FLAT, ())
    assert found.declared["resisted"].exact == moved.declared["resisted"].exact
    assert found.declared["survives"].value > 0.4


def test_a_choice_that_flees_captured_hosts_survives_more() -> None:
    """0 and 2 are captured and alike; 1 and 3 are far from both, and near each other."""
    far = Facts([[0, 1, 0, 1], [1, 0, 1, 0.9], [0, 1, 0, 1], [1, 0.9, 1, 0]], (0, 2))
    declared = Declared("space", rate=4.9, attack_length=5.0)
    known = policies("space")
    uniform = expect(declared, known["random"], far, ()).declared["survives"]
    argmax = expect(declared, known["argmax"], far, ()).declared["survives"]
    assert uniform.exact is not None and uniform.low - 0.01 <= uniform.exact <= uniform.high + 0.01
    assert argmax.exact is None and argmax.low > 0 and argmax.value != uniform.value
