import json
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from relocate_cli.clock import KINDS, alerts, make_clock, working_rates, working_thresholds
from relocate_cli.errors import ExitCode, UsageError

rates = st.floats(0.05, 300.0)
thresholds = st.floats(1e-6, 0.99)


@pytest.mark.parametrize(("threshold", "first"), [(0.01, 4), (0.05, 6), (0.1, 8)])
def test_the_papers_words_alert_at_the_papers_tick(threshold: float, first: int) -> None:
    clock = make_clock("threshold", 10, threshold)
    assert clock.first_alert == clock.mean == clock.max_gap == first
    assert clock.predictable


@pytest.mark.parametrize(("threshold", "first", "last", "bits"), [(0.05, 6, 14, 3.11), (0.1, 8, 11, 2.00)])
def test_truncated_clocks_of_rate_ten(threshold: float, first: int, last: int, bits: float) -> None:
    clock = make_clock("truncated", 10, threshold)
    assert (clock.first_alert, clock.max_gap) == (first, last)
    assert clock.entropy_bits == pytest.approx(bits, abs=0.006)
    assert not clock.predictable


def test_an_exponential_clock_of_mean_ten_has_the_entropy_of_its_geometric_form() -> None:
    assert make_clock("exponential", 10).entropy_bits == pytest.approx(4.69, abs=0.001)


@pytest.mark.parametrize(("rate", "threshold"), [(10, 0.2), (60, 0.1)])
@pytest.mark.parametrize("kind", ["threshold", "truncated"])
def test_what_never_fires_is_refused_with_what_would(kind: str, rate: float, threshold: float) -> None:
    with pytest.raises(UsageError, match="never fires") as refused:
        make_clock(kind, rate, threshold)
    assert refused.value.exit_code == ExitCode.USAGE
    _promises_hold(refused.value.hint, kind)


@pytest.mark.parametrize("kind", ["threshold", "cumulative"])
def test_what_fires_for_ever_is_refused_with_what_would_not(kind: str) -> None:
    with pytest.raises(UsageError, match="fires for ever") as refused:
        make_clock(kind, 2, 0.1)
    _promises_hold(refused.value.hint, kind)


def _promises_hold(hint: str, kind: str) -> None:
    for promise in hint.removeprefix("nearest that work: ").split(", or "):
        words = dict(zip(*[iter(promise.replace(" with", "").split())] * 2, strict=True))
        assert make_clock(kind, float(words["rate"]), float(words["threshold"])).mean >= 1


@given(kind=st.sampled_from(["truncated", "threshold", "cumulative"]), rate=rates, threshold=thresholds)
def test_every_pair_is_a_clock_that_fires_later_or_is_refused_with_pairs_that_are(
    kind: str, rate: float, threshold: float
) -> None:
    low, high = working_thresholds(kind, rate)
    try:
        clock = make_clock(kind, rate, threshold)
    except UsageError as refused:
        assert not low <= threshold * (1 - 1e-9) or not threshold * (1 + 1e-9) < high
        _promises_hold(refused.hint, kind)
        return
    assert low <= threshold * (1 + 1e-9) and threshold * (1 - 1e-9) < high
    assert 1 <= clock.first_alert <= clock.mean <= clock.max_gap < math.inf
    assert clock.pmf()[1].sum() == pytest.approx(1.0)


@given(kind=st.sampled_from(["truncated", "threshold"]), rate=rates, threshold=thresholds)
def test_working_rates_are_those_that_work(kind: str, rate: float, threshold: float) -> None:
    low, high = working_rates(kind, threshold)
    assume(min(abs(rate - low), abs(rate - high)) > 1e-6)
    if low < rate < high:
        assert make_clock(kind, rate, threshold).rate == rate
    else:
        with pytest.raises(UsageError):
            make_clock(kind, rate, threshold)


def test_at_an_integer_rate_the_two_equal_probabilities_count_as_equal() -> None:
    # pmf(λ) = pmf(λ - 1) exactly; with T there, neither exceeds T, and just below it, both do.
    for rate in (1, 5, 10, 37, 100):
        top = float(stats.poisson.pmf(rate, rate))
        assert alerts(rate, top).size == 0
        with pytest.raises(UsageError, match="never fires"):
            make_clock("truncated", rate, top)
        assert alerts(rate, top * (1 - 1e-9)).tolist() == [rate - 1, rate]


