"""What `recover` does on host0: find where each relocation stands that was left open, and end it."""

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from relocate_proxy import paths
from relocate_proxy.host0 import batch as batches
from relocate_proxy.host0 import gateway, journal
from relocate_proxy.host0.answers import Remembered
from relocate_proxy.host0.driver import Driver
from relocate_proxy.host0.fire import addresses, strangers, sweep
from relocate_proxy.host0.journal import Lines, move_of, read_journal
from relocate_proxy.kernel import units
from relocate_proxy.protocol import shapes
from relocate_proxy.protocol.move import Move
from relocate_proxy.protocol.words import Record

RECOVER_SECONDS = 60.0
CONNECT_SECONDS = 3.0
LOOK_SECONDS = 0.1
ORPHAN_SECONDS = 86400.0  # longer than any arming takes


def recover(
    heard: Mapping[str, list[Remembered]],
    unheard: Mapping[str, str] | None = None,
    *,
    check: bool = False,
    container: str = "",
    keep: bool = True,
) -> dict[str, Any]:
    """End what is open, of ``container`` alone if one is named, unless ``check``; say how each relocation
    that a host still remembers has ended.

    ``heard``: what each host remembers; ``unheard``: why the others did not say. Returns ``open`` (ended
    now, or with ``check`` to be ended), ``waiting`` (those of them that need a host which does not answer),
    ``strangers`` (of these, the hosts that are not in the inventory, by id), ``stored`` (only the images
    are left: to be restored on a host of choice), ``relocations``, for `settle`, and ``unheard``. Unless
    ``keep`` the images of those that have ended go.
    """
    journals = journal.at_hand()
    mine = {i: lines for i, lines in journals.items() if container in ("", move_of(lines).container)}
    opened = journal.pending(mine)
    found = [{**shapes.write(move_of(mine[i])), "stands_at": mine[i][-1]["record"]} for i in opened]
    if not check:
        _restore_routes(journals)
        _end(opened, {identity: move_of(lines) for identity, lines in journals.items()})
        mine = {identity: read_journal(identity) for identity in mine}
        if not keep:
            _sweep_ended(mine)
    remembered = _by_relocation(heard)
    if not (check or keep or container) and heard.keys() == addresses().keys():
        _sweep_orphans({*journals, *remembered})
    if not check:
        with contextlib.suppress(OSError):  # what has ended must be told; the next run puts away
            journal.put_away(journal.at_hand(), time.time())
    queued = {move.id for batch in batches.every() for move in batch.queued}
    claims = ((identity, sides) for identity, all_sides in remembered.items() for sides in all_sides)
    endings = (_ending(identity, sides, identity in queued) for identity, sides in claims)
    waiting, known = journal.pending(mine), addresses()
    return {
        "open": found,
        "waiting": waiting,
        "strangers": {i: away for i in waiting if (away := strangers(move_of(mine[i]), known))},
        "stored": [shapes.write(move) for move in journal.stored(mine)],
        "relocations": [ending for ending in endings if container in ("", ending["container"])],
        "unheard": dict(unheard or {}),
    }


def _restore_routes(journals: Mapping[str, Lines]) -> None:
    """After a boot there are none."""
    gateway.restore_routes(set(journal.busy(journals)))
    for move in journal.stored(journals):
        gateway.withhold(move.vip)


def _end(opened: list[str], moves: Mapping[str, Move]) -> None:
    """Run the coordinators of open relocations to their end, or see another run do so, as long as patience
    lasts.

    A batch whose unit runs goes on: its coordinator has its journals locked, and we wait for it. Of one
    whose unit does not, all that was begun goes on, not only what is asked for: nobody else would carry it
    on. What has a host that is not in the inventory stays as it is.
    """
    known = addresses()
    with_us = {identity for identity in opened if not strangers(moves[identity], known)}
    deadline = time.monotonic() + RECOVER_SECONDS
    mine = set(with_us)
    for batch in batches.every():
        begun = [move for move in batch.moves if move.id in moves]
        unended = {move.id for move in begun if not _ended(move.id)}
        if (unended and not unended & mine) or units.is_active(batch.unit):
            continue
        units.stop(batch.unit)  # systemd may be about to start it again
        # Also what ended and was not reported: the table may not say yet where its container is.
        unreported = (move for move in begun if not batches.reported(move))
        mine |= {move.id for move in unreported if not strangers(move, known)}
        batch.report_queued("its coordinator ended before it was begun")
        batch.remove()
    _drive({identity: moves[identity] for identity in sorted(mine)}, known)
    while any(not _ended(identity) for identity in with_us) and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)


def _drive(moves: Mapping[str, Move], known: dict[str, str]) -> None:
    if moves:
        driver = Driver(known)
        driver.connect({host for move in moves.values() for host in move.hosts}, CONNECT_SECONDS)
        for identity in moves:
            driver.resume(identity)
        driver.run(patience=RECOVER_SECONDS)
        driver.close()


def _ended(identity: str) -> bool:
    return journal.is_final(read_journal(identity))


Sides = dict[str, tuple[str, Remembered]]


def _by_relocation(heard: Mapping[str, list[Remembered]]) -> dict[str, list[Sides]]:
    """Who remembers what: by id and side, the host and what it says.

    A relocation has one source and one target. Where two hosts say that they are it, both are told how it has
    ended: which of them lies is not known here, and the other's part must not stay open for that.
    """
    found: dict[str, list[Sides]] = {}
    for host, entries in heard.items():
        for entry in entries:
            claims = found.setdefault(entry.id, [])
            sides = next((each for each in claims if entry.side not in each), None)
            if sides is None:
                claims.append(sides := {})
            sides[entry.side] = (host, entry)
    return found


def _ending(identity: str, sides: Sides, queued: bool) -> dict[str, Any]:
    """How a relocation that a source or a target remembers has ended; one that was never fired is rolled
    back. ``queued``: a batch that is under way has yet to begin it."""
    entry = next(iter(sides.values()))[1]
    hosts = {side: sides[side][0] if side in sides else None for side in ("source", "target")}
    said = {"id": identity, "container": entry.container, "vip": entry.vip, **hosts}
    try:
        lines = read_journal(identity)
    except FileNotFoundError:
        lines = []
    if not lines:
        outcome = "moved" if journal.has_moved(identity) else "rolled_back"
        return {"relocation_id": identity, **said, "outcome": outcome, "needs_recover": queued}
    record = Record(lines[-1]["record"])
    unended = record not in journal.FINAL or record is Record.STORED
    outcome = "moved" if record is Record.DONE else "rolled_back"
    return {
        "relocation_id": identity,
        **shapes.write(move_of(lines)),
        "outcome": outcome,
        "needs_recover": unended,
    }


def _sweep_ended(journals: Mapping[str, Lines]) -> None:
    """Both hosts have forgotten these, so nothing else would take their images away."""
    for identity, lines in journals.items():
        if Record(lines[-1]["record"]) in (Record.ENDED, Record.LOST):
            with contextlib.suppress(OSError):  # the next recovery tries again
                sweep(identity, "rolled_back")


def _sweep_orphans(known: set[str]) -> None:
    """Remove what relocations left on the storage that all hosts have forgotten and that never began: the
    container is not in it."""
    for directory in paths.STORAGE.glob("*"):
        if directory.name in known or not paths.IDENTITY.match(directory.name):
            continue
        with contextlib.suppress(OSError):  # another's, or the next recovery tries again
            if time.time() - (directory / "spec.json").lstat().st_mtime > ORPHAN_SECONDS:
                sweep(directory.name, "rolled_back")
