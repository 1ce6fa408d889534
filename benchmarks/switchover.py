#!/usr/bin/env python3
"""How long a client waits while its server moves: the longest gap between two replies, over many moves.

A tenant answers numbered messages, one every 2 ms over one TCP connection, while it moves; for each system
and each amount of memory that the tenant holds, a table row, and for this project the window's time line.
With `--peers` the moves of all systems (peers.py) take turns within one run. `writing`: the tenant goes on
changing its memory meanwhile. Uses the testbed that is up and provisioned, or one of its own.
"""

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from relocate_cli.errors import RelocateError
from relocate_cli.testbed import bed
from relocate_cli.testbed.places import Places
from relocate_cli.testbed.root import Engine

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from harness import CONSOLE, ECHO, Lab  # noqa: E402
from peers import PEERS, workshop  # noqa: E402
from talk import Console, Conversation  # noqa: E402

EVERY = 0.002
PATIENCE = 120.0
# Random, so that it is as it would be: pages of zeroes cost nothing to dump.
FILL = """
import os
ballast = [bytearray(os.urandom(1 << 20)) for _ in range({mib})]
writing = threading.Event()
def write():
    while writing.wait():
        for block in ballast:
            for page in range(0, len(block), 4096):
                block[page] ^= 1
            time.sleep(0.001)
threading.Thread(target=write, daemon=True).start()
"""
CHECK = "import hashlib; answer = hashlib.sha256(b''.join(ballast)).hexdigest()"
OURS = {"relocate": (), "relocate-lazy": ("--label=relocate.lazy=true",)}


class Tenant(Protocol):
    """A running tenant and the way that it moves."""

    def dial(self, port: int) -> Any:
        """A client's connection."""

    def move(self) -> Any:
        """Move it once; this project's report, if it is this project that moves it."""

    def remove(self) -> None:
        """Leave nothing behind."""


