"""The cgroup that holds a testbed's processes: found, listed and ended as a whole."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from relocate_cli.errors import RefusedError, RelocateError
from relocate_cli.testbed.places import Places

CGROUP_HINT = (
    "mount -t cgroup2 cgroup2 /sys/fs/cgroup; beside v1: mkdir /sys/fs/cgroup/unified and mount it there"
)


def cgroup_mount(mounts: Path = Path("/proc/self/mounts")) -> Path | None:
    """Where cgroup v2 is mounted: ``/sys/fs/cgroup``, or below it where v1 still runs beside it."""
    for line in mounts.read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    return None


def cgroup_of(of: Places) -> Path:
    """The cgroup that holds all processes of a testbed. Raises RefusedError where there is no cgroup v2."""
    mount = cgroup_mount()
    if mount is None:
        raise RefusedError("cgroup v2 is not mounted", CGROUP_HINT)
    return mount / of.cgroup_name


def processes(cgroup: Path) -> Iterator[int]:
    """The pids in ``cgroup`` and below."""
    for directory, _, _ in os.walk(cgroup):
        with suppress(OSError):
            yield from (int(pid) for pid in Path(directory, "cgroup.procs").read_text().split() if pid != "0")


def end_cgroup(cgroup: Path, patience: float = 10.0) -> None:
    """Kill every process below ``cgroup`` and remove it. Unlike a pid, a cgroup can't become somebody else's.

    Raises RelocateError when something survives ``patience`` seconds.
    """
    if not cgroup.exists():
        return
    (cgroup / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + patience
    while True:
        try:
            for directory, _, _ in os.walk(cgroup, topdown=False):
                Path(directory).rmdir()
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise RelocateError(f"processes of the testbed do not end: {cgroup}") from error
            time.sleep(0.01)
