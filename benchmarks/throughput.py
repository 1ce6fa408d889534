#!/usr/bin/env python3
"""How `relocate tick` grows with the number of due containers, and how many moves a minute that makes.

Runs the command as cron would, with Ansible and all, on the testbed that is up and provisioned, once for each
number of containers; all of them are due, and each talks to a client. Takes the testbed's containers away.
Ends with 1 if a move failed, or a client lost a message.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relocate_cli.errors import RelocateError
from relocate_cli.testbed import bed

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from harness import ECHO, Lab  # noqa: E402
from switchover import note, spread  # noqa: E402
from talk import Conversation  # noqa: E402

CLOCK_TICK = 0.2  # seconds; the default clock strikes after 3 to 15 of them


@dataclass(frozen=True)
class Row:
    """The ticks with ``due`` containers: seconds of each, and all gaps in ms."""

    due: int
    seconds: list[float]
    gaps: list[float]
    failures: list[str]

    @property
    def per_minute(self) -> float:
        """Moves a minute, if a tick followed the other."""
        return 60 * len(self.gaps) / sum(self.seconds)

    def document(self) -> dict[str, Any]:
        """A row of `--json`."""
        return {
            "due": self.due,
            "tick_seconds": spread(self.seconds),
            "moves_per_minute": round(self.per_minute, 1),
            "gap_ms": spread(self.gaps) if self.gaps else None,
            "failures": self.failures,
        }


def measure(lab: Lab, due: int, ticks: int, config: Path) -> Row:
    """Let ``due`` containers move in each of ``ticks`` ticks."""
    lab.clear()
    names = [f"many{number}" for number in range(due)]
    for number, name in enumerate(names):
        lab.run(name, lab.hosts[number % len(lab.hosts)], f"--publish={ECHO + number}:{ECHO}")
    talks = {name: Conversation(lab.connect(name, ECHO + n), every=0.02) for n, name in enumerate(names)}
    row = Row(due, [], [], [])
    lab.relocate("survey", config=config)
    for _ in range(ticks):
        _await_due(lab, due, config)
        begun = time.monotonic()
        ended = lab.relocate("tick", "--json", config=config)
        row.seconds.append(time.monotonic() - begun)
        if ended.code:
            row.failures.append(f"tick: {ended.code}: {ended.err.strip()[-200:]}")
        moved = {e["container"] for e in ended.document()["relocations"] if e["outcome"] == "moved"}
        row.failures.extend(
            f"{entry['container']}: {entry['outcome']}: {entry['reason']}"
            for entry in ended.document()["relocations"]
            if entry["container"] not in moved
        )
        row.failures.extend(f"{name} does not answer" for name in names if not talks[name].flows())
        row.gaps.extend(1000 * talks[name].longest_gap_since(begun) for name in moved)
        note(f"{due} due: {row.seconds[-1]:.1f} s, {len(moved)} moved, gaps {spread(row.gaps)}")
    row.failures.extend(str(ended) for talk in talks.values() if not (ended := talk.end()).clean)
    lab.clear()
    return row


def _await_due(lab: Lab, due: int, config: Path) -> None:
    """Until the clock of every container has struck."""
    while True:
        schedule = lab.relocate("schedule", "--json", config=config).document()["containers"]
        assert len(schedule) == due, f"{len(schedule)} containers are scheduled"
        wait = max(entry["due_at"] for entry in schedule) - time.time()
        if wait <= 0:
            return
        time.sleep(wait)


def table(rows: list[Row]) -> str:
    """The result for people, as the documentation has it."""
    lines = [
        "| due | tick min / median / max, s | moves a minute | gap min / median / max, ms | failures |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        seconds, gap = (
            " / ".join(f"{value:.{digits}f}" for value in spread(values).values()) if values else "–"
            for values, digits in ((row.seconds, 1), (row.gaps, 0))
        )
        failures = "; ".join(row.failures) or "none"
        lines.append(f"| {row.due} | {seconds} | {row.per_minute:.0f} | {gap} | {failures} |")
    return "\n".join(lines)


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--due", type=int, nargs="+", default=[1, 5, 20], metavar="N", help="containers (default 1 5 20)"
    )
    parser.add_argument("--ticks", type=int, default=3, help="ticks of each (default 3)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    try:
        lab = Lab(bed.current())
        with tempfile.TemporaryDirectory(prefix="relocate-bench-") as directory:
            config = Path(directory) / "relocate.toml"
            settings = lab.bed.places.settings.read_text()
            config.write_text(f'{settings}\n[clock]\ntick = "{CLOCK_TICK * 1000:.0f}ms"\n')
            for host in lab.hosts:
                lab.make_image(host)
            rows = [measure(lab, due, options.ticks, config) for due in options.due]
    except (RelocateError, AssertionError) as error:
        print(f"throughput: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"rows": [row.document() for row in rows]}, indent=2) if options.json else table(rows))
    return int(any(row.failures for row in rows))


if __name__ == "__main__":
    sys.exit(main())
