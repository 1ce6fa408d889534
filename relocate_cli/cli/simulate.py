"""`relocate simulate`: what relocation is worth against neighbours on a host, before anything moves."""

import functools
import inspect
import secrets
import sys
import time as clock_of_this_machine
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from relocate_cli import render
from relocate_cli.cli.options import Config, Inventory, Json, Quiet
from relocate_cli.errors import RefusedError, UsageError

if TYPE_CHECKING:
    from relocate_cli.simulate.report import Report
    from relocate_cli.simulate.run import Means
    from relocate_cli.simulate.setup import Setup

app = typer.Typer(
    no_args_is_help=True, help="What relocation is worth: Figures 4 and 5, sweeps and inverse questions."
)


def _option(kind: Any, about: str) -> Any:
    return Annotated[kind | None, typer.Option(help=about, show_default=False)]


# Names and meanings are those of simulate.setup.Setup; an option that is not given leaves its default.
_PARAMETERS: Mapping[str, Any] = {
    "hosts": _option(int, "n, hosts."),
    "attackers": _option(int, "m, attacker containers, on m different hosts."),
    "capacity": _option(int, "Places of a host, 0: ample; only a fleet fills them."),
    "targets": _option(int, "Target containers; only a fleet moves several at once."),
    "clock": _option(str, "truncated, threshold, cumulative, exponential, periodic or static."),
    "rate": _option(float, "λ of the clock."),
    "threshold": _option(float, "T of the clock."),
    "mean_gap": _option(float, "Rescale every clock to this mean gap, in ticks."),
    "attack": _option(str, "Law of attack lengths: constant, exponential, gamma, lognormal or empirical."),
    "attack_length": _option(float, "Mean attack length, in ticks."),
    "attack_shape": _option(float, "r of gamma, σ of lognormal."),
    "attack_file": _option(Path, "Attack lengths in ticks, for --attack empirical."),
    "horizon": _option(float, "How long attackers try, in ticks."),
    "start": _option(str, "captured or random: which regime is the headline."),
    "phase": _option(str, "random, or aligned: the attacker sees the target arrive."),
    "carry": _option(float, "ρ: chance that progress survives a move onto another captured host."),
    "search_rate": _option(
        float, "σ: a chasing attacker finds the target after Exp(σ); 0: he does not chase."
    ),
    "attacker_gap": _option(float, "The attacker moves too, with this mean gap in ticks."),
    "tick": _option(str, "Length of a tick, such as 1m."),
    "gap_ms": _option(str, "What clients wait for at a move, in ms, or 'measured': the journal's median."),
    "restart_ms": _option(float, "What clients wait for at a self-cleaning restart, in ms."),
    "trials": _option(int, "Trials a scenario."),
}
_MEANS: Mapping[str, tuple[Any, Any]] = {
    "seed": (_option(int, "Repeat a run bit for bit."), None),
    "workers": (Annotated[int, typer.Option(help="Processes; 0: one a core.")], 0),
    "dask": (Annotated[str, typer.Option(metavar="ADDRESS", help="Compute on this Dask scheduler.")], ""),
    "out": (Annotated[Path | None, typer.Option(help="Write CSV, JSON and plots (PNG, SVG) here.")], None),
    "config": (Config, None),
    "quiet": (Quiet, False),
    "as_json": (Json, False),
}


