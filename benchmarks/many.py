#!/usr/bin/env python3
"""How the gap grows with what a container has, and with the number of containers that move at the same time.

Each scenario moves containers between hosts of the testbed that is up and provisioned (`together` wants four,
the others two) with clients on all their connections, and takes the testbed's containers away. Ends with 1 if
a move failed, or a client or the files are not what they should be.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relocate_cli.errors import RelocateError
from relocate_cli.testbed import bed

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "integration"))

import crowd  # noqa: E402
from harness import CONSOLE, ECHO, REPOSITORY, JsonObject, Lab  # noqa: E402
from switchover import note, spread  # noqa: E402
from talk import Conversation  # noqa: E402


@dataclass(frozen=True)
class Row:
    """One scenario: all gaps and windows in ms, the whole moves in seconds."""

    scenario: str
    gaps: list[float]
    windows: list[float]
    seconds: list[float]
    failures: list[str]
    phases: list[dict[str, float]]

    def document(self) -> dict[str, Any]:
        """A row of `--json`."""
        return {
            "scenario": self.scenario,
            "moves": len(self.windows),
            "gap_ms": spread(self.gaps) if self.gaps else None,
            "window_ms": spread(self.windows) if self.windows else None,
            "move_seconds": spread(self.seconds) if self.seconds else None,
            "phases_ms": self.phases,
            "failures": self.failures,
        }


def call(lab: Lab, host: str, verb: str, document: JsonObject) -> JsonObject:
    """`relocate-proxy VERB` on a host, however long it takes. Raises AssertionError."""
    command = lab.bed.ssh_command(host, "relocate-proxy", verb)
    ended = subprocess.run(command, input=json.dumps(document), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, f"{host}: {verb}: {ended.stderr.strip()}"
    answer: JsonObject = json.loads(ended.stdout)
    return answer


def move(lab: Lab, plans: list[JsonObject]) -> tuple[list[JsonObject], float]:
    """Arm, fire and settle as the playbook does, all ``plans`` at once; their reports, and seconds."""
    begun = time.monotonic()
    hosts = sorted({plan[side] for plan in plans for side in ("source", "target")})

    def everywhere(verb: str, names: Iterable[str], document: JsonObject) -> dict[str, JsonObject]:
        names = list(names)
        with ThreadPoolExecutor(len(names)) as pool:
            answers = pool.map(lambda name: call(lab, name, verb, document | {"host": name}), names)
            return dict(zip(names, answers, strict=True))

    armed = everywhere("arm", hosts, {"repository": REPOSITORY, "moves": plans})
    fired = {"moves": plans, "parallel": len(plans), "armed": {h: json.dumps(a) for h, a in armed.items()}}
    reports = call(lab, "host0", "fire", fired)["relocations"]
    everywhere("settle", ["host0", *hosts], {"moves": reports, "keep": False})
    return reports, time.monotonic() - begun


def hops(
    lab: Lab, scenario: str, number: int, name: str, after: Callable[[], list[str]], port: int = ECHO
) -> Row:
    """Move one container ``number`` times; ``after`` each move says what is wrong with it."""
    row = Row(scenario, [], [], [], [], [])
    conversation = Conversation(lab.connect(name, port), every=0.002)
    for hop in range(number):
        assert conversation.flows(100), "the connection is dead"
        begun = conversation.arrivals[-1]
        source, target = ("host1", "host2")[:: -1 if hop % 2 else 1]
        (report,), seconds = move(lab, [lab.plan(name, source, target)])
        if report["outcome"] != "moved":
            row.failures.append(f"{report['outcome']}: {report['reason']}")
            break
        assert conversation.flows(100), "the connection died"
        row.gaps.append(conversation.longest_gap_since(begun) * 1000)
        row.windows.append(report["window_ms"])
        row.seconds.append(seconds)
        row.phases.append({phase["name"]: phase["ms"] for phase in report["phases"]})
        row.failures.extend(after())
        note(f"{scenario}, move {hop + 1}: gap {row.gaps[-1]:.0f} ms, {seconds:.1f} s; {row.phases[-1]}")
    ended = conversation.end()
    if not ended.clean:
        row.failures.append(str(ended))
    return row


def connections(lab: Lab, number: int, size: int) -> Row:
    """One container with ``size`` established connections."""
    lab.run("many", "host1", f"--publish={ECHO}:{ECHO}", command=["/usr/bin/python3", "-c", crowd.SERVER])
    clients = crowd.Crowd(lab, "many", size)
    clients.ask_all()

    def after() -> list[str]:
        clients.ask_all()
        found, clients.failures = clients.failures, []
        return found

    try:
        return hops(lab, f"{size} connections", number, "many", after)
    finally:
        clients.close()


def files(lab: Lab, number: int, size: int) -> Row:
    """A writable layer of ``size`` small files, of which ten change all the time."""
    lab.run("many")
    console = lab.console("many")
    console.connection.settimeout(None)
    console(
        "import os, threading, hashlib\n"
        f"for n in range({size}):\n"
        "    d = f'/data/many/{n // 1000}'\n"
        "    os.makedirs(d, exist_ok=True)\n"
        "    with open(f'{d}/{n}', 'w') as f: f.write(str(n))\n"
        + CHANGES.replace("PLACES", "[f'/data/many/0/{n}' for n in range(10)]")
    )
    check = (
        f"others = {{n: f'/data/many/{{n // 1000}}/{{n}}' for n in range(10, {size})}}\n"
        "answer = changed_right() + [n for n, p in others.items() if open(p).read() != str(n)]"
    )
    return hops(lab, f"{size} files", number, "many", lambda: [f"file {n}" for n in console(check)])


# Ten files that a thread writes all the time; what it wrote last it must find, there too.
CHANGES = """
places, wrote, ending = PLACES, {}, threading.Event()
lock = threading.Lock()
def change():
    number = 0
    while not ending.wait(0.005):
        place = places[number % len(places)]
        with lock, open(place, 'w') as f:
            f.write(str(number)); wrote[place] = str(number)
        number += 1
