"""Faults at chosen or random moments of a move on the testbed, and what must be true afterwards.

A moment is seen from outside through a machine's /proc/PID/root, which costs no process on the machine: a
window is some hundred ms long, an SSH command would come too late.
"""

import fcntl
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

from harness import ECHO, RELOCATE, JsonObject, Lab
from talk import Console, Conversation

NAME = "web"
MOMENT_SECONDS = 60.0
BACK_SECONDS = 100.0  # TCP's backoff: after a minute's outage the next retransmission is a minute away
OFF_SECONDS = 1.0
CUT_SECONDS = 25.0  # longer than every deadline
RECORDS = ("BEGIN", "COMMIT", "RESUMED", "DONE")
STORAGE = "/var/lib/relocate/storage"
# A corked datagram socket, which nobody sees from outside and CRIU does not dump (udp(7): UDP_CORK is 1).
REFUSED = """
refused = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
refused.connect(("127.0.0.1", 9))
refused.setsockopt(socket.IPPROTO_UDP, 1, 1)
refused.send(b"x")
"""
SMALL = "48m"
# Mounts what the first machine has at a place at the same place of the others: open_tree(2), move_mount(2).
SHARE = """
import ctypes, os, sys
place, *pids = sys.argv[1:]
call = ctypes.CDLL(None, use_errno=True)
first, *others = [os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY) for pid in pids]
def checked(result):
    assert result >= 0, os.strerror(ctypes.get_errno())
    return result
for other in others:
    checked(call.setns(first, 0))
    tree = checked(call.syscall(428, -100, place.encode(), 1))
    checked(call.setns(other, 0))
    checked(call.syscall(429, tree, b"", -100, place.encode(), 4))
"""
LISTING = """
    ip -4 -o address show dev lo | grep -F {vip}/
    nft list map ip relocate vip 2>/dev/null | grep -o -F {vip}
    conntrack -L 2>/dev/null | grep -F {vip}
    ip -o link show type veth | grep -o ' veth[^:@]*'
    ls -d /sys/fs/cgroup/system.slice/docker-*.scope 2>/dev/null
    grep -o -e '/var/lib/docker/[^ ]*/merged' -e '/run/docker/netns/[0-9a-f]*' /proc/mounts
    docker ps --all --format '{{{{.Names}}}} {{{{.Status}}}}'
    true"""


@dataclass(frozen=True)
class Fault:
    """``what`` is done to ``whom`` at a ``moment`` of the move: begun, armed, frozen, voted, a record
    of host0's journal, or seconds since arming began. ``kills``: it may end the connection by nature.
    ``typed``: the move is made by `relocate move`, not step by step."""

    what: str
    whom: str
    moment: str
    seconds: float = OFF_SECONDS
    kills: bool = False
    typed: bool = False

    @property
    def name(self) -> str:
        lasting = f" for {self.seconds:g} s" if self.what == "cut" else ""
        return f"{self.what} {self.whom} at {self.moment}{lasting}"


@dataclass
class Ending:
    """What became of one fault."""

    fault: str
    outcome: str = "failed"
    recovered: bool = False
    live: list[str] = field(default_factory=list)
    connection: str = "broken"
    seconds: float = 0.0
    leftovers: dict[str, list[str]] = field(default_factory=dict)
    reason: str = ""
    said: str = ""
    wrong: list[str] = field(default_factory=list)

    def document(self) -> JsonObject:
        return asdict(self)


PARTS = {"source": "host1", "target": "host2", "host0": "host0"}
# Which machine's process a word of which command line is found by.
VICTIMS = {"coordinator": ("host0", "coordinate")}
for side, host in (("source", "host1"), ("target", "host2")):
    VICTIMS |= {f"agent of {side}": (host, "agent"), f"dockerd of {side}": (host, "dockerd")}
    VICTIMS |= {f"containerd of {side}": (host, "containerd")}

