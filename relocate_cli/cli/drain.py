"""`relocate drain`: empties a host, and takes it back."""

from typing import Annotated

import typer

from relocate_cli.cli.options import Check, Config, Inventory, Json, Quiet, Verbose, Wait, load
from relocate_cli.cli.session import alone


def drain(
    host: Annotated[str, typer.Argument(help="Name of the host in the inventory.")],
    undrain: Annotated[bool, typer.Option("--undrain", help="Take the host back instead.")] = False,
    wait: Wait = 0.0,
    check: Check = False,
    inventory: Inventory = None,
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Move every container away from a host and let none move there."""
    from relocate_cli import render, survey
    from relocate_cli import tick as rounds
    from relocate_cli.cli.tick import show

    settings = load(inventory, config)
    with alone(settings, wait=wait, quiet=quiet, verbose=verbose) as (journal, progress):
        if undrain:
            known = survey.kept(settings, journal)
            if known is not None:
                known.host(host)  # a mistyped name is an error
            if not check:
                journal.undrain(host)
            found = rounds.Round()
        else:
            found = rounds.drain(
                settings,
                journal,
                host,
                rng=rounds.generator(),
                check=check,
                verbosity=verbose,
                on_phase=progress.phase,
            )
    if as_json:
        render.emit_json("drain", {"host": host, "drained": not undrain, **rounds.document(found)})
    elif undrain:
        print(f"{host} takes containers again")
    else:
        show(found, check=check, quiet=True)
        left = len(found.due) - sum(str(entry.outcome) == "moved" for entry in found.ended)
        render.note(
            f"{host} is drained, {left} containers are left. `relocate drain {host} --undrain` takes it back."
        )
    raise typer.Exit(int(found.exit_code))
