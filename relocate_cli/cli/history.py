"""`relocate history`: what was moved, when, and what came of it."""

from typing import Annotated

import typer

from relocate_cli.cli.options import Config, Json, load, moment


def history(
    container: Annotated[str | None, typer.Argument(help="Only this container.")] = None,
    last: Annotated[int, typer.Option("-n", "--last", min=1, help="How many, the newest.")] = 20,
    since: Annotated[
        str | None, typer.Option("--since", metavar="SPAN", help="Not older than 2h, 7d, …")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Show past relocations, the newest last."""
    from relocate_cli import render
    from relocate_cli.journal import Journal

    start = moment(since)
    with Journal(load(config=config).state) as journal:
        entries = journal.relocations(container=container, since=start, limit=last)
    if as_json:
        render.emit_json("history", {"relocations": [entry.document() for entry in entries]})
    elif entries:
        print(render.history_table(entries))
    else:
        render.note("Nothing was moved yet.")
