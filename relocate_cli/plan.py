"""What shall be moved, and what came of it."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


def new_id() -> str:
    """A name for a relocation that is safe in file and unit names and that nobody can foresee."""
    return secrets.token_hex(6)


@dataclass(frozen=True)
class Move:
    """One container, source, target; ``recovers`` is the relocation that left only an image of it, if so."""

    container: str
    source: str
    target: str
    vip: str = ""
    id: str = field(default_factory=new_id)
    recovers: str = ""

    def ends(self) -> dict[str, str]:
        """What it is about, as a document."""
        return {"container": self.container, "source": self.source, "target": self.target, "vip": self.vip}


@dataclass(frozen=True)
class Plan:
    """Moves that are carried out together; a container occurs once at most."""

    moves: tuple[Move, ...]

    def __post_init__(self) -> None:
        names = [move.container for move in self.moves]
        if len(set(names)) != len(names):
            raise ValueError("a plan moves a container once at most")
        if any(move.source == move.target for move in self.moves):
            raise ValueError("a move has two ends")

    @property
    def hosts(self) -> frozenset[str]:
        """Every host that takes part."""
        return frozenset(host for move in self.moves for host in (move.source, move.target))


class Outcome(StrEnum):
    """How a relocation ended; OPEN until it has."""

    OPEN = "open"
    MOVED = "moved"
    ROLLED_BACK = "rolled_back"
    FAILED = "failed"


@dataclass(frozen=True)
class Phase:
    """A named part of the window."""

    name: str
    ms: float


@dataclass(frozen=True)
class Span:
    """What ``party`` (host0, source, target) did in the window, ms from its begin by host0's clock."""

    party: str
    track: str
    name: str
    at: float
    ms: float


@dataclass(frozen=True)
class Noted:
    """Differences of one kind between the copy and what was frozen; ``why`` they are harmless."""

    kind: str
    times: int
    why: str = ""


@dataclass(frozen=True)
class Inventory:
    """What came of comparing the copy with what was frozen, before it ran: how many facts, what was put
    right."""

    compared: int
    mended: tuple[Noted, ...] = ()
    harmless: tuple[Noted, ...] = ()


def inventory_of(document: Mapping[str, Any] | None) -> Inventory | None:
    """As host0 and the journal say it; None if nothing was compared."""
    if not document:
        return None
    mended, harmless = (tuple(Noted(**each) for each in document[key]) for key in ("mended", "harmless"))
    return Inventory(int(document["compared"]), mended, harmless)


@dataclass(frozen=True)
class Relocation:
    """The carrying out of one move. Times are seconds since the epoch; the window is freeze to release."""

    id: str
    container: str
    source: str
    target: str
    vip: str = ""
    old_ip: str = ""
    new_ip: str = ""
    started: float = 0.0
    ended: float | None = None
    outcome: Outcome = Outcome.OPEN
    reason: str = ""
    window_ms: float | None = None
    phases: tuple[Phase, ...] = ()
    inventory: Inventory | None = None
    spans: tuple[Span, ...] = ()

    def document(self) -> dict[str, Any]:
        """As `relocate move --json` and `relocate history --json` print it; gap_ms is for who measures it."""
        return {
            "relocation_id": self.id,
            "container": self.container,
            "source": self.source,
            "target": self.target,
            "old_ip": self.old_ip,
            "new_ip": self.new_ip,
            "vip": self.vip,
            "outcome": str(self.outcome),
            "reason": self.reason,
            "window_ms": self.window_ms,
            "gap_ms": None,
            "phases": [{"name": phase.name, "ms": phase.ms} for phase in self.phases],
            "inventory": asdict(self.inventory) if self.inventory else None,
            "started": self.started,
            "ended": self.ended,
        }
