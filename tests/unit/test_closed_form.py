"""Every closed form against the engine: they differ by less than four standard errors, over a grid."""

import math

import numpy as np
import pytest

from relocate_cli.clock import DiscreteClock, make_clock, poisson_pmf
from relocate_cli.errors import UsageError
from relocate_cli.simulate import closed_form
from relocate_cli.simulate.engine import Tally, simulate
from relocate_cli.simulate.laws import Empirical, make_law
from relocate_cli.simulate.model import Attacker, Gaps, Scenario, anywhere, found_anywhere, in_place
from relocate_cli.simulate.run import generator

TRIALS = 60_000
CLOCKS = [("threshold", 10, 0.1), ("truncated", 10, 0.05), ("exponential", 6, 0.1), ("periodic", 9, 0.1)]
LAWS = [("constant", 7.0, 0.0), ("exponential", 5.0, 0.0), ("gamma", 6.0, 4.0), ("lognormal", 6.0, 0.8)]


def play(scenario: Scenario, trials: int = TRIALS) -> Tally:
    return simulate(scenario, generator(11), trials)


def near(tally: Tally, success: float) -> bool:
    error = math.sqrt(max(success * (1 - success), 1e-9) / tally.trials)
    return abs(tally.success - success) < 4 * error + 1e-9


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("law", LAWS)
def test_an_attack_on_a_captured_target(clock, law):
    gaps, length = Gaps(make_clock(*clock), 1.3), make_law(*law)
    attempt = {"place": anywhere(30, 10), "law": length, "first": True}
    random = play(Scenario(gaps, phase="random", **attempt))
    aligned = play(Scenario(gaps, phase="aligned", **attempt))
    assert near(random, closed_form.success_random_phase(gaps.clock, length, 1.3))
    assert near(aligned, closed_form.success_aligned(gaps.clock, length, 1.3))


def test_measured_lengths_are_a_law_too():
    gaps, law = Gaps(make_clock("truncated", 10, 0.05)), Empirical(8.0, np.array([2.0, 9.0, 13.0]))
    scenario = Scenario(gaps, anywhere(30, 10), law, first=True)
    assert near(play(scenario), closed_form.success_random_phase(gaps.clock, law))


@pytest.mark.parametrize(("length", "resists"), [(9, 0.8207), (10, 0.8749), (11, 0.9166)])
def test_poisson_gaps_without_a_threshold(length, resists):
    k = np.arange(60.0)
    chances = poisson_pmf(k, 10)
    gaps = Gaps(DiscreteClock("poisson", 10.0, 0.0, k, chances / chances.sum()))
    assert closed_form.success_poisson(10, length) == pytest.approx(1 - resists, abs=1e-4)
    law = make_law("constant", float(length))
    assert near(play(Scenario(gaps, anywhere(30, 10), law, first=True)), 1 - resists)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("carry", [0.3, 1.0])
def test_an_attack_that_survives_some_moves(law, carry):
    length = make_law(*law)
    scenario = Scenario(Gaps(make_clock("exponential", 6)), anywhere(12, 7, carry), length, first=True)
    assert near(play(scenario), closed_form.success_spread(length, 6.0, 12, 7, carry))


@pytest.mark.parametrize(("clock", "law"), [(CLOCKS[0], LAWS[0]), (CLOCKS[1], LAWS[0]), (CLOCKS[2], LAWS[2])])
def test_an_attacker_who_chases(clock, law):
    gaps, length = Gaps(make_clock(*clock)), make_law(*law)
    scenario = Scenario(gaps, found_anywhere(), length, Attacker(0.4), phase="aligned", first=True)
    assert near(play(scenario), closed_form.success_chasing(gaps.clock, length, 0.4))


def test_chasing_has_no_closed_form_for_other_laws():
    with pytest.raises(UsageError, match=r"^attack: "):
        closed_form.success_chasing(make_clock("periodic", 9), make_law("exponential"), 1.0)


@pytest.mark.parametrize("clock", CLOCKS)
def test_time_to_compromise(clock):
    gaps, law = Gaps(make_clock(*clock)), make_law("exponential", 5.0)
    tally = play(Scenario(gaps, anywhere(30, 6), law, phase="aligned"), 20_000)
    expected = closed_form.time_to_compromise(gaps.clock, law, 30, 6)
    assert tally.won == tally.trials
    assert abs(tally.mean_time - expected) < 4 * tally.time_error


def test_time_to_compromise_forgets_the_rate_if_all_is_memoryless():
    for rate in (0.5, 50.0):
        clock = make_clock("exponential", rate)
        assert closed_form.time_to_compromise(clock, make_law("exponential", 1.0), 30, 3) == pytest.approx(10)


