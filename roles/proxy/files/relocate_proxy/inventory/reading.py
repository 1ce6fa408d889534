"""Takes the inventory of a container that stands still, from outside.

`look` notes what there is before CRIU comes, whose parasite opens a descriptor of its own in each process;
`take` reads it, beside CRIU. CRIU traces; nothing here does.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from relocate_proxy.inventory import calls, descriptors, multicast, namespaces, sockets, tasks
from relocate_proxy.inventory.document import Fact, Inventory, Mode, Socket, Vector
from relocate_proxy.inventory.kinds import (
    ENTERED,
    HANDLERS,
    PENDING,
    PROCESS,
    PROGRAM,
    RELATIONS,
    ROOT,
    THREAD,
    UMASK,
    WORKING,
)
from relocate_proxy.inventory.sockets import Own

FIRST = 1  # the pid of a container's first process, in it
COMMAND_LETTERS = 200


@dataclass
class Process:
    """One process: its pid here, its threads and the numbers of its descriptors."""

    pid: int
    threads: list[int]
    descriptors: list[int]
    inside: int = 0  # its pid in the container
    tids: dict[int, int] = field(default_factory=dict)  # its threads here, by what they are inside
    status: dict[str, str] = field(default_factory=dict)


class Reader:
    """One container: the processes of its cgroup that are in its pid namespace."""

    def __init__(self, cgroup: Path, own: tuple[str, ...], mode: Mode = Mode.FULL) -> None:
        """``own``: the container's addresses, in the same order on both hosts."""
        self.cgroup, self.own, self.mode = cgroup, sockets.named(own), mode
        self.processes: list[Process] = []
        self.groups = multicast.Groups({}, ())

    def look(self) -> None:
        """Note processes, threads and descriptors. What ends meanwhile is left out."""
        self.processes = []
        for directory, _, _ in os.walk(self.cgroup):
            for pid in sorted(map(int, Path(directory, "cgroup.procs").read_text().split())):
                try:
                    threads, numbers = _numbers(f"/proc/{pid}/task"), _numbers(f"/proc/{pid}/fd")
                except OSError:
                    continue
                self.processes.append(Process(pid, threads, numbers))

    def take(self) -> Inventory:
        """Raises OSError when the container does not stand still."""
        self.processes = sorted(filter(self._know, self.processes), key=lambda each: each.inside)
        facts = [Fact(ENTERED, f"process {each.inside}", _command(each)) for each in self._leave_out()]
        if self.mode is Mode.FULL:
            for each in self.processes:
                facts += self._process(each)
        vectors = _Vectors(self.own)
        if self.processes:
            self.groups = multicast.groups(Path(f"/proc/{self.processes[0].pid}/net/igmp").read_text())
        facts += self._descriptors(vectors)
        if self.mode is Mode.FULL and self.processes:
            first = self.processes[0].pid
            facts += namespaces.mounts(Path(f"/proc/{first}/mountinfo").read_text())
            facts += namespaces.inside(first, self.own)
        return vectors.inventory(self.mode, tuple(facts))

    def again(self, of: str) -> Inventory:
        """Of one socket that `take` has found (``socket 7/5``). Raises OSError."""
        inside, _, number = of.partition(" ")[2].partition("/")
        process = next(each for each in self.processes if each.inside == int(inside))
        vectors, pidfd = _Vectors(self.own), calls.pidfd_open(process.pid)
        try:
            vectors.add(
                of, sockets.read(calls.pidfd_getfd(pidfd, int(number)), self.own, self.pids, self.groups)
            )
        finally:
            os.close(pidfd)
        return vectors.inventory(self.mode, ())

    def _leave_out(self) -> list[Process]:
        """Take away what does not descend from the container's first process: CRIU does not dump it. Returns
        those of it that came from outside."""
        known = {each.pid: each for each in self.processes}
        own: set[int] = set()
        for each in self.processes:
            line: list[int] = []
            found: Process | None = each
            while found is not None and found.inside != FIRST and found.pid not in own:
                line.append(found.pid)
                found = known.get(int(found.status["PPid"]))
            if found is not None:
                own.update(line, (found.pid,))
        entered = [each for each in self.processes if each.pid not in own]
        self.processes = [each for each in self.processes if each.pid in own]
        return [each for each in entered if int(each.status["PPid"]) not in known]

    @property
    def pids(self) -> dict[int, int]:
        """Pids inside by pids here."""
        return {each.pid: each.inside for each in self.processes}

    @staticmethod
    def _know(process: Process) -> bool:
        """Whether it is the container's: CRIU, runc and who keeps a pid are in no pid namespace but ours."""
        process.status = tasks.status(process.pid)
        numbers = process.status["NSpid"].split()
        if len(numbers) < 2 or process.status["State"].startswith("Z"):
            return False
        process.inside = int(numbers[1])
        return True

    def _process(self, process: Process) -> Iterator[Fact]:
        pid, lines = process.pid, process.status
        of = f"process {process.inside}"
        yield Fact(PROCESS, of, lines["Name"])
        parent = self.pids.get(int(lines["PPid"]), 0)
        group, session = (_level(lines.get(key, ""), 1) for key in ("NSpgid", "NSsid"))
        yield Fact(RELATIONS, of, f"{parent} {group} {session}")
        yield Fact(UMASK, of, lines.get("Umask"))
        yield Fact(PENDING, of, tasks.pending(lines, "ShdPnd"))
        yield Fact(HANDLERS, of, f"{lines.get('SigIgn')} {lines.get('SigCgt')}")
        for kind, link in ((WORKING, "cwd"), (ROOT, "root"), (PROGRAM, "exe")):
            yield Fact(kind, of, _link(f"/proc/{pid}/{link}"))
        for kind, setting in tasks.PROCESS.items():
            yield Fact(kind, of, setting.read(pid))
        for tid in process.threads:
            yield from self._thread(process, tid)

    @staticmethod
    def _thread(process: Process, tid: int) -> Iterator[Fact]:
        lines = process.status if tid == process.pid else tasks.status(tid)
        inside = _level(lines["NSpid"], 1)
        process.tids[inside] = tid
        of = f"thread {process.inside}/{inside}"
        yield Fact(THREAD, of, lines["Name"])
        yield Fact(PENDING, of, tasks.pending(lines, "SigPnd"))
        for kind, setting in tasks.THREAD.items():
            yield Fact(kind, of, setting.read(tid))

    def _descriptors(self, vectors: "_Vectors") -> Iterator[Fact]:
        names, pids = descriptors.Names(), self.pids
        for process in self.processes:
            pidfd = calls.pidfd_open(process.pid)
            try:
                for number in process.descriptors:
                    yield from self._descriptor(process, number, pidfd, names, vectors, pids)
            finally:
                os.close(pidfd)

    def _descriptor(
        self,
        process: Process,
        number: int,
        pidfd: int,
        names: descriptors.Names,
        vectors: "_Vectors",
        pids: dict[int, int],
    ) -> Iterator[Fact]:
        holder = f"{process.inside}/{number}"
        of = f"descriptor {holder}"
        try:
            link = _link(f"/proc/{process.pid}/fd/{number}")
        except OSError:
            return  # CRIU's, which closes them as it goes
        name = names.of(link, holder)
        if not name.startswith("socket "):
            if self.mode is Mode.FULL:
                yield from descriptors.facts(of, name, descriptors.information(process.pid, number))
            return
        if self.mode is Mode.FULL:
            yield Fact(descriptors.DESCRIPTOR, of, name)
        if name == f"socket {holder}":
            found = sockets.read(calls.pidfd_getfd(pidfd, number), self.own, pids, self.groups)
            vectors.add(name, found)
            for which, value in found.memberships:
                yield Fact(multicast.MEMBERSHIP, f"{name} {which}", value)


