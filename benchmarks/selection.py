"""Joint assignment of containers to hosts: seconds, and quality against the optimum of the argmax objective.

    python benchmarks/selection.py [--json] [--quick]

Hosts get features as a survey finds them; Δ is Gower's. `varied` fleets have no two hosts alike, `images`
fleets are installed from 16 images. Containers are spread at random, a tenth of all pairs is infeasible, and
a fifth of the slots is to spare. Methods:

fast      what `relocate tick` uses for many containers: the auction of relocate_cli/assignment.py
exact     what it uses for few: linear_sum_assignment on one column a slot, and columns for staying
scipy     what one would call otherwise: scipy.optimize.linear_sum_assignment on the expanded matrix
greedy    each container in turn takes the best host that has room

Quality is ΣΔ over that of the optimum as `scipy` found it, minutes for the largest fleets; --quick
leaves these out, and their quality is then against an upper bound, every container on its best host.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from relocate_cli.heterogeneity import Features, differences
from relocate_cli.selection import choose

Array = npt.NDArray[Any]
SIZES = ((30, 30), (1_000, 200), (10_000, 1_000))


def fleet(hosts: int, images: int | None, rng: np.random.Generator) -> Array:
    """Δ of a made-up fleet; shape (hosts, hosts)."""

    def host() -> Features:
        return {
            "C": {
                "cpu": f"model {rng.integers(6)}",
                "kernel": f"6.{rng.integers(9)}",
                "packages": frozenset(map(str, rng.integers(0, 400, 120))),
            },
            "N": {"mtu": float(rng.choice([1450, 1500, 9000])), "driver": f"{rng.integers(3)}"},
            "S": {"services": frozenset(map(str, rng.integers(0, 40, 12)))},
        }

    kinds = [host() for _ in range(images or hosts)]
    order = np.arange(hosts) if images is None else rng.integers(0, images, hosts)
    return differences([kinds[kind] for kind in order]).total


def greedy(value: Array, slots: Array) -> Array:
    """First come, first served."""
    room = slots.copy()
    found = np.full(len(value), -1)
    for container, row in enumerate(value):
        host = int(np.where(room > 0, row, -np.inf).argmax())
        if row[host] > -np.inf and room[host] > 0:
            found[container] = host
            room[host] -= 1
    return found


def expanded(value: Array, slots: Array) -> Array:
    """One column a slot, as everybody does it."""
    column = np.repeat(np.arange(len(slots)), slots)
    cost = np.where(np.isfinite(value), -value, 1e3).astype(np.float64)[:, column]
    rows, chosen = linear_sum_assignment(cost)
    found = np.full(len(value), -1)
    found[rows] = column[chosen]
    return found


def rows(quick: bool) -> list[dict[str, Any]]:
    """All measurements."""
    found = []
    for containers, hosts in SIZES:
        for name, images in (("varied", None), ("images", 16)):
            rng = np.random.default_rng(1)
            delta = fleet(hosts, images, rng)
            sources = rng.integers(0, hosts, containers)
            feasible = rng.random((containers, hosts)) > 0.1
            feasible[np.arange(containers), sources] = False
            slots = np.full(hosts, -(-containers * 12 // (hosts * 10)))
            value = np.where(feasible, delta[sources], -np.inf)

            run = partial(choose, delta, sources, feasible, slots, choice="argmax")
            methods: dict[str, Callable[[], Array]] = {
                "fast": partial(run, method="fast", rng=np.random.default_rng(2)),
                "greedy": partial(greedy, value, slots),
            }
            if containers <= 5_000:
                methods["exact"] = partial(run, method="exact", rng=np.random.default_rng(2))
            if containers <= 5_000 or not quick:
                methods["scipy"] = partial(expanded, value, slots)
            totals, seconds = {}, {}
            for method, call in methods.items():
                begun = time.perf_counter()
                targets = call()
                seconds[method] = time.perf_counter() - begun
                assert (targets >= 0).all() and (np.bincount(targets, minlength=hosts) <= slots).all()
                totals[method] = float(value[np.arange(containers), targets].sum())
            best = totals.get("scipy", float(value.max(axis=1).sum()))
            found += [
                {
                    "containers": containers,
                    "hosts": hosts,
                    "fleet": name,
                    "method": method,
                    "seconds": seconds[method],
                    "quality": totals[method] / best,
                }
                for method in methods
            ]
    return found


def main() -> None:
    """Print a table, or one JSON document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    found = rows(given.quick)
    if given.json:
        json.dump({"schema": "relocate/benchmark-selection/v1", "rows": found}, sys.stdout, indent=2)
        print()
        return
    print(f"{'containers':>10} {'hosts':>6} {'fleet':>7} {'method':>7} {'seconds':>9} {'quality':>8}")
    for row in found:
        print(
            f"{row['containers']:>10} {row['hosts']:>6} {row['fleet']:>7} {row['method']:>7}"
            f" {row['seconds']:>9.4f} {row['quality']:>8.5f}"
        )


if __name__ == "__main__":
    main()
