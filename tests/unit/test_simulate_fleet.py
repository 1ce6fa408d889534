"""Fleets: no capacity is ever exceeded, nobody draws its own host, and the chances are selection's."""

import numpy as np
import pytest

from relocate_cli import selection
from relocate_cli.clock import make_clock
from relocate_cli.errors import RefusedError, UsageError
from relocate_cli.settings import Settings
from relocate_cli.simulate.fleet import Chances, Hosts, Play, Rule, Trial, interval, synthetic_hosts
from relocate_cli.simulate.fleets import fleet, surveyed
from relocate_cli.simulate.laws import make_law
from relocate_cli.simulate.model import Gaps
from relocate_cli.simulate.run import Means, generator
from relocate_cli.simulate.setup import Setup

GAPS = Gaps(make_clock("exponential", 3.0))


@pytest.mark.parametrize("choice", ["random", "high", "low", "argmax", "equaliser"])
def test_no_host_takes_more_than_it_can(choice):
    hosts = synthetic_hosts(9, 24, 3, seed=4, kinds=5)
    shared = Play(hosts, (Rule(choice, GAPS, choice),), make_law("constant", 5.0), 3, 30.0)
    for seed in range(5):
        trial = Trial(shared, shared.rules[0], generator(seed))
        outcome = trial.run()
        load = np.bincount(trial._at, minlength=9) + trial._captured
        assert outcome.fullest <= 3 and load.max() <= 3
        assert (trial._free == 3 - load).all()
        assert outcome.survived <= 24


def test_draws_follow_selection_and_leave_the_source():
    hosts = synthetic_hosts(8, 4, 0, seed=4, kinds=3)
    drawn = Chances(hosts, "high").draw(np.full(200_000, 5), generator(1))
    kind = hosts.kind
    delta = hosts.delta[kind[5], kind]
    expected = selection.probabilities(delta, np.arange(8) != 5, choice="softmax")
    shares = np.bincount(drawn, minlength=8) / len(drawn)
    assert shares == pytest.approx(expected, abs=4 * np.sqrt(0.25 / len(drawn)))
    assert shares[5] == 0.0


def test_where_nothing_is_feasible_all_stay():
    whole = synthetic_hosts(4, 4, 0, seed=1, kinds=4)
    nowhere = Hosts(whole.kind, whole.room, whole.delta, whole.reuse, np.zeros((4, 4), dtype=bool), 4)
    assert Chances(nowhere, "random").draw(np.arange(4), generator(1)).tolist() == [0, 1, 2, 3]


def test_static_is_exact_and_every_move_is_counted():
    setup = Setup(clock="exponential", rate=4.9, attack_length=10.0, horizon=20.0, trials=40, targets=50)
    report = fleet(setup, Means(3, 1), synthetic_hosts(30, 50, 0, 3))
    still = report.lines[0]
    found = still.measures["survival"]
    assert found.exact == pytest.approx(1 - 10 * 3 / (30 * 4 - 10))
    assert found.low < found.exact < found.high
    assert still.figures["relocations_per_trial"] == 0.0
    # A container that is due waits half a tick on average, and its clock starts again when it moved.
    assert report.lines[2].figures["relocations_per_trial"] == pytest.approx(50 * 20 / 5.4, rel=0.07)
    assert report.head["relative_improvement"] > 0.1


def test_workers_cannot_be_seen():
    setup = Setup(horizon=20.0, trials=3, targets=20, attackers=3)
    reports = [fleet(setup, Means(3, workers), synthetic_hosts(8, 20, 0, 3)) for workers in (1, 2)]
    assert reports[0].document() == reports[1].document()


def test_the_surveyed_fleet(build, survey, container):
    known = build(
        survey("a", container("web"), container("db", ports=["tcp/81"])),
        survey("b", container("off", labels={})),
        survey("c"),
        drained=("c",),
    )
    hosts = surveyed(known, Settings())
    assert hosts.at is not None and hosts.at.tolist() == [0, 0]
    assert hosts.feasible.tolist() == [[False, True, False], [True, False, False], [True, True, False]]
    assert hosts.room.tolist() == [2 + 32, 32, 32]  # 2 GiB free, containers of 64 MiB
    report = fleet(Setup(attackers=0, horizon=20.0, trials=4, clock="periodic", rate=6.0), Means(1, 1), hosts)
    assert (report.head["hosts"], report.head["containers"]) == (3, 2)
    with pytest.raises(UsageError, match=r"^capacity: "):
        surveyed(known, Settings(), capacity=1)


def test_a_fleet_without_containers_is_refused(build, survey):
    with pytest.raises(RefusedError, match="no fleet to simulate"):
        surveyed(build(survey("a"), survey("b")), Settings())


def test_too_few_places_are_named():
    hosts = synthetic_hosts(4, 30, 2, seed=1)
    shared = Play(hosts, (Rule("static", GAPS),), make_law("constant", 5.0), 1, 30.0)
    with pytest.raises(UsageError, match=r"^capacity: "):
        Trial(shared, shared.rules[0], generator(1))


def test_intervals_need_two_trials():
    assert interval([0.5]) == (0.5, 0.0, 1.0)
    assert interval([1.0, 1.0, 1.0])[1] < 0.5
    mean, low, high = interval([0.4, 0.6, 0.5])
    assert mean == pytest.approx(0.5)
    assert low < 0.5 < high
