"""The NOMAD-like baseline: the exact solver against brute force, and greedy never better than it."""

import itertools

import numpy as np
import pytest

from relocate_cli.errors import UsageError
from relocate_cli.simulate import nomad
from relocate_cli.simulate.nomad import MODELS, Case, Window
from relocate_cli.simulate.nomads import Game, nomad_like
from relocate_cli.simulate.run import Means, generator


def brute_force(case, past, at):
    best = np.inf
    for placed in itertools.product(range(case.hosts), repeat=case.size):
        now = np.array(placed)
        if np.bincount(now).max() <= case.capacity and np.count_nonzero(now != at) <= case.budget:
            best = min(best, case.leak(past + nomad.together(now))[0])
    return best


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("seed", [1, 2])
def test_exact_is_the_optimum_and_greedy_not_below(model, seed):
    case = Case(model, clients=3, replicas=2, hosts=3, capacity=3, budget=3)
    rng = generator(seed)
    at = nomad.start(case, rng)
    past = (
        nomad.together(at) + nomad.together(nomad.start(case, rng)) + nomad.together(nomad.start(case, rng))
    )
    best, near = nomad.exact(case, past, at), nomad.greedy(case, past, at)
    optimum = brute_force(case, past, at)
    assert best is not None
    assert case.leak(past + nomad.together(best))[0] == pytest.approx(optimum)
    assert case.leak(past + nomad.together(near))[0] >= optimum - 1e-9
    for found in (best, near):
        assert np.bincount(found).max() <= 3 and np.count_nonzero(found != at) <= 3


def test_the_four_models_of_what_is_learnt():
    shared = np.zeros((4, 4))
    shared[0, 2], shared[0, 3], shared[1, 2] = 1, 2, 4  # replicas 0 and 1 of client a, 2 and 3 of client b
    shared += shared.T
    cases = {model: Case(model, clients=2, replicas=2, hosts=2, capacity=4, budget=1) for model in MODELS}
    assert cases["rc"].leak(shared)[0] == 7  # the worst pair
    assert cases["rnc"].leak(shared)[0] == 5 + 4  # b's best spy of a: 1+4; a's best of b: 4
    assert cases["nrc"].leak(shared)[0] == 4 + 5
    assert cases["nrnc"].leak(shared)[0] == 4 + 4


def test_a_window_forgets():
    window = Window(3, 2)
    for at in ([0, 0], [0, 1], [0, 1]):
        window.add(np.array(at))
    assert window.past[0, 1] == 0.0
    assert window.past[0, 0] == 2.0


def test_random_moves_keep_capacity_and_budget():
    case = Case("rc", clients=3, replicas=3, hosts=4, capacity=3, budget=2)
    rng = generator(1)
    at = nomad.start(case, rng)
    for _ in range(50):
        now = nomad.random_moves(case, at, rng)
        assert np.bincount(now).max() <= 3 and np.count_nonzero(now != at) <= 2
        at = now


def test_side_by_side():
    case = Case("rc", clients=2, replicas=2, hosts=3, capacity=2, budget=2)
    report = nomad_like(Game(case, 4, 4), ("rc", "nrnc"), 2, Means(1, 1))
    leaks = {line.name: line.figures["leak_epochs"] for line in report.lines}
    assert leaks["<rc> exact"] <= leaks["<rc> static"] and leaks["<nrnc> greedy"] <= leaks["<nrnc> static"]
    survival = {line.name: line.measures["survival"].value for line in report.lines}
    assert survival["<rc> exact"] >= survival["<rc> static"]
    gaps = [line.figures.get("gap_to_optimum") for line in report.lines if "greedy" in line.name]
    assert all(gap is None or gap >= -1e-9 for gap in gaps)
    assert report.document() == nomad_like(Game(case, 4, 4), ("rc", "nrnc"), 2, Means(1, 2)).document()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"model": "cr"}, "model"),
        ({"budget": 0}, "budget"),
        ({"capacity": 1}, "capacity"),
        ({"clients": 0}, "clients"),
    ],
)
def test_bad_cases_are_named(changes, name):
    good = {"model": "rc", "clients": 3, "replicas": 3, "hosts": 4, "capacity": 3, "budget": 3}
    with pytest.raises(UsageError, match=f"^{name}: "):
        Case(**{**good, **changes})
