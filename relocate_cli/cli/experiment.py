"""`relocate experiment`: the paper's Section 4 live, on a testbed of its own."""

import secrets
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relocate_cli.cli.options import Json, Quiet
from relocate_cli.errors import UsageError

if TYPE_CHECKING:
    from relocate_cli.experiment.declared import Kind
    from relocate_cli.experiment.result import Result

app = typer.Typer(
    no_args_is_help=True,
    help="The paper's experiments live: real containers, real attackers, beside their simulation.",
)

Policies = Annotated[list[str] | None, typer.Option("--policy", help="Repeatable; all if none.")]
Hosts = Annotated[int, typer.Option(help="n, hosts beside host0.")]
Targets = Annotated[int, typer.Option(help="Containers that move, each with a client.")]
Attackers = Annotated[int, typer.Option(help="m, hosts with an attacker's container.")]
Length = Annotated[float, typer.Option(help="A, how long an attack takes, in ticks.")]
Tick = Annotated[str, typer.Option(help="Length of a tick, such as 5s.")]
For = Annotated[str, typer.Option("--for", help="How long each policy is played.")]
Look = Annotated[str, typer.Option(help="How often an attacker looks around.")]
Rate = Annotated[float, typer.Option(help="λ of the clock.")]
Threshold = Annotated[float, typer.Option(help="T of the clock.")]
Horizon = Annotated[float, typer.Option(help="Of survival, in ticks; 0: two attacks.")]
Engines = Annotated[list[str] | None, typer.Option("--engine", help="Docker on the hosts; repeatable.")]
Seed = Annotated[int | None, typer.Option(help="Repeat the draws; times stay the machine's own.")]
Out = Annotated[Path | None, typer.Option(help="Write the JSON document and report.html here.")]
Keep = Annotated[bool, typer.Option("--keep", help="Leave the testbed up.")]


@app.command()
def time(
    policy: Policies = None,
    hosts: Hosts = 4,
    targets: Targets = 4,
    attackers: Attackers = 2,
    attack_length: Length = 7.0,
    tick: Tick = "10s",
    how_long: For = "8m",
    look: Look = "1s",
    rate: Rate = 10.0,
    threshold: Threshold = 0.1,
    horizon: Horizon = 0.0,
    engine: Engines = None,
    seed: Seed = None,
    out: Out = None,
    keep: Keep = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Figure 4, live: when to move. Static, restart in place, threshold, truncated, exponential."""
    _experiment("time", **locals())


@app.command()
def space(
    policy: Policies = None,
    hosts: Hosts = 4,
    targets: Targets = 4,
    attackers: Attackers = 2,
    attack_length: Length = 10.0,
    tick: Tick = "10s",
    how_long: For = "8m",
    look: Look = "1s",
    rate: Rate = 4.9,
    threshold: Threshold = 0.1,
    horizon: Horizon = 0.0,
    engine: Engines = None,
    seed: Seed = None,
    out: Out = None,
    keep: Keep = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Figure 5, live: where to move. Static, random, high Δ, equaliser, argmax; an exponential clock."""
    _experiment("space", **locals())


def _experiment(
    kind: "Kind",
    *,
    policy: list[str] | None,
    hosts: int,
    targets: int,
    attackers: int,
    attack_length: float,
    tick: str,
    how_long: str,
    look: str,
    rate: float,
    threshold: float,
    horizon: float,
    engine: list[str] | None,
    seed: int | None,
    out: Path | None,
    keep: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    from relocate_cli import render
    from relocate_cli.errors import ExitCode
    from relocate_cli.experiment import result as results
    from relocate_cli.experiment.declared import Declared
    from relocate_cli.experiment.run import NAME, experiment
    from relocate_cli.journal import lock
    from relocate_cli.testbed import bed, places, preflight

    declared = Declared(
        kind=kind,
        policies=tuple(policy or ()),
        hosts=hosts,
        targets=targets,
        attackers=attackers,
        attack_length=attack_length,
        tick=_seconds("tick", tick),
        turn=_seconds("for", how_long),
        look=_seconds("look", look),
        rate=rate,
        threshold=threshold,
        horizon=horizon,
        engines=tuple(engine or ("26",)),
        seed=secrets.randbits(32) if seed is None else seed,
    ).checked()
    _writable(out)
    place = places.Places.of_user().named(NAME)
    preflight.check(place)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` has its turn
    with lock(place.cache / NAME):  # two would share one testbed, and the first to end would take it down
        try:
            with render.Progress(quiet=quiet) as progress:
                found = experiment(declared, progress.phase, lambda result: _write(result, out))
        finally:
            if keep:
                render.note(f"The testbed stays: export RELOCATE_CONFIG={place.settings}")
            else:
                bed.down(place)
    if out is not None and not quiet:
        render.note(f"The page is {out / 'report.html'}.")
    if as_json:
        render.emit_json(f"experiment-{kind}", results.document(found))
    else:
        print(results.text(found))
    raise typer.Exit(int(ExitCode.DONE if found.clean else ExitCode.ROLLED_BACK))


def _seconds(name: str, text: str) -> float:
    from relocate_cli.values import duration

    try:
        return duration(text)
    except ValueError as error:
        raise UsageError(f"{name}: {text} is not {error}") from None


def _writable(folder: Path | None) -> None:
    """Refuse a folder that cannot be written before the machine works for it for an hour."""
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        trial = folder / ".relocate"
        trial.write_text("")
        trial.unlink()
    except OSError as error:
        raise UsageError(f"out: {folder}: {error.strerror}", "name a directory of yours") from None


def _write(found: "Result", folder: Path | None) -> None:
    """The document and the page; after each turn, so that an interrupted run leaves what it had."""
    if folder is None:
        return
    import json

    from relocate_cli.experiment import page, result

    kind = found.declared.kind
    data, html = folder / f"experiment-{kind}.json", folder / "report.html"
    document = {"schema": f"relocate/experiment-{kind}/v1", **result.document(found)}
    try:
        data.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        html.write_text(page.render(found), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"out: {error.filename or folder}: {error.strerror}") from None
