"""What came of a relocation, as `fire` prints it."""

from typing import Any

from relocate_proxy.protocol import Answer, Party, Phase

OUTCOMES = {
    Phase.MOVED: "moved",
    Phase.ROLLED_BACK: "rolled_back",
    Phase.STORED: "failed",
    Phase.LOST: "failed",
}


def report(
    move: dict[str, Any], data: dict[str, Any], marks: dict[str, float], phase: Phase, reason: str
) -> dict[str, Any]:
    """The document of one relocation (docs/operators.md): addresses, outcome, the window and its time
    line."""
    source, target = data.get(Party.SOURCE, {}), data.get(Party.TARGET, {})
    moved = phase is Phase.MOVED
    return {
        "relocation_id": move["id"],
        "container": move["container"],
        "source": move["source"],
        "target": move["target"],
        "old_ip": source.get(Answer.READY, {}).get("old_ip"),
        "new_ip": target.get(Answer.RESTORED, {}).get("new_ip") if moved else None,
        "vip": move["vip"],
        "recovers": move.get("recovers"),
        "outcome": OUTCOMES[phase],
        "needs_recover": phase in (Phase.STORED, Phase.LOST),
        "reason": reason,
        "window_ms": round((marks["release"] - marks["send:freeze"]) * 1000, 1)
        if {"release", "send:freeze"} <= marks.keys()
        else None,
        "phases": time_line(marks, source, target) if moved and Answer.DUMPED in source else [],
        "trace": trace(marks, source, target) if moved and Answer.DUMPED in source else [],
    }


def time_line(
    marks: dict[str, float], source: dict[str, Any], target: dict[str, Any]
) -> list[dict[str, Any]]:
    """The window as consecutive phases, in ms.

    The source's and the target's laps are by their own clocks; what host0's clock saw beyond them is
    ``messages``.
    """
    dump = source[Answer.DUMPED]["laps"]
    restore = target[Answer.RESTORED]["laps"]
    seen = 1000 * (marks["target:restored"] - marks["send:freeze"])
    between = seen - sum(lap["ms"] for lap in dump + restore)
    rest = [("commit", "target:restored", "send:commit"), ("resume", "send:commit", "target:running")]
    rest += [("release", "target:running", "release")]
    return [
        *dump,
        *restore,
        {"name": "messages", "ms": round(between, 2)},
        *({"name": name, "ms": round(1000 * (marks[to] - marks[since]), 2)} for name, since, to in rest),
    ]


def trace(marks: dict[str, float], source: dict[str, Any], target: dict[str, Any]) -> list[dict[str, Any]]:
    """What each party did when: ``[{"party", "track", "name", "at", "ms"}]``, ms from the order to freeze by
    host0's clock.

    A host's own times count from when its order came. The way there is taken to last as long as the way back
    (RFC 5905, section 8), so its clock need not agree with host0's.
    """
    begun = marks["send:freeze"]
    found: list[dict[str, Any]] = []
    sides = [("source", "freeze", "dumped", source[Answer.DUMPED])]
    sides += [("target", "restore", "restored", target[Answer.RESTORED])]
    sides += [("target", "commit", "running", target[Answer.RUNNING])]
    for party, verb, answer, data in sides:
        sent, heard = ((marks[name] - begun) * 1000 for name in (f"send:{verb}", f"{party}:{answer}"))
        at = sent + (heard - sent - sum(lap["ms"] for lap in data.get("laps", ()))) / 2
        found.append({"party": "host0", "track": "waits", "name": verb, "at": sent, "ms": heard - sent})
        for span in data.get("spans", ()):
            track = "criu" if span["name"].startswith("criu ") else "beside"
            found.append({**span, "party": party, "track": track, "at": at + span["at"]})
        for lap in data.get("laps", ()):
            found.append({**lap, "party": party, "track": "window", "at": at})
            at += lap["ms"]
    steps = [("journal", "target:restored", "journal:commit"), ("route", "send:commit", "route")]
    for name, since, to in (*steps, ("release", "target:running", "release")):
        at, ms = (marks[since] - begun) * 1000, (marks[to] - marks[since]) * 1000
        found.append({"party": "host0", "track": "waits", "name": name, "at": at, "ms": ms})
    return [{**span, "at": round(span["at"], 2), "ms": round(span["ms"], 2)} for span in found]