threading.Thread(target=change, daemon=True).start()
def changed_right():
    with lock:
        return [p for p, text in wrote.items() if open(p).read() != text]
"""


def layer(lab: Lab, number: int, gib: float) -> Row:
    """A writable layer of ``gib`` GiB in files of 64 MiB, of which ten small ones change all the time."""
    lab.run("many")
    console = lab.console("many")
    console.connection.settimeout(None)
    console(
        "import os, threading, hashlib\n"
        "block, sums = os.urandom(1 << 20), {}\n"
        "os.makedirs('/data/large', exist_ok=True)\n"
        f"for n in range({int(gib * 16)}):\n"
        "    with open(f'/data/large/{n}', 'wb') as f:\n"
        "        for m in range(64): f.write(b'%8d' % (n * 64 + m) + block[8:])\n"
        + CHANGES.replace("PLACES", "[f'/data/small-{n}' for n in range(10)]")
    )
    check = (
        "answer = changed_right()\n"
        f"for n in range({int(gib * 16)}):\n"
        "    with open(f'/data/large/{n}', 'rb') as f:\n"
        "        for m in range(64):\n"
        "            if f.read(1 << 20) != b'%8d' % (n * 64 + m) + block[8:]: answer.append(n)\n"
    )
    return hops(lab, f"layer of {gib:g} GiB", number, "many", lambda: [f"file {n}" for n in console(check)])


def together(lab: Lab, number: int, size: int) -> Row:
    """``size`` containers that move at the same time, each to the next of four hosts."""
    hosts = lab.hosts[:4]
    places = {}
    for index in range(size):
        ports = [f"--publish={ECHO + 10 * index}:{ECHO}", f"--publish={CONSOLE + 10 * index}:{CONSOLE}"]
        places[f"many{index}"] = index % len(hosts)
        lab.run(f"many{index}", hosts[index % len(hosts)], *ports)
    talks = {
        name: Conversation(lab.connect(name, ECHO + 10 * index), every=0.02)
        for index, name in enumerate(places)
    }
    row = Row(f"{size} at once", [], [], [], [], [])
    for turn in range(number):
        begun = time.monotonic()
        plans = [lab.plan(name, hosts[at], hosts[(at + 1) % len(hosts)]) for name, at in places.items()]
        reports, seconds = move(lab, plans)
        row.seconds.append(seconds)
        for report in reports:
            name = report["container"]
            if report["outcome"] == "moved":
                places[name] = (places[name] + 1) % len(hosts)
                row.windows.append(report["window_ms"])
                assert talks[name].flows(), f"{name} does not answer"
                row.gaps.append(talks[name].longest_gap_since(begun) * 1000)
                row.phases.append({phase["name"]: phase["ms"] for phase in report["phases"]})
            else:
                row.failures.append(f"{name}: {report['outcome']}: {report['reason']}")
        note(f"{size} at once, turn {turn + 1}: {seconds:.1f} s, gaps {spread(row.gaps)}, {row.failures}")
    row.failures.extend(str(ended) for talk in talks.values() if not (ended := talk.end()).clean)
    return row


SCENARIOS: dict[str, Callable[[Lab, int], Row]] = {
    "300": lambda lab, number: connections(lab, number, 300),
    "3000": lambda lab, number: connections(lab, number, 3000),
    "files": lambda lab, number: files(lab, number, 100_000),
    "layer": lambda lab, number: layer(lab, number, 10),
    "together": lambda lab, number: together(lab, number, 20),
}


def table(rows: list[Row]) -> str:
    """The result for people, as the documentation has it."""
    lines = [
        "| scenario | gaps | gap min / median / max, ms | a move, s (median) | failures |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        gap = " / ".join(f"{value:.0f}" for value in spread(row.gaps).values()) if row.gaps else "–"
        seconds = f"{spread(row.seconds)['median']:.1f}" if row.seconds else "–"
        failures = "; ".join(row.failures[:3]) or "none"
        lines.append(f"| {row.scenario} | {len(row.gaps)} | {gap} | {seconds} | {failures} |")
    return "\n".join(lines)


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = ", ".join(SCENARIOS)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {known} (default: all)")
    parser.add_argument("--moves", type=int, default=5, help="moves, or turns, of each (default 5)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    options = parser.parse_args()
    if unknown := set(options.scenarios) - set(SCENARIOS):
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {known}")
    try:
        lab = Lab(bed.current())
        rows = []
        for name in options.scenarios or SCENARIOS:
            lab.clear()
            for host in lab.hosts:
                lab.make_image(host)
            rows.append(SCENARIOS[name](lab, options.moves))
        lab.clear()
    except (RelocateError, AssertionError) as error:
        print(f"many: {error}", file=sys.stderr)
        return 1
    print(json.dumps({"rows": [row.document() for row in rows]}, indent=2) if options.json else table(rows))
    return int(any(row.failures for row in rows))


if __name__ == "__main__":
    sys.exit(main())
