"""`relocate report`: what the journal adds up to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relocate_cli.cli.options import Config, Inventory, Json, load, moment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from relocate_cli.journal import Journal
    from relocate_cli.page.model import Known
    from relocate_cli.plan import Relocation
    from relocate_cli.settings import Settings


def report(
    since: Annotated[
        str | None, typer.Option("--since", metavar="SPAN", help="Not older than 2h, 7d, …")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write one page that needs nothing else; - is stdout."),
    ] = None,
    inventory: Inventory = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Sum up relocations: outcomes, windows, who moved how often and by which way."""
    from dataclasses import asdict

    from relocate_cli import render
    from relocate_cli import report as sums
    from relocate_cli.errors import UsageError
    from relocate_cli.journal import Journal

    if html and as_json:
        raise UsageError("--html and --json are two documents", "ask for one of them")
    start = moment(since)
    settings = load(inventory, config)
    with Journal(settings.state) as journal:
        entries = journal.relocations(since=start)
        page = _page(settings, journal, entries, start) if html else ""
    if html:
        _put(html, page)
        return
    summary = sums.summarise(entries)
    if as_json:
        document = {
            "outcomes": summary.outcomes,
            "window_ms": asdict(summary.window_ms) if summary.window_ms else None,
            "containers": [{"container": name, "moves": moves} for name, moves in summary.containers.items()],
            "ways": [{"source": ends[0], "target": ends[1], "moves": n} for ends, n in summary.ways.items()],
            "reasons": [{"reason": reason, "times": times} for reason, times in summary.reasons.items()],
            "inventory": {
                "compared": summary.compared,
                "mended": [{"kind": kind, "moves": moves} for kind, moves in summary.mended.items()],
                "harmless": [{"kind": kind, "moves": moves} for kind, moves in summary.harmless.items()],
            },
        }
        render.emit_json("report", document)
        return
    print(render.table(("OUTCOME", "TIMES"), summary.outcomes.items()))
    if spread := summary.window_ms:
        print("\nwindow in ms: " + ", ".join(f"{name} {ms:.0f}" for name, ms in asdict(spread).items()))
    for head, rows in (
        (("CONTAINER", "MOVES"), summary.containers.items()),
        (("REASON", "TIMES"), summary.reasons.items()),
        (("MENDED IN THE COPY", "MOVES"), summary.mended.items()),
        (("HARMLESS IN THE COPY", "MOVES"), summary.harmless.items()),
    ):
        if rows:
            print("\n" + render.table(head, rows))


def _page(settings: "Settings", journal: "Journal", entries: "Sequence[Relocation]", start: float) -> str:
    import time

    from relocate_cli.page import html, model

    now = time.time()
    return html.render(model.build(entries, _known(settings, journal, now), now, start))


def _known(settings: "Settings", journal: "Journal", now: float) -> "Known":
    """What the page says beside relocations. Whoever has no survey of this inventory has no overdue ones."""
    from relocate_cli import __version__, render, schedule, survey
    from relocate_cli import settings as schema
    from relocate_cli.page.model import Known, Overdue, Parameter

    told = ("clock.", "heterogeneity.", "selection.", "policy.", "relocation.")
    parameters = tuple(
        Parameter(key.name, render.setting(settings.value(key.name)), settings.origins[key.name])
        for key in schema.schema()
        if key.name.startswith(told)
    )
    fleet = survey.kept(settings, journal)
    due = journal.due()
    if fleet is None or not due:
        return Known(fleet, None, parameters, __version__)
    gaps = schedule.longest(fleet, settings.clock)
    overdue = tuple(
        Overdue(entry.container, max(entry.since, entry.drawn), gaps[entry.container])
        for entry in schedule.overdue(due, gaps, now)
    )
    return Known(fleet, overdue, parameters, __version__)


def _put(place: Path, page: str) -> None:
    """It says where each tenant's container is, so that a file is its owner's alone, as the journal."""
    from relocate_cli import whole

    if str(place) == "-":
        typer.echo(page.encode(), nl=False)  # the page says that it is UTF-8, whatever the locale
    else:
        whole.write(place, page, secret=True, hint="name a file in a directory that you can write to")
