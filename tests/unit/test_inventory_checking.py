"""A process is changed from inside; the check against what it was sees it, and mends it or refuses it.

The same process stands for the container that was frozen and for its copy. It is stopped while it is read.
"""

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.inventory import checking, options, reading, tasks
from relocate_proxy.inventory.document import Inventory, Mode

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="namespaces are made by root only"
)
ALONE = """
for point in $(cut -d' ' -f5 /proc/self/mountinfo | sort -r); do  # others' mounts come and go
    case $point in / | /proc | /dev) ;; *) umount --lazy $point ;; esac
done
ip link set lo up
ip link add eth0 type veth peer name d1
ip address add 10.9.0.2/24 dev eth0
ip link set eth0 up
ip link set d1 up
ip route add default via 10.9.0.1
exec "$@"
"""
OWN = "10.9.0.2"


class Puppet:
    """A container's first process, in namespaces of its own."""

    def __init__(self, directory: Path) -> None:
        command = ["unshare", "--pid", "--fork", "--kill-child", "--net", "--ipc", "--uts", "--mount-proc"]
        command += ["sh", "-c", ALONE, "sh", sys.executable, str(Path(__file__).with_name("puppet.py"))]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=directory
        )
        assert self("1 + 1") == 2
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.pid = int(pids[0])
        self.cgroup = directory / "cgroup"
        self.cgroup.mkdir()

    def __call__(self, code: str) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(code.encode("unicode_escape").decode() + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        assert answer and not answer.startswith("!"), answer
        try:
            return ast.literal_eval(answer)
        except (ValueError, SyntaxError):
            return answer

    def reader(self, mode: Mode = Mode.FULL, entered: int = 0) -> reading.Reader:
        others = "".join(f"{pid}\n" for pid in self.entered(entered)) if entered else ""
        (self.cgroup / "cgroup.procs").write_text(f"{self._processes()}\n{others}")
        return reading.Reader(self.cgroup, (OWN,), mode)

    def _processes(self) -> str:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return f"{os.getpid()} {self.pid} {children}".replace(" ", "\n")

    @staticmethod
    def entered(pid: int) -> list[int]:
        """A process of ours, and what descends from it."""
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [pid, *(each for child in children for each in Puppet.entered(int(child)))]

    def take(self, mode: Mode = Mode.FULL, entered: int = 0) -> Inventory:
        with self.still():
            reader = self.reader(mode, entered)
            reader.look()
            return reader.take()

    def check(self, was: Inventory, last: bool = False) -> Any:
        with self.still():
            return checking.check(was, self.reader(was.mode), last)

    def still(self) -> "Still":
        return Still(self.pid)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Still:
    """A process that is stopped meanwhile."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def __enter__(self) -> None:
        os.kill(self.pid, signal.SIGSTOP)
        while ") T " not in Path(f"/proc/{self.pid}/stat").read_text():
            time.sleep(0.001)

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def puppet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Puppet]:
    found = Puppet(tmp_path_factory.mktemp("puppet"))
    found("s = socket.create_server(('10.9.0.2', 7000)); c = socket.create_connection(s.getsockname())")
    found("a, _ = s.accept(); u = socket.socket(2, 2); u.bind(('10.9.0.2', 7001)); v = socket.socket(10, 2)")
    found("x, y = socket.socketpair()")
    yield found
    found.end()


def mended(puppet: Puppet, was: Inventory) -> dict[str, int]:
    return {each.kind: each.times for each in puppet.check(was).mended}


def refused(puppet: Puppet, was: Inventory) -> str:
    with pytest.raises(checking.CopyError) as refusal:
        puppet.check(was)
    return str(refusal.value)


def test_nothing_differs_from_itself(puppet: Puppet) -> None:
    was = puppet.take()
    found = puppet.check(was)
    assert found.compared == was.count > 300 and not found.mended and not found.harmless
    assert {each.of for each in was.sockets} >= {"socket 1/3", "socket 1/4"}


LIMITS = "resource.setrlimit(resource.RLIMIT_CORE, (%d, %d))"


@pytest.mark.parametrize(
    ("kind", "prepare", "change", "look"),
    [
        (
            "CPU affinity",
            "",
            "os.sched_setaffinity(0, {0})",
            "len(os.sched_getaffinity(0)) == os.cpu_count()",
        ),
        (
            "CPU affinity",
            "os.sched_setaffinity(0, {0})",
            "os.sched_setaffinity(0, {0, 1})",
            "os.sched_getaffinity(0) == {0}",
        ),
        (
            "I/O priority",
            "libc.syscall(251, 1, 0, 2 << 13 | 6)",
            "libc.syscall(251, 1, 0, 2 << 13 | 4)",
            "libc.syscall(252, 1, 0) == 2 << 13 | 6",
        ),
        ("scheduling", "os.setpriority(0, 0, 5)", "os.setpriority(0, 0, 7)", "os.getpriority(0, 0) == 5"),
        (
            "scheduling",
            "",
            "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))",
            "os.sched_getscheduler(0) == os.SCHED_OTHER",
        ),
        (
            "timer slack",
            "libc.prctl(29, 123456, 0, 0, 0)",
            "libc.prctl(29, 50000, 0, 0, 0)",
            "libc.prctl(30, 0, 0, 0, 0) == 123456",
        ),
        (
            "OOM score",
            "open('/proc/self/oom_score_adj', 'w').write('300')",
            "open('/proc/self/oom_score_adj', 'w').write('0')",
            "int(open('/proc/self/oom_score_adj').read()) == 300",
        ),
        (
            "core dump filter",
            "open('/proc/self/coredump_filter', 'w').write('0x7f')",
            "open('/proc/self/coredump_filter', 'w').write('0x33')",
            "open('/proc/self/coredump_filter').read().strip() == '0000007f'",
        ),
        (
            "limits",
            LIMITS % (4096, 8192),
            LIMITS % (0, 8192),
            "resource.getrlimit(resource.RLIMIT_CORE) == (4096, 8192)",
        ),
        ("eventfd count", "e = os.eventfd(7)", "os.eventfd_read(e)", "os.eventfd_read(e) == 7"),
        (
            "eventfd count",
            "e = os.eventfd(7)",
            "os.eventfd_read(e), os.eventfd_write(e, 3)",
            "os.eventfd_read(e) == 7",
        ),
        (
            "signalfd mask",
            "g = libc.signalfd(-1, ctypes.byref(ctypes.c_uint64(1 << 9)), 0)",
            "libc.signalfd(g, ctypes.byref(ctypes.c_uint64(1 << 11)), 0)",
            "open(f'/proc/self/fdinfo/{g}').read().split()[-1] == '0000000000000200'",
        ),
        (
            "route",
            "os.system('ip route add 10.77.0.0/16 via 10.9.0.1 metric 7')",
            "os.system('ip route del 10.77.0.0/16')",
            "'10.77.0.0/16 via 10.9.0.1 dev eth0 metric 7' in os.popen('ip route').read()",
        ),
        (
            "route",
            "os.system('ip route add blackhole 10.79.0.0/16')",
            "os.system('ip route del 10.79.0.0/16')",
            "'blackhole 10.79.0.0/16' in os.popen('ip route').read()",
        ),
        (
            "address",
            "os.system('ip address add 10.78.0.1/24 dev eth0')",
            "os.system('ip address del 10.78.0.1/24 dev eth0')",
            "'10.78.0.1/24' in os.popen('ip address').read()",
        ),
    ],
)
def test_what_is_mended(puppet: Puppet, kind: str, prepare: str, change: str, look: str) -> None:
    if "{0, 1}" in change and (os.cpu_count() or 1) < 2:
        pytest.skip("one processor")
    puppet(prepare or "None")
    was = puppet.take()
    puppet(change)
    assert kind in mended(puppet, was)
    assert puppet(look) is True
    puppet("os.system('ip route del blackhole 10.79.0.0/16 2> /dev/null')")


@pytest.mark.parametrize(
    ("kind", "prepare", "change"),
    [
        ("process", "", "k = os.fork() or time.sleep(99)"),
        ("thread", "t = threading.Event()", "threading.Thread(target=t.wait).start()"),
        ("umask", "", "os.umask(0o27)"),
        ("working directory", "", "os.chdir('/tmp')"),
        ("pending signals", "signal.pthread_sigmask(signal.SIG_BLOCK, {10})", "os.kill(1, 10)"),
        ("signal handlers", "", "signal.signal(12, lambda *_: None)"),
        ("descriptor", "f = open('f', 'w+')", "f.close()"),
        ("descriptor", "f = open('f', 'w+')", "os.dup2(os.open('g', os.O_CREAT | os.O_RDWR), f.fileno())"),
        ("descriptor flags", "f = open('f', 'w+')", "fcntl.fcntl(f, fcntl.F_SETFL, os.O_APPEND)"),
        ("descriptor flags", "f = open('f', 'w+')", "os.set_inheritable(f.fileno(), True)"),
        ("offset", "f = open('f', 'w+')", "os.lseek(f.fileno(), 77, 0)"),
        (
            "timerfd",
            "i = libc.timerfd_create(1, 0)",
            "libc.timerfd_settime(i, 0, struct.pack('4q', 9, 0, 999, 0), None)",
        ),
        ("epoll items", "p = select.epoll(); p.register(0, 1)", "p.unregister(0)"),
        ("epoll items", "p = select.epoll(); p.register(0, 1)", "p.modify(0, 4)"),
        (
            "inotify watches",
            "n = libc.inotify_init1(0); w = libc.inotify_add_watch(n, b'/tmp', 2)",
            "libc.inotify_rm_watch(n, w)",
        ),
        ("file locks", "f = open('f', 'w+'); fcntl.flock(f, fcntl.LOCK_EX)", "fcntl.flock(f, fcntl.LOCK_UN)"),
        ("file locks", "f = open('f', 'w+'); fcntl.lockf(f, fcntl.LOCK_EX)", "fcntl.lockf(f, fcntl.LOCK_UN)"),
        ("mount", "", "os.system('mount -t tmpfs none /mnt')"),
        ("System V object", "", "libc.shmget(0x77, 8192, 0o1600)"),
        (
            "System V object",
            "m = libc.msgget(0x78, 0o1600)",
            "libc.msgsnd(m, struct.pack('q4s', 1, b'more'), 4, 0)",
        ),
        ("host name", "", "socket.sethostname('another')"),
        ("bytes received", "a.send(b'four'); time.sleep(.05)", "c.recv(2)"),
        ("bytes received", "x.send(b'four')", "y.recv(2)"),
        (
            "local address",
            "z = socket.socket(2, 2); z.bind(('10.9.0.2', 7100))",
            "q = socket.socket(2, 2); q.bind(('10.9.0.2', 7101)); os.dup2(q.fileno(), z.fileno())",
        ),
        ("peer address", "u.connect(('10.9.0.2', 9))", "u.connect(('10.9.0.2', 8))"),
        ("state", "", "a.shutdown(1); time.sleep(.05)"),
    ],
)
def test_what_is_refused(tmp_path: Path, kind: str, prepare: str, change: str) -> None:
    puppet = Puppet(tmp_path)
    try:
        puppet("s = socket.create_server(('10.9.0.2', 7000)); c = socket.create_connection(s.getsockname())")
        puppet("a, _ = s.accept(); u = socket.socket(2, 2); x, y = socket.socketpair()")
        puppet(prepare or "None")
        was = puppet.take()
        puppet(change)
        words = refused(puppet, was)
        assert f"{kind} of " in words, words
        said = puppet.check(was, last=True)
        assert any(kind in each.why for each in said.harmless)
    finally:
        puppet.end()


def number(label: str) -> str:
    option = options.BY_LABEL[label]
    return f"{option.level}, {option.name}"


@pytest.mark.parametrize(
    ("socket", "label", "value"),
    [
        *(("c", label, 1) for label in ("SO_KEEPALIVE", "SO_OOBINLINE", "SO_TIMESTAMP", "SO_ZEROCOPY")),
        *(
            ("c", label, 3)
            for label in ("SO_MARK", "SO_PRIORITY", "SO_RCVLOWAT", "SO_BUSY_POLL", "SO_PEEK_OFF")
        ),
        ("c", "SO_LINGER", b"\1\0\0\0\7\0\0\0"),
        ("c", "SO_RCVTIMEO", b"\7" + bytes(15)),
        ("c", "SO_SNDTIMEO", b"\7" + bytes(15)),
        ("c", "SO_BINDTODEVICE", b"lo"),
        ("c", "SO_MAX_PACING_RATE", 1000000),
        ("c", "SO_SNDBUF", 30000),
        ("c", "SO_RCVBUF", 30000),
        *(("c", label, 33) for label in ("IP_TTL", "IP_MINTTL")),
        ("c", "IP_TOS", 16),
        *(
            ("c", label, 1)
            for label in (
                "IP_RECVERR",
                "IP_FREEBIND",
                "IP_TRANSPARENT",
            )
        ),
        ("c", "IP_MTU_DISCOVER", 0),
        ("s", "IP_LOCAL_PORT_RANGE", ((60000 << 16) | 40000) - 2**32),
        *(("c", label, 1) for label in ("TCP_NODELAY", "TCP_CORK", "TCP_THIN_LINEAR_TIMEOUTS", "TCP_INQ")),
        *(
            ("c", label, 11)
            for label in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_SYNCNT", "TCP_LINGER2")
        ),
        ("c", "TCP_USER_TIMEOUT", 5555),
        ("c", "TCP_NOTSENT_LOWAT", 4096),
        ("c", "TCP_CONGESTION", b"reno"),
        ("c", "TCP_TX_DELAY", 50),
        ("s", "TCP_DEFER_ACCEPT", 7),
        ("s", "TCP_FASTOPEN", 16),
        ("s", "TCP_SAVE_SYN", 1),
        ("s", "TCP_MAXSEG", 900),
        ("s", "SO_REUSEPORT", 1),
        ("s", "TCP_USER_TIMEOUT", 5555),
        ("s", "SO_KEEPALIVE", 1),
        ("s", "SO_REUSEADDR", 0),
        *(
            ("u", label, 1)
            for label in (
                "SO_BROADCAST",
                "SO_RXQ_OVFL",
                "UDP_GRO",
                "UDP_CORK",
                "SO_DONTROUTE",
                "SO_TIMESTAMPNS",
                "SO_NO_CHECK",
                "IP_PKTINFO",
                "IP_RECVTOS",
                "IP_RECVTTL",
            )
        ),
        ("u", "IP_MULTICAST_TTL", 9),
        ("u", "IP_MULTICAST_LOOP", 0),
        ("u", "IP_MULTICAST_ALL", 0),
        ("u", "IP_MULTICAST_IF", b"\x0a\x09\0\2"),
        *(
            ("v", label, 1)
            for label in ("IPV6_RECVPKTINFO", "IPV6_RECVTCLASS", "IPV6_RECVHOPLIMIT", "IPV6_RECVERR")
        ),
        ("v", "IPV6_TCLASS", 8),
        ("v", "IPV6_UNICAST_HOPS", 9),
        ("v", "IPV6_MULTICAST_HOPS", 9),
        ("x", "SO_PASSCRED", 1),
    ],
)
def test_options_of_sockets_are_mended_both_ways(
    puppet: Puppet, socket: str, label: str, value: object
) -> None:
    """Set where it was not, and not set where it was."""
    length = "" if isinstance(value, int) else ", 64"
    get, put = f"{socket}.getsockopt({number(label)}{length})", f"{socket}.setsockopt({number(label)}, %r)"
    if label == "SO_LINGER":
        get = get.replace("64", "4")  # for how long does not matter when it does not
    if label in ("SO_SNDBUF", "SO_RCVBUF"):
        put = f"{put} or {socket}.setsockopt(1, 72, 0)"
    was, before = puppet.take(), puppet(get)
    puppet(put % (value,))
    changed, after = puppet.take(), puppet(get)
    assert before != after
    assert label in mended(puppet, was)
    assert puppet(get) == before
    assert label in mended(puppet, changed)
    assert puppet(get) == after
    mended(puppet, was)


@pytest.mark.parametrize(
    ("kind", "change", "look", "value"),
    [
        ("user", "os.fchown(c.fileno(), 1234, -1)", "os.fstat(c.fileno()).st_uid", 0),
        ("backlog", "s.listen(3)", "struct.unpack('=28xI', s.getsockopt(6, 11, 32))[0]", 128),
        (
            "status flags",
            "s.setblocking(False)",
            "s.getblocking() or bool(fcntl.fcntl(s, 3) & os.O_NONBLOCK)",
            False,
        ),
        ("SIGIO owner", "fcntl.fcntl(c, 8, 1)", "fcntl.fcntl(c, 9)", 0),
        ("SIGIO signal", "fcntl.fcntl(c, 10, 12)", "fcntl.fcntl(c, 11)", 0),
    ],
)
def test_what_sockets_have_beside_options(
    puppet: Puppet, kind: str, change: str, look: str, value: int
) -> None:
    was = puppet.take(Mode.SOCKETS)
    assert not was.facts
    puppet(change)
    assert mended(puppet, was) == {kind: 1}
    assert puppet(look) == value


def test_the_one_who_gets_sigio_is_named_by_its_pid_in_the_container(puppet: Puppet) -> None:
    puppet("fcntl.fcntl(c, 8, 1)")
    was = puppet.take(Mode.SOCKETS)
    puppet("fcntl.fcntl(c, 8, 0)")
    assert mended(puppet, was) == {"SIGIO owner": 1}
    assert puppet("fcntl.fcntl(c, 9)") == 1
    puppet("fcntl.fcntl(c, 8, 0)")


def test_one_option_changes_another(puppet: Puppet) -> None:
    puppet("c.setsockopt(0, 1, 16)")
    puppet("c.setsockopt(1, 12, 3)")
    was = puppet.take()
    puppet("c.setsockopt(0, 1, 0)")
    assert "IP_TOS" in mended(puppet, was)
    assert (puppet("c.getsockopt(0, 1)"), puppet("c.getsockopt(1, 12)")) == (16, 3)


def test_a_window_that_a_listener_is_held_to(puppet: Puppet) -> None:
    """It can be set, but not taken back."""
    puppet("w = socket.socket(); w.setsockopt(6, 10, 20000); w.listen()")
    was = puppet.take()
    puppet("n = w.fileno(); w.close(); w = socket.socket(); w.listen()")
    assert puppet("w.getsockopt(6, 10)") == 0
    with pytest.raises(checking.CopyError, match="local address"):  # it listens elsewhere, but for that:
        puppet.check(was)
    assert puppet("w.getsockopt(6, 10)") == 20000


def test_memberships_of_multicast_groups(puppet: Puppet) -> None:
    """With and without sources that are let in alone (IP_ADD_SOURCE_MEMBERSHIP)."""
    group, own, source = (f"socket.inet_aton('{a}')" for a in ("239.1.2.3", "10.9.0.2", "10.9.0.7"))
    for join, leave in ((35, 36), (39, 36)):
        puppet(f"u.setsockopt(0, {join}, {group} + {own}{f' + {source}' if join == 39 else ''})")
        was = puppet.take()
        (fact,) = (fact for fact in was.facts if fact.kind == "multicast membership")
        assert fact.of.endswith(" eth0 239.1.2.3")
        puppet(f"u.setsockopt(0, {leave}, {group} + {own})")
        assert puppet("open('/proc/self/net/igmp').read().count('030201EF')") == 0
        assert mended(puppet, was) == {"multicast membership": 1}
        assert puppet("open('/proc/self/net/igmp').read().count('030201EF')") == 1
        assert fact in puppet.take().facts
        puppet(f"u.setsockopt(0, {leave}, {group} + {own})")


def test_who_came_from_outside_is_no_part_of_it(puppet: Puppet) -> None:
    """A health check, or what `docker exec` started: CRIU dumps what descends from the first process."""
    was = puppet.take()
    enter = ["nsenter", f"--target={puppet.pid}", "--pid", "sh", "-c", "sleep 60 & sleep 60"]
    with subprocess.Popen(enter) as entered:
        try:
            while len(puppet.entered(entered.pid)) < 3:
                time.sleep(0.01)
            found = puppet.take(entered=entered.pid)
            alone = [fact for fact in found.facts if fact.kind == "entered process"]
            assert [fact.value for fact in alone] == ["sh -c sleep 60 & sleep 60"]
            assert set(was.facts) == set(found.facts) - set(alone)
            (noted,) = puppet.check(found).harmless
            assert noted.kind == "entered process" and "health check" in noted.why
        finally:
            for pid in puppet.entered(entered.pid):  # those first whose end would end others
                os.kill(pid, signal.SIGKILL)


def test_names_of_unix_sockets_that_were_joined_are_not_compared(puppet: Puppet) -> None:
    """CRIU makes a pair of them, which has none. That of a listener is."""
    puppet("l = socket.socket(1); l.bind('met'); l.listen(); d = socket.socket(1); d.connect('met')")
    puppet("n, _ = l.accept()")
    names = {each.of: (each.name, each.peer) for each in puppet.take().sockets}
    met, joined = (f"socket 1/{puppet(f'{which}.fileno()')}" for which in "ln")
    assert names[met] == ("met", "")
    assert names[joined] == names[f"socket 1/{puppet('d.fileno()')}"] == ("", "")
    puppet("l.close(), d.close(), n.close()")


def test_limits_are_the_same_by_both_ways(puppet: Puppet) -> None:
    """Of another user's process prlimit(2) tells nobody without CAP_SYS_RESOURCE."""
    (fact,) = (fact for fact in puppet.take().facts if fact.kind == "limits")
    assert tasks.limits(Path(f"/proc/{puppet.pid}/limits").read_text()) == fact.value


def test_processors_that_are_not_here_do_no_harm(puppet: Puppet, monkeypatch: pytest.MonkeyPatch) -> None:
    was = puppet.take()
    wanted = tuple(f._replace(value="700") if f.kind == "CPU affinity" else f for f in was.facts)
    found = puppet.check(Inventory(was.mode, wanted, was.labels, was.vectors, was.sockets))
    (harmless,) = found.harmless
    assert harmless.kind == "CPU affinity" and "processors" in harmless.why


def test_nothing_of_its_is_held_when_the_check_is_over(puppet: Puppet) -> None:
    """A duplicate would keep a connection open that the copy closes."""
    was = puppet.take()
    puppet("c.setsockopt(6, 18, 777)")
    before = sorted(Path("/proc/self/fd").iterdir())
    assert "TCP_USER_TIMEOUT" in mended(puppet, was)
    assert sorted(Path("/proc/self/fd").iterdir()) == before
