"""`relocate demo`: everything, on this machine, before your eyes."""

import signal
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from relocate_cli.cli.options import Json, Quiet

if TYPE_CHECKING:
    from relocate_cli.demo import Result

_BAR = 40


def demo(
    hops: Annotated[int, typer.Option("--hops", min=1, help="How often the container moves.")] = 10,
    engine: Annotated[str, typer.Option("--engine", help="Docker release on the hosts: 26 or 28.")] = "26",
    keep: Annotated[bool, typer.Option("--keep", help="Leave the testbed up.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Boot two hosts, run a container, let it hop between them while a client counts its messages."""
    from relocate_cli import demo as show
    from relocate_cli import render
    from relocate_cli.demo import stage
    from relocate_cli.errors import ExitCode
    from relocate_cli.journal import lock
    from relocate_cli.testbed import bed, places, preflight

    place = places.Places.of_user().named("demo")
    preflight.check(place)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` has its turn
    with lock(place.cache / "demo"):  # two would share one testbed, and the first to end would take it down
        try:
            with render.Progress(quiet=quiet) as progress:
                standing = stage.set_up([engine], progress.phase)
                vip = stage.start_container(standing, progress.phase)
                result = show.play(standing, vip, hops, lambda number: progress.phase(f"hop {number}"))
        finally:
            if keep:
                render.note(f"The testbed stays: export RELOCATE_CONFIG={place.settings}")
            else:
                bed.down(place)
    if as_json:
        render.emit_json("demo", _document(result))
    else:
        print(_text(result))
    raise typer.Exit(int(ExitCode.DONE if result.good else ExitCode.ROLLED_BACK))


def _document(result: "Result") -> dict[str, object]:
    from dataclasses import asdict

    least, middle, most = result.gaps
    return {
        "hops": [asdict(hop) for hop in result.hops],
        "gap_ms": {"min": least, "median": middle, "max": most},
        "messages_sent": result.sent,
        "messages_lost": result.lost,
        "messages_duplicated": result.duplicated,
        "messages_reordered": result.reordered,
        "connection_kept": result.connection_kept,
    }


def _text(result: "Result") -> str:
    from relocate_cli import render

    least, middle, most = result.gaps
    rows = [
        (
            number,
            f"{hop.source} → {hop.target}",
            f"{hop.old_ip} → {hop.new_ip}",
            f"{hop.window_ms:.0f}",
            f"{hop.gap_ms:.0f}",
            "█" * max(1, round(_BAR * hop.gap_ms / max(most, 1))),
        )
        for number, hop in enumerate(result.hops, 1)
    ]
    head = ("HOP", "HOSTS", "THE CONTAINER'S IP", "WINDOW MS", "GAP MS", "")
    kept = "kept" if result.connection_kept else f"LOST ({result.error})"
    return "\n".join(
        [
            render.table(head, rows),
            "",
            f"gap: min {least:.0f}, median {middle:.0f}, max {most:.0f} ms",
            f"messages: {result.sent} sent, {result.lost} lost, {result.duplicated} duplicated, "
            f"{result.reordered} reordered; the one TCP connection was {kept}",
        ]
    )
