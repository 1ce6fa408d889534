#!/usr/bin/env python3
"""Containers that move by `relocate tick` for a long time, under faults, and clients that check every byte.

    python benchmarks/soak.py [--hours H] [--seed S] [--json]

Uses the testbed that is up and provisioned, and takes its containers away. Only faults are tried that nature
lets a connection survive: no host with a container loses power. Ends with 1 if a container was lost or live
twice, a byte wrong, a connection broken, or a rule, an image or a container left over.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from relocate_cli.errors import ExitCode, RelocateError
from relocate_cli.testbed import bed

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from harness import ECHO, Lab  # noqa: E402
from talk import Conversation  # noqa: E402
from trials import BACK_SECONDS, Fault, at_random, strike  # noqa: E402

TENANTS = ("alpha", "beta", "gamma")
CHANCE = 0.3  # of a fault in a round
LONGEST_DELAY = 15.0  # from the start of `relocate tick`, s
QUIET_SECONDS = 130.0  # after which the kernel has forgotten what was closed: TIME_WAIT lasts 120 s
USAGE = """
    echo files $(ls -d /proc/[0-9]*/fd/* 2>/dev/null | wc -l)
    echo engine_kb $(ps -C dockerd,containerd -o rss= | awk '{s+=$1} END {print s+0}')
    echo disk_kb $(du -sxk /var/lib/docker /var/lib/containerd /var/lib/relocate /run 2>/dev/null \\
        | awk '{s+=$1} END {print s+0}')
    echo conntrack $(conntrack -C 2>/dev/null || echo 0)
    echo rules $( (iptables-save; nft list ruleset) 2>/dev/null | grep -vc '^#')
    echo containers $(docker ps --all --quiet 2>/dev/null | wc -l)
    echo units $(systemctl list-units --all --plain --no-legend 'relocate-*' | wc -l)"""


@dataclass
class Tally:
    """What a soak counted; ``usage`` is {host: {what: [at the start, at the end]}}."""

    seconds: float = 0.0
    ticks: int = 0
    moved: int = 0
    rolled_back: int = 0
    recovered: int = 0
    faults: int = 0
    messages: int = 0
    wrong_messages: int = 0
    broken_connections: int = 0
    lost: int = 0
    two_live: int = 0
    leftovers: dict[str, list[str]] = field(default_factory=dict)
    usage: dict[str, dict[str, list[int]]] = field(default_factory=dict)

    def line(self) -> str:
        """All counts in a line."""
        counts = {name: value for name, value in asdict(self).items() if name != "usage"}
        return "  ".join(f"{name} {value}" for name, value in counts.items())

    @property
    def well(self) -> bool:
        wrong = self.wrong_messages, self.broken_connections, self.lost, self.two_live, len(self.leftovers)
        return not any(wrong)


def usage(lab: Lab) -> dict[str, dict[str, int]]:
    """What each machine uses, by name."""
    texts = {host: lab.shell(host, USAGE) for host in ("host0", *lab.hosts)}
    return {host: {w: int(n) for w, n in map(str.split, text.splitlines())} for host, text in texts.items()}


def mild(generator: random.Random) -> Fault:
    """A fault that a connection can survive."""
    while (fault := at_random(generator)).kills:
        pass
    return fault


def round_of(lab: Lab, config: Path, generator: random.Random, tally: Tally) -> None:
    """One tick, perhaps with a fault in it; `relocate recover` if it says so; then each tenant lives once."""
    struck = threading.Thread(target=lambda: None)
    if generator.random() < CHANCE:
        fault, delay = mild(generator), generator.uniform(0.0, LONGEST_DELAY)
        struck = threading.Thread(target=lambda: (time.sleep(delay), strike(lab, fault)))
        tally.faults += 1
    struck.start()
    ended = lab.relocate("tick", "--json", config=config)
    struck.join()
    tally.ticks += 1
    outcomes = [entry["outcome"] for entry in ended.document()["relocations"]] if ended.out else []
    tally.moved += outcomes.count("moved")
    tally.rolled_back += outcomes.count("rolled_back")
    if ended.code not in (ExitCode.DONE, ExitCode.ROLLED_BACK):
        tally.recovered += lab.relocate("recover", config=config).code == ExitCode.DONE
    places = [len(lab.where(name)) for name in TENANTS]
    tally.lost += places.count(0)
    tally.two_live += sum(number > 1 for number in places)


def soak(lab: Lab, seconds: float, generator: random.Random, place: Path) -> Tally:
    """Run for about ``seconds``."""
    lab.clear()
    config, tally = lab.settings(place, tick="500ms"), Tally()
    for number, name in enumerate(TENANTS):
        lab.run(name, "host1", "--restart", "unless-stopped", f"--publish={ECHO + number}:{ECHO}")
    before, begun = usage(lab), time.monotonic()
    talks = [
        Conversation(lab.connect(name, ECHO + number), every=0.01, patience=BACK_SECONDS)
        for number, name in enumerate(TENANTS)
    ]
    while time.monotonic() - begun < seconds:
        round_of(lab, config, generator, tally)
        print(f"{time.monotonic() - begun:6.0f} s  {tally.line()}", file=sys.stderr, flush=True)
    lab.relocate("recover", config=config)
    for talk in talks:
        flows, result = talk.flows(), talk.end()
        tally.messages += result.sent
        tally.wrong_messages += result.lost + result.repeated + result.reordered
        tally.broken_connections += not (flows and result.kept)
    tally.seconds = round(time.monotonic() - begun)
    time.sleep(QUIET_SECONDS)
    tally.leftovers = lab.leftovers()
    after = usage(lab)
    tally.usage = {h: {what: [n, after[h][what]] for what, n in before[h].items()} for h in before}
    return tally


def main() -> int:
    """Parse, soak, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=0.5, metavar="H")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    try:
        lab = Lab(bed.current())
    except RelocateError as error:
        print(f"soak: {error}", file=sys.stderr)
        return 3
    lab.make_image("host1")
    with tempfile.TemporaryDirectory() as place:
        tally = soak(lab, options.hours * 3600, random.Random(options.seed), Path(place))
    if options.json:
        print(json.dumps(asdict(tally), indent=2))
    else:
        print(tally.line())
        for host, used in tally.usage.items():
            print(host, *(f"{what} {start} → {end}" for what, (start, end) in used.items()), sep="  ")
    return 0 if tally.well else 1


if __name__ == "__main__":
    sys.exit(main())
