"""How much the two figures depend on what the paper leaves open, as tables and as charts."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from relocate_cli.errors import UsageError
from relocate_cli.simulate.engine import Tally, wilson
from relocate_cli.simulate.model import Gaps, Phase, Place
from relocate_cli.simulate.policies import Matrix, Pool, chances
from relocate_cli.simulate.report import Chart, Line, Series
from relocate_cli.simulate.run import Job
from relocate_cli.simulate.setup import Setup

PHASES: tuple[Phase, Phase] = ("random", "aligned")


def declared(setup: Setup) -> dict[str, object]:
    """The parameters that the paper leaves open."""
    scaled = f" scaled to a mean of {setup.mean_gap:g} ticks" if setup.mean_gap else ""
    return {
        "clock": f"{setup.clock} λ={setup.rate:g} T={setup.threshold:g}{scaled}",
        "tick": f"{setup.tick:g} s",
        "attack length": f"{setup.law.name}, mean {setup.law.mean:g} ticks",
        "hosts": setup.hosts,
        "attackers": setup.attackers,
        "horizon": f"{setup.horizon:g} ticks",
        "start": setup.start,
        "phase": setup.phase,
        "carry": setup.carry,
        "search rate": setup.search_rate,
        "gap of a move": f"{setup.gap_ms:g} ms",
        "gap of a restart": f"{setup.restart_ms:g} ms",
    }


def cost(setup: Setup, gaps: Gaps, gap_ms: float | None = None) -> dict[str, float | str | None]:
    """What a policy costs one container and its clients."""
    return {
        "mean_gap_ticks": gaps.mean,
        "moves_per_hour": setup.moves_per_hour(gaps),
        "downtime_minutes_per_year": setup.downtime(gaps, gap_ms),
    }


def of_time(setup: Setup) -> list[Line]:
    """The same clock against shorter and longer attacks; exact values only, no trials."""
    gaps = setup.gaps(setup.clock)
    lines: list[Line] = []
    if setup.attack == "empirical":
        return lines
    for factor in (0.7, 0.85, 1.0, 1.1, 1.25, 1.5):
        changed = replace(setup, attack_length=setup.attack_length * factor)
        values = {phase: changed.exact_attempt(gaps, phase) for phase in PHASES}
        if values["random"] is not None or values["aligned"] is not None:
            figures = {"resisted": values["random"], "resisted_if_aligned": values["aligned"]}
            lines.append(Line(f"attack-length {changed.attack_length:.4g}", figures=figures))
    return lines


def of_phase(setup: Setup) -> list[Chart]:
    """What a predictable clock costs: exact P(resisted) over A, at a random moment and on arrival."""
    if setup.attack == "empirical":
        return []
    series = []
    lengths = np.linspace(0.0, 2 * setup.attack_length, 113)[1:].tolist()
    for number, kind in enumerate(dict.fromkeys((setup.clock, "truncated", "exponential"))):
        try:
            gaps = setup.gaps(kind)
        except UsageError:  # another kind may not work with this λ and T
            continue
        for phase in PHASES:
            values = [(a, replace(setup, attack_length=a).exact_attempt(gaps, phase)) for a in lengths]
            points = tuple((a, value) for a, value in values if value is not None)
            if points and (kind != "exponential" or phase == "random"):
                told = "any phase" if kind == "exponential" else f"{phase} phase"
                series.append(Series(f"{kind}, {told}", points, (), phase == "aligned", number))
    if not series:
        return []
    marks = ((setup.attack_length, f"A = {setup.attack_length:g}"),)
    x = f"mean attack length A ({setup.law.name}), ticks"
    return [Chart("phase", x, "probability that an attack is resisted", tuple(series), marks)]


def variants(setup: Setup) -> list[tuple[str, Setup]]:
    """One parameter of the space experiment changed at a time."""
    captured = [m for m in (1, 3, 5, 10, 15) if m < setup.hosts]
    mean, horizon = setup.gaps(setup.clock).mean, setup.horizon
    laws = ("constant", "exponential", "lognormal")
    found = [
        *((f"attackers {m}", replace(setup, attackers=m)) for m in captured),
        *((f"horizon {x * horizon:g}", replace(setup, horizon=x * horizon)) for x in (0.75, 1, 1.5, 2.5)),
        *((f"mean-gap {x * mean:.3g}", replace(setup, mean_gap=x * mean)) for x in (0.5, 1, 2)),
    ]
    if setup.attack != "empirical":
        found += [(f"attack {law}", replace(setup, attack=law, attack_shape=0.0)) for law in laws]
    return found


def jobs_of_space(changed: Sequence[tuple[str, Setup]], pool: Pool, trials: int) -> list[Job]:
    """Static and high Δ for each variant, in pairs."""
    jobs = []
    for _, setup in changed:
        high: Place = Matrix(chances(pool, "high"), pool.reuse, setup.attackers)
        for kind in ("static", setup.clock):
            jobs.append(Job(setup.campaign(setup.gaps(kind), high), trials))
    return jobs


def of_space(changed: Sequence[tuple[str, Setup]], tallies: Sequence[Tally]) -> list[Line]:
    """Survival and relative improvement of each variant; ``tallies`` are those of `jobs_of_space`."""
    lines = []
    for (name, _), still, moving in zip(changed, tallies[::2], tallies[1::2], strict=True):
        gain = moving.resisted / still.resisted - 1 if still.won < still.trials else None
        figures = {"static": still.resisted, "high": moving.resisted, "relative_improvement": gain}
        lines.append(Line(name, figures=figures))
    return lines


def over_horizon(curves: Mapping[str, Tally], moments: Sequence[float], horizon: float) -> Chart:
    """Survival of each policy over the horizon."""
    series = []
    for name, tally in curves.items():
        alive = [tally.trials - int(lost) for lost in tally.curve]
        points = tuple((x, count / tally.trials) for x, count in zip(moments, alive, strict=True))
        band = tuple(wilson(count, tally.trials) for count in alive)
        series.append(Series(name, points, band))
    x, y = "horizon, ticks", "probability that no attack succeeded"
    return Chart("horizon", x, y, tuple(series), ((horizon, f"H = {horizon:g}"),))
