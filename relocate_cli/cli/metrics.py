"""`relocate metrics`: for Prometheus."""

from pathlib import Path
from typing import Annotated

import typer

from relocate_cli.cli.options import Config, Inventory, load


def metrics(
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="A file of node_exporter's textfile collector, *.prom."),
    ] = None,
    schedule: Annotated[
        bool,
        typer.Option(
            "--schedule", help="With when each container moves next; a file is then not everybody's to read."
        ),
    ] = False,
    inventory: Inventory = None,
    config: Config = None,
) -> None:
    """Print the journal as Prometheus metrics, or replace a file with them."""
    from relocate_cli import metrics as exposition
    from relocate_cli import survey, whole
    from relocate_cli.journal import Journal

    settings = load(inventory, config)
    with Journal(settings.state) as journal:
        due = {entry.container: entry.at for entry in journal.due()} if schedule else None
        text = exposition.text(journal.relocations(), survey.kept(settings, journal), due)
    if output is None:
        print(text, end="")
        return
    whole.write(output, text, secret=schedule, hint="name a file in a directory of the collector")
