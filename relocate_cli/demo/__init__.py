"""The demo: one container hops between two hosts while a client counts what it gets back."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from relocate_cli.demo.client import Client
from relocate_cli.demo.stage import CONTAINER, Stage
from relocate_cli.errors import RelocateError
from relocate_cli.plan import Outcome


@dataclass(frozen=True)
class Hop:
    """One move as the client saw it."""

    source: str
    target: str
    old_ip: str
    new_ip: str
    window_ms: float
    gap_ms: float
    seconds: float


@dataclass(frozen=True)
class Result:
    """All hops and the client's counts."""

    hops: tuple[Hop, ...]
    sent: int
    lost: int
    duplicated: int
    reordered: int
    connection_kept: bool
    error: str = ""

    @property
    def good(self) -> bool:
        """Whether the demo showed what it promises."""
        counted = self.lost == self.duplicated == self.reordered == 0
        return counted and self.connection_kept and all(hop.old_ip != hop.new_ip for hop in self.hops)

    @property
    def gaps(self) -> tuple[float, float, float]:
        """Least, median and greatest gap in ms."""
        gaps = [hop.gap_ms for hop in self.hops] or [0.0]
        return min(gaps), median(gaps), max(gaps)


def play(stage: Stage, vip: str, hops: int, on_hop: Callable[[int], None]) -> Result:
    """Hop ``hops`` times with a client connected to ``vip``. Raises RelocateError if a hop fails."""
    client = Client(stage.connect(vip))
    client.start()
    time.sleep(0.5)
    try:
        spans = list(_hop(stage, hops, on_hop))
        time.sleep(0.5)
    finally:
        client.finish()
    done = tuple(
        Hop(
            document["source"],
            document["target"],
            document["old_ip"],
            document["new_ip"],
            document["window_ms"],
            round(client.gap_ms(start, end), 1),
            round(end - start, 1),
        )
        for document, start, end in spans
    )
    counts = (client.sent, client.lost, client.duplicated, client.reordered)
    return Result(done, *counts, client.connection_kept, client.error)


def _hop(
    stage: Stage, hops: int, on_hop: Callable[[int], None]
) -> Iterator[tuple[dict[str, Any], float, float]]:
    for number in range(hops):
        on_hop(number + 1)
        start = time.monotonic()
        _, document = stage.command("move", CONTAINER, "--to", f"host{2 - number % 2}")
        if document["outcome"] != Outcome.MOVED:
            raise RelocateError(
                f"hop {number + 1} was {document['outcome']}: {document['reason']}",
                "the testbed stays up with --keep",
            )
        yield document, start, time.monotonic()
