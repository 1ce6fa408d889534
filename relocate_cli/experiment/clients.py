"""A client for each target, which counts every message and connects again if it is cut off."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from socket import socket

from relocate_cli.demo.client import Client
from relocate_cli.errors import RelocateError

PACE = 0.01


@dataclass(frozen=True)
class Counts:
    """What clients saw; ``broken`` connections, each of which may have lost what was under way."""

    sent: int = 0
    lost: int = 0
    duplicated: int = 0
    reordered: int = 0
    broken: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.sent + other.sent,
            self.lost + other.lost,
            self.duplicated + other.duplicated,
            self.reordered + other.reordered,
            self.broken + other.broken,
        )


class Clients:
    """One to each target. ``connect`` opens a connection to the target of that name."""

    def __init__(self, targets: tuple[str, ...], connect: Callable[[str, float], socket]) -> None:
        self._connect = connect
        self._talks: dict[str, list[Client]] = {name: [] for name in targets}
        self._apart = time.time() - time.monotonic()
        for name in targets:
            self._talk(name, 20.0)

    def mend(self) -> None:
        """Those that were cut off connect again, if the target listens already."""
        for name, talks in self._talks.items():
            if not talks[-1].is_alive():
                try:
                    self._talk(name, 0.5)
                except RelocateError:
                    continue

    def gap_ms(self, target: str, begin: float, end: float) -> float | None:
        """The longest silence that touches this span of seconds since the epoch; None if it was cut off."""
        begin, end = begin - self._apart, end - self._apart
        for talk in self._talks[target]:
            if talk.replies and talk.replies[0] <= begin and talk.replies[-1] >= end and not talk.error:
                return talk.gap_ms(begin, end)
        return None

    def finish(self) -> Counts:
        """Send no more; what they saw in all."""
        total = Counts()
        for talks in self._talks.values():
            for talk in talks:
                talk.finish()
                broken = 0 if talk.connection_kept else 1
                total += Counts(talk.sent, max(talk.lost, 0), talk.duplicated, talk.reordered, broken)
        return total

    def _talk(self, name: str, patience: float) -> None:
        client = Client(self._connect(name, patience), PACE)
        client.start()
        self._talks[name].append(client)
