"""`relocate decommission`: take back what `relocate provision` did."""

import typer

from relocate_cli.cli.options import Check, Config, Diff, Inventory, Limit, Quiet, Verbose, Wait, Yes, load
from relocate_cli.cli.session import play


def decommission(
    limit: Limit = None,
    yes: Yes = False,
    check: Check = False,
    diff: Diff = False,
    wait: Wait = 0.0,
    inventory: Inventory = None,
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Leave the hosts as they were before `provision`; containers run on, under their host's address."""
    from relocate_cli.journal import lock

    settings = load(inventory, config)
    if not (yes or check):
        typer.confirm("Clients will no longer reach containers by their VIPs. Go on?", abort=True, err=True)
    with lock(settings.state, wait):
        result = play(
            "decommission",
            settings,
            variables=settings.role_variables(),
            limit=limit,
            check=check,
            diff=diff,
            quiet=quiet,
            verbose=verbose,
        )
    result.require()
    changed = {(event.host, event.task) for event in result.tasks if event.status == "changed"}
    print(f"{len(changed)} things would be taken back" if check else f"{len(changed)} things taken back")
