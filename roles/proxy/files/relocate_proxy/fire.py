"""Firing on host0: a batch becomes a unit that outlives whoever asked for it; recovery ends what was
left open."""

import contextlib
import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from relocate_proxy import gateway, paths, records
from relocate_proxy.driver import Driver
from relocate_proxy.journal import journal_file, outcome_file, read_journal
from relocate_proxy.protocol import Record

FINAL = {Record.DONE, Record.ENDED, Record.STORED, Record.LOST}
FOLLOW_SECONDS = 600.0
RECOVER_SECONDS = 60.0
ORPHAN_SECONDS = 86400.0  # longer than any arming takes


def addresses() -> dict[str, str]:
    """Inventory name to address of every container host, as the proxy role wrote it."""
    document: dict[str, list[str]] = json.loads((paths.CONFIG / "hosts.json").read_text())
    return {name: met_at[0] for name, met_at in document.items()}


def batch_file(batch: str) -> Path:
    """The moves that one unit carries out."""
    return paths.JOURNAL / f"{batch}.batch.json"


def fire(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Carry out ``moves`` (at most ``parallel`` windows at once) in a unit of their own; wait; return
    their reports.

    ``armed``: what `arm` answered on each host; a move that is not armed on both is reported as rolled
    back and not fired.
    A relocation that has not ended when patience does is reported as failed with what it waits for; its
    unit goes on.
    """
    refused = {move["id"]: why for move in document["moves"] if (why := _not_armed(move, document["armed"]))}
    reports = [
        _unfired(move, "rolled_back", refused[move["id"]])
        for move in document["moves"]
        if move["id"] in refused
    ]
    moves = [move for move in document["moves"] if move["id"] not in refused]
    if not moves:
        return reports
    batch = moves[0]["id"]
    records.write(batch_file(batch), {"moves": moves, "parallel": document.get("parallel", 1)}, durable=True)
    unit = f"relocate-coordinator@{batch}.service"
    subprocess.run(["systemctl", "start", "--no-block", unit], check=True)
    deadline = time.monotonic() + FOLLOW_SECONDS
    waiting = {move["id"] for move in moves}
    while waiting and time.monotonic() < deadline:
        waiting = {identity for identity in waiting if not outcome_file(identity).exists()}
        time.sleep(0.02)
    unended = "not ended yet: a host cannot be reached"
    return reports + [
        records.read(outcome_file(move["id"])) or _unfired(move, "failed", unended) for move in moves
    ]


def _not_armed(move: dict[str, Any], armed: dict[str, Any]) -> str:
    """Why a move cannot be fired: the source's reason before the target's, which may only have waited
    for it."""
    for side in ("target",) if "recovers" in move else ("source", "target"):
        host = move[side]
        answer = json.loads(armed.get(host) or "{}") if isinstance(armed.get(host), str) else armed[host]
        result = next((r for r in answer.get("results", []) if r["id"] == move["id"]), None)
        if result is None:
            return f"{side} {host} did not answer"
        if not result["ok"]:
            return f"{side} {host}: {result['reason']}"
    return ""


def _unfired(move: dict[str, Any], outcome: str, reason: str) -> dict[str, Any]:
    named = {key: move[key] for key in ("container", "source", "target", "vip")}
    unknown: dict[str, Any] = {"old_ip": None, "new_ip": None, "window_ms": None, "phases": []}
    ending = {"outcome": outcome, "needs_recover": outcome == "failed", "reason": reason}
    return {"relocation_id": move["id"], **named, **unknown, **ending}


def coordinate(batch: str) -> int:
    """Carry a batch to its end; started again after a crash, it goes on where the journal stands."""
    document = records.read(batch_file(batch))
    moves = document.get("moves", [])
    driver = Driver(addresses())
    driver.connect({move[side] for move in moves for side in ("source", "target")})
    started = [move for move in moves if journal_file(move["id"]).exists()]
    for move in started:
        driver.resume(move["id"])
    for move in moves:
        if move in started:
            continue
        driver.run(at_most=document["parallel"] - 1)
        driver.begin(move)
    driver.run()
    driver.close()
    batch_file(batch).unlink(missing_ok=True)
    return 0


def last_records() -> dict[str, list[dict[str, Any]]]:
    """The journal of each relocation that host0 knows, by id."""
    journals = {path.stem: read_journal(path.stem) for path in sorted(paths.JOURNAL.glob("*.jsonl"))}
    return {identity: journal for identity, journal in journals.items() if journal}


def recover(
    hosts: dict[str, list[dict[str, Any]]], check: bool = False, container: str = "", keep: bool = True
) -> dict[str, Any]:
    """End what is open, of ``container`` alone if one is named, unless ``check``; say how each relocation
    that a host still remembers has ended.

    ``hosts``: what `relocate-proxy remembered` answered on each host. Returns ``open`` (ended now, or with
    ``check`` to be ended), ``waiting`` (those of them that need a host which does not answer), ``stored``
    (only the images are left: to be restored on a host of choice) and ``relocations``, for `settle`. Unless
    ``keep`` the images of those that have ended go.
    """
    journals = last_records()
    mine = {i: j for i, j in journals.items() if container in ("", j[0]["move"]["container"])}
    pending = _pending(mine)
    if not check:
        stored = _stored(journals)
        busy = [journals[identity][0]["move"] for identity in _pending(journals)] + stored
        gateway.restore_routes({move["container"] for move in busy})
        for move in stored:
            gateway.withhold(move["vip"])
        _end(pending, {identity: journals[identity][0]["move"] for identity in pending})
        mine = {identity: read_journal(identity) for identity in mine}
        for identity, journal in () if keep else mine.items():
            # Both hosts have forgotten these, so nothing else would take their images away.
            if Record(journal[-1]["record"]) in (Record.ENDED, Record.LOST):
                with contextlib.suppress(OSError):
                    sweep(identity, "rolled_back")
    remembered: dict[str, dict[str, Any]] = {}
    for host, entries in hosts.items():
        for entry in entries:
            if container in ("", entry["container"]):
                remembered.setdefault(entry["id"], dict(entry, source=None, target=None))[entry["side"]] = (
                    host
                )
    if not (check or keep or container) and hosts.keys() == addresses().keys():
        _sweep_orphans({*journals, *remembered})
    reports = [_ending(entry, mine.get(identity)) for identity, entry in remembered.items()]
    return {
        "open": [{**mine[i][0]["move"], "stands_at": mine[i][-1]["record"]} for i in pending],
        "waiting": _pending(mine),
        "stored": _stored(mine),
        "relocations": reports,
    }


def _pending(journals: dict[str, list[dict[str, Any]]]) -> list[str]:
    """The relocations that have not ended."""
    return [i for i, journal in journals.items() if Record(journal[-1]["record"]) not in FINAL]


def _stored(journals: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Moves whose container is only in the image, and that no later relocation has brought back."""
    moves = [j[0]["move"] for j in journals.values() if Record(j[-1]["record"]) is Record.STORED]
    brought_back = {j[0]["move"].get("recovers") for j in journals.values() if j[-1]["record"] == Record.DONE}
    return [move for move in moves if move["id"] not in brought_back and "recovers" not in move]


def _end(pending: list[str], moves: dict[str, dict[str, Any]]) -> None:
    """Run the coordinators of open relocations to their end, or see another run do so, as long as patience
    lasts."""
    if not pending:
        return
    deadline = time.monotonic() + RECOVER_SECONDS
    driver = Driver(addresses())
    driver.connect({moves[i][side] for i in pending for side in ("source", "target")}, seconds=3.0)
    for identity in pending:
        subprocess.run(["systemctl", "stop", f"relocate-coordinator@{identity}.service"], check=False)
        driver.resume(identity)
    driver.run(patience=RECOVER_SECONDS)
    driver.close()
    while _pending({i: read_journal(i) for i in pending}) and time.monotonic() < deadline:
        time.sleep(0.1)


def _ending(entry: dict[str, Any], journal: list[dict[str, Any]] | None) -> dict[str, Any]:
    """How a relocation that a source or a target remembers has ended; one that was never fired is rolled
    back."""
    if journal is None:
        return {"relocation_id": entry["id"], **entry, "outcome": "rolled_back", "needs_recover": False}
    record = Record(journal[-1]["record"])
    unended = record not in FINAL or record is Record.STORED
    outcome = "moved" if record is Record.DONE else "rolled_back"
    return {"relocation_id": entry["id"], **journal[0]["move"], "outcome": outcome, "needs_recover": unended}


def _sweep_orphans(known: set[str]) -> None:
    """Remove what relocations left on the storage that all hosts have forgotten and that never began: the
    container is not in it."""
    for directory in paths.STORAGE.glob("*"):
        spec = directory / "spec.json"
        if directory.name not in known and (
            (directory / "failed").exists()
            or (spec.exists() and time.time() - spec.stat().st_mtime > ORPHAN_SECONDS)
        ):
            with contextlib.suppress(OSError):
                sweep(directory.name, "rolled_back")


def sweep(identity: str, outcome: str) -> None:
    """Remove the images of a relocation that has ended; of one that failed, CRIU's logs are kept.

    Raises OSError if the storage keeps them: they are a container's memory.
    """
    storage = paths.storage_dir(identity)
    if outcome != "moved":
        for log in storage.glob("work-*/*.log"):
            kept = paths.LOGS / identity
            kept.mkdir(parents=True, exist_ok=True, mode=0o700)
            shutil.copy(log, kept)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(storage)
