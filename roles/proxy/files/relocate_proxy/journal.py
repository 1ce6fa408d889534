"""host0's journal, the one authority: a file for each relocation, a line for each record."""

import fcntl
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from relocate_proxy import paths


def journal_file(relocation: str) -> Path:
    """The journal of one relocation: a line a record, the first with the move."""
    return paths.JOURNAL / f"{relocation}.jsonl"


def read_journal(relocation: str) -> list[dict[str, Any]]:
    """All whole lines of a journal; a line that a crash cut off was never acted upon."""
    lines = []
    for line in journal_file(relocation).read_text().splitlines():
        try:
            lines.append(json.loads(line))
        except ValueError:
            break
    return lines


def open_journal(relocation: str) -> BinaryIO:
    """Open the journal to append, for one coordinator alone; a line that a crash cut off is cut away.

    Raises BlockingIOError when another coordinator has it.
    """
    paths.JOURNAL.mkdir(parents=True, exist_ok=True, mode=0o700)
    stream = journal_file(relocation).open("ab+")
    fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    stream.seek(0)
    stream.truncate(stream.read().rfind(b"\n") + 1)
    directory = os.open(paths.JOURNAL, os.O_DIRECTORY)
    os.fsync(directory)
    os.close(directory)
    return stream


def outcome_file(relocation: str) -> Path:
    """What became of a relocation, for `fire`."""
    return paths.JOURNAL / f"{relocation}.outcome.json"
