"""What came of a relocation, as `fire` prints it."""

from dataclasses import dataclass
from typing import Any

from relocate_proxy.protocol import messages, shapes
from relocate_proxy.protocol.move import Move
from relocate_proxy.protocol.words import Party, Phase

OUTCOMES = {
    Phase.MOVED: "moved",
    Phase.ROLLED_BACK: "rolled_back",
    Phase.STORED: "failed",
    Phase.LOST: "failed",
}


@dataclass
class Said:
    """What the parties have answered so far, as far as a later message or the report needs it."""

    ready_source: messages.Ready | None = None
    ready_target: messages.Ready | None = None
    dumped: messages.Dumped | None = None
    restored: messages.Restored | None = None
    resumed: messages.Resumed | None = None
    stored: messages.Stored | None = None

    def note(self, party: Party, reply: messages.Reply) -> None:
        """Keep the first of each kind."""
        match reply:
            case messages.Ready() if party is Party.SOURCE:
                self.ready_source = self.ready_source or reply
            case messages.Ready():
                self.ready_target = self.ready_target or reply
            case messages.Dumped():
                self.dumped = self.dumped or reply
            case messages.Restored():
                self.restored = self.restored or reply
            case messages.Resumed():
                self.resumed = self.resumed or reply
            case messages.Stored():
                self.stored = self.stored or reply
            case _:
                pass


def report(move: Move, said: Said, marks: dict[str, float], phase: Phase, reason: str) -> dict[str, Any]:
    """The document of one relocation (docs/operators.md): addresses, outcome, the window and its time
    line."""
    moved = phase is Phase.MOVED
    phases: list[dict[str, Any]] = []
    traced: list[dict[str, Any]] = []
    if moved and said.dumped and said.restored and said.resumed:
        phases = time_line(marks, said.dumped, said.restored)
        traced = trace(marks, said.dumped, said.restored, said.resumed)
    return {
        "relocation_id": move.id,
        "container": move.container,
        "source": move.source,
        "target": move.target,
        "old_ip": said.ready_source.address if said.ready_source else None,
        "new_ip": said.restored.new_ip if moved and said.restored else None,
        "vip": move.vip,
        "recovers": move.recovers,
        "outcome": OUTCOMES[phase],
        "needs_recover": phase in (Phase.STORED, Phase.LOST),
        "reason": reason,
        "window_ms": round((marks["release"] - marks["send:freeze"]) * 1000, 1)
        if {"release", "send:freeze"} <= marks.keys()
        else None,
        "inventory": shapes.write(said.restored.inventory)
        if moved and said.restored and said.restored.inventory
        else None,
        "phases": phases,
        "trace": traced,
    }


def time_line(
    marks: dict[str, float], dumped: messages.Dumped, restored: messages.Restored
) -> list[dict[str, Any]]:
    """The window as consecutive phases, in ms.

    The source's and the target's laps are by their own clocks; what host0's clock saw beyond them is
    ``messages``.
    """
    laps = [*dumped.laps, *restored.laps]
    voted = max(marks["target:restored"], marks["source:digested"])
    seen = 1000 * (marks["target:restored"] - marks["send:freeze"])
    between = seen - sum(lap.ms for lap in laps)
    rest = [("digests", marks["target:restored"], voted), ("commit", voted, marks["send:commit"])]
    rest += [("resume", marks["send:commit"], marks["target:resumed"])]
    rest += [("release", marks["target:resumed"], marks["release"])]
    return [
        *map(shapes.write, laps),
        {"name": "messages", "ms": round(between, 2)},
        *({"name": name, "ms": round(1000 * (to - since), 2)} for name, since, to in rest),
    ]


def trace(
    marks: dict[str, float], dumped: messages.Dumped, restored: messages.Restored, resumed: messages.Resumed
) -> list[dict[str, Any]]:
    """What each party did when: ``[{"party", "track", "name", "at", "ms"}]``, ms from the order to freeze by
    host0's clock.

    A host's own times count from when its order came. The way there is taken to last as long as the way back
    (RFC 5905, section 8), so its clock need not agree with host0's.
    """
    begun = marks["send:freeze"]
    found: list[dict[str, Any]] = []
    sides = [("source", "freeze", "dumped", dumped.laps, dumped.spans)]
    sides += [("target", "restore", "restored", restored.laps, restored.spans)]
    sides += [("target", "commit", "resumed", (), resumed.spans)]
    for party, verb, answer, laps, spans in sides:
        sent, heard = ((marks[name] - begun) * 1000 for name in (f"send:{verb}", f"{party}:{answer}"))
        at = sent + (heard - sent - sum(lap.ms for lap in laps)) / 2
        found.append({"party": "host0", "track": "waits", "name": verb, "at": sent, "ms": heard - sent})
        for span in spans:
            track = "criu" if span.name.startswith("criu ") else "beside"
            found.append(
                {"party": party, "track": track, "name": span.name, "at": at + span.at, "ms": span.ms}
            )
        for lap in laps:
            found.append({"party": party, "track": "window", "name": lap.name, "at": at, "ms": lap.ms})
            at += lap.ms
    steps = [("journal", "target:restored", "journal:commit"), ("route", "send:commit", "route")]
    for name, since, to in (*steps, ("release", "target:resumed", "release")):
        at, ms = (marks[since] - begun) * 1000, (marks[to] - marks[since]) * 1000
        found.append({"party": "host0", "track": "waits", "name": name, "at": at, "ms": ms})
    return [{**span, "at": round(span["at"], 2), "ms": round(span["ms"], 2)} for span in found]
