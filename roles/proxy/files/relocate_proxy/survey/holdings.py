"""What the processes of a container are and hold, as /proc tells it: what CRIU cannot dump, what another host
may not restore, and who is there without descending from the container's first process.

A tenant decides how many processes, mappings and open files there are, and what bytes are in their names: who
asks gives it so much patience, and raises ImpatientError with it."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from relocate_proxy.survey.patience import Patience

PROC = Path("/proc")
# What CRIU 4.2.1 dumps: protocols as the kernel names them (sockfs's xattr), anonymous inodes as /proc does.
SOCKETS = {"TCP", "UDP", "UDP-Lite", "RAW", "PING", "NETLINK", "PACKET", "UNIX", "UNIX-STREAM"}
SOCKETS |= {name + "v6" for name in ("TCP", "UDP", "RAW", "PING")} | {"UDPLITEv6"}
ANONYMOUS = {"eventfd", "eventpoll", "inotify", "fanotify", "signalfd", "timerfd", "pidfd"}
WATCH = "inotify watch of its root file system"
PACKETS = "pipe in packet mode"
REMEDIES = {
    WATCH: "let it watch a --tmpfs, or poll",
    PACKETS: "let it use a socketpair (SOCK_SEQPACKET), or a pipe without O_DIRECT",
    "MPTCP socket": "let it use TCP: --sysctl net.mptcp.enabled=0, or, for Go, --env GODEBUG=multipathtcp=0",
    "io_uring": "let it use epoll: most programs have a setting for that",
}
RING_HEADER_BYTES = RING_EVENT_BYTES = 32  # struct aio_ring, struct io_event
COMMAND_LETTERS = 60

Finding = tuple[str, str]


def processes_of(pid: int, proc: Path = PROC) -> list[str]:
    """The pids of the container whose first process this is, exec'd ones among them."""
    try:
        lines = (proc / str(pid) / "cgroup").read_text(errors="replace").splitlines()
        group = next(line.removeprefix("0::/") for line in lines if line.startswith("0::"))
        return Path("/sys/fs/cgroup", group, "cgroup.procs").read_text(errors="replace").split()
    except (OSError, StopIteration):
        return [str(pid)]


def held(pids: Iterable[str], proc: Path = PROC, patience: Patience | None = None) -> list[dict[str, str]]:
    """What processes of a container hold that cannot be dumped, as ``obstacles`` says it, each kind once."""
    patience = patience or Patience()
    found = {finding for pid in patience.over(pids) for finding in _held(proc, pid, patience)}
    return [{"reason": reason, "hint": hint} for reason, hint in sorted(found)]


def strangers(pids: Iterable[str], proc: Path = PROC, patience: Patience | None = None) -> dict[str, str]:
    """Processes of a container that entered it from outside (`docker exec`), each pid with its command.

    CRIU dumps what descends from the first process, so these would end with the move. Left out are zombies,
    and runc itself before it has become what it was asked for.
    """
    known = set(pids)
    found = {}
    for pid in (patience or Patience()).over(sorted(known, key=int)):
        status = _status(proc, pid)
        inside = status.get("NSpid", "").split()
        entered = len(inside) > 1 and inside[-1] != "1" and status.get("PPid") not in known
        if (
            entered
            and not status.get("State", "Z").startswith("Z")
            and "runc:[" not in status.get("Name", "")
        ):
            found[pid] = _command(proc, pid) or status.get("Name", "?")
    return found


def droppable(pids: Iterable[str], proc: Path = PROC, patience: Patience | None = None) -> bool:
    """Whether a process has memory that the kernel may drop (mmap(2): MAP_DROPPABLE, Linux 6.11), which an
    older kernel cannot restore. glibc 2.41 keeps the state of getrandom(2) in it where the kernel has it."""
    patience = patience or Patience()
    return any(_has_flag(proc / pid / "smaps", "dp", patience) for pid in patience.over(pids))


