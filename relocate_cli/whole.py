"""Files that others read while they are replaced."""

import os
import tempfile
from pathlib import Path

from relocate_cli.errors import UsageError


def write(path: Path, content: str, *, secret: bool, hint: str) -> None:
    """Replace ``path`` so that a reader, or a crash, never meets half of it.

    ``secret``: with what not everybody may read. Then it is its owner's alone, or whoever's the operator has
    made the file that it replaces. Raises UsageError with ``hint`` if the file cannot be written.
    """
    try:
        if path.exists() and not path.is_file():  # a device that root has named would be gone
            raise UsageError(f"{path}: it is no regular file", hint)
        mode, owner = _access(path) if secret else (0o644, None)
        _replace(path, content, mode, owner)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint) from None


def _replace(path: Path, content: str, mode: int, owner: tuple[int, int] | None) -> None:
    with tempfile.NamedTemporaryFile(
        "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as handle:
        place = Path(handle.name)
        try:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
            if owner is not None:
                os.chown(place, *owner)
            place.chmod(mode)
            place.rename(path)
        except BaseException:
            place.unlink()
            raise


def _access(path: Path) -> tuple[int, tuple[int, int] | None]:
    """Mode and owners of a secret file: the old one's, without what it let everybody do."""
    try:
        before = path.stat()
    except FileNotFoundError:
        return 0o600, None
    return before.st_mode & 0o640, (before.st_uid, before.st_gid)
