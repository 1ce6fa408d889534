"""Tries the parsers of tests/unit/test_fuzz.py on bent samples for as long as one likes.

    python benchmarks/fuzz.py --minutes 10 [--seed N] [--only NAME]

Each case has a seed of its own, drawn from the run's, which is printed first. What should not have left a
parser is printed with the case's seed and its bytes, once for each parser and kind; the exit code is 1 then.
"""

import argparse
import random
import secrets
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "unit"), str(ROOT / "roles/proxy/files")]

from test_fuzz import PARSERS, Parser, attempt, mutated  # noqa: E402


def main() -> int:
    """Exit code."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--minutes", type=float, default=1.0)
    options.add_argument("--seed", type=int, default=None, help="of an earlier run")
    options.add_argument("--only", default="", help="parsers whose names have this in them")
    chosen = options.parse_args()
    parsers = [parser for parser in PARSERS if chosen.only in parser.name]
    seed = secrets.randbits(32) if chosen.seed is None else chosen.seed
    print(f"seed {seed}, {len(parsers)} parsers", flush=True)
    found, cases = search(parsers, random.Random(seed), time.monotonic() + 60 * chosen.minutes)
    print(f"{sum(cases.values())} cases, {min(cases.values(), default=0)} of each parser at least: "
          f"{found or 'nothing'} found")  # fmt: skip
    return 1 if found else 0


def search(parsers: list[Parser], dice: random.Random, end: float) -> tuple[int, Counter[str]]:
    """How much was found, and how many cases each parser had, until the time has come."""
    seen: set[tuple[str, str, int]] = set()
    cases: Counter[str] = Counter({parser.name: 0 for parser in parsers})
    while parsers and time.monotonic() < end:
        for parser in parsers:
            case = dice.randrange(1 << 32)
            data = mutated(random.Random(case), parser.sample)
            cases[parser.name] += 1
            try:
                attempt(parser, data)
            except Exception as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                kind = (parser.name, type(error).__name__, last.lineno or 0)
                if kind not in seen:
                    seen.add(kind)
                    where = f"{Path(last.filename).name}:{last.lineno}"
                    print(f"{parser.name}: {type(error).__name__} at {where}: {str(error)[:200]}")
                    print(f"    case {case}: {data[:2000]!r}", flush=True)
    return len(seen), cases


if __name__ == "__main__":
    sys.exit(main())