class Relocated:
    """The tenant as a container that this project moves to and fro between two hosts."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = f"bench-{name}"
        self.at, self.other = "host1", "host2"
        number = list(OURS).index(name)
        self.ports = {port: port + 10 * number for port in (ECHO, CONSOLE)}
        published = [f"--publish={outer}:{inner}" for inner, outer in self.ports.items()]
        lab.run(self.name, "host1", *published, *OURS[name])

    def dial(self, port: int) -> Any:
        return self.lab.connect(self.name, self.ports[port])

    def move(self) -> Any:
        report = self.lab.expect_moved(self.name, self.at, self.other)
        self.at, self.other = self.other, self.at
        return report

    def remove(self) -> None:
        for host in self.lab.hosts:
            self.lab.shell(host, f"docker rm --force {self.name} >/dev/null 2>&1", check=False)


@dataclass(frozen=True)
class Hop:
    """One move, in ms: ``gap`` as the client saw it; of our own ``window``, as host0 did, and ``phases``."""

    gap: float
    kept: bool
    window: float | None
    phases: dict[str, float]


@dataclass(frozen=True)
class Row:
    """All moves of one system with ``memory_mib`` of ballast."""

    system: str
    memory_mib: int
    writing: bool
    hops: tuple[Hop, ...]

    def document(self) -> dict[str, Any]:
        """A row of `--json`."""
        windows = [hop.window for hop in self.hops if hop.window is not None]
        return {
            "system": self.system,
            "memory_mib": self.memory_mib,
            "writing": self.writing,
            "moves": len(self.hops),
            "gap_ms": spread([hop.gap for hop in self.hops]),
            "window_ms": spread(windows) if windows else None,
            "phases_ms": self.time_line(),
            "connection_kept": all(hop.kept for hop in self.hops),
        }

    def time_line(self) -> dict[str, float]:
        """Median of each phase, in the order of the window."""
        names = {name: None for hop in self.hops for name in hop.phases}
        return {
            name: round(statistics.median([hop.phases[name] for hop in self.hops if name in hop.phases]), 2)
            for name in names
        }


def spread(values: list[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    chosen = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(value, 1) for name, value in chosen.items()}


def measure(lab: Lab, systems: list[str], memory: int, writing: bool, repeats: int) -> list[Row]:
    """Move one tenant of each system ``repeats`` times, the systems taking turns in an order that is drawn.

    Raises AssertionError if a move fails, or memory is not after the moves what it was before.
    """
    hops: dict[str, list[Hop]] = {system: [] for system in systems}
    with ExitStack() as stack:
        tenants: dict[str, Tenant] = {}
        consoles = {}
        for system in systems:
            tenants[system] = Relocated(lab, system) if system in OURS else PEERS[system](lab)
            stack.callback(tenants[system].remove)
            consoles[system] = Console(tenants[system].dial(CONSOLE))
            consoles[system](FILL.format(mib=memory))
        before = {system: console(CHECK) for system, console in consoles.items()}
        order = random.Random(memory)
        for number in range(repeats):
            for system in order.sample(systems, len(systems)):
                if writing:
                    consoles[system]("writing.set()")
                hop = visit(tenants[system])
                consoles[system] = consoles[system] if hop.kept else Console(tenants[system].dial(CONSOLE))
                consoles[system]("writing.clear()")
                hops[system].append(hop)
                note(f"{memory} MiB{' writing' * writing}, {number + 1}: {system} {hop.gap:.0f} ms")
        if not writing:
            after = {system: console(CHECK) for system, console in consoles.items()}
            assert after == before, "memory changed on the way"
    return [Row(system, memory, writing, tuple(hops[system])) for system in systems]


def visit(tenant: Tenant) -> Hop:
    """Move a tenant under a client's eyes."""
    os.sync()  # else what the move before wrote is written back in the midst of this one
    conversation = Conversation(tenant.dial(ECHO), every=EVERY, patience=PATIENCE)
    assert conversation.flows(100), "the tenant does not answer"
    begun = conversation.arrivals[-1]
    report = tenant.move() or {}
    if conversation.flows(100):
        gap = conversation.longest_gap_since(begun)
    else:
        last = conversation.arrivals[-1]
        fresh = Conversation(tenant.dial(ECHO), every=EVERY)
        assert fresh.flows(1), "the tenant does not answer any more"
        gap = fresh.arrivals[0] - last
        fresh.end()
    kept = conversation.end().clean
    phases = {phase["name"]: float(phase["ms"]) for phase in report.get("phases", [])}
    return Hop(gap * 1000, kept, report.get("window_ms"), phases)


@contextmanager
def testbed() -> Iterator[Lab]:
    """The testbed that is up, or one for this run only; with the tenant's image on host1."""
    try:
        yield _ready(Lab(bed.current()))
        return
    except RelocateError:
        pass
    with tempfile.TemporaryDirectory(prefix="relocate-bench-") as directory:
        places = Places(Places.of_user().cache, Path(directory) / "state")
        note("no testbed is up: bringing up one for this run")
        try:
            lab = Lab(bed.up(2, Engine.DOCKER_26, places))
            ended = lab.relocate("provision")
            if ended.code:
                raise SystemExit(ended.err)
            yield _ready(lab)
        finally:
            bed.down(places)


def _ready(lab: Lab) -> Lab:
    lab.make_image("host1")
    for host in lab.hosts:
        for system in OURS:
            lab.shell(host, f"docker rm --force bench-{system} >/dev/null 2>&1", check=False)
    return lab