class _Vectors:
    """Sockets with one vector for all that are alike."""

    def __init__(self, own: Own) -> None:
        self.own = own
        self.labels: list[tuple[str, ...]] = []
        self.all: list[Vector] = []
        self.sockets: list[Socket] = []
        self._labels: dict[sockets.Profile, int] = {}
        self._known: dict[tuple[sockets.Profile, tuple[sockets.Raw, ...]], int] = {}

    def add(self, of: str, found: sockets.Found) -> None:
        vector = self._known.setdefault(found[:2], len(self._known))
        if vector == len(self.all):
            labels = self._labels.setdefault(found.profile, len(self._labels))
            if labels == len(self.labels):
                self.labels.append(sockets.labels(found.profile))
            self.all.append(Vector(labels, sockets.values(found, self.own)))
        self.sockets.append(Socket(of, vector, found.name, found.peer, found.received, found.unsent))

    def inventory(self, mode: Mode, facts: tuple[Fact, ...]) -> Inventory:
        return Inventory(mode, facts, tuple(self.labels), tuple(self.all), tuple(self.sockets))


def _command(process: Process) -> str:
    with open(f"/proc/{process.pid}/cmdline", "rb", buffering=0) as stream:  # noqa: PTH123
        words = stream.read(COMMAND_LETTERS).decode(errors="replace").rstrip("\0")
    return words.replace("\0", " ") or process.status["Name"]


def _numbers(directory: str) -> list[int]:
    return sorted(map(int, os.listdir(directory)))  # noqa: PTH208 (a third of the time)


def _link(path: str) -> str:
    return os.readlink(path)  # noqa: PTH115 (likewise)


def _level(numbers: str, level: int) -> int:
    """A pid as it is so many namespaces further in."""
    words = numbers.split()
    return int(words[level]) if len(words) > level else 0
