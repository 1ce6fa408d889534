"""TCP sockets that CRIU passes over, as the kernel tells of them (sock_diag(7)): who waits to be accepted,
and what a program has closed before all of it was sent.
"""

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY, NLMSG_ERROR, NLMSG_DONE = 20, 2, 3
REQUEST_DUMP = 0x301
CLONE_NEWNET = 0x40000000
FIN_WAIT1, LAST_ACK, LISTEN, CLOSING = 4, 9, 10, 11
HEADER = struct.Struct("=IHHII")
ENTRY = struct.Struct("=BB2x48xIIIII")  # inet_diag_msg: family, state; expires, queues, uid, inode
INET_DIAG_INFO, NOT_SENT = 2, 144  # struct tcp_info, and where tcpi_notsent_bytes is in it (linux/tcp.h)
LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Unfinished:
    """``waiting``: connections that nobody has accepted. ``closed``: those that were closed and of which
    something is not sent yet; what was sent reaches its peer without us."""

    waiting: int
    closed: int


class SocketDiagnosis:
    """Asks in the network namespace of a process. Made ahead of the window: to ask then costs a fraction of a
    millisecond."""

    def __init__(self, pid: int) -> None:
        """Raises OSError when there is no such process."""
        made: list[socket.socket] = []
        with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
            # A socket stays in the namespace that it was made in; a thread can enter one alone.
            thread = threading.Thread(target=_make, args=(namespace.fileno(), made))
            thread.start()
            thread.join()
        if not made:
            raise OSError(f"the network namespace of process {pid} cannot be entered")
        self.socket = made[0]

    def unfinished(self) -> Unfinished:
        """Both counts. Raises OSError when the kernel refuses."""
        waiting = closed = 0
        for family in (socket.AF_INET, socket.AF_INET6):
            for state, queue, inode, not_sent in self._ask(family):
                if state == LISTEN:
                    waiting += queue
                elif inode == 0 and not_sent:
                    closed += 1
        return Unfinished(waiting, closed)

    def close(self) -> None:
        """Idempotent."""
        self.socket.close()

    def _ask(self, family: int) -> Iterator[tuple[int, int, int, int]]:
        """State, receive queue, inode and bytes not sent of each socket that can be unfinished."""
        states = sum(1 << state for state in (FIN_WAIT1, LAST_ACK, LISTEN, CLOSING))
        request = struct.pack("=BBBxI48x", family, socket.IPPROTO_TCP, 1 << (INET_DIAG_INFO - 1), states)
        self.socket.send(
            HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, REQUEST_DUMP, 0, 0) + request
        )
        while True:
            data, at = self.socket.recv(1 << 17), 0
            while at + HEADER.size <= len(data):
                length, kind, *_ = HEADER.unpack_from(data, at)
                if kind == NLMSG_DONE:
                    return
                if kind == NLMSG_ERROR:
                    (code,) = struct.unpack_from("=i", data, at + HEADER.size)
                    raise OSError(-code, os.strerror(-code))
                _, state, _, queue, _, _, inode = ENTRY.unpack_from(data, at + HEADER.size)
                yield state, queue, inode, _not_sent(data[at + HEADER.size + ENTRY.size : at + length])
                at += (length + 3) & ~3


def _not_sent(attributes: bytes) -> int:
    """Of the attributes that follow an entry; 0 if the kernel does not say."""
    at = 0
    while at + 4 <= len(attributes):
        length, kind = struct.unpack_from("=HH", attributes, at)
        if kind == INET_DIAG_INFO and length >= 4 + NOT_SENT + 4:
            (count,) = struct.unpack_from("=I", attributes, at + 4 + NOT_SENT)
            return int(count)
        at += max(4, (length + 3) & ~3)
    return 0


def _make(namespace: int, made: list[socket.socket]) -> None:
    if LIBC.setns(namespace, CLONE_NEWNET) == 0:
        made.append(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG))
