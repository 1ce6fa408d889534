"""A client that would notice: numbered messages over one TCP connection, one each 2 ms."""

import select
import socket
import threading
import time
from array import array
from bisect import bisect_left, bisect_right
from itertools import pairwise

PACE = 0.002


class Client(threading.Thread):
    """Sends and receives until told to stop. Look at its counts only after ``finish``.

    ``connection`` is open already; the thread owns it. The server answers line n with ``n n``: its number,
    and how many lines the server has seen.
    """

    def __init__(self, connection: socket.socket, pace: float = PACE) -> None:
        super().__init__(daemon=True)
        self._pace = pace
        self._connection = connection
        self._stopping = threading.Event()
        self.replies = array("d")  # monotonic seconds
        self.sent = self.received = self.duplicated = self.reordered = 0
        self.error = ""

    @property
    def lost(self) -> int:
        """Messages without an answer."""
        return self.sent - (self.received - self.duplicated)

    @property
    def connection_kept(self) -> bool:
        """Whether the one connection lived to the end."""
        return not self.error

    def gap_ms(self, start: float, end: float) -> float:
        """The longest time between two consecutive replies of which the span touches [start, end]."""
        first = max(bisect_left(self.replies, start) - 1, 0)
        last = min(bisect_right(self.replies, end) + 1, len(self.replies))
        moments = self.replies[first:last]
        return 1000 * max((b - a for a, b in pairwise(moments)), default=0.0)

    def run(self) -> None:
        """Until ``finish``, and then until the last answer is in."""
        try:
            with self._connection:
                self._talk()
        except OSError as error:
            self.error = str(error)

    def finish(self, patience: float = 10.0) -> None:
        """Send no more, wait for the answers that are due for ``patience`` seconds, hang up."""
        self._stopping.set()
        self.join(patience)
        if self.is_alive() and not self.error:
            self.error = f"no answer to {self.lost} messages"

    def _talk(self) -> None:
        unread = b""
        following = time.monotonic()
        while not (self._stopping.is_set() and self.lost <= 0):
            now = time.monotonic()
            if now >= following and not self._stopping.is_set():
                self.sent += 1
                self._connection.sendall(b"%d\n" % self.sent)
                following = max(following + self._pace, now)  # after a pause messages do not come in a burst
            ready, _, _ = select.select([self._connection], [], [], max(following - time.monotonic(), 0.0))
            if ready:
                data = self._connection.recv(1 << 16)
                if not data:
                    raise ConnectionError("the server hung up")
                *lines, unread = (unread + data).split(b"\n")
                self.replies.extend([time.monotonic()] * len(lines))
                for line in lines:
                    self._reply(line)

    def _reply(self, line: bytes) -> None:
        number, seen = map(int, line.split())
        expected = self.received - self.duplicated + 1
        self.received += 1
        if number < expected or seen > number:
            self.duplicated += 1
        elif number > expected:
            self.reordered += 1
