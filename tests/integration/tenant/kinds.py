"""A tenant that holds what a program can hold: set up once, then looked at, before and after a move.

For the console: ``import kinds; held = kinds.Held(); answer = held.look()``. What `look` says is about the
console's own thread and process.
"""

import ctypes
import fcntl
import os
import resource
import select
import signal
import socket
import struct
import threading
from pathlib import Path
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
IOPRIO_SET, IOPRIO_GET = 251, 252
PR_SET_TIMERSLACK, PR_GET_TIMERSLACK = 29, 30
OPTIONS = {
    "SO_KEEPALIVE": (1, 9, 1),
    "SO_OOBINLINE": (1, 10, 1),
    "SO_PRIORITY": (1, 12, 3),
    "SO_RCVLOWAT": (1, 18, 2),
    "SO_TIMESTAMP": (1, 29, 1),
    "SO_ZEROCOPY": (1, 60, 1),
    "SO_TXREHASH": (1, 74, 0),
    "IP_TOS": (0, 1, 8),
    "IP_TTL": (0, 2, 33),
    "IP_MTU_DISCOVER": (0, 10, 0),
    "IP_RECVERR": (0, 11, 1),
    "IP_MINTTL": (0, 21, 2),
    "TCP_NODELAY": (6, 1, 1),
    "TCP_KEEPIDLE": (6, 4, 77),
    "TCP_KEEPINTVL": (6, 5, 11),
    "TCP_KEEPCNT": (6, 6, 4),
    "TCP_SYNCNT": (6, 7, 3),
    "TCP_LINGER2": (6, 8, 5),
    "TCP_THIN_LINEAR_TIMEOUTS": (6, 16, 1),
    "TCP_USER_TIMEOUT": (6, 18, 5555),
    "TCP_NOTSENT_LOWAT": (6, 25, 4096),
    "TCP_INQ": (6, 36, 1),
}
WIDE = {
    "SO_LINGER": (1, 13, struct.pack("ii", 1, 9)),
    "SO_RCVTIMEO": (1, 20, struct.pack("qq", 700, 0)),
    "SO_SNDTIMEO": (1, 21, struct.pack("qq", 800, 0)),
}
OF_A_LISTENER = {
    "TCP_DEFER_ACCEPT": (6, 9, 7),
    "TCP_SAVE_SYN": (6, 27, 1),
    "TCP_KEEPIDLE": (6, 4, 55),
    "TCP_USER_TIMEOUT": (6, 18, 4444),
    "TCP_MAXSEG": (6, 2, 900),
    "SO_RCVLOWAT": (1, 18, 2),
    "IP_TTL": (0, 2, 44),
}
OF_DATAGRAMS = {
    "SO_BROADCAST": (1, 6, 1),
    "SO_RXQ_OVFL": (1, 40, 1),
    "SO_TIMESTAMPNS": (1, 35, 1),
    "IP_PKTINFO": (0, 8, 1),
    "IP_MULTICAST_TTL": (0, 33, 9),
    "IP_MULTICAST_LOOP": (0, 34, 0),
    "UDP_GRO": (17, 104, 1),
}