QUICK = (
    *(Fault("kill", "coordinator", at) for at in ("BEGIN", "frozen", "voted", "COMMIT", "RESUMED")),
    Fault("kill", "agent of source", "frozen"),
    *(Fault("kill", "agent of target", at) for at in ("voted", "COMMIT")),
    Fault("power", "target", "voted"),
    Fault("power", "source", "armed", kills=True),
    Fault("store", "source", "voted"),
    Fault("full", "storage", "armed"),
)
MATRIX = (
    *QUICK,
    *(Fault("kill", "agent of source", at) for at in ("voted", "RESUMED")),
    Fault("kill", "agent of target", "frozen"),
    *(
        Fault("kill", whom, at, typed=True)
        for whom in ("cli", "playbook")
        for at in ("begun", "armed", "COMMIT", "DONE")
    ),
    *(
        Fault("interrupt", whom, at, typed=True)
        for whom in ("cli once", "cli once again")
        for at in ("begun", "armed", "COMMIT", "DONE")
    ),
    *(
        # Once the copy has run, only the source's is left to an engine that came anew; what is killed in the
        # window may end after it, for the window's processes come first.
        Fault("kill", f"{engine} of {side}", at, kills=side == "target" and at in ("frozen", "COMMIT"))
        for engine in ("dockerd", "containerd")
        for side in ("source", "target")
        for at in ("armed", "frozen", "COMMIT", "DONE")
    ),
    *(Fault("power", "source", at, kills=True) for at in ("begun", "frozen", "voted", "COMMIT")),
    *(Fault("power", "source", at) for at in ("RESUMED", "DONE")),
    *(Fault("power", "target", at) for at in ("begun", "armed", "frozen")),
    *(Fault("power", "target", at, kills=True) for at in ("COMMIT", "RESUMED", "DONE")),
    *(
        Fault("power", "host0", at)
        for at in ("begun", "armed", "frozen", "voted", "COMMIT", "RESUMED", "DONE")
    ),
    *(
        Fault("cut", whom, at, seconds)
        for whom, moments in (
            ("source", ("armed", "frozen", "RESUMED")),
            ("target", ("armed", "voted", "COMMIT")),
        )
        for at in moments
        for seconds in (1.0, CUT_SECONDS)
    ),
    Fault("full", "storage", "begun"),
    Fault("read-only", "storage", "armed"),
    Fault("stalled", "storage", "armed"),
    Fault("refused", "dump", "armed"),
    Fault("refused", "restore", "armed"),
    *(Fault("missing", f"runc of {side}", "begun") for side in ("source", "target")),
    Fault("out-of-memory", "target", "armed"),
)


def at_random(generator: random.Random) -> Fault:
    """Any fault that can come at any time, at a moment of the 3.5 s that arm, fire and settle take."""
    moment = f"{generator.uniform(0.0, 3.5):.3f}"
    what = generator.choice(("kill", "kill", "power", "cut"))
    if what == "kill":
        return Fault("kill", generator.choice(sorted(VICTIMS)), moment)
    whom = generator.choice(sorted(PARTS))
    if what == "power":
        return Fault("power", whom, moment, generator.uniform(0.0, 3.0), kills=whom != "host0")
    whom = generator.choice(("source", "target"))
    return Fault("cut", whom, moment, round(generator.choice((0.3, 1.0, 5.0, CUT_SECONDS)), 1))


