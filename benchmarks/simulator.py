"""How fast the simulator is: this engine, a SimPy model of the same process, and plain Python, interleaved.

The process: a target relocates by an exponential clock to a random other host of 30, 10 of which captured; an
attack succeeds if the target stays on a captured host for its whole length. All three must agree.

    python benchmarks/simulator.py [--rounds 5] [--workers N] [--json]
"""

import argparse
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from relocate_cli.simulate.run import Job, Means, run
from relocate_cli.simulate.setup import Setup

HOSTS, CAPTURED, GAP, LENGTH, HORIZON = 30, 10, 4.9, 25.0, 500.0
SETUP = Setup(
    hosts=HOSTS, attackers=CAPTURED, clock="exponential", rate=GAP, attack_length=LENGTH, horizon=HORIZON
)


@dataclass(frozen=True)
class Result:
    """What one engine did in one round."""

    trials: int
    won: int
    relocations: int
    seconds: float


def engine(trials: int, seed: int, workers: int) -> Result:
    """This project's engine on ``workers`` processes, their start included."""
    began = time.perf_counter()
    (tally,) = run([Job(SETUP.campaign(SETUP.gaps("exponential")), trials)], Means(seed, workers))
    return Result(trials, tally.won, tally.relocations, time.perf_counter() - began)


def with_simpy(trials: int, seed: int) -> Result:
    """The same process as SimPy events: one process a target, one event a relocation."""
    import simpy

    rng = random.Random(seed)
    won = relocations = 0

    def target(env: Any) -> Any:
        nonlocal won, relocations
        host = rng.randrange(HOSTS)
        while True:
            gap = rng.expovariate(1 / GAP)
            if host < CAPTURED and gap >= LENGTH and env.now + LENGTH <= HORIZON:
                won += 1
                return
            yield env.timeout(gap)
            relocations += 1
            other = rng.randrange(HOSTS - 1)
            host = other if other < host else other + 1

    began = time.perf_counter()
    for _ in range(trials):
        environment = simpy.Environment()
        environment.process(target(environment))
        environment.run(until=HORIZON)
    return Result(trials, won, relocations, time.perf_counter() - began)


def plain(trials: int, seed: int) -> Result:
    """The same process as a loop in Python."""
    rng = random.Random(seed)
    won = relocations = 0
    began = time.perf_counter()
    for _ in range(trials):
        now, host = 0.0, rng.randrange(HOSTS)
        while True:
            gap = rng.expovariate(1 / GAP)
            if host < CAPTURED and gap >= LENGTH and now + LENGTH <= HORIZON:
                won += 1
                break
            now += gap
            if now >= HORIZON:
                break
            relocations += 1
            other = rng.randrange(HOSTS - 1)
            host = other if other < host else other + 1
    return Result(trials, won, relocations, time.perf_counter() - began)


def disagreement(one: Result, other: Result) -> float:
    """Difference of the two shares of compromised targets, in standard errors."""
    pooled = (one.won + other.won) / (one.trials + other.trials)
    error = math.sqrt(pooled * (1 - pooled) * (1 / one.trials + 1 / other.trials))
    return abs(one.won / one.trials - other.won / other.trials) / error


def total(results: list[Result]) -> Result:
    """All rounds as one."""
    return Result(
        sum(r.trials for r in results),
        sum(r.won for r in results),
        sum(r.relocations for r in results),
        sum(r.seconds for r in results),
    )


def peak_mib(trials: int) -> float:
    """Peak memory of a fresh process that runs the engine with this many trials."""
    code = (
        f"import benchmarks.simulator as b; b.engine({trials}, 1, 1);"
        "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
    )
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    out = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    return int(out.stdout) / 1024


