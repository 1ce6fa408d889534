"""Room for many systemds: each takes about seven inotify instances, and a machine has 128."""

from contextlib import suppress
from pathlib import Path

LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
BEFORE = Path("/run/relocate-inotify")
PER_HOST = 16
MACHINES_OWN = 128


def make_room(hosts: int, limit: Path = LIMIT, before: Path = BEFORE) -> None:
    """Raise the limit by what ``hosts`` need; what it was before the first testbed is noted."""
    value = int(limit.read_text())
    floor = int(before.read_text()) if before.exists() else value
    used_by_others = value - floor
    wanted = MACHINES_OWN + used_by_others + hosts * PER_HOST
    if value < wanted:
        if not before.exists():
            before.write_text(f"{value}\n")
        limit.write_text(f"{wanted}\n")


def restore(cgroups: Path, limit: Path = LIMIT, before: Path = BEFORE) -> None:
    """Put the limit back once no testbed is left on the machine (none has a cgroup below ``cgroups``)."""
    if not any(cgroups.glob("relocate*-testbed")):
        with suppress(FileNotFoundError):
            limit.write_text(before.read_text())
            before.unlink()
