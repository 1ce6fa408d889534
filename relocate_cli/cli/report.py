"""`relocate report`: what the journal adds up to."""

from typing import Annotated

import typer

from relocate_cli.cli.options import Config, Json, load, moment


def report(
    since: Annotated[
        str | None, typer.Option("--since", metavar="SPAN", help="Not older than 2h, 7d, …")
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Sum up relocations: outcomes, windows, who moved how often and by which way."""
    from dataclasses import asdict

    from relocate_cli import render
    from relocate_cli import report as sums
    from relocate_cli.journal import Journal

    start = moment(since)
    with Journal(load(config=config).state) as journal:
        summary = sums.summarise(journal.relocations(since=start))
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