def test_a_threshold_of_exactly_the_chance_of_nothing_does_not_fire_at_once() -> None:
    assert make_clock("threshold", 2, math.exp(-2)).first_alert == 1
    assert make_clock("cumulative", 2, math.exp(-2)).first_alert == 1


@given(rate=rates, threshold=thresholds)
def test_alerts_are_those_of_scipys_poisson(rate: float, threshold: float) -> None:
    k = np.arange(2000)
    chance = stats.poisson.pmf(k, rate)
    assume(np.abs(chance / threshold - 1).min() > 1e-8)
    assert alerts(rate, threshold).tolist() == k[chance > threshold].tolist()


@given(rate=rates, threshold=thresholds)
def test_the_cumulative_clock_is_scipys(rate: float, threshold: float) -> None:
    steps = stats.poisson.cdf(np.arange(2000), rate)
    assume(threshold > steps[0] * (1 + 1e-8) and np.abs(steps / threshold - 1).min() > 1e-8)
    assert make_clock("cumulative", rate, threshold).first_alert == np.argmax(steps > threshold)


@pytest.mark.parametrize(("rate", "threshold"), [(10, 0.05), (10, 0.1), (0.7, 0.01), (40, 0.02)])
def test_truncated_samples_follow_their_pmf(rate: float, threshold: float) -> None:
    clock = make_clock("truncated", rate, threshold)
    ticks, chances = clock.pmf()
    drawn = clock.sample(np.random.default_rng(1), 50_000)
    seen = (drawn[:, None] == ticks).sum(axis=0)
    assert seen.sum() == drawn.size
    assert stats.chisquare(seen, chances * drawn.size).pvalue > 1e-3
    assert drawn.mean() == pytest.approx(clock.mean, rel=0.01)


def test_exponential_samples_follow_their_cdf() -> None:
    clock = make_clock("exponential", 10)
    drawn = clock.sample(np.random.default_rng(2), 20_000)
    assert stats.kstest(drawn, clock.cdf).pvalue > 1e-3


@given(kind=st.sampled_from(KINDS), rate=st.floats(2.0, 50.0))
def test_the_cdf_is_the_running_sum_of_the_pmf(kind: str, rate: float) -> None:
    assume(kind not in ("exponential", "static"))
    clock = make_clock(kind, rate, max(working_thresholds(kind, rate)[0] * 1.01, 0.01))
    ticks, chances = clock.pmf()
    assert clock.cdf(ticks) == pytest.approx(np.cumsum(chances))
    assert clock.cdf(ticks[0] - 0.5) == 0.0
    assert clock.cdf(ticks[-1] + 0.5) == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_shape_that_was_asked_and_the_seed_decides_them(kind: str) -> None:
    clock = make_clock(kind, 10, 0.05)
    assert clock.sample(np.random.default_rng(3), (4, 5)).shape == (4, 5)
    assert clock.sample(np.random.default_rng(3)).shape == ()
    again = [clock.sample(np.random.default_rng(3), 9).tolist() for _ in range(2)]
    assert again[0] == again[1]
    assert clock.sample(np.random.default_rng(3), 9).max() <= clock.max_gap


def test_periodic_is_every_rate_ticks_and_static_never() -> None:
    assert make_clock("periodic", 7.5).max_gap == make_clock("periodic", 7.5).mean == 7.5
    static = make_clock("static")
    assert static.mean == static.max_gap == math.inf
    assert static.cdf([1, 1e9]).tolist() == [0, 0]


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(UsageError, match="rate"):
        make_clock("truncated", rate, 0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_the_verb_describes_a_clock(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    from relocate_cli.cli.clock import clock

    clock(kind=kind, rate="10", threshold="0.05", as_json=True)
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert document["schema"] == "relocate/clock/v1"
    assert (document["kind"], document["rate"], document["threshold"]) == (kind, 10, 0.05)
    assert ("predictable" in printed.err) == (kind in ("threshold", "cumulative", "periodic"))
    clock(kind=kind, rate="10", threshold="0.05", as_json=False)
    assert "█" in capsys.readouterr().out or kind == "static"
