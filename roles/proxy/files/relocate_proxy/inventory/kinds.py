"""The table of kinds: what it means when a thing of this kind is not as it was.

What differs only in the addresses of the two hosts is the same: it is read so (namespaces.py, sockets.py).
A kind that is not in this table is not compared.
"""

from dataclasses import dataclass
from enum import StrEnum

from relocate_proxy.inventory import descriptors, multicast, namespaces, options, sockets, tasks


class Verdict(StrEnum):
    """What becomes of a difference."""

    MENDED = "mended"  # put right before the copy may run
    HARMLESS = "harmless"  # said, with the reason
    FATAL = "fatal"  # the container goes on where it was


@dataclass(frozen=True)
class Kind:
    """``otherwise``: what it is when it cannot be mended. ``why``: why it is harmless. ``both``: what there
    is more of on the target counts too."""

    name: str
    verdict: Verdict
    otherwise: Verdict = Verdict.FATAL
    why: str = ""
    both: bool = False


PROCESS, THREAD, SOCKET, ENTERED = "process", "thread", "socket", "entered process"
# A thing that has facts of other kinds too: those of one that is missing are not counted again.
THINGS = {PROCESS, THREAD, descriptors.DESCRIPTOR}
PENDING, HANDLERS, RELATIONS = "pending signals", "signal handlers", "parent, group and session"
UMASK, WORKING, ROOT, PROGRAM = "umask", "working directory", "root directory", "program"
NAME, PEER, RECEIVED, UNSENT = "local address", "peer address", "bytes received", "bytes unsent"
DATAGRAMS = "datagrams received"

FATAL, MENDED, HARMLESS = Verdict.FATAL, Verdict.MENDED, Verdict.HARMLESS
ROWS = [
    *(Kind(name, FATAL, both=True) for name in (PROCESS, THREAD)),
    Kind(ENTERED, HARMLESS, why="a health check ends with a move, and the next one starts"),
    *(Kind(name, FATAL) for name in (RELATIONS, UMASK, WORKING, ROOT, PROGRAM, PENDING, HANDLERS)),
    *(Kind(name, MENDED) for name in tasks.PROCESS),
    *(Kind(name, MENDED) for name in ("I/O priority", "scheduling", "timer slack")),
    Kind("CPU affinity", MENDED, HARMLESS, "this host has not the processors that it asks for"),
    *(Kind(name, FATAL) for name in (descriptors.DESCRIPTOR, descriptors.FLAGS, descriptors.OFFSET)),
    *(Kind(name, FATAL) for name in (descriptors.SEMAPHORE, descriptors.TIMERFD, descriptors.EPOLL)),
    *(Kind(name, FATAL) for name in (descriptors.INOTIFY, descriptors.LOCKS)),
    *(Kind(name, MENDED) for name in (descriptors.EVENTFD, descriptors.SIGNALFD)),
    *(Kind(name, FATAL, both=True) for name in (namespaces.MOUNT, namespaces.SYSTEM_V)),
    Kind(namespaces.HOST_NAME, FATAL),
    Kind(multicast.MEMBERSHIP, MENDED),
    *(Kind(name, MENDED) for name in (namespaces.ADDRESS, namespaces.ROUTE)),
    *(Kind(name, FATAL) for name in (SOCKET, NAME, PEER, RECEIVED, UNSENT, sockets.STATE)),
    Kind(DATAGRAMS, HARMLESS, why="a datagram may be lost at any time (RFC 768)"),
    *(Kind(name, MENDED) for name in sockets.OF_ALL if name != sockets.STATE),
    *(Kind(label, FATAL if label in options.FATAL else MENDED) for label in options.BY_LABEL),
]
KINDS: dict[str, Kind] = {kind.name: kind for kind in ROWS}