def _experiment(**defaults: Any) -> Callable[[Callable[..., "Report"]], Callable[..., None]]:
    """Make a command of a function (setup, means, …) → Report: parse, run, print, write.

    ``defaults`` are the command's own defaults of `Setup`; ``lengths`` the horizon, in attack lengths.
    """

    def decorate(function: Callable[..., "Report"]) -> Callable[..., None]:
        own = list(inspect.signature(function).parameters.values())[2:]
        own_names = {parameter.name for parameter in own}

        @functools.wraps(function)
        def command(**given: Any) -> None:
            means = {name: given[name] for name in _MEANS}
            given = {name: value for name, value in given.items() if name in own_names or name in _PARAMETERS}
            chosen = {name: value for name in _PARAMETERS if (value := given.pop(name)) is not None}
            setup = _setup({**defaults, **chosen}, means["config"])
            with _progress(means["quiet"]) as progress:
                report = function(setup, _means(means, progress), **given)
            _finish(function.__name__, report, means)

        shared = [
            *(_keyword(name, kind, None) for name, kind in _PARAMETERS.items()),
            *(
                _keyword(name, kind, default)
                for name, (kind, default) in _MEANS.items()
                if name not in own_names
            ),
        ]
        parameters = [*(p.replace(kind=p.KEYWORD_ONLY) for p in own), *shared]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # Typer reads it
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        del command.__wrapped__
        return command

    return decorate


