"""What a process or a thread has that can be read and set from outside, by its pid."""

import os
import re
import resource
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from relocate_proxy.inventory import calls
from relocate_proxy.inventory.document import Value

LIMITS = range(16)  # RLIM_NLIMITS
ALL = "all"  # processors
# Pending of themselves: a stopped process's SIGCHLD, and what CRIU's own stopping leaves (signal(7)).
NOISE = 1 << (17 - 1) | 1 << (5 - 1) | 1 << (19 - 1)


@dataclass(frozen=True)
class Setting:
    """``read`` and ``write`` take a pid or tid; both raise OSError."""

    read: Callable[[int], Value]
    write: Callable[[int, str], None]


def _file(name: str, base: str = "") -> Setting:
    """``base``: what the kernel writes without, but wants to read."""

    def read(pid: int) -> str:
        with open(f"/proc/{pid}/{name}", "rb", buffering=0) as stream:  # noqa: PTH123 (a third of the time)
            return stream.read(64).decode().strip()

    def write(pid: int, value: str) -> None:
        Path(f"/proc/{pid}/{name}").write_text(base + value)

    return Setting(read, write)


def _limits(pid: int) -> str:
    try:
        return " ".join("{}:{}".format(*resource.prlimit(pid, which)) for which in LIMITS)
    except PermissionError:  # another user's, and no CAP_SYS_RESOURCE here
        return limits(Path(f"/proc/{pid}/limits").read_text())


def limits(text: str) -> str:
    """The lines of /proc/PID/limits, in the order of the limits' numbers, as prlimit(2) has them."""
    found = re.findall(r"(?m)^Max .*? {2,}(\d+|unlimited) +(\d+|unlimited)", text)
    return " ".join(":".join(pair) for pair in found).replace("unlimited", "-1")


def _set_limits(pid: int, value: str) -> None:
    for which, word in zip(LIMITS, value.split(), strict=True):
        soft, hard = map(int, word.split(":"))
        if resource.prlimit(pid, which) != (soft, hard):
            resource.prlimit(pid, which, (soft, hard))


@cache
def processors() -> frozenset[int]:
    """Those of this host that run something."""
    found: set[int] = set()
    for part in Path("/sys/devices/system/cpu/online").read_text().strip().split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _affinity(tid: int) -> str:
    found = os.sched_getaffinity(tid)
    return ALL if found >= processors() else ",".join(map(str, sorted(found)))


def _set_affinity(tid: int, value: str) -> None:
    os.sched_setaffinity(tid, processors() if value == ALL else set(map(int, value.split(","))))


def _set_scheduling(tid: int, value: str) -> None:
    policy, flags, nice, priority = map(int, value.split())
    calls.set_scheduling(tid, policy, flags, nice, priority)


PROCESS: dict[str, Setting] = {
    "OOM score": _file("oom_score_adj"),
    "core dump filter": _file("coredump_filter", "0x"),
    "limits": Setting(_limits, _set_limits),
}
THREAD: dict[str, Setting] = {
    "CPU affinity": Setting(_affinity, _set_affinity),
    "I/O priority": Setting(
        lambda tid: str(calls.io_priority(tid)), lambda tid, v: calls.set_io_priority(tid, int(v))
    ),
    "scheduling": Setting(lambda tid: " ".join(map(str, calls.scheduling(tid))), _set_scheduling),
    "timer slack": _file("timerslack_ns"),
}


def status(pid: int) -> dict[str, str]:
    """The lines of /proc/PID/status. A tenant chooses the bytes of the name. Raises OSError."""
    with open(f"/proc/{pid}/status", "rb", buffering=0) as stream:  # noqa: PTH123
        text = stream.read(1 << 16).decode(errors="replace")
    return {key: value.strip() for key, _, value in (line.partition(":") for line in text.split("\n"))}


def pending(lines: dict[str, str], which: str) -> str:
    """Signals that wait (``which``: SigPnd or ShdPnd), but for what comes and goes."""
    return f"{int(lines.get(which, '0'), 16) & ~NOISE:x}"
