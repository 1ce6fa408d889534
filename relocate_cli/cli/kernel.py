"""`relocate kernel`: replace kernels that CRIU cannot work with."""

from pathlib import Path
from typing import Annotated

import typer

from relocate_cli.cli.options import Check, Config, Diff, Inventory, Limit, Quiet, Verbose, load
from relocate_cli.cli.session import play
from relocate_cli.order import natural


def kernel(
    limit: Limit = None,
    package: Annotated[
        str | None, typer.Option(help="Package that brings a kernel.", show_default="linux-image-amd64")
    ] = None,
    minimum: Annotated[
        str | None, typer.Option(help="Oldest release that will do.", show_default="any that CRIU takes")
    ] = None,
    check: Check = False,
    diff: Diff = False,
    inventory: Inventory = None,
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
) -> None:
    """Install a kernel where the running one will not do, and reboot: one host at a time, emptied first."""
    import sys

    settings = load(inventory, config)
    # The playbook empties a host by this same command, which takes the lock: so this one does not.
    command = [
        str(Path(sys.argv[0]).absolute()),
        "drain",
        "{{ inventory_hostname }}",
        "--quiet",
        "--wait",
        "600",
    ]
    command += [word for source in settings.inventory for word in ("--inventory", source)]
    command += ["--config", str(config)] if config else []
    variables: dict[str, object] = {
        "kernel__drain_command": command,
        "kernel__undrain_command": [*command, "--undrain"],
    }
    variables |= {"kernel__package": package} if package else {}
    variables |= {"kernel__minimum": minimum} if minimum else {}

    result = play(
        "kernel",
        settings,
        variables=variables,
        limit=limit,
        check=check,
        diff=diff,
        quiet=quiet,
        verbose=verbose,
    )
    result.require()
    changed = sorted({event.host for event in result.tasks if event.status == "changed"}, key=natural)
    would = "would get" if check else "got"
    print(f"{', '.join(changed)} {would} another kernel" if changed else "every kernel will do")
