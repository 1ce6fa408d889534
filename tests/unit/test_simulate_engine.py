"""The engine and how its trials are spread: the same numbers, whatever carries them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relocate_cli.clock import make_clock
from relocate_cli.errors import UsageError
from relocate_cli.simulate.engine import Tally, simulate, wilson
from relocate_cli.simulate.laws import make_law
from relocate_cli.simulate.model import Attacker, Gaps, Scenario, anywhere, found_anywhere
from relocate_cli.simulate.run import TASK, Job, Means, generator, run

SCENARIO = Scenario(
    Gaps(make_clock("truncated", 10, 0.05)),
    anywhere(30, 10, 0.5),
    make_law("gamma", 12.0, 3.0),
    Attacker(carry=0.5),
    horizon=60.0,
    start="random",
    curve=(0.0, 20.0, 40.0, 60.0),
)


def same(one: Tally, other: Tally) -> bool:
    return one.curve.tolist() == other.curve.tolist() and replace(one, curve=0) == replace(other, curve=0)


def test_the_number_of_workers_cannot_be_seen():
    jobs = [Job(SCENARIO, 2 * TASK + 17), Job(replace(SCENARIO, phase="aligned"), 5000)]
    one, two = (run(jobs, Means(7, workers)) for workers in (1, 2))
    assert all(same(a, b) for a, b in zip(one, two, strict=True))
    assert [tally.trials for tally in one] == [2 * TASK + 17, 5000]
    assert not same(one[0], run(jobs, Means(8, 1))[0])


def test_a_dask_cluster_gives_the_same_numbers():
    distributed = pytest.importorskip("distributed")
    jobs = [Job(SCENARIO, TASK + 100), Job(replace(SCENARIO, phase="aligned"), 500)]
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        there = run(jobs, Means(7, dask=cluster.scheduler_address))
    assert all(same(a, b) for a, b in zip(there, run(jobs, Means(7, 1)), strict=True))


def test_nobody_at_the_dask_address(monkeypatch):
    pytest.importorskip("distributed")
    with pytest.raises(UsageError, match=r"^dask: "):
        run([Job(SCENARIO, 10)], Means(7, dask="nonsense://nowhere"))


@pytest.mark.parametrize(("means", "name"), [(Means(-1), "seed"), (Means(1, -1), "workers")])
def test_bad_means_are_named(means, name):
    with pytest.raises(UsageError, match=f"^{name}: "):
        run([Job(SCENARIO, 10)], means)


def test_progress_counts_every_task():
    seen = []
    run([Job(SCENARIO, TASK + 1)], Means(1, 1, progress=lambda done, whole: seen.append((done, whole))))
    assert seen == [(1, 2), (2, 2)]


def test_the_curve_ends_where_the_count_does():
    tally = simulate(SCENARIO, generator(1), 20_000)
    assert tally.curve.tolist() == sorted(tally.curve.tolist())
    assert (tally.curve[0], tally.curve[-1]) == (0, tally.won)


def test_nothing_succeeds_without_time_and_everything_with_it():
    still = replace(SCENARIO, gaps=Gaps(make_clock("static")), start="captured")
    assert simulate(still, generator(1), 1000).success > 0.99
    assert simulate(replace(still, horizon=1e-9), generator(1), 1000).won == 0


def test_relocations_are_counted_up_to_the_horizon():
    never = replace(
        SCENARIO, law=make_law("constant", 59.0), gaps=Gaps(make_clock("periodic", 7.0)), phase="aligned"
    )
    assert simulate(never, generator(1), 100).relocations == 800  # at 7, 14, … 56


def test_an_attacker_who_moves_is_not_counted_as_a_relocation():
    moving = Attacker(gaps=Gaps(make_clock("exponential", 5.0)))
    scenario = replace(SCENARIO, attacker=moving, gaps=Gaps(make_clock("static")))
    assert simulate(scenario, generator(1), 1000).relocations == 0


def test_a_chasing_attacker_who_keeps_progress_succeeds_more():
    scenario = replace(SCENARIO, place=found_anywhere(0.0), attacker=Attacker(1.0))
    keeps = replace(scenario, place=found_anywhere(0.9))
    forgets, kept = (simulate(entry, generator(2), 20_000).success for entry in (scenario, keeps))
    assert kept > forgets + 0.05


def test_residuals_of_a_gap():
    gaps = Gaps(make_clock("truncated", 10, 0.05), 2.0)
    ticks, chances = gaps.clock.pmf()
    found = gaps.residual(generator(4), 200_000)
    expected = 2.0 * (chances @ ticks**2) / (chances @ ticks) / 2
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(len(found))


def test_too_many_moves_are_refused():
    with pytest.raises(UsageError, match=r"^horizon: "):
        replace(SCENARIO, horizon=1e12)


@given(st.integers(1, 5000), st.data())
def test_wilsons_interval_holds_the_share(trials, data):
    count = data.draw(st.integers(0, trials))
    low, high = wilson(count, trials)
    assert 0 <= low <= count / trials <= high <= 1 and low < high


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 3000), min_size=2, max_size=4))
def test_tallies_add_up(sizes):
    parts = [simulate(SCENARIO, generator(1, number), size) for number, size in enumerate(sizes)]
    whole = sum(parts, Tally())
    assert whole.trials == sum(sizes)
    assert whole.won == sum(part.won for part in parts) == whole.curve[-1]
