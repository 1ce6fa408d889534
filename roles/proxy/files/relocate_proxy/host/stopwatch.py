"""Where the milliseconds of a window go: consecutive laps by one monotonic clock, and what ran beside."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

from relocate_proxy.protocol.messages import Lap, Span


class Stopwatch:
    """Laps since construction, and spans: what was done beside the laps, from threads and by CRIU."""

    def __init__(self) -> None:
        self.begun = self.last = time.monotonic()
        self._laps: list[Lap] = []
        self._spans: list[Span] = []

    @property
    def laps(self) -> tuple[Lap, ...]:
        """In their order."""
        return tuple(self._laps)

    @property
    def spans(self) -> tuple[Span, ...]:
        """In the order of their ends."""
        return tuple(self._spans)

    def lap(self, name: str) -> None:
        """End the lap called ``name``."""
        now = time.monotonic()
        self._laps.append(Lap(name, round((now - self.last) * 1000, 2)))
        self.last = now

    @contextmanager
    def beside(self, name: str) -> Iterator[None]:
        """A span of what this thread does."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self._span(name, begun, time.monotonic())

    def phases(self, events: dict[str, dict[str, Any]]) -> None:
        """A span from each of CRIU's notifications to the next, named by the later one."""
        moments = [(f"criu {name}", float(event["at"])) for name, event in events.items()]
        for (_, begun), (name, ended) in pairwise(moments):
            if begun >= self.begun:
                self._span(name, begun, ended)

    def _span(self, name: str, begun: float, ended: float) -> None:
        at, ms = round((begun - self.begun) * 1000, 2), round((ended - begun) * 1000, 2)
        self._spans.append(Span(name, at, ms))
