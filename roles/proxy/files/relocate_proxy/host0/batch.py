"""A batch on host0: moves that one unit carries out, and the file that says so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relocate_proxy import paths
from relocate_proxy.host import records
from relocate_proxy.host0.journal import begun, journal_file, outcome_file
from relocate_proxy.protocol import shapes
from relocate_proxy.protocol.move import Move


@dataclass(frozen=True)
class Batch:
    """``moves`` of which at most ``parallel`` are in their window at once; ``name`` is the first one's id."""

    name: str
    moves: tuple[Move, ...]
    parallel: int

    @property
    def unit(self) -> str:
        """The unit that carries it out."""
        return f"relocate-coordinator@{self.name}"

    @property
    def queued(self) -> tuple[Move, ...]:
        """The moves that were not begun."""
        return tuple(move for move in self.moves if not begun(move.id) and not reported(move))

    def write(self) -> None:
        """Have it on disk for the unit, which may be started again after a crash."""
        document = {"moves": [shapes.write(move) for move in self.moves], "parallel": self.parallel}
        records.write(_file(self.name), document, durable=True)

    def remove(self) -> None:
        """It has ended, or nobody carries it out any more."""
        _file(self.name).unlink(missing_ok=True)

    def report_queued(self, reason: str) -> None:
        """Say of the moves that were not begun, and now will not be, that they were rolled back."""
        for move in self.queued:
            records.write(outcome_file(move.id), unfired(move, "rolled_back", reason))


def read(name: str) -> Batch | None:
    """The batch of this name, None if there is none any more. Raises ValueError if that is no name."""
    document = records.read(_file(name))
    if not document:
        return None
    return Batch(name, tuple(shapes.read(Move, move) for move in document["moves"]), document["parallel"])


def every() -> list[Batch]:
    """Those that have not ended."""
    names = [path.name.partition(".")[0] for path in sorted(paths.JOURNAL.glob("*.batch.json"))]
    found = [read(name) for name in names if paths.IDENTITY.match(name)]
    return [batch for batch in found if batch is not None]


def reported(move: Move) -> bool:
    """Whether it was said what came of this move; host0's power may have taken that away again."""
    return bool(records.read(outcome_file(move.id)))


def progress(identities: set[str]) -> dict[str, int]:
    """Something that changes whenever one of these relocations gets on."""
    journals = {identity: journal_file(identity) for identity in identities}
    return {identity: path.stat().st_size for identity, path in journals.items() if path.exists()}


def unfired(move: Move, outcome: str, reason: str) -> dict[str, Any]:
    """The report of a move of which nothing else is known."""
    named = {"container": move.container, "source": move.source, "target": move.target, "vip": move.vip}
    unknown: dict[str, Any] = {"old_ip": None, "new_ip": None, "window_ms": None, "phases": []}
    ending = {"outcome": outcome, "needs_recover": outcome == "failed", "reason": reason}
    return {"relocation_id": move.id, **named, **unknown, **ending}


def _file(name: str) -> Path:
    return paths.JOURNAL / f"{paths.checked(name)}.batch.json"
