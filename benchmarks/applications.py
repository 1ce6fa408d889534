#!/usr/bin/env python3
"""Real applications that move under load: failed requests, wrong bytes, and how long the gap was.

Each application of tests/integration/catalogue.py comes from Debian's package, runs in a container on the
testbed that is up and provisioned, and moves back and forth between host1 and host2 while its clients work;
the gap is that of a client with one request each 2 ms. Takes the testbed's containers away. Ends with 1 if
a move, a request or the data failed.
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relocate_cli.errors import RelocateError
from relocate_cli.testbed import bed

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from applications import Application  # noqa: E402
from catalogue import APPLICATIONS  # noqa: E402
from harness import Lab  # noqa: E402
from switchover import note, spread  # noqa: E402


@dataclass(frozen=True)
class Row:
    """What became of one application; gaps and windows in ms, one for each move."""

    application: str
    version: str
    moves: int
    gaps: list[float]
    windows: list[float]
    requests: int
    failures: list[str]

    def document(self) -> dict[str, Any]:
        """A row of `--json`."""
        return {
            "application": self.application,
            "version": self.version,
            "moves": self.moves,
            "moved": len(self.gaps),
            "gap_ms": spread(self.gaps) if self.gaps else None,
            "window_ms": spread(self.windows) if self.windows else None,
            "requests": self.requests,
            "failures": self.failures,
        }


def measure(lab: Lab, application: Application, moves: int) -> Row:
    """Move one application ``moves`` times under its load."""
    lab.clear()
    running = application.start(lab)
    version = running.inside(f"dpkg-query --showformat='${{Version}}' --show {application.packages[0]}")
    gaps: list[float] = []
    windows: list[float] = []
    failures: list[str] = []
    clients = application.load(running)
    for number in range(moves):
        if not clients.flow():
            break
        begun = time.monotonic()
        source, target = ("host1", "host2")[:: -1 if number % 2 else 1]
        report = lab.move(running.name, source, target)
        if report["outcome"] != "moved":
            failures.append(f"move {number + 1}: {report['outcome']}: {report['reason']}")
            continue
        clients.flow()
        gaps.append(clients.probe.longest_gap_since(begun) * 1000)
        windows.append(float(report["window_ms"]))
        way = f"{application.name}, move {number + 1}: {source} → {target}"
        note(f"{way}, gap {gaps[-1]:.0f} ms, window {windows[-1]:.0f} ms")
    failures += clients.end() or application.judge(running)
    lab.clear()
    return Row(application.name, version, moves, gaps, windows, clients.answers, failures)


def table(rows: list[Row]) -> str:
    """The result for people, as the documentation has it."""
    lines = [
        "| application | version | moves | gap min / median / max, ms | requests | failures |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        gap = " / ".join(f"{value:.0f}" for value in spread(row.gaps).values()) if row.gaps else "–"
        cells = (row.application, row.version, f"{len(row.gaps)} of {row.moves}", gap, row.requests)
        lines.append(f"| {' | '.join(map(str, cells))} | {'; '.join(row.failures) or 'none'} |")
    return "\n".join(lines)


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "applications",
        nargs="*",
        metavar="APPLICATION",
        help=f"one of {', '.join(APPLICATIONS)} (default: all)",
    )
    parser.add_argument("--moves", type=int, default=10, help="moves of each (default 10)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    if unknown := set(options.applications) - set(APPLICATIONS):
        parser.error(f"no application {', '.join(sorted(unknown))}; there are {', '.join(APPLICATIONS)}")
    try:
        lab = Lab(bed.current())
        chosen = options.applications or APPLICATIONS
        rows = [measure(lab, APPLICATIONS[name], options.moves) for name in chosen]
    except (RelocateError, AssertionError) as error:
        print(f"applications: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"rows": [row.document() for row in rows]}, indent=2) if options.json else table(rows))
    return int(any(row.failures for row in rows))


if __name__ == "__main__":
    sys.exit(main())
