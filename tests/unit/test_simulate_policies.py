"""Where policies move: the chances are selection's, and the walk draws from them."""

import numpy as np
import pytest

from relocate_cli import selection
from relocate_cli.clock import make_clock
from relocate_cli.errors import UsageError
from relocate_cli.simulate.engine import simulate
from relocate_cli.simulate.laws import make_law
from relocate_cli.simulate.model import Gaps, Scenario, anywhere
from relocate_cli.simulate.policies import CHOICES, MOST_HOSTS, Matrix, alias_tables, chances, synthetic_pool
from relocate_cli.simulate.run import generator


@pytest.mark.parametrize("choice", CHOICES)
def test_chances_sum_to_one_and_leave_the_source(choice):
    found = chances(synthetic_pool(12, 1), choice)
    assert found.sum(axis=1) == pytest.approx(1.0)
    assert np.diag(found).tolist() == [0.0] * 12


def test_high_is_the_products_own_default():
    pool = synthetic_pool(12, 1)
    expected = selection.probabilities(pool.delta, ~np.eye(12, dtype=bool), choice="softmax")
    assert (chances(pool, "high") == expected).all()


def test_high_reuses_exploits_less_than_low():
    pool = synthetic_pool(30, 2)
    reuse = {choice: float((chances(pool, choice) * pool.reuse).sum()) for choice in CHOICES}
    assert reuse["argmax"] < reuse["high"] < reuse["equaliser"] < reuse["random"] < reuse["low"]


def test_alias_tables_hold_exactly_the_chances():
    rows = generator(3).dirichlet(np.full(9, 0.3), size=20)
    accept, alias = alias_tables(rows)
    rebuilt = accept.copy()
    for row in range(20):
        np.add.at(rebuilt[row], alias[row], 1.0 - accept[row])
    assert rebuilt / 9 == pytest.approx(rows)


@pytest.mark.parametrize("carry", [0.0, 0.7])
def test_uniform_chances_are_moves_to_anywhere(carry):
    others = (1 - np.eye(10)) / 9
    matrix = Matrix(others, np.full((10, 10), carry), 4)
    outcomes = []
    for place in (matrix, anywhere(10, 4, carry)):
        gaps, law = Gaps(make_clock("exponential", 3.0)), make_law("constant", 5.0)
        outcomes.append(
            simulate(Scenario(gaps, place, law, horizon=20.0, start="random"), generator(5), 60_000)
        )
    one, other = (tally.success for tally in outcomes)
    assert abs(one - other) < 4 * np.sqrt(one * (1 - one) * 2 / 60_000)


def test_a_captured_start_is_on_a_captured_host():
    walk = Matrix((1 - np.eye(10)) / 9, np.ones((10, 10)), 4).walk()
    assert walk.begin(generator(1), 500, True).all()
    shares = Matrix((1 - np.eye(10)) / 9, np.ones((10, 10)), 4).walk().begin(generator(1), 20_000, False)
    assert shares.mean() == pytest.approx(0.4, abs=0.02)


def test_the_block_shrinks_as_fleets_grow():
    places = [Matrix(np.eye(count), np.eye(count), 1) for count in (30, 1000)]
    assert [place.block * len(place.chances) <= 1 << 22 for place in places] == [True, True]


def test_too_many_different_hosts_are_named():
    with pytest.raises(UsageError, match=r"^hosts: "):
        synthetic_pool(MOST_HOSTS + 1, 1)
