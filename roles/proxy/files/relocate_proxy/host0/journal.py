"""host0's journal, the one authority: a file for each relocation, a line for each record.

What has ended is put away by the day it ended on, so that nobody reads all of history, and removed after
``KEEP_DAYS``. A host may remember a relocation for longer than that, and what host0 does not know counts as
rolled back (presumed abort): so the ids of those that did move are kept, a line each.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from relocate_proxy import paths
from relocate_proxy.protocol import shapes
from relocate_proxy.protocol.messages import Vote
from relocate_proxy.protocol.move import Move
from relocate_proxy.protocol.words import Record

Lines = list[dict[str, Any]]
FINAL = frozenset({Record.DONE, Record.ENDED, Record.STORED, Record.LOST})
AT_HAND_SECONDS = 3600.0  # whoever followed a relocation has seen its end by then
KEEP_DAYS = 30
MOVED = "moved"


def journal_file(relocation: str) -> Path:
    """The journal of one relocation: a line a record, the first with the move. Raises ValueError if that is
    no id."""
    return paths.JOURNAL / f"{paths.checked(relocation)}.jsonl"


def outcome_file(relocation: str) -> Path:
    """What became of a relocation, for `fire`. Raises ValueError if that is no id."""
    return paths.JOURNAL / f"{paths.checked(relocation)}.outcome.json"


def begun(relocation: str) -> bool:
    """Whether a relocation was ever begun, as far as host0 still knows: a first line that a crash cut off was
    never acted upon."""
    try:
        return bool(read_journal(relocation))
    except FileNotFoundError:
        return False


def read_journal(relocation: str) -> Lines:
    """All whole lines of a journal; a line that a crash cut off was never acted upon.

    Raises FileNotFoundError if there is none.
    """
    lines = []
    try:
        text = journal_file(relocation).read_text()
    except FileNotFoundError:
        path = _put_away(relocation)
        if path is None:
            raise
        text = path.read_text()
    for line in text.splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def move_of(lines: Lines) -> Move:
    """The move that a journal is of. Raises ShapeError if it is none."""
    return shapes.read(Move, lines[0]["move"])


def open_journal(relocation: str) -> BinaryIO:
    """Open the journal to append, for one coordinator alone; a line that a crash cut off is cut away.

    Raises BlockingIOError when another coordinator has it.
    """
    paths.JOURNAL.mkdir(parents=True, exist_ok=True, mode=0o700)
    stream = journal_file(relocation).open("ab+")
    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    stream.seek(0)
    stream.truncate(stream.read().rfind(b"\n") + 1)
    _sync(paths.JOURNAL)
    return stream


def at_hand() -> dict[str, Lines]:
    """The journals of what is open, of what is only in the images, and of what ended lately, by id."""
    names = (path.stem for path in sorted(paths.JOURNAL.glob("*.jsonl")))
    journals = {name: read_journal(name) for name in names if paths.IDENTITY.match(name)}
    return {identity: lines for identity, lines in journals.items() if lines}


def is_final(lines: Lines) -> bool:
    """Whether the coordinator of this journal has nothing left to do."""
    return Record(lines[-1]["record"]) in FINAL


def pending(journals: Mapping[str, Lines]) -> list[str]:
    """The relocations that have not ended."""
    return [identity for identity, lines in journals.items() if not is_final(lines)]


def stored(journals: Mapping[str, Lines]) -> list[Move]:
    """Moves whose container is only in the image, and that no later relocation has brought back."""
    moves = [move_of(lines) for lines in journals.values() if lines[-1]["record"] == Record.STORED]
    brought_back = {
        move_of(lines).recovers for lines in journals.values() if lines[-1]["record"] == Record.DONE
    }
    return [move for move in moves if move.id not in brought_back and not move.recovers]


def voted_of(relocation: str) -> Vote | None:
    """What a container that is only in the images of this relocation must be: its source's vote, which the
    record that says so has with it. None where there is none, of this shape."""
    try:
        lines = read_journal(relocation)
        return shapes.read(Vote, next(line["vote"] for line in lines if line["record"] == Record.STORED))
    except (OSError, StopIteration, KeyError, shapes.ShapeError):
        return None


def busy(journals: Mapping[str, Lines]) -> dict[str, set[str]]:
    """The containers whose place a relocation decides, open or only stored, with the hosts that it is
    between."""
    moves = [move_of(journals[identity]) for identity in pending(journals)] + stored(journals)
    found: dict[str, set[str]] = {}
    for move in moves:
        found.setdefault(move.container, set()).update(move.hosts)
    return found


def put_away(journals: Mapping[str, Lines], now: float) -> None:
    """Put the journals of what ended a while ago where nobody reads them all; remove the oldest.

    ``journals``: those at hand. Raises OSError.
    """
    needed = {*pending(journals), *(move.id for move in stored(journals))}
    # What was stored before what brought it back: alone it would look as if nothing had.
    for identity in sorted(journals.keys() - needed, key=lambda i: bool(move_of(journals[i]).recovers)):
        path = journal_file(identity)
        ended = path.stat().st_mtime
        if now - ended > AT_HAND_SECONDS:
            day = _history() / _day(ended)
            day.mkdir(parents=True, exist_ok=True, mode=0o700)
            if outcome_file(identity).exists():
                outcome_file(identity).rename(day / outcome_file(identity).name)
            path.rename(day / path.name)
    _prune(_day(now - KEEP_DAYS * 86400))


def has_moved(relocation: str) -> bool:
    """Whether this is one of those that moved, of which nothing but that is known any more."""
    try:
        return relocation in (_history() / MOVED).read_text().split()
    except FileNotFoundError:
        return False


def _history() -> Path:
    return paths.JOURNAL / "ended"


def _day(at: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(at))


def _put_away(relocation: str) -> Path | None:
    return next(_history().glob(f"????-??-??/{paths.checked(relocation)}.jsonl"), None)


def _prune(first: str) -> None:
    """Remove the days before ``first``, but for what a host may still have to be told."""
    for day in sorted(_history().glob("????-??-??")):
        if day.name < first:
            journals = ((path.stem, read_journal(path.stem)) for path in sorted(day.glob("*.jsonl")))
            # Of what was stored the source has forgotten its part before what brought it back could end.
            gone = {Record.DONE, Record.STORED}
            _note_moved(name for name, lines in journals if lines and Record(lines[-1]["record"]) in gone)
            shutil.rmtree(day)


def _note_moved(identities: Iterable[str]) -> None:
    """Durably, since the journals go next."""
    with (_history() / MOVED).open("a") as stream:
        stream.writelines(f"{identity}\n" for identity in identities)
        stream.flush()
        os.fsync(stream.fileno())
    _sync(_history())


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_DIRECTORY)
    os.fsync(handle)
    os.close(handle)