def test_an_attack_longer_than_every_gap_never_succeeds():
    clock = make_clock("threshold", 10, 0.1)
    assert closed_form.time_to_compromise(clock, make_law("constant", 9.0), 30, 3) == math.inf


def test_an_infinite_mean_is_refused_where_nothing_bounds_the_gap():
    law = Empirical(math.inf, np.array([1.0, math.inf]))
    with pytest.raises(UsageError, match=r"^attack: its mean is infinite"):
        closed_form.time_to_compromise(make_clock("static"), law, 30, 3)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("horizon", [1.5, 2.0, 6.3])
def test_progress_that_is_kept(keep, horizon):
    law = make_law("constant", 1.0)
    gaps = Gaps(make_clock("exponential", 0.6))
    scenario = Scenario(gaps, anywhere(8, 8, keep), law, Attacker(carry=keep), horizon)
    assert near(play(scenario), closed_form.compromised_by(horizon, 1.0, 1 / 0.6, keep))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("carry", [0.0, 0.5])
def test_survival_from_a_random_start(law, carry):
    length = make_law(*law)
    place = anywhere(30, 10, carry)
    scenario = Scenario(Gaps(make_clock("exponential", 4.0)), place, length, horizon=21.0, start="random")
    survives = closed_form.survival(21.0, length, 4.0, 30, 10, carry=carry)[-1]
    assert near(play(scenario), 1 - survives)


def test_survival_agrees_with_the_series_if_every_host_is_captured():
    law = make_law("constant", 1.0)
    survives = closed_form.survival(3.3, law, 0.7, 9, 9, steps=4000)[-1]
    assert 1 - survives == pytest.approx(closed_form.compromised_by(3.3, 1.0, 1 / 0.7), abs=1e-3)


def test_restarts_in_place_are_moves_among_captured_hosts_only():
    law, gaps = make_law("constant", 5.0), Gaps(make_clock("exponential", 4.0))
    scenario = Scenario(gaps, in_place(30, 10), law, horizon=21.0, start="random")
    stays = closed_form.survival(21.0, law, 4.0, 2, 2, captured=1.0)[-1]
    assert near(play(scenario), (1 - stays) / 3)


def test_an_attacker_who_moves_too_adds_his_rate():
    law = make_law("gamma", 5.0, 3.0)
    moves = Attacker(gaps=Gaps(make_clock("exponential", 9.0)))
    scenario = Scenario(Gaps(make_clock("exponential", 6.0)), anywhere(30, 10), law, moves, first=True)
    assert near(play(scenario), closed_form.success_spread(law, 1 / (1 / 6 + 1 / 9), 30, 10, 0.0))


@pytest.mark.parametrize(
    ("law", "needed"),
    [(("constant", 1.0), 2.040), (("exponential", 1.0), 6.692), (("gamma", 1.0, 4.0), 2.662)],
)
def test_the_rate_that_resists_87_percent(law, needed):
    assert 1 / closed_form.mean_gap_for(0.87, make_law(*law)) == pytest.approx(needed, abs=1e-3)


def test_flipit():
    rng = generator(3)
    rate, period, cost = 0.8, 1.7, 0.4
    held = np.minimum(rng.exponential(1 / rate, TRIALS), period)
    error = held.std() / math.sqrt(TRIALS) / period
    assert abs(held.mean() / period - cost / period - closed_form.flipit_gain(rate, cost, period)) < 4 * error
    assert closed_form.flipit_quits(2.5, 0.4) and not closed_form.flipit_quits(2.4, 0.4)
    periods = np.geomspace(1e-3, 1e3, 200)
    assert max(closed_form.flipit_gain(2.5, 0.4, period) for period in periods) < 1e-12
    assert max(closed_form.flipit_gain(2.4, 0.4, period) for period in periods) > 0


def test_the_numbers_that_the_documentation_names():
    seven, ten = make_law("constant", 7.0), make_law("constant", 10.0)
    threshold, truncated = make_clock("threshold", 10, 0.1), make_clock("truncated", 10, 0.05)
    assert 1 - closed_form.success_random_phase(threshold, seven) == pytest.approx(0.875)
    assert closed_form.success_aligned(threshold, seven) == 1.0
    assert 1 - closed_form.success_aligned(truncated, ten) == pytest.approx(0.460, abs=5e-4)
    assert 1 - closed_form.success_random_phase(truncated, ten) == pytest.approx(0.9126, abs=5e-5)
