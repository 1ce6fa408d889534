"""One run at a time: locks that end with the process that holds them and its children that inherit them."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relocate_cli.errors import LockedError
from relocate_cli.render import note

PATIENCE = 1.0


@contextmanager
def held(path: Path, occupied: str, wait: bool = False) -> Iterator[int]:
    """Hold the lock file ``path``; yields its descriptor. When it is taken, wait or raise LockedError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _taken(descriptor):
            if not wait:
                raise LockedError(occupied, "wait until it ends")
            note(f"testbed: {occupied}; waiting")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    """Try for a moment: of a run that was killed, a child may still be between fork and exec."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True
