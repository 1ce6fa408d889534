"""`relocate target`: where a container may go, and how likely each host is."""

from typing import Annotated

import typer

from relocate_cli.cli.options import Config, Inventory, Json, Verbose, load


def target(
    container: Annotated[str, typer.Argument(help="Name of the container.")],
    inventory: Inventory = None,
    config: Config = None,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Show every host as a target for a container: its Δ, whether it can be, and how probable it is."""
    from relocate_cli import placement, render, tick
    from relocate_cli.fleet import GROUPS
    from relocate_cli.heterogeneity import effective_hosts
    from relocate_cli.journal import Journal

    settings = load(inventory, config)

    with Journal(settings.state) as journal:
        fleet = tick.facts(settings, journal, container, verbosity=verbose)
    moved = fleet.container(container)
    found = placement.prospects(fleet, moved, settings)
    worth = effective_hosts(placement.differences(fleet, settings).similarity)
    obstacles = [entry.reason for entry in moved.obstacles]
    if as_json:
        document = {
            "container": moved.name,
            "source": moved.host,
            "obstacles": obstacles,
            "measure": settings.heterogeneity.measure,
            "choice": settings.selection.choice,
            "max_share": settings.selection.max_share,
            "hosts": [
                {
                    "host": entry.host,
                    "delta": entry.delta,
                    "groups": dict(entry.groups),
                    "feasible": not entry.why,
                    "why_not": entry.why or None,
                    "probability": entry.probability,
                    "probability_unbounded": entry.unbounded,
                }
                for entry in found
            ],
            "effective_hosts": worth,
        }
        render.emit_json("target", document)
        return
    rows = [
        (
            entry.host,
            f"{entry.delta:.3f}",
            *(f"{entry.groups[group]:.3f}" for group in GROUPS),
            f"{entry.probability:.1%}",
            entry.why,
        )
        for entry in found
    ]
    print(render.table(["HOST", "Δ", *GROUPS, "CHANCE", "WHY NOT"], rows))
    for entry in found:
        if entry.held:
            render.note(
                f"{entry.host} would be chosen with {entry.unbounded:.1%}, by what it says of itself; "
                f"[selection] max_share = {settings.selection.max_share:g} holds it."
            )
    for reason in obstacles:
        render.note(f"{moved.name} cannot move: {reason}")
    render.note(f"These {len(fleet.hosts)} hosts are worth {worth:.1f} wholly different ones.")
