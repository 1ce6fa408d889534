"""A runc that waits ahead of the window, as the agent sees it: the other end of the criu shim's socket."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class ParkedError(Exception):
    """The parked runc ended, or said nothing in time."""


class Parked:
    """Connection to one shim. Events come in order, those from before the connection too."""

    def __init__(self, path: Path) -> None:
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.connect(str(path))
        self.buffer = b""
        self.seen: dict[str, dict[str, Any]] = {}

    @classmethod
    def wait_for(cls, path: Path, seconds: float, still_coming: Any = lambda: True) -> "Parked":
        """Connect as soon as the shim listens and has parked.

        ``still_coming`` is asked while waiting: False ends it. Raises ParkedError.
        """
        deadline = time.monotonic() + seconds
        ask_next = 0.0
        while (now := time.monotonic()) < deadline:
            try:
                shim = cls(path)
                shim.wait("parked", deadline - now)
                return shim
            except OSError:
                if now >= ask_next:  # it is asked by starting a program
                    if not still_coming():
                        raise ParkedError("runc ended before it was parked") from None
                    ask_next = now + 0.3
                time.sleep(0.02)
        raise ParkedError(f"runc was not parked within {seconds:.0f} s")

    def send(self, word: str) -> None:
        """Give the shim one of its words: go, commit, abort. A shim that has gone has nothing left to
        do."""
        try:
            self.connection.sendall(word.encode() + b"\n")
        except OSError as error:
            raise ParkedError(f"the shim is gone: {error}") from None

    def wait(self, event: str, seconds: float) -> dict[str, Any]:
        """Wait for ``event``. Raises ParkedError if the request ends without it, or in time."""
        if event in self.seen:
            return self.seen[event]
        for found in self._events(seconds):
            self.seen[found["event"]] = found
            if found["event"] == event:
                return found
            if found["event"] == "done" and not found["ok"]:
                raise ParkedError(found.get("reason") or "criu failed")
        raise ParkedError(f"no {event} within {seconds:.1f} s")

    def _events(self, seconds: float) -> Iterator[dict[str, Any]]:
        deadline = time.monotonic() + seconds
        while True:
            while b"\n" in self.buffer:
                line, self.buffer = self.buffer.split(b"\n", 1)
                yield json.loads(line)
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return
            self.connection.settimeout(remaining)
            try:
                data = self.connection.recv(65536)
            except TimeoutError:
                return
            if not data:
                raise ParkedError("criu's shim is gone")
            self.buffer += data

    def abort(self, seconds: float) -> None:
        """Abort, and give CRIU up to ``seconds`` to leave what it holds as it found it."""
        try:
            self.send("abort")
            while self.connection.recv(65536):
                self.connection.settimeout(seconds)
        except (ParkedError, OSError):
            pass
        self.close()

    def close(self) -> None:
        """Let the shim go on alone."""
        self.connection.close()
