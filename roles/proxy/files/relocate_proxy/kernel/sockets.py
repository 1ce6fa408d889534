"""TCP sockets that CRIU passes over, as the kernel tells of them (sock_diag(7)): who waits to be accepted,
and what a program has closed before all of it was sent.
"""

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Iterator
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

    def waiting(self) -> int:
        """Connections that nobody has accepted. Raises OSError when the kernel refuses."""
        return sum(queue for queue, _, _ in self._ask(LISTEN))

    def closed(self) -> int:
        """Connections that were closed and of which something is not sent yet; what was sent reaches its peer
        without us. The kernel looks at all of its connections for it: some milliseconds. Raises OSError."""
        found = self._ask(FIN_WAIT1, LAST_ACK, CLOSING)
        return sum(1 for _, inode, not_sent in found if inode == 0 and not_sent)

    def close(self) -> None:
        """Idempotent."""
        self.socket.close()

    def _ask(self, *states: int) -> Iterator[tuple[int, int, int]]:
        """Receive queue, inode and bytes not sent of each socket in one of ``states``."""
        for family in (socket.AF_INET, socket.AF_INET6):
            yield from self._dump(family, sum(1 << state for state in states))

    def _dump(self, family: int, states: int) -> Iterator[tuple[int, int, int]]:
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
                _, _, _, queue, _, _, inode = ENTRY.unpack_from(data, at + HEADER.size)
                yield queue, inode, _not_sent(data[at + HEADER.size + ENTRY.size : at + length])
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
