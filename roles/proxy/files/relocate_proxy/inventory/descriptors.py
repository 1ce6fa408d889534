"""What a process has open: kinds, flags, offsets, and what fdinfo tells of what is not a file (proc(5))."""

import os
import re
from collections.abc import Iterator

from relocate_proxy.inventory import calls
from relocate_proxy.inventory.document import Fact

DESCRIPTOR, FLAGS, OFFSET = "descriptor", "descriptor flags", "offset"
EVENTFD, SEMAPHORE, SIGNALFD, TIMERFD = "eventfd count", "eventfd semaphore", "signalfd mask", "timerfd"
EPOLL, INOTIFY, LOCKS = "epoll items", "inotify watches", "file locks"
O_LARGEFILE = 0o100000  # the kernel adds it to what is opened, not to what pipe(2) makes; it means nothing
O_CLOEXEC = 0o2000000  # the restore opens the engine's terminal anew, without it
_NUMBERED = re.compile(r"(socket|pipe):\[\d+\]")


def facts(of: str, link: str, text: str) -> Iterator[Fact]:
    """``link``: where /proc/PID/fd/N leads, as far as it may be compared; ``text``: the lines of fdinfo."""
    yield Fact(DESCRIPTOR, of, link)
    watches: list[str] = []
    items: list[str] = []
    locks: list[str] = []
    timer: dict[str, str] = {}
    for line in text.split("\n"):
        key, _, value = line.partition(":")
        value = value.strip()
        match key:
            case "flags":
                passed_over = O_LARGEFILE | (O_CLOEXEC if link.startswith("/dev/pts/") else 0)
                yield Fact(FLAGS, of, f"{int(value, 8) & ~passed_over:o}")
            case "pos" if link.startswith("/") and not link.startswith(("/dev/", "/proc/")):
                yield Fact(OFFSET, of, value)
            case "eventfd-count":
                yield Fact(EVENTFD, of, value)
            case "eventfd-semaphore":
                yield Fact(SEMAPHORE, of, value)
            case "sigmask":
                yield Fact(SIGNALFD, of, value)
            case "tfd":
                items.append(_epoll_item(line))
            case "lock":
                locks.append(_lock(value))
            case "clockid" | "settime flags" | "it_interval" | "it_value":
                timer[key] = value
            case _ if line.startswith("inotify wd"):
                watches.append(_watch(line))
    if timer:
        armed = "unarmed" if timer.get("it_value") == "(0, 0)" else "armed"
        yield Fact(TIMERFD, of, f"clock {timer.get('clockid')} every {timer.get('it_interval')} {armed}")
    for kind, found in ((EPOLL, items), (INOTIFY, watches), (LOCKS, locks)):
        if found:
            yield Fact(kind, of, "; ".join(sorted(found)))


def _epoll_item(line: str) -> str:
    words = line.replace(":", " ").split()  # tfd N events X data Y pos Z ino I sdev S
    return f"{words[1]} {words[3]} {words[5]}"


def _watch(line: str) -> str:
    words = dict(word.split(":", 1) for word in line.split() if ":" in word)
    return f"{words.get('wd')} {words.get('mask')}"


def _lock(value: str) -> str:
    """``1: POSIX  ADVISORY  WRITE 7 00:2a:77 0 EOF`` without number, pid and inode."""
    words = value.split()
    return " ".join((*words[1:4], *words[6:]))


class Names:
    """Pipes and sockets by who holds them first, since their numbers are others on the target. Sharing them
    is compared so too."""

    def __init__(self) -> None:
        self.first: dict[str, str] = {}

    def of(self, link: str, holder: str) -> str:
        """``socket 7/5`` for ``socket:[4711]``, if process 7 holds it as 5 and nobody before it."""
        if not _NUMBERED.fullmatch(link):
            return link
        return f"{link.partition(':')[0]} {self.first.setdefault(link, holder)}"


def information(process: int, descriptor: int) -> str:
    """fdinfo. Raises OSError."""
    with open(f"/proc/{process}/fdinfo/{descriptor}", "rb", buffering=0) as stream:  # noqa: PTH123
        found = stream.read(1 << 16)
        while more := stream.read(1 << 16):
            found += more
    return found.decode(errors="replace")


def mend(descriptor: int, kind: str, was: str, now: str) -> None:
    """Through a duplicate of an eventfd or a signalfd. Raises OSError or ValueError."""
    if kind == SIGNALFD:
        calls.set_signals(descriptor, int(was, 16))
        return
    missing = int(was, 16) - int(now, 16)
    if missing < 0:
        raise ValueError("it counts more than it did")
    os.write(descriptor, missing.to_bytes(8, "little"))
