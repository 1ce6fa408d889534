"""`relocate tick`: what cron runs."""

from typing import TYPE_CHECKING, Annotated

import typer

from relocate_cli.cli.options import Check, Config, Inventory, Json, Quiet, Verbose, Wait, load
from relocate_cli.cli.session import alone

if TYPE_CHECKING:
    from relocate_cli.tick import Round

Seed = Annotated[int | None, typer.Option("--seed", help="For tests only: who knows it knows every move.")]


def tick(
    wait: Wait = 0.0,
    seed: Seed = None,
    check: Check = False,
    inventory: Inventory = None,
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Survey, move the containers whose time has come, draw the next times."""
    from relocate_cli import render
    from relocate_cli import tick as rounds

    settings = load(inventory, config)
    if seed is not None:
        render.note("warning: --seed is for tests; an attacker who guesses it knows every move")
    with alone(settings, wait=wait, quiet=quiet, verbose=verbose) as (journal, progress):
        found = rounds.tick(
            settings,
            journal,
            rng=rounds.generator(seed),
            check=check,
            verbosity=verbose,
            on_phase=progress.phase,
        )
    if as_json:
        render.emit_json("tick", rounds.document(found))
    else:
        show(found, check=check, quiet=quiet)
        if not quiet:
            render.note(f"Next: {render.when(found.next_at)}.")
    raise typer.Exit(int(found.exit_code))


def show(found: "Round", *, check: bool, quiet: bool) -> None:
    """The round for people: what moved on stdout, what did not on stderr."""
    from relocate_cli import render
    from relocate_cli.plan import Outcome

    if check:
        for move in found.planned:
            print(f"{move.container}: {move.source} → {move.target} (not done)")
    for entry in found.ended:
        if entry.outcome is Outcome.MOVED:
            print(render.recap(entry))
        else:
            render.note(f"relocate: {render.recap(entry)}")
    for name, why in sorted((found.staying or {}).items()):
        render.note(f"{name} stays: {why}")
    if not found.due and not quiet:
        render.note("Nothing is due.")
