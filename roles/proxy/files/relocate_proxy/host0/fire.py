"""Firing on host0: a batch becomes a unit that outlives whoever asked for it, and is followed to its end."""

import errno
import json
import os
import shutil
import stat
import time
from pathlib import Path
from typing import Any

from relocate_proxy import paths
from relocate_proxy.host import records
from relocate_proxy.host0 import answers
from relocate_proxy.host0 import batch as batches
from relocate_proxy.host0.answers import Armed
from relocate_proxy.host0.batch import Batch
from relocate_proxy.host0.driver import Driver, Relocation
from relocate_proxy.host0.journal import journal_file, outcome_file
from relocate_proxy.kernel import units
from relocate_proxy.protocol import coordinator, shapes
from relocate_proxy.protocol.move import Move
from relocate_proxy.protocol.words import Phase

FOLLOW_SECONDS = 600.0
LOOK_SECONDS = 0.02
LINGER_SECONDS = 5.0  # a window that ends well is over by then; one that lasts longer waits for a host
STEP_SECONDS = 0.001
LOG_BYTES = 16 << 20
IN_WINDOW = frozenset({*coordinator.UNDECIDED, Phase.RECOVERING})
STRANGER = "it is not in the inventory that host0 was given"


def addresses() -> dict[str, str]:
    """Inventory name to address of every container host, as the proxy role wrote it."""
    document: dict[str, list[str]] = json.loads((paths.CONFIG / "hosts.json").read_text())
    return {name: met_at[0] for name, met_at in document.items()}


def strangers(move: Move, known: dict[str, str]) -> list[str]:
    """The hosts of a move that host0 has no address of: they were taken out of the inventory."""
    return [host for host in move.hosts if host not in known]


def fire(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Carry out ``moves`` (at most ``parallel`` windows at once) in a unit of their own; wait; return
    their reports.

    ``armed``: what the hosts answered to each step of arming, in their order; a move of which one has failed
    is reported as rolled back and not fired.
    A relocation that has not ended when nothing gets on any more is reported as failed with what it waits
    for; its unit goes on.
    """
    moves = [shapes.read(Move, move) for move in document["moves"]]
    steps = [answers.gather(said, answers.armed) for said in document["armed"]]
    refused = {move.id: why for move in moves if (why := _not_armed(move, steps))}
    reports = [batches.unfired(move, "rolled_back", refused[move.id]) for move in moves if move.id in refused]
    batch = tuple(move for move in moves if move.id not in refused)
    if not batch:
        return reports
    fired = Batch(batch[0].id, batch, document.get("parallel", 1))
    fired.write()
    units.begin(fired.unit)
    return reports + _follow(fired)


def _follow(batch: Batch) -> list[dict[str, Any]]:
    """The reports of a batch, in its order, waiting for as long as one of its relocations gets on."""
    found: dict[str, dict[str, Any]] = {}
    waiting = {move.id for move in batch.moves}
    seen, deadline = batches.progress(waiting), time.monotonic() + FOLLOW_SECONDS
    while waiting and time.monotonic() < deadline:
        for identity in sorted(waiting):
            if outcome := records.read(outcome_file(identity)):
                found[identity] = outcome
        waiting -= found.keys()
        if seen != (now := batches.progress(waiting)):
            seen, deadline = now, time.monotonic() + FOLLOW_SECONDS
        if waiting:
            time.sleep(LOOK_SECONDS)
    unended = "not ended yet: a host cannot be reached"
    return [found.get(move.id) or batches.unfired(move, "failed", unended) for move in batch.moves]


def _not_armed(move: Move, steps: list[tuple[dict[str, dict[str, Armed]], dict[str, str]]]) -> str:
    """Why a move cannot be fired: the first step's reason, and in it the source's before the target's."""
    for heard, unheard in steps:
        for side in move.armed_at:
            host = move.host(side)
            if host in unheard and unheard[host] != answers.SILENT:
                return f"{side} {host}: {unheard[host]}"
            result = heard.get(host, {}).get(move.id)
            if result is None:
                return f"{side} {host} did not answer"
            if not result.ok:
                return f"{side} {host}: {result.reason}"
    return ""


def coordinate(name: str) -> int:
    """Carry a batch to its end; started again after a crash, it goes on where the journal stands."""
    batch = batches.read(name)
    if batch is None:
        return 0
    known = addresses()
    with_us = [move for move in batch.moves if not strangers(move, known)]
    driver = Driver(known)
    driver.connect({host for move in with_us for host in move.hosts})
    queued = [move for move in batch.queued if move in with_us]
    for move in with_us:
        if move not in queued and not _has_ended(move):
            driver.resume(move.id)
    decided: dict[str, float] = {}
    for move in queued:
        while _windows(driver, decided) >= batch.parallel:
            driver.run(patience=STEP_SECONDS)  # until the next event: only that can end a window
        driver.begin(move)
    driver.run()
    driver.close()
    batch.report_queued(f"a host of it was not fired at: {STRANGER}")
    batch.remove()
    return 0


def _has_ended(move: Move) -> bool:
    """Whether nothing is left to do: taken up once more, it would set the route of a container that may have
    been moved on by now."""
    return batches.reported(move) or not journal_file(move.id).exists()


def _windows(driver: Driver, decided: dict[str, float]) -> int:
    """How many relocations are in their window, or have just left it. One that waits for a host that is gone
    stands in nobody's way.

    ``decided``: when each was first seen to have left it; kept by the caller.
    """
    return sum(_counts(relocation, decided) for relocation in driver.relocations.values())


def _counts(relocation: Relocation, decided: dict[str, float]) -> bool:
    if relocation.state is None or relocation.state.finished:
        return False
    if relocation.state.phase in IN_WINDOW:
        return True
    now = time.monotonic()
    return now - decided.setdefault(relocation.move.id, now) < LINGER_SECONDS


def sweep(identity: str, outcome: str) -> None:
    """Remove the images of a relocation that has ended; of one that failed, CRIU's logs are kept.

    Raises OSError if the storage keeps them: they are a container's memory. Links are not followed: any host
    may have put them there. Raises ValueError if ``identity`` is no id.
    """
    storage = paths.storage_dir(identity)
    try:
        if outcome != "moved":
            _keep_logs(storage, paths.LOGS / identity)
        shutil.rmtree(storage)
    except FileNotFoundError:
        return
    except OSError:
        if not storage.is_symlink():
            raise
        storage.unlink()


def _keep_logs(storage: Path, kept: Path) -> None:
    """Copy what is work-*/*.log."""
    for path, directories, files, directory in os.fwalk(storage):
        if Path(path) == storage:
            directories[:] = [name for name in directories if name.startswith("work-")]
        else:
            directories.clear()
            for log in (name for name in files if name.endswith(".log")):
                _keep_log(log, directory, kept)


def _keep_log(name: str, directory: int, kept: Path) -> None:
    """Copy one log, no more of it than a log needs, if it is a file."""
    try:
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            return
        raise
    with os.fdopen(opened, "rb") as log:
        if stat.S_ISREG(os.fstat(opened).st_mode):
            kept.mkdir(parents=True, exist_ok=True, mode=0o700)
            (kept / name).write_bytes(log.read(LOG_BYTES))
