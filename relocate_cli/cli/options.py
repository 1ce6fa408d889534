"""Options that several verbs share, spelled as Ansible users know them, and what settings they make."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from relocate_cli import settings, values
from relocate_cli.errors import UsageError

Inventory = Annotated[
    list[str] | None,
    typer.Option("-i", "--inventory", help="Ansible inventory; repeatable.", show_default="inventory"),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "-c", "--config", help="Settings file, instead of ./relocate.toml.", envvar="RELOCATE_CONFIG"
    ),
]
Limit = Annotated[
    str | None, typer.Option("-l", "--limit", help="Only hosts that match this Ansible pattern.")
]
Verbose = Annotated[
    int, typer.Option("-v", "--verbose", count=True, help="Show Ansible's own output; repeatable.")
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress on stderr.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Check = Annotated[bool, typer.Option("-C", "--check", help="Say what would be done; change nothing.")]
Diff = Annotated[bool, typer.Option("-D", "--diff", help="Show what changes in files.")]
Wait = Annotated[float, typer.Option("--wait", min=0, help="Seconds to wait for another run to end.")]


def load(
    inventory: list[str] | None = None, config: Path | None = None, flags: Mapping[str, Any] | None = None
) -> settings.Settings:
    """The settings of this invocation; ``flags`` maps dotted keys to values, None where not given."""
    return settings.load({"inventory": inventory or None, **(flags or {})}, config=config)


def moment(since: str | None) -> float:
    """Seconds since the epoch, ``since`` (such as 2h or 7d) ago; 0 if it is None."""
    if since is None:
        return 0.0
    try:
        return time.time() - values.duration(since)
    except ValueError as error:
        raise UsageError(f"--since {since} is not understood", f"give {error}") from None
