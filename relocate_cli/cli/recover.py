"""`relocate recover`: end what an interruption left open."""

from typing import Annotated

import typer

from relocate_cli.cli.options import Check, Config, Inventory, Json, Quiet, Verbose, Wait, load
from relocate_cli.cli.session import alone


def recover(
    container: Annotated[str, typer.Argument(help="Name of the one container; else all.")] = "",
    to: Annotated[
        str | None, typer.Option("--to", metavar="HOST", help="Where to restore what is only an image.")
    ] = None,
    check: Check = False,
    wait: Wait = 0.0,
    inventory: Inventory = None,
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Find where each unfinished relocation stands, say what follows, and end it."""
    from relocate_cli import recovery, render
    from relocate_cli.errors import ExitCode

    settings = load(inventory, config)
    with alone(settings, wait=wait, quiet=quiet, verbose=verbose) as (journal, progress):
        progress.phase("find")
        found = recovery.find(settings, container, verbose)
        if not check:
            for line in recovery.plans(found, to):
                progress.say(line)
        done = recovery.Recovery(found)
        if not check:
            progress.phase("recover")
            done = recovery.recover(settings, journal, to=to, container=container, verbosity=verbose)
        waiting = [entry for entry in journal.open_relocations() if container in ("", entry.container)]
    if as_json:
        document = {
            "check": check,
            "open": list(found.opened),
            "stored": list(found.stored),
            "relocations": [entry.document() for entry in (*done.ended, *done.restored)],
            "refused": [{"reason": error.message, "hint": error.hint} for error in done.refused],
            "waiting": [entry.document() for entry in waiting],
        }
        render.emit_json("recover", document)
    elif check:
        print("\n".join(recovery.plans(found, to)) or "nothing is open")
    else:
        for ended in (*done.ended, *done.restored):
            print(render.recap(ended))
        if not (done.ended or done.restored or done.refused or waiting):
            print("nothing was open")
    if check:
        raise typer.Exit(int(ExitCode.NEEDS_RECOVER if found.opened or found.stored else ExitCode.DONE))
    for error in done.refused:
        render.note(f"relocate: {error.message} ({error.hint})")
    for why in done.findings.unsettled.values():
        render.note(f"relocate: not settled on {why} (run this again)")
    for left in waiting:
        if left.id not in done.findings.unsettled:
            render.note(
                f"relocate: {left.container} waits for {left.source} or {left.target}; run this again then"
            )
    raise typer.Exit(int(ExitCode.DONE if done.complete and not waiting else ExitCode.NEEDS_RECOVER))
