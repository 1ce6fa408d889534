"""Inverse questions: an answer meets its bound, and a little less would not."""

from dataclasses import replace

import pytest

from relocate_cli.errors import UsageError
from relocate_cli.simulate.plan import RESTART, Asked, plan
from relocate_cli.simulate.run import Means
from relocate_cli.simulate.setup import Setup
from relocate_cli.simulate.sweep import grid, sweep

SETUP = Setup(clock="exponential", rate=5.0, attack_length=7.0, horizon=60.0, trials=8000)


def risks(report):
    return {line.name: line.measures["risk"] for line in report.lines}


def test_the_fewest_moves_that_keep_a_risk():
    report = plan(SETUP, Means(1, 1), Asked(risk=0.3))
    lines = {line.name: line for line in report.lines}
    own = lines["exponential"]
    assert own.figures["meets"] == "yes" and own.measures["risk"].high < 0.3
    gap = own.figures["mean_gap_ticks"]
    assert own.measures["risk"].exact == pytest.approx(0.3, abs=0.03)
    longer = replace(SETUP, rate=1.15 * gap)
    assert 1 - longer.exact_campaign(longer.gaps("exponential"), start="captured") > 0.3
    assert lines["static"].figures["meets"] == "no"
    meeting = [line.figures["moves_per_hour"] for line in report.lines if line.figures["meets"] == "yes"]
    assert report.head["answer"]["moves_per_hour"] == min(meeting)


def test_a_risk_that_no_rate_keeps():
    memoryless = replace(SETUP, attack="exponential", trials=2000)
    report = plan(memoryless, Means(1, 1), Asked(risk=0.1))
    assert report.head["answer"] is None
    assert any("no policy keeps" in note for note in report.notes)


def test_no_moves_are_the_fewest_if_they_are_enough():
    report = plan(replace(SETUP, start="random", attackers=1, trials=4000), Means(1, 1), Asked(risk=0.2))
    assert report.head["answer"]["name"] == "static"


def test_what_a_budget_of_downtime_buys():
    report = plan(replace(SETUP, gap_ms=100.0, restart_ms=2000.0), Means(1, 1), Asked(downtime=200.0))
    for line in report.lines[1:]:
        assert line.figures["downtime_minutes_per_year"] == pytest.approx(200.0)
    moves = {line.name: line.figures["moves_per_hour"] for line in report.lines}
    assert moves["exponential"] == pytest.approx(20 * moves[RESTART])
    best = min(risks(report).items(), key=lambda entry: entry[1].value)[0]
    assert report.head["answer"]["name"] == best


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        (Asked(), "risk, downtime-minutes"),
        (Asked(0.1, 5.0), "risk, downtime-minutes"),
        (Asked(risk=1.5), "risk"),
        (Asked(downtime=-1.0), "downtime-minutes"),
    ],
)
def test_bad_questions_are_named(asked, name):
    with pytest.raises(UsageError, match=f"^{name}: "):
        plan(SETUP, Means(1, 1), asked)


def test_grids():
    assert grid("attack-length=5:9:3") == ("attack_length", [5.0, 7.0, 9.0])
    assert grid("mean_gap=1:100:3:log")[1] == pytest.approx([1.0, 10.0, 100.0])
    assert grid("attackers=3,10") == ("attackers", [3, 10])
    assert grid("clock=static, periodic") == ("clock", ["static", "periodic"])


@pytest.mark.parametrize(
    "spec", ["attack-length", "nonsense=1,2", "rate=1:2", "rate=a,b", "rate=inf", "rate="]
)
def test_bad_grids_are_named(spec):
    with pytest.raises(UsageError, match=r"^vary: "):
        grid(spec)


def test_a_sweep_is_the_product_of_its_grids():
    vary = ["attack-length=5,8", "clock=threshold,exponential"]
    report = sweep(replace(SETUP, rate=10.0), Means(1, 1), vary)
    assert [line.name for line in report.lines] == [
        "attack-length=5 clock=threshold",
        "attack-length=5 clock=exponential",
        "attack-length=8 clock=threshold",
        "attack-length=8 clock=exponential",
    ]
    for line in report.lines:
        found = line.measures["resisted"]
        assert found.exact is not None
        assert found.low - 0.02 < found.exact < found.high + 0.02
    assert [chart.name for chart in report.charts] == ["resisted", "survives"]


def test_a_sweep_over_choices_moves_among_hosts_that_differ():
    report = sweep(replace(SETUP, horizon=14.0, rate=3.5), Means(1, 1), ["choice=low,high"])
    low, high = (line.measures["survives"].value for line in report.lines)
    assert high > low
    with pytest.raises(UsageError, match=r"^vary: there is no choice best"):
        sweep(SETUP, Means(1, 1), ["choice=best"])
