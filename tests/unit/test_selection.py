from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats
from scipy.optimize import linear_sum_assignment

from relocate_cli.assignment import assign
from relocate_cli.errors import UsageError
from relocate_cli.selection import CHOICES, STAYS, choose, probabilities

seeds = st.integers(0, 2**32 - 1)


def fleet(seed: int, containers: int, hosts: int) -> tuple[np.ndarray, ...]:
    """Δ with some hosts alike, sources, feasible pairs and slots, some of them none."""
    rng = np.random.default_rng(seed)
    kinds = rng.random((3, 3)) if seed % 2 else rng.random((hosts, hosts))
    kind = rng.integers(0, len(kinds), hosts)
    delta = kinds[np.ix_(kind, kind)]
    sources = rng.integers(0, hosts, containers)
    feasible = rng.random((containers, hosts)) > rng.choice([0.0, 0.3, 0.9])
    return delta, sources, feasible, rng.integers(0, 4, hosts)


def _matched(feasible: np.ndarray, slots: np.ndarray) -> float:
    """How many containers can be placed at all."""
    wide = feasible[:, np.repeat(np.arange(len(slots)), slots)].astype(float)
    return float(wide[linear_sum_assignment(wide, maximize=True)].sum())


@given(
    seed=seeds,
    containers=st.integers(1, 12),
    hosts=st.integers(1, 6),
    choice=st.sampled_from(CHOICES),
    method=st.sampled_from(["auto", "exact", "fast"]),
)
@example(seed=193, containers=1, hosts=3, choice="argmax", method="fast")  # the least Δ is the only one left
@example(seed=0, containers=8, hosts=2, choice="softmax", method="fast")  # most have nowhere to go
@example(seed=2513003372, containers=6, hosts=2, choice="argmax", method="fast")  # too high a starting price
def test_the_laws(seed: int, containers: int, hosts: int, choice: str, method: str) -> None:
    delta, sources, feasible, slots = fleet(seed, containers, hosts)
    rng = np.random.default_rng(seed)
    targets = choose(delta, sources, feasible, slots, rng=rng, choice=choice, method=method)  # type: ignore[arg-type]
    moved = targets != STAYS
    assert (targets[moved] != sources[moved]).all(), "never the source"
    assert feasible[moved, targets[moved]].all()
    assert (np.bincount(targets[moved], minlength=hosts) <= slots).all(), "no capacity exceeded"
    feasible[np.arange(containers), sources] = False
    if method != "fast" and slots.any():
        assert moved.sum() == _matched(feasible, slots), "nobody waits who need not"
    if not moved.any():
        assert not feasible[:, slots > 0].any()


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("spare", [0, 1, 3])
def test_the_fast_method_is_within_half_a_percent_of_the_optimum(alike: bool, spare: int) -> None:
    containers, hosts = 600, 60
    rng = np.random.default_rng(7)
    kinds = rng.random((4, 4)) if alike else rng.random((hosts, hosts))
    kind = rng.integers(0, 4, hosts) if alike else np.arange(hosts)
    delta = kinds[np.ix_(kind, kind)]
    sources = rng.integers(0, hosts, containers)
    feasible = rng.random((containers, hosts)) > 0.1
    slots = np.full(hosts, 10 + spare)
    total = {}
    for method in ("exact", "fast"):
        found = choose(delta, sources, feasible, slots, rng=rng, choice="argmax", method=method)  # type: ignore[arg-type]
        assert (found >= 0).all()
        total[method] = delta[sources, found].sum()
    assert total["fast"] >= 0.995 * total["exact"]


def test_the_exact_method_is_scipys_optimum() -> None:
    rng = np.random.default_rng(3)
    value = rng.random((40, 15))
    slots = np.full(15, 3)
    found = assign(value, slots, rng=rng, method="exact")
    wide = value[:, np.repeat(np.arange(15), 3)]
    assert value[np.arange(40), found].sum() == pytest.approx(
        wide[linear_sum_assignment(wide, maximize=True)].sum()
    )


def test_many_that_do_not_fit_wait_and_the_room_is_full() -> None:
    rng = np.random.default_rng(4)
    found = assign(rng.random((300, 20)), np.full(20, 4), rng=rng, method="fast")
    assert np.bincount(found[found >= 0], minlength=20).tolist() == [4] * 20


@pytest.mark.parametrize("choice", CHOICES)
def test_one_container_is_drawn_with_the_probabilities_that_are_told(choice: str) -> None:
    delta = np.array([[0.0, 0.3, 0.5, 0.5, 0.9], *np.zeros((4, 5))])
    feasible = np.array([True, True, True, True, False])
    told = probabilities(delta[0], feasible & (np.arange(5) != 0), choice=choice, temperature=0.2)
    rng = np.random.default_rng(5)
    drawn = [
        choose(delta, [0], feasible[None], np.ones(5), rng=rng, choice=choice, temperature=0.2)[0]
        for _ in range(3000)
    ]
    seen = np.bincount(drawn, minlength=5)
    assert seen[told == 0].sum() == 0
    assert stats.chisquare(seen[told > 0], told[told > 0] * len(drawn)).pvalue > 1e-3


