"""The only module that prints results: tables for people, one JSON document for programs."""

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, Self

from relocate_cli.order import natural

if TYPE_CHECKING:
    from rich.status import Status

    from relocate_cli.fleet import Fleet
    from relocate_cli.plan import Relocation


def emit_json(verb: str, document: Mapping[str, Any]) -> None:
    """Print ``document`` on stdout with its schema, ``relocate/<verb>/v1``, as its first key."""
    json.dump({"schema": f"relocate/{verb}/v1", **document}, sys.stdout, indent=2)
    sys.stdout.write("\n")


def note(text: str) -> None:
    """Say something about progress; stderr, since stdout is data."""
    print(text, file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Columns as wide as they need; numbers to the right. Every line ends where its text does."""
    cells = [tuple(head), *(tuple("-" if cell in ("", None) else str(cell) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [
        len(cells) > 1 and all(_numeric(cell) for cell in column[1:]) for column in zip(*cells, strict=True)
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    )


def _numeric(cell: str) -> bool:
    return cell.replace(".", "", 1).replace("-", "0", 1).isdigit()


def age(seconds: float) -> str:
    """A span of time in two characters and a unit: 12 s, 5 min, 3 h, 9 d.

    >>> age(12), age(400), age(float("inf"))
    ('12 s', '7 min', 'never')
    """
    if seconds == float("inf"):
        return "never"
    for limit, unit, size in ((100, "s", 1), (6000, "min", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def when(moment: float | None) -> str:
    """A moment as local time, as people read it."""
    return "-" if moment is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))


def setting(value: object) -> str:
    """The value of a setting, as people read it."""
    if isinstance(value, tuple | list):
        return ", ".join(value)
    if is_dataclass(value) and not isinstance(value, type):
        return ", ".join(f"{key}={item:g}" for key, item in asdict(value).items())
    return f"{value:g}" if isinstance(value, float) else str(value)


def mib(size: int) -> str:
    """Bytes as whole MiB."""
    return f"{size >> 20} MiB"


def hosts_table(fleet: "Fleet", ttl: float) -> str:
    """One line a host; ``ttl`` seconds make facts stale."""
    rows = []
    for host in sorted(fleet.hosts, key=lambda host: natural(host.name)):
        state = host.error or ("drained" if host.drained else "stale" if host.age() > ttl else "ok")
        free = mib(host.capacity.memory_free_bytes)
        rows.append((host.name, state, len(host.containers), host.capacity.cpus, free, age(host.age())))
    return table(("HOST", "STATE", "CONTAINERS", "CPUS", "FREE", "SURVEYED"), rows)


def containers_table(fleet: "Fleet", due: Mapping[str, float]) -> str:
    """One line a container; ``due`` is when each moves next, in seconds since the epoch."""
    rows = []
    for entry in sorted(fleet.containers, key=lambda entry: natural(entry.host)):
        can = "no label" if not entry.enabled else entry.obstacles[0].reason if entry.obstacles else "yes"
        ports = ",".join(sorted(entry.ports))
        rows.append((entry.name, entry.host, entry.ip, entry.vip, ports, can, when(due.get(entry.name))))
    return table(("CONTAINER", "HOST", "IP", "VIP", "PORTS", "MOVES", "NEXT"), rows)


def history_table(entries: Iterable["Relocation"]) -> str:
    """One line a relocation."""
    rows = []
    for entry in entries:
        window = "" if entry.window_ms is None else f"{entry.window_ms:.0f}"
        way = (entry.container, entry.source, entry.target, entry.old_ip, entry.new_ip)
        rows.append((when(entry.started), *way, str(entry.outcome), window, entry.reason))
    head = ("WHEN", "CONTAINER", "FROM", "TO", "OLD IP", "NEW IP", "OUTCOME", "WINDOW MS", "REASON")
    return table(head, rows)


def fleet_document(fleet: "Fleet", *, features: bool = False) -> dict[str, Any]:
    """The fleet as JSON; facts that were never taken are null."""
    hosts = []
    for host in fleet.hosts:
        entry: dict[str, Any] = {
            "host": host.name,
            "error": host.error,
            "drained": host.drained,
            "surveyed_at": host.taken_at,
            "containers": len(host.containers),
            "cpus": host.capacity.cpus,
            "memory_bytes": host.capacity.memory_bytes,
            "memory_free_bytes": host.capacity.memory_free_bytes,
        }
        if features:
            entry["features"] = {
                group: {
                    name: sorted(value) if isinstance(value, frozenset) else value
                    for name, value in found.items()
                }
                for group, found in host.features.items()
            }
        hosts.append(entry)
    containers = [
        {
            "container": entry.name,
            "host": entry.host,
            "ip": entry.ip,
            "vip": entry.vip,
            "image": entry.image,
            "ports": sorted(entry.ports),
            "started_at": entry.started_at,
            "enabled": entry.enabled,
            "obstacles": [{"reason": item.reason, "hint": item.hint} for item in entry.obstacles],
        }
        for entry in fleet.containers
    ]
    return {"hosts": hosts, "containers": containers}


def recap(entry: "Relocation") -> str:
    """One relocation in one line, with what to do next if it did not work."""
    way = f"{entry.container}: {entry.source} → {entry.target}"
    match str(entry.outcome):
        case "moved":
            window = "?" if entry.window_ms is None else f"{entry.window_ms:.0f}"
            return f"{way}, {entry.old_ip} → {entry.new_ip}, window {window} ms"
        case "rolled_back":
            return f"{way}: rolled back: {entry.reason}"
        case "failed":
            return f"{way}: failed: {entry.reason} (run `relocate recover`)"
        case _:
            return f"{way}: not ended yet: {entry.reason} (run `relocate recover`)"


class Progress:
    """What a run is doing, on stderr: a live line on a terminal, else a line a phase; quiet: nothing."""

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        self._quiet = quiet
        # Ansible's own output and a live line would tear each other apart.
        self._live = not quiet and not verbose and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._done: list[str] = []
        self._now = ""
        self._since = time.monotonic()
        self._status: Status | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def phase(self, name: str) -> None:
        """The run has come to this phase."""
        if self._now:
            self._done.append(f"{self._now} {time.monotonic() - self._since:.1f} s")
        self._now, self._since = name, time.monotonic()
        if self._live:
            self._show(" · ".join([*self._done, f"[bold]{name}[/bold] …"]))
        else:
            self.say(f"{name} …")

    def task(self, name: str) -> None:
        """What goes on, if there is a live line to show it on: too much for a log."""
        if self._live:
            self._show(name)

    def _show(self, line: str) -> None:
        if self._status is None:
            from rich.console import Console

            self._status = Console(stderr=True).status(line)
            self._status.start()
        self._status.update(line)

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            note(text)
