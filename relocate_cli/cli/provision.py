"""`relocate provision`: make the hosts of the inventory ready."""

from typing import Annotated

import typer

from relocate_cli.cli.options import Check, Config, Diff, Inventory, Json, Limit, Quiet, Verbose, Wait, load
from relocate_cli.cli.session import play


def provision(
    limit: Limit = None,
    check: Check = False,
    diff: Diff = False,
    extra: Annotated[
        list[str] | None, typer.Option("-e", "--extra-vars", metavar="NAME=VALUE", help="As of Ansible.")
    ] = None,
    wait: Wait = 0.0,
    inventory: Inventory = None,
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Prepare hosts, storage, image repository and host0; a second run changes nothing."""
    from relocate_cli import inventory as inventories
    from relocate_cli import render
    from relocate_cli.errors import UsageError
    from relocate_cli.journal import lock

    settings = load(inventory, config)
    variables: dict[str, object] = dict(settings.role_variables())
    for pair in extra or ():
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"-e {pair} is not understood", "give NAME=VALUE")
        variables[name] = value
    known = inventories.read(settings)

    with lock(settings.state, wait):
        result = play(
            "provision",
            settings,
            variables=variables,
            limit=limit,
            check=check,
            diff=diff,
            quiet=quiet,
            verbose=verbose,
        )
    changed = sorted({(event.host, event.task) for event in result.tasks if event.status == "changed"})
    if as_json:
        taking_part = sorted(known.hosts | {known.gateway})
        document = {
            "check": check,
            "hosts": [{"host": name, "error": result.trouble.get(name)} for name in taking_part],
            "changed": [{"host": host, "task": task} for host, task in changed],
        }
        render.emit_json("provision", document)
    result.require()
    if not as_json:
        print(
            f"{len(changed)} things would change" if check else f"{len(changed)} things changed; all is ready"
        )
    if not quiet and not check:
        render.note("Next: `relocate survey`, then label containers relocate.enable=true.")