class Trial:
    """One move with one fault in it, and a client that talks to the tenant all the time."""

    def __init__(self, lab: Lab, fault: Fault) -> None:
        self.lab, self.fault = lab, fault
        for host in lab.hosts:  # systemd gives up an engine that was killed three times in a minute
            lab.shell(host, "systemctl reset-failed docker containerd; systemctl start docker")
        lab.clear()
        lab.run(NAME, "host1", "--restart", "unless-stopped")
        self.conversation = Conversation(lab.connect(NAME, ECHO), every=0.01)
        self.conversation.connection.settimeout(3 * BACK_SECONDS)  # the trial gives up first
        self.plan = lab.plan(NAME)
        # Found now: a window is over before all processes have been looked at.
        self.engines = victims(lab, fault) if fault.whom.startswith(("dockerd", "containerd")) else []
        self.known = set(self._open_on("host1"))
        self.go_on = threading.Event()
        self.settled = False
        self.typed: subprocess.Popen[str] | None = None
        self.terminal, self.said = -1, b""
        self.console: Console | None = None
        self.report: JsonObject = {}
        self.ending = Ending(fault.name)

    def run(self) -> Ending:
        """Move, strike when the moment has come, recover if need be, look around."""
        assert self.conversation.flows()
        begun = time.monotonic()
        if self.fault.what == "full":
            self._machines_share(SMALL)
        moving = threading.Thread(target=self._type if self.fault.typed else self._move, daemon=True)
        moving.start()
        if self._await_moment(begun):
            self._strike()
        else:
            self.ending.wrong.append(f"{self.fault.moment} never came")
        self.go_on.set()
        moving.join(2 * BACK_SECONDS)
        self._mend()
        self._end()
        self.ending.seconds = round(time.monotonic() - begun, 1)
        ending = self._judge()
        if self.fault.what == "full":
            for host in ("host0", *self.lab.hosts):
                self.lab.shell(host, f"umount {STORAGE}")
        return ending

    def _machines_share(self, size: str) -> None:
        """Put a storage of a limited size, a tmpfs of host0, in the place of the testbed's."""
        mount = f"mount -t tmpfs -o mode=700,size={size},nosymfollow tmpfs {STORAGE}"
        self.lab.shell("host0", f"{mount} && touch {STORAGE}/.relocate-storage")
        pids = [str(self.lab.bed.machine(name).pid()) for name in ("host0", *self.lab.hosts)]
        subprocess.run([sys.executable, "-c", SHARE, STORAGE, *pids], check=True)

    def _move(self) -> None:
        """Arm, fire and settle as the playbook does; what fails ends it, as it ends a playbook."""
        with suppress(AssertionError, OSError, ValueError, subprocess.SubprocessError):
            armed = self.lab.arm(self.plan)
            if self.fault.moment == "armed":
                self.go_on.wait(BACK_SECONDS)
            self.report = self.lab.fire(self.plan, armed)
            if not self.report["needs_recover"]:
                self.lab.settle(self.plan, self.report)
                self.settled = True

    def _type(self) -> None:
        """`relocate move`, as a person types it at a terminal; its last line there is kept."""
        terminal, line = os.openpty()
        with os.fdopen(terminal, "rb", buffering=0) as stream:
            self.typed = subprocess.Popen(
                [RELOCATE, "move", NAME, "--to", "host2", "--json", "--config", self.lab.bed.places.settings],
                env=os.environ | {"RELOCATE_STATE_DIR": str(self.lab.state)},
                stdin=line,
                stdout=subprocess.PIPE,
                stderr=line,
                text=True,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(line, termios.TIOCSCTTY, 0),
            )
            os.close(line)
            self.terminal = stream.fileno()
            said = threading.Thread(target=self._read, args=(stream,))
            said.start()
            out, _ = self.typed.communicate()
            said.join()
        with suppress(ValueError):
            self.report = json.loads(out)
        self.settled = self.typed.returncode in (0, 1)

    def _read(self, stream: IO[bytes]) -> None:
        """A terminal says EIO when the last of its writers has gone, and echoes ^C whenever it comes."""
        with suppress(OSError):
            while data := stream.read(4096):
                self.said += data
        lines = [
            text
            for text in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]|\^C", b"", self.said).split(b"\n")
            if text.strip()
        ]
        self.ending.said = lines[-1].strip().decode(errors="replace") if lines else ""

    def _root(self, host: str) -> Path:
        return Path(f"/proc/{self.lab.bed.machine(host).pid()}/root")

    def _open_on(self, host: str) -> list[str]:
        return [path.stem for path in (self._root(host) / "var/lib/relocate/open").glob("*.json")]

    def _identity(self) -> str:
        """The relocation's id; of a typed one it is known once the source is being armed."""
        if not self.fault.typed:
            return str(self.plan["id"])
        for identity in set(self._open_on("host1")) - self.known:
            return str(self.plan.setdefault("found", identity))
        return str(self.plan.get("found", ""))

    def _record(self, root: Path) -> JsonObject:
        """What a host knows of the relocation."""
        text = (root / f"var/lib/relocate/open/{self._identity()}.json").read_text()
        record: JsonObject = json.loads(text)
        return record

    def _await_moment(self, begun: float) -> bool:
        has_come = self._watch(begun)
        deadline = time.monotonic() + MOMENT_SECONDS
        while time.monotonic() < deadline:
            with suppress(OSError, ValueError):
                if has_come():
                    return True
            time.sleep(0.0005)
        return False

    def _watch(self, begun: float) -> Callable[[], bool]:
        source, moment = self._root("host1"), self.fault.moment
        if moment in RECORDS:
            word = f'"record": "{moment.lower()}"'
            journals = self._root("host0") / "var/lib/relocate/journal"
            return lambda: word in (journals / f"{self._identity()}.jsonl").read_text().lower()
        if moment == "voted":
            decided = source / "run/relocate/decided"
            return lambda: (decided / self._identity()).read_text() == "voted"
        records = source / "var/lib/relocate/open"
        if moment == "frozen":
            return lambda: self._is_frozen(source, self._record(source)["facts"])
        if moment == "begun":
            return lambda: (records / f"{self._identity()}.json").exists()
        if moment == "armed":
            return lambda: all(
                self._record(self._root(host))["stage"] in ("armed", "fired") for host in ("host1", "host2")
            )
        return lambda: time.monotonic() - begun >= float(moment)

    @staticmethod
    def _is_frozen(source: Path, facts: JsonObject) -> bool:
        return "frozen 1" in (source / facts["cgroup"].lstrip("/") / "cgroup.events").read_text()

    def _strike(self) -> None:
        if self.fault.typed and self.fault.what == "kill":
            hit = self._kill_own()
        elif self.fault.what in ("kill", "power", "cut"):
            hit = strike(self.lab, self.fault, self.engines)
        else:
            hit = True
            getattr(self, f"_{self.fault.what.replace('-', '_')}")()
        if not (hit or self._is_by_the_clock()):
            self.ending.wrong.append(f"no {self.fault.whom} to {self.fault.what}")

    def _kill_own(self) -> bool:
        """Kill the command line, or the playbook that it runs."""
        assert self.typed is not None
        pid = self.typed.pid
        return kill([pid] if self.fault.whom == "cli" else list(descendants(pid, "ansible-playbook"))[:1]) > 0

    def _is_by_the_clock(self) -> bool:
        return self.fault.moment.replace(".", "").isdigit()

    def _interrupt(self) -> None:
        """Ctrl-C; twice, it comes again a moment later."""
        assert self.typed is not None
        for _ in self.fault.whom.split()[1:]:
            os.write(self.terminal, b"\x03")
            time.sleep(0.3)
        self.typed.wait(BACK_SECONDS)

    def _store(self) -> None:
        """The source loses power after its vote, and the target while it restores: only the image is left."""
        for host in ("host2", "host1"):
            self.lab.bed.power_off(host)
        for host in ("host1", "host2"):
            self.lab.bed.power_on(host)

    def _stalled(self) -> None:
        """What stands for a storage that answers no more: CRIU, which writes there, is stopped."""
        stopped = processes(self.lab.bed.machine("host1").pid(), "criu")
        kill(stopped, signal.SIGSTOP)

        def wake() -> None:
            time.sleep(CUT_SECONDS)
            kill(stopped, signal.SIGCONT)

        threading.Thread(target=wake, daemon=True).start()

    def _read_only(self) -> None:
        self.lab.shell("host1", f"mount -o remount,bind,ro,nosymfollow {STORAGE}")

    def _full(self) -> None:
        self.lab.shell("host0", f"dd if=/dev/zero of={STORAGE}/filler bs=64k status=none", check=False)

    def _refused(self) -> None:
        self.console = self.lab.console(NAME)  # what it has made lives as long as it does
        if self.fault.whom == "dump":
            self.console(REFUSED)
        else:
            facts = self._record(self._root("host2"))["facts"]
            self.console("held = open('/data/kept')")
            self.lab.ssh("host2", "rm", f"{facts['rootfs']}/data/kept")

    def _missing(self) -> None:
        host = PARTS[self.fault.whom.split()[-1]]
        self.lab.ssh(host, "mv", "/usr/sbin/runc", "/usr/sbin/runc.away")

    def _out_of_memory(self) -> None:
        """CRIU may not have more memory than it has: a testbed's hosts have no memory controller."""
        for pid in processes(self.lab.bed.machine("host2").pid(), "criu"):
            subprocess.run(["prlimit", f"--pid={pid}", "--as=1"], check=True)

    def _mend(self) -> None:
        """The operator repairs what a fault broke for good."""
        mends = {
            "full": ("host0", f"rm {STORAGE}/filler"),
            "read-only": ("host1", f"mount -o remount,bind,rw,nosymfollow {STORAGE}"),
            "missing": (PARTS.get(self.fault.whom.split()[-1], ""), "mv /usr/sbin/runc.away /usr/sbin/runc"),
        }
        if self.fault.what in mends:
            self.lab.shell(*mends[self.fault.what])

    def _end(self) -> None:
        """What no playbook has settled is for `relocate recover`."""
        self.ending.outcome = self.report.get("outcome", "unknown")
        self.ending.reason = self.report.get("reason") or ""
        if self.fault.what == "interrupt" and not self.ending.said.startswith("relocate: "):
            self.ending.wrong.append(f"it does not say what it leaves, but: {self.ending.said!r}")
        if not self.settled:
            ended = self.lab.relocate("recover")
            self.ending.recovered = True
            if ended.code:
                self.ending.reason += (
                    f" | recover: {ended.code} {ended.out[-300:]} {ended.err.strip()[-600:]}"
                )

    def _judge(self) -> Ending:
        ending, wrong = self.ending, self.ending.wrong
        deadline = time.monotonic() + 20
        while len(self._live()) != 1 and time.monotonic() < deadline:
            time.sleep(0.5)
        ending.live = self._live()
        if len(ending.live) != 1:
            wrong.append(f"{len(ending.live)} live copies")
        if ending.live and (why := self._refuses()):
            wrong.append(f"a new client is not served: {why}")
        flows = self._flows()
        if not flows:
            with suppress(OSError):
                self.conversation.connection.shutdown(socket.SHUT_RDWR)  # nothing more is due
        tally = self.conversation.end()
        ending.connection = "alive" if flows and tally.clean else "ended" if self.fault.kills else "broken"
        if ending.connection == "broken":
            wrong.append(f"the connection is broken: {tally}")
        ending.leftovers = self._leftovers()
        if ending.leftovers:
            wrong.append(f"leftovers: {ending.leftovers}")
        return ending

    def _live(self) -> list[str]:
        with suppress(AssertionError):
            return self.lab.where(NAME)
        return []

    def _refuses(self) -> str:
        """Why the VIP takes no new client; empty if it does."""
        try:
            with self.lab.connect(NAME, ECHO) as connection:
                connection.sendall(b"1\n")
                return "" if connection.recv(1) else "it hung up"
        except OSError as error:
            return str(error)

    def _flows(self) -> bool:
        """Whether the client is answered within the time that TCP may take to try again."""
        conversation = self.conversation
        wanted = len(conversation.arrivals) + 20
        deadline = time.monotonic() + (15 if self.fault.kills else BACK_SECONDS)
        while conversation.reader.is_alive() and conversation.kept and time.monotonic() < deadline:
            if len(conversation.arrivals) >= wanted:
                return True
            time.sleep(0.02)
        return False

    def _leftovers(self) -> dict[str, list[str]]:
        deadline = time.monotonic() + 8
        while True:
            found = self.lab.leftovers()
            for host in set(self.lab.hosts) - set(self.ending.live):
                listing = self.lab.shell(host, LISTING.format(vip=self.lab.vips[NAME]))
                if listing.strip():
                    found.setdefault(host, []).extend(listing.split("\n"))
            if not found or time.monotonic() > deadline:
                return found
            time.sleep(0.5)


