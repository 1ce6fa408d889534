"""Draws the coordinator's table into docs/protocol.md when run: `python tests/unit/protocol_diagram.py`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "roles/proxy/files"))

from relocate_proxy.protocol.coordinator import ASKS, FINAL, RESUME, TABLE, Row, Trigger, begin, recover  # noqa: E402
from relocate_proxy.protocol.words import (  # noqa: E402
    Actions,
    Cancelled,
    Differs,
    Finish,
    Hold,
    Journal,
    Party,
    Phase,
    Release,
    Send,
    SetTimer,
    Switch,
    Timeout,
)

PAGE = ROOT / "docs/protocol.md"
BEGIN, END = "<!-- generated from coordinator.TABLE: begin -->", "<!-- generated: end -->"
LETTER = {Party.SOURCE: "S", Party.TARGET: "T"}


def named(trigger: Trigger) -> str:
    """The trigger as the page writes it."""
    if isinstance(trigger, tuple):
        return f"{LETTER[trigger[0]]}: {trigger[1]}"
    return {Timeout: "deadline", Cancelled: "cancelled", Differs: "differs"}[trigger]


def deeds(actions: Actions) -> str:
    """The actions in their order; records in capitals."""
    words = []
    for action in actions:
        match action:
            case Journal(record):
                words.append(f"**{record.upper()}**")
            case Send(party, verb):
                words.append(f"{LETTER[party]}←{verb}")
            case Switch(party):
                words.append(f"route→{LETTER[party]}")
            case Hold() | Release():
                words.append(type(action).__name__.lower())
            case SetTimer() | Finish():
                pass
    return ", ".join(words) or "–"


def grouped() -> Iterator[tuple[Phase, list[str], Row]]:
    """Rows of the table, the triggers of one phase with one outcome together."""
    found: dict[tuple[Phase, Row], list[str]] = {}
    for (phase, trigger), row in TABLE.items():
        found.setdefault((phase, row), []).append(named(trigger))
    for phase in Phase:
        for (at, row), triggers in found.items():
            if at is phase:
                yield phase, triggers, row


def diagram() -> Iterator[str]:
    """A Mermaid state diagram; what aborts is drawn once, from a group."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {begin()[0].phase}"
    yield f"    [*] --> {recover()[0].phase}: recover"
    for phase, triggers, row in grouped():
        yield f"    {phase} --> {row.to}: {', '.join(triggers).replace(': ', ' ')}"
    yield from (f"    {phase} --> [*]" for phase in Phase if phase in FINAL)
    yield "```"


def tables() -> Iterator[str]:
    """The transitions, what each phase repeats, and what a crash leads to."""
    yield "| phase | hears | does | goes to |"
    yield "|---|---|---|---|"
    yield f"| | start | {deeds(begin()[1])} | {begin()[0].phase} |"
    yield f"| | recover | {deeds(recover()[1])} | {recover()[0].phase} |"
    for phase, triggers, row in grouped():
        yield f"| {phase} | {', '.join(triggers)} | {deeds(row.actions)} | {row.to} |"
    yield ""
    yield "| last record | does | goes to | and asks |"
    yield "|---|---|---|---|"
    for record, row in RESUME.items():
        yield f"| {record.upper()} | {deeds(row.actions)} | {row.to} | {deeds(ASKS.get(row.to, ()))} |"


def drawn(page: str) -> str:
    """The page with its generated part made anew."""
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    return "\n".join([before + BEGIN, "", *diagram(), "", *tables(), "", END + after])


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
