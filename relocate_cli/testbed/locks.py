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
_HELD: set[int] = set()


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
        _HELD.add(descriptor)
        yield descriptor
    finally:
        _HELD.discard(descriptor)
        os.close(descriptor)


def descriptors() -> tuple[int, ...]:
    """Those of all locks that this process holds: a child that inherits them holds them to its own end."""
    return tuple(_HELD)


def _taken(descriptor: int) -> bool:
    """Try for a moment: of a run that was killed, a child may still be about to end."""
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
