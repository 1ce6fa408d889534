"""`relocate schedule`: who moves next, when, and by which policy."""

from typing import TYPE_CHECKING

from relocate_cli.cli.options import Config, Inventory, Json, Verbose, load

if TYPE_CHECKING:
    from relocate_cli.fleet import Fleet


def schedule(
    inventory: Inventory = None, config: Config = None, verbose: Verbose = 0, as_json: Json = False
) -> None:
    """Show when each container is due, soonest first."""
    import time
    from contextlib import suppress
    from datetime import datetime

    from relocate_cli import render, tick
    from relocate_cli.errors import LockedError
    from relocate_cli.journal import Journal, lock
    from relocate_cli.schedule import allowed_from

    settings = load(inventory, config)
    errors: dict[str, str] = {}
    with Journal(settings.state) as journal:
        fleet = tick.facts(settings, journal, verbosity=verbose)
        with suppress(LockedError), lock(settings.state):  # a tick at work draws them itself
            _, found = tick.renew(settings, journal, fleet, time.time(), tick.generator())
            errors = dict(found)
        entries = journal.due()
    now = time.time()
    listed = []
    for entry in entries:
        at = None if entry.at == float("inf") else max(entry.at, now)
        if at is not None and settings.policy.quiet_hours:
            allowed = allowed_from(settings.policy.quiet_hours, datetime.fromtimestamp(at))
            at = None if allowed is None else allowed.timestamp()
        listed.append((entry, _host(fleet, entry.container), at))
    if as_json:
        containers = [
            {
                "container": entry.container,
                "host": host,
                "due_at": None if entry.at == float("inf") else entry.at,
                "moves_from": at,
                "since": entry.since,
                "policy": entry.policy,
            }
            for entry, host, at in listed
        ]
        document = {"now": now, "containers": containers, "errors": errors}
        render.emit_json("schedule", document)
        return
    rows = [
        (entry.container, host, "never" if at is None else _in(at - now), render.when(at), entry.policy)
        for entry, host, at in listed
    ]
    print(render.table(["CONTAINER", "HOST", "IN", "NOT BEFORE", "POLICY"], rows))
    for name, why in errors.items():
        render.note(f"{name} does not move: {why}")
    seen = max((host.age(now) for host in fleet.hosts), default=0.0)
    render.note(f"As of the survey {render.age(seen)} ago; `relocate survey` looks again.")
    if not rows:
        render.note("No container takes part. Next: its tenant sets the label relocate.enable=true.")


def _in(seconds: float) -> str:
    from relocate_cli import render

    return "now" if seconds < 1 else render.age(seconds)


def _host(fleet: "Fleet", name: str) -> str | None:
    return next((entry.host for entry in fleet.containers if entry.name == name), None)