def test_with_ample_room_containers_draw_independently() -> None:
    delta = np.array([[0.0, 0.2, 0.6], [0, 0, 0], [0, 0, 0]])
    told = probabilities(delta[0], [False, True, True])
    rng = np.random.default_rng(6)
    drawn = choose(
        delta, np.zeros(2000, int), np.ones((2000, 3), bool), [9999, 9999, 9999], rng=rng, method="fast"
    )
    assert stats.chisquare(np.bincount(drawn, minlength=3)[1:], told[1:] * 2000).pvalue > 1e-3


@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=6),
    st.data(),
    st.sampled_from(CHOICES),
    st.floats(1e-3, 10),
)
def test_probabilities_are_probabilities(
    delta: list[float], data: st.DataObject, choice: str, temperature: float
) -> None:
    feasible = np.array(data.draw(st.lists(st.booleans(), min_size=len(delta), max_size=len(delta))))
    chance = probabilities(delta, feasible, choice=choice, temperature=temperature)
    assert chance.sum() == pytest.approx(float(feasible.any()))
    assert (chance[~feasible] == 0).all() and (chance >= 0).all()


def test_the_equaliser_makes_every_guess_as_good() -> None:
    delta = np.array([0.1, 0.5, 0.8])
    chance = probabilities(delta, np.ones(3, bool), choice="equaliser")
    reached = chance * (1 - delta)
    assert reached == pytest.approx(np.full(3, reached[0]))


def test_argmax_shares_between_equals() -> None:
    assert probabilities([0.4, 0.9, 0.9], [True] * 3, choice="argmax").tolist() == [0, 0.5, 0.5]


def test_what_may_not_share_a_host_draws_again() -> None:
    """Two containers with one published port, three hosts: memory, ports and tenants go through `admit`."""

    def admit(host: int, wanted: Sequence[int]) -> Sequence[int]:
        return wanted[:1]

    for seed in range(20):
        targets = choose(
            np.ones((3, 3)),
            [0, 0, 0],
            np.ones((3, 3), bool),
            [5, 5, 5],
            rng=np.random.default_rng(seed),
            admit=admit,
        )
        assert sorted(targets.tolist()) == [STAYS, 1, 2]


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(UsageError, match="no choice best"):
        probabilities([1.0], [True], choice="best")


@given(
    st.lists(st.floats(-1, 1), min_size=1, max_size=8),
    st.sampled_from([name for name in CHOICES if name != "argmax"]),
    st.floats(1e-3, 1),
    st.floats(0.05, 1),
)
def test_no_host_is_chosen_more_often_than_its_bound(
    delta: list[float], choice: str, temperature: float, share: float
) -> None:
    """What is above the bound lies on it, and what is below keeps its proportions: min(bound, c·P), c ≥ 1."""
    every = np.ones(len(delta), dtype=bool)
    options = {"choice": choice, "temperature": temperature}
    free = probabilities(delta, every, max_share=1.0, **options)  # type: ignore[arg-type]
    held = probabilities(delta, every, max_share=share, **options)  # type: ignore[arg-type]
    bound = max(share, 1 / len(delta))
    assert held.sum() == pytest.approx(1.0)
    assert (held <= bound * (1 + 1e-9)).all()
    below = held < bound * (1 - 1e-9)
    if below.any() and free[below].max() > 1e-200:
        growth = held[below & (free > 1e-200)] / free[below & (free > 1e-200)]
        assert growth == pytest.approx(np.full(len(growth), growth[0]), rel=1e-6) and growth[0] >= 1 - 1e-9
    assert (held[free >= bound] >= bound * (1 - 1e-9)).all()


def test_a_host_that_makes_itself_attractive_does_not_draw_all() -> None:
    """Δ = 1 by its own word, against two of .4 (the temperature is the default)."""
    assert probabilities([1.0, 0.4, 0.4], [True] * 3, max_share=1.0)[0] > 0.99
    assert probabilities([1.0, 0.4, 0.4], [True] * 3).tolist() == pytest.approx([0.7, 0.15, 0.15])


def test_of_two_or_one_that_are_left_the_bound_is_their_even_share() -> None:
    assert probabilities([1.0, 0.0], [True, True], max_share=0.1).tolist() == [0.5, 0.5]
    assert probabilities([1.0, 0.0], [True, False], max_share=0.1).tolist() == [1.0, 0.0]
    assert probabilities([1.0, 0.0], [False, False], max_share=0.1).tolist() == [0.0, 0.0]


def test_equal_hosts_may_be_told_by_their_number() -> None:
    delta, many = np.array([0.9, 0.2, 0.5]), np.array([1, 3, 2])
    apart = probabilities(np.repeat(delta, many), np.ones(6, bool), max_share=0.4)
    found = probabilities(delta, np.ones(3, bool), max_share=0.4, many=many)
    assert np.repeat(found, many) == pytest.approx(apart)


@pytest.mark.parametrize("together", [1, 40])
def test_draws_respect_the_bound(together: int) -> None:
    delta = np.array([[0.0, 1.0, 0.1, 0.3], *np.zeros((3, 4))])
    told = probabilities(delta[0], [False, True, True, True], max_share=0.5)
    rng = np.random.default_rng(8)
    drawn = np.concatenate(
        [
            choose(*(delta, [0] * together, np.ones((together, 4), bool), [99] * 4), rng=rng, max_share=0.5)
            for _ in range(4000 // together)
        ]
    )
    seen = np.bincount(drawn, minlength=4)[1:]
    assert stats.chisquare(seen, told[1:] * len(drawn)).pvalue > 1e-3