def growth(workers: int) -> list[dict[str, float]]:
    """Seconds for ever more trials: linear if seconds a relocation stay the same."""
    rows = []
    for trials in (50_000, 100_000, 200_000, 400_000):
        found = engine(trials, trials, workers)
        rows.append(
            {
                "trials": trials,
                "seconds": found.seconds,
                "ns_per_relocation": found.seconds / found.relocations * 1e9,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0, help="0: every core")
    parser.add_argument(
        "--long", type=int, default=0, metavar="RELOCATIONS", help="also run this many, such as 1000000000"
    )
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    workers = arguments.workers or len(os.sched_getaffinity(0))
    contestants: dict[str, Callable[[int], Result]] = {
        "engine": lambda seed: engine(400_000, seed, workers),
        "simpy": lambda seed: with_simpy(4_000, seed),
        "python": lambda seed: plain(8_000, seed),
    }
    engine(1000, 0, workers)  # imports and caches are not what is measured
    rounds: dict[str, list[Result]] = {name: [] for name in contestants}
    for number in range(arguments.rounds):
        for name, contestant in contestants.items():
            rounds[name].append(contestant(number + 1))
    rate = {name: [r.relocations / r.seconds for r in found] for name, found in rounds.items()}
    ratios = {
        f"ratio_to_{name}": _spread([a / b for a, b in zip(rate["engine"], rate[name], strict=True)])
        for name in ("simpy", "python")
    }
    whole = {name: total(found) for name, found in rounds.items()}
    apart = {f"engine_{name}": disagreement(whole["engine"], whole[name]) for name in ("simpy", "python")}
    exact = SETUP.exact_campaign(SETUP.gaps("exponential"))
    assert exact is not None
    share = whole["engine"].won / whole["engine"].trials
    apart["engine_exact"] = abs(share - (1 - exact)) / math.sqrt(exact * (1 - exact) / whole["engine"].trials)
    document: dict[str, Any] = {
        "schema": "relocate/benchmark-simulator/v1",
        "workers": workers,
        "relocations_per_second": {name: _spread(found) for name, found in rate.items()},
        **ratios,
        "compromised": {**{name: r.won / r.trials for name, r in whole.items()}, "exact": 1 - exact},
        "standard_errors_apart": apart,
        "agree": all(value < 4 for value in apart.values()),
        "growth": growth(workers),
        "peak_mib": {str(trials): peak_mib(trials) for trials in (10_000, 400_000)},
    }
    if arguments.long:
        each = whole["engine"].relocations / whole["engine"].trials
        found = engine(math.ceil(arguments.long / each), 9, workers)
        document["long"] = {
            "relocations": found.relocations,
            "seconds": found.seconds,
            "peak_mib": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024,
        }
    print(json.dumps(document, indent=2) if arguments.json else _table(document))
    raise SystemExit(0 if document["agree"] else 1)


def _spread(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _table(document: dict[str, Any]) -> str:
    lines = [
        f"{'':8}{'M relocations/s':>18}{'ratio':>8}{'compromised':>13}   ({document['workers']} workers)"
    ]
    for name, rate in document["relocations_per_second"].items():
        ratio = document.get(f"ratio_to_{name}", {"median": 1.0})["median"]
        lines.append(
            f"{name:8}{rate['median'] / 1e6:>18.3f}{ratio:>8.1f}{document['compromised'][name]:>13.4f}"
        )
    lines.append(f"exact{'':34}{document['compromised']['exact']:>8.4f}")
    apart = ", ".join(
        f"{name.replace('_', ' - ')} {value:.1f}" for name, value in document["standard_errors_apart"].items()
    )
    lines.append(f"standard errors apart: {apart}; agree: {document['agree']}")
    for row in document["growth"]:
        lines.append(
            f"{row['trials']:>10,} trials {row['seconds']:8.2f} s "
            f"{row['ns_per_relocation']:8.1f} ns a relocation"
        )
    lines += [
        f"peak memory with {int(trials):,} trials: {mib:.0f} MiB"
        for trials, mib in document["peak_mib"].items()
    ]
    if "long" in document:
        long = document["long"]
        lines.append(
            f"{long['relocations']:,} relocations: {long['seconds']:.0f} s, "
            f"at most {long['peak_mib']:.0f} MiB a worker"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
