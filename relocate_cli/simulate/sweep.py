"""Any parameter over any grid, all points at once on all cores."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from relocate_cli.errors import UsageError
from relocate_cli.simulate.model import Place
from relocate_cli.simulate.policies import CHOICES, Matrix, Pool, chances, synthetic_pool
from relocate_cli.simulate.report import Chart, Line, Measure, Report, Series
from relocate_cli.simulate.run import Job, Means, run
from relocate_cli.simulate.sensitivity import declared
from relocate_cli.simulate.setup import Setup

Value = float | int | str
_TEXT = ("clock", "attack", "start", "phase", "choice")
_WHOLE = ("hosts", "attackers", "capacity", "targets", "trials")
_FIXED = (
    "attack_file",
    "tick",
    "gap_ms",
    "restart_ms",
    "capacity",
    "targets",
)  # change cost only, or nothing


def grid(spec: str) -> tuple[str, list[Value]]:
    """Read ``name=a,b,c``, ``name=first:last:points`` or ``name=first:last:points:log``.

    >>> grid("attack-length=5:9:3")
    ('attack_length', [5.0, 7.0, 9.0])
    """
    name, found, values = spec.partition("=")
    name = name.strip().replace("-", "_")
    known = [entry.name for entry in fields(Setup) if entry.name not in _FIXED] + ["choice"]
    if not found or name not in known:
        raise UsageError(
            f"vary: {spec} names no parameter to vary", "such as attack-length=5:9:5; " + ", ".join(known)
        )
    if name in _TEXT:
        return name, [word.strip() for word in values.split(",")]
    try:
        if ":" in values:
            first, last, points, *scale = values.split(":")
            space = np.geomspace if scale == ["log"] else np.linspace
            numbers = space(float(first), float(last), int(points)).tolist()
        else:
            numbers = [float(word) for word in values.split(",")]
    except ValueError:
        raise UsageError(f"vary: {values} is no grid", "a,b,c or first:last:points[:log]") from None
    if not numbers or not all(math.isfinite(number) for number in numbers):
        raise UsageError(f"vary: {values} is no grid of finite numbers", "a,b,c or first:last:points[:log]")
    return name, sorted({round(number) for number in numbers}) if name in _WHOLE else numbers


def sweep(setup: Setup, means: Means, vary: Sequence[str]) -> Report:
    """One line a point of the grid: an attack resisted, and survival to the horizon, with their exact values.

    ``choice`` (low, random, high, equaliser, argmax) goes to synthetic hosts that differ; without it, every
    host is as likely.
    """
    grids = [grid(spec) for spec in vary]
    names = [name for name, _ in grids]
    if not grids or len(set(names)) < len(names):
        raise UsageError("vary: give each parameter to vary once", "such as --vary attack-length=5:9:5")
    points: list[dict[str, Any]] = [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*(values for _, values in grids))
    ]
    setups = [
        replace(setup, **{k: v for k, v in point.items() if k != "choice"}).checked() for point in points
    ]
    pools: dict[int, Pool] = {}
    jobs = []
    for point, changed in zip(points, setups, strict=True):
        gaps = changed.gaps(changed.clock)
        place = _place(point, changed, pools, means.seed)
        jobs.append(Job(changed.attempt(gaps, changed.phase), changed.trials))
        jobs.append(Job(changed.campaign(gaps, place), changed.trials))
    tallies = run(jobs, means)
    lines = []
    for index, (point, changed) in enumerate(zip(points, setups, strict=True)):
        gaps = changed.gaps(changed.clock)
        exact = None if "choice" in point else changed.exact_campaign(gaps)
        measures = {
            "resisted": Measure.resisted(tallies[2 * index], changed.exact_attempt(gaps, changed.phase)),
            "survives": Measure.resisted(tallies[2 * index + 1], exact),
        }
        if "choice" in point:
            del measures["resisted"]
        figures = {**point, "moves_per_hour": changed.moves_per_hour(gaps)}
        lines.append(Line(_label(point), measures, figures))
    head = {"parameters": names, "trials": setup.trials, "seed": means.seed}
    told = {name: value for name, value in declared(setup).items() if name.replace(" ", "_") not in names}
    return Report("sweep", "points", lines, head, told, charts=_charts(names, points, lines))


def _charts(names: Sequence[str], points: Sequence[Mapping[str, Any]], lines: Sequence[Line]) -> list[Chart]:
    """Each measure over the first numeric parameter; one series for every value of the others."""
    over = next((name for name in names if name not in _TEXT), None)
    if over is None:
        return []
    charts = []
    for measure in ("resisted", "survives"):
        series: dict[str, list[tuple[float, Measure]]] = {}
        for point, line in zip(points, lines, strict=True):
            if measure in line.measures:
                rest = {name: value for name, value in point.items() if name != over}
                label = _label(rest) or measure
                series.setdefault(label, []).append((float(point[over]), line.measures[measure]))
        drawn = tuple(
            Series(label, tuple((x, m.value) for x, m in found), tuple((m.low, m.high) for _, m in found))
            for label, found in (
                (label, sorted(found, key=lambda pair: pair[0])) for label, found in series.items()
            )
        )
        if drawn and len(drawn[0].points) > 1:
            told = "an attack is resisted" if measure == "resisted" else "no attack succeeds by the horizon"
            charts.append(Chart(measure, _axis(over), f"probability that {told}", drawn))
    return charts


def _axis(name: str) -> str:
    unit = {"rate": "ticks", "carry": "probability", "threshold": "probability", "search_rate": "1/tick"}
    ticks = ("attack_length", "mean_gap", "horizon", "attacker_gap")
    told = "ticks" if name in ticks else unit.get(name, "")
    return name.replace("_", " ") + (f", {told}" if told else "")


def _label(point: Mapping[str, Any]) -> str:
    return " ".join(
        f"{name.replace('_', '-')}={value:g}"
        if isinstance(value, float)
        else f"{name.replace('_', '-')}={value}"
        for name, value in point.items()
    )


def _place(point: Mapping[str, Any], setup: Setup, pools: dict[int, Pool], seed: int) -> Place | None:
    if "choice" not in point:
        return None
    if point["choice"] not in CHOICES:
        raise UsageError(
            f"vary: there is no choice {point['choice']}", "the choices are " + ", ".join(CHOICES)
        )
    if setup.hosts not in pools:
        pools[setup.hosts] = synthetic_pool(setup.hosts, seed)
    pool = pools[setup.hosts]
    return Matrix(chances(pool, point["choice"]), pool.reuse, setup.attackers)