def note(text: str) -> None:
    """Progress; stderr, since stdout is data."""
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    fields = dict(
        line.split(":", 1) for line in Path("/proc/cpuinfo").read_text().splitlines() if ":" in line
    )
    names = {key.strip(): value.strip() for key, value in fields.items()}
    return {
        "processor": names.get("model name", platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
        "taken": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def table(rows: list[Row]) -> str:
    """The result for people."""
    lines = [
        "| system | memory, MiB | writing | gap min / median / max, ms | moves | connection kept |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        document = row.document()
        gap = " / ".join(f"{document['gap_ms'][name]:.0f}" for name in ("min", "median", "max"))
        kept = "yes" if document["connection_kept"] else f"{sum(h.kept for h in row.hops)} of {len(row.hops)}"
        writing = "yes" if row.writing else "no"
        lines.append(f"| {row.system} | {row.memory_mib} | {writing} | {gap} | {len(row.hops)} | {kept} |")
    lines.append("")
    for row in rows:
        if line := " · ".join(f"{name} {ms:.1f}" for name, ms in row.time_line().items()):
            what = f"{row.system} at {row.memory_mib} MiB{', writing' * row.writing}"
            lines.append(f"window of {what}, median ms: {line}")
    return "\n".join(lines)


def plot(documents: list[dict[str, Any]], out: Path) -> None:
    """Median gap by memory, one line a system, whiskers from minimum to maximum: switchover.png and .svg."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": "relocate", "svg.fonttype": "none", "font.size": 10}
    figure, axes = pyplot.subplots(figsize=(7.5, 4.5), layout="constrained")
    for system in dict.fromkeys(row["system"] for row in documents):
        rows = [row for row in documents if row["system"] == system and not row["writing"]]
        gaps = [row["gap_ms"] for row in rows]
        middle = [gap["median"] for gap in gaps]
        reach = [
            [gap["median"] - gap["min"] for gap in gaps],
            [gap["max"] - gap["median"] for gap in gaps],
        ]
        memory = [row["memory_mib"] for row in rows]
        style = "-" if system in OURS else "--"
        axes.errorbar(memory, middle, reach, label=system, ls=style, marker="o", ms=4, capsize=3)
    axes.set(xscale="log", yscale="log", xlabel="touched memory, MiB", ylabel="gap that a client sees, ms")
    ticks = sorted({row["memory_mib"] for row in documents})
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    for kind in ("png", "svg"):
        figure.savefig(
            out / f"switchover.{kind}", dpi=130, metadata={"Date": None} if kind == "svg" else None
        )


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    everything = [*OURS, *PEERS]
    parser.add_argument("--repeats", type=int, default=20, help="moves per row (default 20)")
    parser.add_argument(
        "--memory", type=int, nargs="+", default=[4], metavar="MiB", help="ballast (default 4)"
    )
    parser.add_argument("--peers", action="store_true", help=f"all systems: {', '.join(everything)}")
    parser.add_argument("--systems", nargs="+", choices=everything, metavar="NAME", help="these only")
    parser.add_argument(
        "--writing", choices=("no", "yes", "both"), default="no", help="write to the memory during the move"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--out", type=Path, help="directory for switchover.json, .png and .svg")
    parser.add_argument(
        "--add", action="store_true", help="with --out: keep the other rows of an earlier run"
    )
    options = parser.parse_args()
    options.systems = options.systems or (everything if options.peers else ["relocate"])
    return options


def main() -> int:
    """Parse, measure, print."""
    options = parse()
    ways = {"no": [False], "yes": [True], "both": [False, True]}[options.writing]
    rows = []
    try:
        with testbed() as lab, ExitStack() as stack:
            if set(options.systems) & set(PEERS):
                stack.enter_context(workshop(lab))
            for memory in options.memory:
                for writing in ways:
                    rows += measure(lab, options.systems, memory, writing, options.repeats)
    except (AssertionError, subprocess.SubprocessError, OSError) as error:
        print(f"switchover: {error}", file=sys.stderr)
        return 1
    document = {"machine": machine(), "rows": [row.document() for row in rows]}
    if options.out:
        save(document, options.out, options.add)
    print(json.dumps(document, indent=2) if options.json else table(rows))
    return 0


def save(document: dict[str, Any], out: Path, add: bool) -> None:
    """Write the figures and their plot; with ``add`` a former run's other rows stay."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / "switchover.json"

    def key(row: dict[str, Any]) -> tuple[Any, ...]:
        return row["memory_mib"], row["writing"], row["system"]

    former = json.loads(path.read_text())["rows"] if add and path.exists() else []
    rows = {key(row): row for row in [*former, *document["rows"]]}
    document = {**document, "rows": [rows[name] for name in sorted(rows)]}
    path.write_text(json.dumps(document, indent=2) + "\n")
    plot(document["rows"], out)


if __name__ == "__main__":
    sys.exit(main())
