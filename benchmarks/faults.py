#!/usr/bin/env python3
"""Faults at chosen moments of real moves on the testbed: what became of each container and its client.

    python benchmarks/faults.py [--random N --seed S] [--only WORDS] [--json]

Uses the testbed that is up and provisioned, and takes its containers away. Ends with 1 if a container was
lost or live twice, a connection broken that nature would have let live, or anything left over.
"""

import argparse
import json
import random
import sys
import traceback
from pathlib import Path

from relocate_cli.errors import RelocateError
from relocate_cli.testbed import bed

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from harness import Lab  # noqa: E402
from trials import MATRIX, Ending, Fault, Trial, at_random, totals  # noqa: E402


def chosen(options: argparse.Namespace) -> list[Fault]:
    """The matrix, those of it whose names have all words of ``--only``, or any faults at any time."""
    if options.random:
        generator = random.Random(options.seed)
        return [at_random(generator) for _ in range(options.random)]
    return [fault for fault in MATRIX if all(word in fault.name.split() for word in options.only)]


def attempt(lab: Lab, fault: Fault) -> Ending:
    """One trial; what stops the trial itself is wrong too."""
    try:
        return Trial(lab, fault).run()
    except Exception as error:
        traceback.print_exc()
        return Ending(fault.name, wrong=[f"{type(error).__name__}: {error}"])


def main() -> int:
    """Parse, try, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--random", type=int, default=0, metavar="N", help="N faults at random moments, not the matrix"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD", help="faults whose names have these")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    try:
        lab = Lab(bed.current())
    except RelocateError as error:
        print(f"faults: {error}", file=sys.stderr)
        return 3
    lab.make_image("host1")
    endings = []
    for fault in chosen(options):
        ending = attempt(lab, fault)
        endings.append(ending)
        line = f"{ending.fault:<40} {ending.outcome:<12} live {','.join(ending.live) or '-':<8}"
        line += f" connection {ending.connection:<7} {'recovered' if ending.recovered else '':<9}"
        line += f" {ending.seconds:5.1f} s"
        print(line, *ending.wrong, ending.reason, file=sys.stderr, flush=True)
    if options.json:
        print(json.dumps({**totals(endings), "faults": [e.document() for e in endings]}, indent=2))
    else:
        print("  ".join(f"{name} {count}" for name, count in totals(endings).items()))
    return 1 if any(ending.wrong for ending in endings) else 0


if __name__ == "__main__":
    sys.exit(main())