def _keyword(name: str, kind: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _setup(values: dict[str, Any], config: Path | None) -> "Setup":
    from relocate_cli.simulate.setup import Setup
    from relocate_cli.values import duration

    lengths = values.pop("lengths")
    if "tick" in values:
        try:
            values["tick"] = duration(values["tick"])
        except ValueError as error:
            raise UsageError(f"tick: {values['tick']} is not {error}") from None
    if "gap_ms" in values:
        values["gap_ms"] = _gap(values["gap_ms"], config)
    if values.get("attack_file") and "attack" not in values:
        values["attack"] = "empirical"
    setup = Setup(**values)
    if "horizon" not in values:
        values["horizon"] = lengths * setup.law.mean
        setup = Setup(**values)
    return setup


def _gap(text: str, config: Path | None) -> float:
    if text != "measured":
        try:
            return float(text)
        except ValueError:
            raise UsageError(f"gap-ms: a number or 'measured', not {text}") from None
    from statistics import median

    from relocate_cli import settings
    from relocate_cli.journal import Journal

    with Journal(settings.load({}, config=config).state) as journal:
        windows = [entry.window_ms for entry in journal.relocations() if entry.window_ms is not None]
    if not windows:
        raise UsageError("gap-ms: the journal has no relocation to measure", "give a number of milliseconds")
    return median(windows)


def _means(given: Mapping[str, Any], progress: Callable[[int, int], None]) -> "Means":
    from relocate_cli.simulate.run import Means

    seed = secrets.randbits(32) if given["seed"] is None else given["seed"]
    return Means(seed, given["workers"], given["dask"], progress)


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar on stderr, once a run has taken a second; none where nobody looks."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, whole: None
        return
    from rich.console import Console
    from rich.progress import Progress

    began = clock_of_this_machine.monotonic()
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("simulating", visible=False)

        def show(done: int, whole: int) -> None:
            late = clock_of_this_machine.monotonic() - began > 1
            bar.update(task, completed=done, total=whole, visible=late)

        yield show


def _finish(verb: str, report: "Report", means: Mapping[str, Any]) -> None:
    if means["as_json"]:
        render.emit_json(f"simulate-{verb}", report.document())
    else:
        typer.echo(report.text())
    if means["out"] is not None:
        from relocate_cli.simulate import plots

        for path in [*report.write(means["out"]), *plots.draw(report, means["out"])]:
            if not means["quiet"]:
                render.note(f"wrote {path}")


@app.command()
@_experiment(lengths=10, trials=100_000)
def time(setup: "Setup", means: "Means") -> "Report":
    """Figure 4: when to move. Static, the probability threshold, and every other clock."""
    from relocate_cli.simulate import experiments

    return experiments.time(setup, means)


@app.command()
@_experiment(lengths=2, clock="exponential", rate=4.9, attack_length=10.0)
def space(setup: "Setup", means: "Means") -> "Report":
    """Figure 5: where to move. Static, low Δ, high Δ, and the curve over the horizon."""
    from relocate_cli.simulate import experiments

    return experiments.space(setup, means)


@app.command()
@_experiment(lengths=10, trials=100_000)
def sweep(
    setup: "Setup",
    means: "Means",
    vary: Annotated[
        list[str],
        typer.Option(help="NAME=a,b,c or NAME=first:last:points[:log]; repeatable; also choice=low,high."),
    ],
) -> "Report":
    """Any parameter over a grid, on all cores or on a Dask cluster."""
    from relocate_cli.simulate import sweep as sweeping

    return sweeping.sweep(setup, means, vary)


@app.command()
@_experiment(lengths=10, clock="truncated", rate=10.0, threshold=0.05, trials=100_000)
def plan(
    setup: "Setup",
    means: "Means",
    risk: Annotated[
        float | None, typer.Option(help="Keep P(success) below this, with the fewest moves.")
    ] = None,
    hours: Annotated[float | None, typer.Option(help="For so long; instead of --horizon.")] = None,
    downtime_minutes: Annotated[
        float | None, typer.Option(help="Find the most secure policy under this downtime a year.")
    ] = None,
) -> "Report":
    """Which rate keeps the risk below p; the fewest moves that do; what a downtime budget buys."""
    from dataclasses import replace

    from relocate_cli.simulate import plan as planning

    if hours is not None:
        setup = replace(setup, horizon=hours * 3600 / setup.tick)
    return planning.plan(setup, means, planning.Asked(risk, downtime_minutes))


@app.command()
@_experiment(lengths=2, clock="exponential", rate=4.9, attack_length=10.0, attackers=0, targets=60, trials=40)
def fleet(
    setup: "Setup",
    means: "Means",
    inventory: Inventory = None,
    config: Config = None,
    synthetic: Annotated[
        bool, typer.Option(help="--hosts and --targets, instead of the surveyed fleet.")
    ] = False,
    kinds: Annotated[int, typer.Option(help="Kinds of host in a synthetic fleet.")] = 64,
) -> "Report":
    """Every policy on the surveyed fleet: its hosts, containers, Δ and capacities."""
    from relocate_cli.simulate import fleets
    from relocate_cli.simulate.fleet import synthetic_hosts

    if synthetic:
        return fleets.fleet(
            setup, means, synthetic_hosts(setup.hosts, setup.targets, setup.capacity, means.seed, kinds)
        )
    from relocate_cli import survey
    from relocate_cli.cli.options import load
    from relocate_cli.journal import Journal

    settings = load(inventory, config)
    with Journal(settings.state) as journal:
        known = survey.kept(settings, journal)
    if known is None:
        raise RefusedError("no fleet was surveyed yet", "`relocate survey` first, or --synthetic")
    return fleets.fleet(setup, means, fleets.surveyed(known, settings, setup.capacity))


@app.command()
@_experiment(lengths=10, hosts=4, capacity=3, trials=5)
def nomad(
    setup: "Setup",
    means: "Means",
    model: Annotated[
        list[str] | None, typer.Option(help="rc, rnc, nrc or nrnc; repeatable; all if none.")
    ] = None,
    clients: Annotated[int, typer.Option(help="Tenants; each may spy on each other.")] = 3,
    replicas: Annotated[int, typer.Option(help="Containers of each tenant.")] = 3,
    window: Annotated[int, typer.Option(help="Epochs after which what leaked is worthless.")] = 5,
    budget: Annotated[int, typer.Option(help="Containers that may move in an epoch.")] = 3,
    epochs: Annotated[int, typer.Option(help="Decisions a trial.")] = 8,
) -> "Report":
    """The NOMAD-like baseline: greedy, and exact on small cases with the gap between them."""
    from relocate_cli.simulate.nomad import MODELS, Case
    from relocate_cli.simulate.nomads import Game, nomad_like

    for name, value in (
        ("window", window),
        ("epochs", epochs),
        ("trials", setup.trials),
        ("hosts", setup.hosts),
    ):
        if value < 1:
            raise UsageError(f"{name}: at least 1, not {value}")
    models = tuple(model or MODELS)
    case = Case(models[0], clients, replicas, setup.hosts, setup.capacity, budget)
    return nomad_like(Game(case, window, epochs), models, setup.trials, means)