def aio_events(pids: Iterable[str], proc: Path = PROC, patience: Patience | None = None) -> int:
    """For how many events the smallest of their AIO contexts (io_setup(2)) was made; 0 if they have none.

    A kernel with more possible processors than a quarter of it makes a larger one, which CRIU refuses.
    """
    patience = patience or Patience()
    rings = [size for pid in patience.over(pids) for size in _rings(proc / pid / "maps", patience)]
    # The kernel doubles what it is asked for, adds two, and fills whole pages (fs/aio.c).
    return min((((size - RING_HEADER_BYTES) // RING_EVENT_BYTES - 2) // 2 for size in rings), default=0)


def _rings(maps: Path, patience: Patience) -> Iterator[int]:
    """Bytes of each AIO context of a process, none when it has ended."""
    with contextlib.suppress(OSError), maps.open(errors="replace") as lines:
        for line in patience.over(lines):
            if "/[aio]" in line:
                begin, _, end = line.split()[0].partition("-")
                yield int(end, 16) - int(begin, 16)


def _has_flag(smaps: Path, flag: str, patience: Patience) -> bool:
    """Reads no further than it must: the kernel walks a mapping's pages to write its lines."""
    with contextlib.suppress(OSError), smaps.open(errors="replace") as lines:  # unless it has ended
        return any(line.startswith("VmFlags:") and flag in line.split() for line in patience.over(lines))
    return False


def _status(proc: Path, pid: str) -> dict[str, str]:
    """The lines of a process's status; empty when it has ended. A tenant chooses the bytes of its name."""
    try:
        lines = (proc / pid / "status").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _command(proc: Path, pid: str) -> str:
    """A process's command line, fit for a line on a terminal; "" when it has none."""
    try:
        with (proc / pid / "cmdline").open("rb") as stream:  # which may be megabytes
            words = stream.read(4 * COMMAND_LETTERS).decode(errors="replace").replace("\0", " ").strip()
    except OSError:
        return ""
    return "".join(letter if letter.isprintable() else "?" for letter in words[:COMMAND_LETTERS])


def _held(proc: Path, pid: str, patience: Patience) -> Iterator[Finding]:
    process = proc / pid
    with contextlib.suppress(OSError):  # it has ended
        if _status(proc, pid).get("TracerPid", "0") != "0":
            yield f"process {pid} of it is being traced (strace, gdb)", "end that first"
        if (process / "ns/user").stat().st_ino != (proc / "self/ns/user").stat().st_ino:
            yield "it has a user namespace", "do without: it is a sandbox's, or the engine's userns-remap"
        device = (process / "root").stat().st_dev
        root = os.major(device) << 20 | os.minor(device)  # as the kernel writes it
        for descriptor in patience.over((process / "fd").iterdir()):
            with contextlib.suppress(OSError):
                if kind := _undumpable(descriptor, root):
                    hint = REMEDIES.get(kind, "let the program close it, or do without it")
                    yield f"it holds what CRIU cannot dump: {kind}", hint


def _undumpable(descriptor: Path, root: int) -> str:
    """The kind of an open file that CRIU refuses, else "". Raises OSError when it was closed meanwhile.

    ``root``: device of the root file system, an overlay, whose file handles name nothing that CRIU can open.
    """
    target = str(descriptor.readlink())
    if target.startswith("socket:"):
        name = os.getxattr(descriptor, "system.sockprotoname").rstrip(b"\0").decode(errors="replace")
        return "" if name in SOCKETS else f"{name} socket"
    if target.startswith("pipe:"):
        return PACKETS if _flags(descriptor) & os.O_DIRECT else ""
    if target.startswith("anon_inode:"):
        kind = target.removeprefix("anon_inode:").strip("[]")
        if kind == "inotify" and f" sdev:{root:x} " in _information(descriptor):
            return WATCH
        return "" if kind in ANONYMOUS else kind
    return "secret memory" if target.startswith("/secretmem") else ""


def _information(descriptor: Path) -> str:
    return (descriptor.parents[1] / "fdinfo" / descriptor.name).read_text(errors="replace")


def _flags(descriptor: Path) -> int:
    """The flags that a file was opened with; the kernel writes them in octal."""
    lines = _information(descriptor).splitlines()
    return next((int(line.split()[1], 8) for line in lines if line.startswith("flags:")), 0)
