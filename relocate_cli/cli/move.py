"""`relocate move`: one container, now."""

from pathlib import Path
from typing import Annotated

import typer

from relocate_cli.cli.options import Check, Config, Inventory, Json, Quiet, Verbose, Wait, load
from relocate_cli.cli.session import alone


def move(
    container: Annotated[str, typer.Argument(help="Name of the container.")],
    to: Annotated[
        str | None, typer.Option("--to", metavar="HOST", help="Where to; else a host is chosen.")
    ] = None,
    check: Check = False,
    trace: Annotated[
        Path | None,
        typer.Option("--trace", metavar="FILE", help="Write the window's time line for Perfetto or Chrome."),
    ] = None,
    wait: Wait = 0.0,
    inventory: Inventory = None,
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Move a running container to another host; its clients notice a pause."""
    from relocate_cli import placement, relocation, render, survey, tick
    from relocate_cli.errors import ExitCode, RefusedError
    from relocate_cli.fleet import Fleet
    from relocate_cli.plan import Move, Outcome, Plan

    settings = load(inventory, config)

    def choose(fleet: Fleet) -> Move:
        moved = fleet.container(container)
        if to:
            return fleet.move(moved, fleet.host(to), ttl=settings.facts_ttl)
        fleet.check_movable(moved, settings.facts_ttl)
        drawn = placement.place(fleet, [moved], settings, tick.generator())
        for reason in drawn.staying.values():
            raise RefusedError(f"container {container} stays: {reason}", "see `relocate target`")
        return drawn.moves[0]

    with alone(settings, wait=wait, quiet=quiet, verbose=verbose) as (journal, progress):
        if any(entry.container == container for entry in journal.open_relocations()):
            raise RefusedError(
                f"nobody knows how the last relocation of {container} ended",
                "run `relocate recover` first",
                ExitCode.NEEDS_RECOVER,
            )
        progress.phase("choose")
        chosen = survey.decide(settings, journal, choose, verbosity=verbose)
        if check:
            if as_json:
                render.emit_json("move", {"check": True, **chosen.ends()})
            else:
                print(f"{container} would move: {chosen.source} → {chosen.target}, it keeps {chosen.vip}")
            return
        (ended,) = relocation.carry_out(
            Plan((chosen,)), settings=settings, journal=journal, verbosity=verbose, on_phase=progress.phase
        )
    if trace:
        from relocate_cli.trace import write

        write(ended, trace)
    if as_json:
        render.emit_json("move", ended.document())
    elif ended.outcome is Outcome.MOVED:
        print(render.recap(ended))
    if ended.outcome is not Outcome.MOVED:
        render.note(f"relocate: {render.recap(ended)}")
    elif not quiet:
        render.note("Next: `relocate status` shows where everything is.")
    raise typer.Exit(int(relocation.exit_code([ended])))
