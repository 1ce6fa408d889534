"""`relocate status`: hosts, containers, addresses, and where each is."""

from typing import Annotated

import typer

from relocate_cli.cli.options import Config, Inventory, Json, Quiet, Verbose, load


def status(
    kept: Annotated[
        bool, typer.Option("--kept", help="Ask no host; show the facts of the last survey.")
    ] = False,
    inventory: Inventory = None,
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Show hosts and containers: who is where, with which address, and whether it can move."""
    from relocate_cli import render, survey
    from relocate_cli.errors import RefusedError
    from relocate_cli.journal import Journal

    settings = load(inventory, config)
    with (
        Journal(settings.state) as journal,
        render.Progress(quiet=quiet, verbose=verbose > 0) as progress,
    ):
        known = survey.kept(settings, journal)
        if kept and known is None:
            raise RefusedError("no facts are kept yet", "run `relocate survey`")
        if not kept:
            progress.phase("survey")
            known = survey.take(settings, journal, light=known is not None, verbosity=verbose)
        assert known is not None
        unended = journal.open_relocations()
        due = {entry.container: entry.at for entry in journal.due()}
    if as_json:
        document = render.fleet_document(known) | {"open": [entry.document() for entry in unended]}
        render.emit_json("status", document)
        return
    print(render.hosts_table(known, settings.facts_ttl))
    if known.containers:
        print("\n" + render.containers_table(known, due))
    elif not quiet:
        render.note(
            "No containers. A tenant lets one take part by `docker run --label relocate.enable=true …`."
        )
    if unended and not quiet:
        names = ", ".join(sorted(entry.container for entry in unended))
        render.note(f"Nobody knows how the last relocation of {names} ended. Next: `relocate recover`.")
