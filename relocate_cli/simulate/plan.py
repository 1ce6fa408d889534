"""The questions the other way round: which clock keeps the risk below p, and what a downtime budget buys."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from relocate_cli.errors import UsageError
from relocate_cli.simulate.engine import Tally
from relocate_cli.simulate.experiments import RESTART
from relocate_cli.simulate.model import Gaps, Scenario
from relocate_cli.simulate.report import Chart, Line, Measure, Report, Series
from relocate_cli.simulate.run import Job, Means, run
from relocate_cli.simulate.search import MOST_GAPS, MOST_MOVES, Curve, Search
from relocate_cli.simulate.sensitivity import cost, declared
from relocate_cli.simulate.setup import Setup

_KINDS = ("truncated", "exponential", "periodic", RESTART)
_MINUTES_A_YEAR = 8766 * 60.0


@dataclass(frozen=True)
class Asked:
    """``risk``: P(success) by the horizon must stay below; ``downtime``: minutes a year that are allowed."""

    risk: float | None = None
    downtime: float | None = None


def plan(setup: Setup, means: Means, asked: Asked) -> Report:
    """Answer by simulation, with the exact risk beside it where the clock is exponential.

    Raises UsageError unless exactly one question is asked.
    """
    setup.checked()
    if (asked.risk is None) == (asked.downtime is None):
        raise UsageError("risk, downtime-minutes: give one of them", "such as --risk 0.1 --hours 24")
    own = [] if setup.clock == "static" else [setup.clock]
    kinds = list(dict.fromkeys([*own, *_KINDS]))
    if asked.risk is not None:
        return _fewest_moves(setup, means, kinds, asked.risk)
    assert asked.downtime is not None
    return _most_secure(setup, means, kinds, asked.downtime)


def _gaps(setup: Setup, kind: str, mean: float) -> Gaps:
    """The clock's shape, from λ and T, stretched to this mean gap; restarts follow the clock asked for."""
    if kind == "static":
        return setup.gaps(kind)
    own = "truncated" if setup.clock == "static" else setup.clock
    return replace(setup, mean_gap=mean).gaps(own if kind == RESTART else kind)


def _scenario(setup: Setup, kind: str, mean: float) -> Scenario:
    place = setup.restarts() if kind == RESTART else setup.place
    found = setup.campaign(_gaps(setup, kind, mean), place)
    return replace(found, start=setup.start, phase=setup.phase)


def _line(setup: Setup, kind: str, mean: float, tally: Tally, meets: bool | None = None) -> Line:
    gaps = _gaps(setup, kind, mean)
    survives = setup.exact_campaign(gaps, restart=kind == RESTART, start=setup.start)
    risk = replace(Measure.share(tally.won, tally.trials), exact=None if survives is None else 1 - survives)
    told: dict[str, float | str | None] = {} if meets is None else {"meets": "yes" if meets else "no"}
    return Line(kind, {"risk": risk}, told | cost(setup, gaps, setup.restart_ms if kind == RESTART else None))


def _fewest_moves(setup: Setup, means: Means, kinds: Sequence[str], risk: float) -> Report:
    if not 0 < risk < 1:
        raise UsageError(f"risk: a probability between 0 and 1, not {risk:g}")
    (still,) = run([Job(_scenario(setup, "static", math.inf), setup.trials)], means)
    search = Search(
        lambda kind, mean: _scenario(setup, kind, mean), risk, setup.law.mean, setup.trials, means
    )
    found = search.longest(kinds)
    lines = [
        _line(setup, "static", math.inf, still, 1 - still.ci95[0] < risk),
        *(_line(setup, kind, entry.mean, entry.tally, entry.meets) for kind, entry in found.items()),
    ]
    best = min((line for line in lines if line.figures["meets"] == "yes"), key=_moves, default=None)
    span = f"P(success) below {risk:g} for {_hours(setup):g} h"
    if best is None:
        notes = [f"no policy keeps {span}."]
    else:
        notes = [f"fewest moves that keep {span}: {best.name}, {_moves(best):.3g} an hour."]
    if setup.clock in found:
        notes.append(_smallest_rate(setup, found[setup.clock].mean, found[setup.clock].meets, span))
    if setup.law.name == "constant":
        notes.append("all attacks take the same time here, which flatters bounded gaps; see --attack.")
    if not all(entry.meets for entry in found.values()):
        span = f"from gaps of {MOST_GAPS} attacks to {MOST_MOVES} moves an attack"
        notes.append(f"a line that does not meet the bound shows the least risk found, {span}.")
    curves = {kind: entry.curve for kind, entry in found.items()}
    charts = [_chart(curves, setup)]
    question = {"risk": risk}
    return Report(
        "plan", "policies", lines, _head(setup, means, best, question), declared(setup), (), notes, charts
    )


def _smallest_rate(setup: Setup, mean: float, meets: bool, span: str) -> str:
    if not meets:
        return (
            f"{setup.clock}: no rate tried keeps {span}; every move is also a new chance to meet an attacker."
        )
    tick = mean / _gaps(setup, setup.clock, 1.0).clock.mean * setup.tick
    return (
        f"{setup.clock}: the smallest rate that does is {3600 / mean / setup.tick:.3g} moves an hour, "
        f"a mean gap of {mean:.4g} ticks; keep λ and T, and set a tick of {tick:.3g} s."
    )


def _most_secure(setup: Setup, means: Means, kinds: Sequence[str], downtime: float) -> Report:
    """Every clock at the rate that the budget pays for; the least risk wins."""
    if not (math.isfinite(downtime) and downtime > 0):
        raise UsageError(f"downtime-minutes: a number above zero, not {downtime:g}")
    if not setup.gap_ms or not setup.restart_ms:
        raise UsageError("gap-ms, restart-ms: above zero, for a budget of downtime to bound anything")
    spent = {kind: setup.restart_ms if kind == RESTART else setup.gap_ms for kind in kinds}
    gaps = {
        "static": math.inf,
        **{kind: _MINUTES_A_YEAR * ms / 1000 / downtime / setup.tick for kind, ms in spent.items()},
    }
    jobs = [Job(_scenario(setup, kind, mean), setup.trials) for kind, mean in gaps.items()]
    found = run(jobs, means)
    lines = [_line(setup, kind, mean, tally) for (kind, mean), tally in zip(gaps.items(), found, strict=True)]
    best = min(lines, key=lambda line: line.measures["risk"].value)
    least = best.measures["risk"].value
    notes = [
        f"with {downtime:g} minutes of downtime a year, {best.name} is the most secure: "
        f"P(success) {least:.4f} within {_hours(setup):g} h."
    ]
    head = _head(setup, means, best, {"downtime_minutes_per_year": downtime})
    return Report("plan", "policies", lines, head, declared(setup), (), notes)


def _hours(setup: Setup) -> float:
    return setup.horizon * setup.tick / 3600


def _moves(line: Line) -> float:
    value = line.figures["moves_per_hour"]
    return value if isinstance(value, float) else math.inf


def _head(setup: Setup, means: Means, best: Line | None, question: dict[str, float]) -> dict[str, object]:
    return {
        "question": {**question, "hours": _hours(setup), "start": setup.start},
        "answer": None if best is None else best.flat(),
        "trials": setup.trials,
        "seed": means.seed,
    }


def _chart(curves: dict[str, Curve], setup: Setup) -> Chart:
    series = tuple(Series(kind, curve) for kind, curve in curves.items() if curve)
    y = f"probability of compromise within {_hours(setup):g} h"
    return Chart("risk", "mean gap between moves, ticks", y, series, log=True)