def strike(lab: Lab, fault: Fault, found: Sequence[int] = ()) -> bool:
    """Kill, switch off and on again, or cut and join, now; whether there was anything to kill.

    ``found``: the victims, if they are known already.
    """
    bed = lab.bed
    if fault.what == "kill":
        return kill(found or victims(lab, fault)) > 0
    host = PARTS[fault.whom]
    off, on = (bed.power_off, bed.power_on) if fault.what == "power" else (bed.cut, bed.join)
    off(host)
    time.sleep(fault.seconds)
    on(host)
    return True


def victims(lab: Lab, fault: Fault) -> list[int]:
    """The processes that are to be killed."""
    host, word = VICTIMS[fault.whom]
    return processes(lab.bed.machine(host).pid(), word)


def processes(machine: int | None, word: str) -> list[int]:
    """Processes of one machine of the testbed with ``word`` in their command line, or as their program."""
    namespace, found = Path(f"/proc/{machine}/ns/pid").readlink(), []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if word in (*words, Path(words[0]).name) and (process / "ns/pid").readlink() == namespace:
                found.append(int(process.name))
    return found


def descendants(parent: int, word: str) -> Iterator[int]:
    """Processes below ``parent`` with ``word`` at the end of a word of their command line, oldest first."""
    for child in Path(f"/proc/{parent}/task").glob("*/children"):
        for pid in child.read_text().split():
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
            if any(each.endswith(word) for each in words):
                yield int(pid)
            yield from descendants(int(pid), word)


def kill(pids: Sequence[int], number: int = signal.SIGKILL) -> int:
    """Send a signal; how many there were to hear it."""
    heard = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
            heard += 1
    return heard


def totals(endings: list[Ending]) -> dict[str, Any]:
    """The row that counts: `tried moved rolled_back recovered lost two_live leftovers`."""
    return {
        "tried": len(endings),
        "moved": sum(e.outcome == "moved" for e in endings),
        "rolled_back": sum(e.outcome == "rolled_back" for e in endings),
        "recovered": sum(e.recovered for e in endings),
        "lost": sum(not e.live for e in endings),
        "two_live": sum(len(e.live) > 1 for e in endings),
        "leftovers": sum(bool(e.leftovers) for e in endings),
    }