class Held:
    """Everything is set when this is made."""

    def __init__(self) -> None:
        self.thread()
        self.process()
        self.sockets()
        self.descriptors()

    def thread(self) -> None:
        os.sched_setaffinity(0, {0})
        LIBC.syscall(IOPRIO_SET, 1, 0, 2 << 13 | 6)
        os.setpriority(os.PRIO_PROCESS, 0, 5)
        LIBC.prctl(PR_SET_TIMERSLACK, 123456, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    def process(self) -> None:
        Path("/proc/self/oom_score_adj").write_text("300")
        Path("/proc/self/coredump_filter").write_text("0x7f")
        resource.setrlimit(resource.RLIMIT_CORE, (4096, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        os.umask(0o27)
        os.chdir("/data/deep")

    def sockets(self) -> None:
        self.listener = socket.create_server(("0.0.0.0", 7100), backlog=17)
        self.client = socket.create_connection(("127.0.0.1", 7100))
        os.seteuid(1234)
        self.owned = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        os.seteuid(0)
        self.server, _ = self.listener.accept()
        self.server.sendall(b"unread")
        for level, name, value in (*OPTIONS.values(), *WIDE.values()):
            self.client.setsockopt(level, name, value)
        self.client.setsockopt(6, socket.TCP_CONGESTION, b"reno")
        for level, name, value in OF_A_LISTENER.values():
            self.listener.setsockopt(level, name, value)
        for level, name, value in OF_DATAGRAMS.values():
            self.owned.setsockopt(level, name, value)
        fcntl.fcntl(self.client, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(self.client, 10, signal.SIGUSR2)
        self.halves = socket.socketpair()
        self.halves[0].send(b"between")

    def descriptors(self) -> None:
        self.event = os.eventfd(7)
        self.signals = LIBC.signalfd(-1, ctypes.byref(ctypes.c_uint64(1 << 9)), 0)
        self.timer = LIBC.timerfd_create(1, 0)
        LIBC.timerfd_settime(self.timer, 0, struct.pack("4q", 900, 0, 900, 0), None)
        self.poll = select.epoll()
        self.poll.register(self.event, select.EPOLLIN)
        self.file = open("/tmp/held", "w+")  # noqa: PTH123, SIM115
        self.file.write("some text")
        self.file.flush()
        fcntl.flock(self.file, fcntl.LOCK_EX)
        self.shared = LIBC.shmget(0x77, 8192, 0o1600)

    def look(self) -> dict[str, Any]:
        """As the program itself sees it."""
        found: dict[str, Any] = {
            "affinity": sorted(os.sched_getaffinity(0)),
            "io priority": LIBC.syscall(IOPRIO_GET, 1, 0),
            "nice": os.getpriority(os.PRIO_PROCESS, 0),
            "slack": LIBC.prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0),
            "pending": sorted(map(int, signal.sigpending())),
            "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, ()))),
            "oom": Path("/proc/self/oom_score_adj").read_text().strip(),
            "core": Path("/proc/self/coredump_filter").read_text().strip(),
            "limits": [resource.getrlimit(which) for which in range(16)],
            "directory": str(Path.cwd()),
            "owner": os.fstat(self.owned.fileno()).st_uid,
            "sigio": [fcntl.fcntl(self.client, fcntl.F_GETOWN) == os.getpid(), fcntl.fcntl(self.client, 11)],
            "congestion": self.client.getsockopt(6, socket.TCP_CONGESTION, 16).hex(),
            "backlog": struct.unpack("=28xI", self.listener.getsockopt(6, socket.TCP_INFO, 32))[0],
            "unread": self.client.recv(99, socket.MSG_PEEK | socket.MSG_DONTWAIT).decode(),
            "between": self.halves[1].recv(99, socket.MSG_PEEK | socket.MSG_DONTWAIT).decode(),
            "offset": os.lseek(self.file.fileno(), 0, os.SEEK_CUR),
            "poll": self.poll.poll(0),
            "shared": LIBC.shmget(0x77, 8192, 0o600) == self.shared,
        }
        os.umask(mask := os.umask(0))
        found["umask"] = mask
        for of, table in (
            (self.client, OPTIONS),
            (self.listener, OF_A_LISTENER),
            (self.owned, OF_DATAGRAMS),
        ):
            found |= {f"{name} {of.fileno()}": of.getsockopt(*option[:2]) for name, option in table.items()}
        found |= {name: self.client.getsockopt(*option[:2], 16).hex() for name, option in WIDE.items()}
        for name, number in (("event", self.event), ("signals", self.signals), ("file", self.file.fileno())):
            lines = Path(f"/proc/self/fdinfo/{number}").read_text().splitlines()
            wanted = ("flags", "eventfd-count", "sigmask")
            found[name] = [line for line in lines if line.startswith(wanted)]
            found[name] += [line.split()[2:5] for line in lines if line.startswith("lock")]
        return found
