"""A window's time line as a file for Perfetto and Chrome: one process a machine, one thread a track.

Format: Trace Event Format, JSON object form, complete events ("ph": "X"); times in microseconds.
"""

import json
from pathlib import Path
from typing import Any

from relocate_cli.errors import UsageError
from relocate_cli.plan import Relocation


def document(ended: Relocation) -> dict[str, Any]:
    """The trace of one relocation; without spans if it was rolled back."""
    machines = {"host0": "host0", "source": ended.source, "target": ended.target}
    parties = {party: number for number, party in enumerate(machines, 1)}
    tracks: dict[tuple[str, str], int] = {}
    events: list[dict[str, Any]] = []
    for span in ended.spans:
        pid, tid = parties[span.party], tracks.setdefault((span.party, span.track), len(tracks) + 1)
        times = {"ts": round(span.at * 1000), "dur": round(span.ms * 1000)}
        events.append({"name": span.name, "cat": span.track, "ph": "X", "pid": pid, "tid": tid, **times})
    for party, pid in parties.items():
        name = machines[party] if party == "host0" else f"{party} {machines[party]}"
        events.append({"name": "process_name", "ph": "M", "pid": pid, "args": {"name": name}})
    for (party, track), tid in tracks.items():
        labels = {"pid": parties[party], "tid": tid, "args": {"name": track}}
        events.append({"name": "thread_name", "ph": "M", **labels})
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"relocation_id": ended.id}}


def write(ended: Relocation, path: Path) -> None:
    """Write the trace. Raises UsageError when the file cannot be written."""
    try:
        path.write_text(json.dumps(document(ended), indent=1) + "\n")
    except OSError as error:
        raise UsageError(f"--trace {path}: {error.strerror}") from None
