"""`relocate survey`: collects C, N, S, capacity and the containers of every host."""

from typing import TYPE_CHECKING, Any

import typer

from relocate_cli.cli.options import Config, Inventory, Json, Limit, Quiet, Verbose, Wait, load
from relocate_cli.cli.session import alone
from relocate_cli.order import natural

if TYPE_CHECKING:
    from relocate_cli.fleet import Host


def survey(
    wait: Wait = 0.0,
    limit: Limit = None,
    inventory: Inventory = None,
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Ask all hosts what they are and what they run, and keep the answers."""
    from relocate_cli import placement, render
    from relocate_cli import survey as surveys
    from relocate_cli.errors import ExitCode
    from relocate_cli.fleet import GROUPS, stale
    from relocate_cli.heterogeneity import effective_hosts

    settings = load(inventory, config)
    with alone(settings, wait=wait, quiet=quiet, verbose=verbose) as (journal, progress):
        progress.phase("survey")
        fleet = surveys.take(settings, journal, limit=limit, verbosity=verbose)
    worth = effective_hosts(placement.differences(fleet, settings).similarity)
    if as_json:
        hosts = [_document(host, stale(host, settings.facts_ttl)) for host in fleet.hosts]
        render.emit_json("survey", {"hosts": hosts, "effective_hosts": worth})
    else:
        rows = [
            (
                host.name,
                render.age(host.age()),
                len(host.containers),
                sum(entry.enabled and not entry.obstacles for entry in host.containers),
                *(len(host.features[group]) for group in GROUPS),
                f"{host.capacity.memory_free_bytes / 2**30:.1f}",
                host.criu.version,
                stale(host, settings.facts_ttl),
            )
            for host in sorted(fleet.hosts, key=lambda host: natural(host.name))
        ]
        head = ["HOST", "AGE", "CONTAINERS", "MOVABLE", *GROUPS, "GIB FREE", "CRIU", "TROUBLE"]
        print(render.table(head, rows))
        if not quiet:
            render.note(f"These {len(fleet.hosts)} hosts are worth {worth:.1f} wholly different ones.")
    if any(host.error for host in fleet.hosts):
        raise typer.Exit(int(ExitCode.REFUSED))


def _document(host: "Host", trouble: str) -> dict[str, Any]:
    """A host as JSON: sets as sorted lists."""
    return {
        "host": host.name,
        "taken_at": host.taken_at,
        "stale": trouble or None,
        "drained": host.drained,
        "features": {
            group: {
                name: sorted(value) if isinstance(value, frozenset) else value
                for name, value in sorted(features.items())
            }
            for group, features in host.features.items()
        },
        "capacity": {
            "cpus": host.capacity.cpus,
            "memory_bytes": host.capacity.memory_bytes,
            "memory_free_bytes": host.capacity.memory_free_bytes,
            "disk_free_bytes": host.capacity.disk_free_bytes,
            "storage_free_bytes": host.capacity.storage_free_bytes,
            "published_ports": sorted(host.capacity.published_ports),
        },
        "criu": {"version": host.criu.version, "check": host.criu.check, "kernel": host.criu.kernel},
        "containers": [
            {
                "name": entry.name,
                "id": entry.id,
                "image": entry.image,
                "labels": dict(entry.labels),
                "started_at": entry.started_at,
                "vip": entry.vip or None,
                "ip": entry.ip,
                "obstacles": [{"reason": item.reason, "hint": item.hint} for item in entry.obstacles],
            }
            for entry in host.containers
        ],
    }
