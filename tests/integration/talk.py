"""A client's side: connections that count their messages, a server that containers call, a download."""

import hashlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from relocate_cli.testbed.bed import Testbed

PATIENCE = 10.0


class Console:
    """Runs Python in the tenant's own process; the connection is one that idles while the tenant moves."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.stream = connection.makefile("rwb")

    def __call__(self, code: str) -> Any:
        """Run ``code``; what it assigned to ``answer``. Names it binds live on. Raises AssertionError."""
        self.stream.write(json.dumps(code).encode() + b"\n")
        self.stream.flush()
        result = json.loads(self.stream.readline())
        assert "error" not in result, result["error"]
        return result["answer"]


@dataclass(frozen=True)
class Tally:
    """What became of numbered messages; ``longest_gap`` is between consecutive arrivals, in seconds."""

    sent: int
    lost: int
    repeated: int
    reordered: int
    longest_gap: float
    kept: bool

    @property
    def clean(self) -> bool:
        """Whether every message came back once, in order, over the one connection."""
        return self.kept and not (self.lost or self.repeated or self.reordered)


def tally(sent: int, numbers: Sequence[int], arrivals: Sequence[float], kept: bool) -> Tally:
    """Compare the numbers that arrived, in their order, with 0 … ``sent`` - 1."""
    counts = Counter(numbers)
    gaps = (later - earlier for earlier, later in pairwise(arrivals))
    return Tally(
        sent=sent,
        lost=len(set(range(sent)) - set(counts)),
        repeated=sum(counts.values()) - len(counts),
        reordered=sum(later < earlier for earlier, later in pairwise(numbers)),
        longest_gap=max(gaps, default=0.0),
        kept=kept,
    )


class Conversation:
    """One connection over which a numbered message goes out every few ms and comes back."""

    def __init__(
        self,
        connection: socket.socket,
        every: float = 0.003,
        send: bool = True,
        patience: float = PATIENCE,
    ) -> None:
        self.connection = connection
        self.connection.settimeout(patience)
        self.every = every
        self.sent = 0
        self.numbers: list[int] = []
        self.arrivals: list[float] = []
        self.kept = True
        self.ending = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.writer = threading.Thread(target=self._write if send else lambda: None, daemon=True)
        self.reader.start()
        self.writer.start()

    def _write(self) -> None:
        try:
            while not self.ending.wait(self.every):
                self.connection.sendall(b"%d\n" % self.sent)
                self.sent += 1
        except OSError:
            self.kept = False
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def _read(self) -> None:
        try:
            for line in self.connection.makefile("rb"):
                self.arrivals.append(time.monotonic())
                self.numbers.append(int(line))
                if self.ending.is_set() and not self.writer.is_alive() and not self.sent:
                    return
        except OSError:
            self.kept = False

    def longest_gap_since(self, moment: float) -> float:
        """The longest time between consecutive arrivals, the later one after ``moment``, in seconds."""
        gaps = (later - earlier for earlier, later in pairwise(self.arrivals) if later > moment)
        return max(gaps, default=0.0)

    def flows(self, messages: int = 20) -> bool:
        """Whether ``messages`` more arrive, now."""
        wanted, deadline = len(self.arrivals) + messages, time.monotonic() + PATIENCE
        while len(self.arrivals) < wanted and time.monotonic() < deadline:
            time.sleep(0.01)
        return len(self.arrivals) >= wanted

    def end(self) -> Tally:
        """Stop sending, hear all replies that are due, hang up."""
        self.ending.set()
        self.writer.join(PATIENCE)
        self.reader.join(PATIENCE)
        self.connection.close()
        return tally(self.sent or len(self.numbers), self.numbers, self.arrivals, self.kept)


class EchoServer:
    """A server on the client's side that containers call: it notes who calls and sends every line back."""

    def __init__(self, bed: Testbed) -> None:
        with bed.entered("client"):
            self.listener = socket.create_server(("0.0.0.0", 0), backlog=8)
        self.port = int(self.listener.getsockname()[1])
        self.callers: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, (address, _) = self.listener.accept()
            except OSError:
                return
            self.callers.append(address)
            threading.Thread(target=self._echo, args=(connection,), daemon=True).start()

    @staticmethod
    def _echo(connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rwb", buffering=0) as stream:
            for line in stream:
                stream.write(line)

    def close(self) -> None:
        """Answer no more calls."""
        self.listener.close()


class Download:
    """A download from a tenant, taken in slowly until ``hurry`` is set, so that a move falls into it."""

    def __init__(self, connection: socket.socket, size: int, hurry: threading.Event) -> None:
        self.connection = connection
        self.connection.settimeout(PATIENCE)
        self.connection.sendall(b"%d\n" % size)
        self.hurry = hurry
        self.sha256 = hashlib.sha256()
        self.complete = False
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        with self.connection, suppress(OSError):
            while data := self.connection.recv(1 << 16):
                self.sha256.update(data)
                self.hurry.wait(0.03)
            self.complete = True

    def digest(self) -> str:
        """Wait for the end; SHA-256 of all that came."""
        self.reader.join(60)
        return self.sha256.hexdigest()
