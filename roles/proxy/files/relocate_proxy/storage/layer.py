"""The container's writable layer and its volumes: a full copy ahead of the window, inside it what changed.

A layer is read from the overlay's upper directory on the source (whiteouts are character devices 0:0, opaque
directories bear ``trusted.overlay.opaque=y``: kernel.org, overlayfs.rst), applied through the mounted root
file system on the target, as deletions followed by a tar archive. Never written to an upper directory that is
mounted. A volume is a plain directory; its own owner, mode and times are a part of it (``ROOT``).

A container that runs while it is copied can swap a directory for a link, so that the archive carries files
below that link. What reads and writes is therefore confined to the layer and to the root that it is applied
to: whatever the container does, it reaches its own files only, here and there.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import stat
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

from relocate_proxy.protocol import shapes
from relocate_proxy.storage import beneath, tar

ROOT = "."
OPAQUE = "trusted.overlay.opaque"
CLOCK_SLACK_SECONDS = 1.0  # ctime is taken from a coarse clock; copying a file twice is harmless
LISTING_BYTES = 1 << 28  # some millions of names

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Snapshot:
    """What a copy has seen: its start (seconds since the epoch), of each directory its inode and its names,
    and which of them were opaque. Of one not known to have been, an opaque directory is copied whole."""

    taken_at: float = 0.0
    directories: dict[str, tuple[int, frozenset[str]]] = field(default_factory=dict)
    opaque: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Changes:
    """Paths relative to the root of the layer, in an order that can be applied: removed first, parents
    before children. Of ``kept``, directories too, the earlier copy has what is not named here."""

    removed: list[str]
    directories: list[str]
    others: list[str]
    kept: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.removed or self.directories or self.others)


@dataclass(frozen=True)
class Packed:
    """SHA-256, in hexadecimal, of what ``pack`` wrote; ``archive`` is empty if no archive was needed."""

    listing: shapes.Digest
    archive: shapes.Digest = ""


class _Look(NamedTuple):
    since: Snapshot
    plain: bool
    mapped: frozenset[int]


class _Directory(NamedTuple):
    path: str  # with a slash, or empty
    inside_new: bool = False
    touched: bool = False


def changes(
    upper: Path, since: Snapshot, *, plain: bool = False, mapped: frozenset[int] = frozenset()
) -> tuple[Changes, Snapshot]:
    """Compare ``upper`` with what an earlier copy saw (an empty Snapshot: all of it).

    ``plain``: it is a volume; ``mapped``: inodes of files that a process can write now without the kernel's
    noting when (`written_in_place`). What vanishes meanwhile, of a container that runs, is left out. Raises
    OSError when the layer cannot be read, or a volume has what is none of a volume.
    """
    look = _Look(since, plain, mapped)
    found = Changes([], [], [])
    stamp = time.time() - CLOCK_SLACK_SECONDS
    seen: dict[str, tuple[int, frozenset[str]]] = {}
    opaque: set[str] = set()
    root = os.open(upper, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if mapped and not since.directories:
            write_back(upper)  # after the stamp: what is written from now on is noted
        if plain and os.fstat(root).st_ctime >= since.taken_at:
            found.directories.append(ROOT)
        stack = [_Directory("")]
        while stack:
            here = stack.pop()
            opened = beneath.directory(root, here.path.removesuffix("/"))
            if opened is None:
                continue
            try:
                below, names, is_opaque = _compare(opened, here, look, found)
                seen[here.path] = (os.fstat(opened).st_ino, names)
            finally:
                os.close(opened)
            stack += below
            if is_opaque:
                opaque.add(here.path)
    finally:
        os.close(root)
    return found, Snapshot(stamp, seen, frozenset(opaque))


def _compare(
    opened: int, here: _Directory, look: _Look, found: Changes
) -> tuple[list[_Directory], frozenset[str], bool]:
    """Sort what changed in one directory into ``found``; return the directories in it, the names in it, and
    whether it is opaque.

    It is new, and all below it, unless the earlier copy saw it here, and as opaque if it is now: an inode
    number alone may have been given again, to one that hides more of the image.
    """
    since = look.since
    inode, before = since.directories.get(here.path, (0, frozenset[str]()))
    unlike = here.inside_new or inode != os.fstat(opened).st_ino
    was_opaque = here.path in since.opaque
    is_opaque = _is_opaque(opened) if unlike or here.touched else was_opaque
    new = unlike or (is_opaque and not was_opaque)
    name = here.path.removesuffix("/")
    if name and new and (is_opaque or inode):
        found.removed.append(name)
    if name and (new or here.touched):
        found.directories.append(name)
    if name and here.touched and not new:
        found.kept.append(name)
    below: list[_Directory] = []
    names: set[str] = set()
    for entry, status in _entries(opened):
        names.add(entry)
        touched = new or entry not in before or status.st_ctime >= since.taken_at
        touched = touched or status.st_ino in look.mapped
        if stat.S_ISDIR(status.st_mode):
            below.append(_Directory(f"{here.path}{entry}/", new, touched))
        elif touched:
            if look.plain:
                _refuse_device(here.path + entry, status)
            (found.removed if _is_absent(status) else found.others).append(here.path + entry)
    if not new:
        found.removed.extend(here.path + gone for gone in before - names)
    return below, frozenset(names), is_opaque


def _refuse_device(path: str, status: os.stat_result) -> None:
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        raise OSError(f"{path!r:.100} in a volume is a device, which does not travel")


def write_back(root: Path) -> None:
    """Have all of the file system of ``root`` on its disk. Raises OSError when the disk fails.

    A page that is clean is noted when a mapping of it is written, in the times of its file; not by every file
    system (tmpfs): see `written_in_place`.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _libc.syncfs(descriptor):
            raise OSError(ctypes.get_errno(), "syncfs", str(root))
    finally:
        os.close(descriptor)


def written_in_place(pids: Iterable[str], proc: Path = Path("/proc")) -> frozenset[int]:
    """Inodes of the files that these processes have mapped shared and writable."""
    found = set[int]()
    for pid in pids:
        with contextlib.suppress(OSError), (proc / pid / "maps").open(errors="replace") as lines:
            for line in lines:
                _, rights, _, _, inode, *_ = line.split(maxsplit=5)
                if rights[1] == "w" and rights[3] == "s":
                    found.add(int(inode))
    return frozenset(found - {0})


def _entries(opened: int) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(opened) as entries:
        for entry in entries:
            try:
                yield entry.name, entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue


def _is_opaque(opened: int) -> bool:
    with contextlib.suppress(OSError):
        return os.getxattr(opened, OPAQUE) == b"y"
    return False


def _is_absent(status: os.stat_result) -> bool:
    """Whether nothing is to be copied, and what the target has there must go: a whiteout, or a socket, which
    CRIU makes."""
    return (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0) or stat.S_ISSOCK(status.st_mode)


def pack(upper: Path, found: Changes, archive: Path, frozen: bool = True) -> Packed:
    """Write ``found`` beside ``archive`` as JSON and, if anything is to be copied, its files into
    ``archive``; return the digests of what was written.

    A container that is not ``frozen`` may put a link in the place of a directory meanwhile: tar is
    confined to the layer then, and reads through the link other files of the layer, under these names.
    Raises OSError when the storage or the layer fails (tar's own words in it).
    """
    names = found.directories + found.others
    digest = tar.create(upper, names, archive, confined=not frozen) if names else ""
    listing = json.dumps(asdict(found)).encode()
    partial = archive.with_suffix(".partial")
    with beneath.new_file(partial) as stream:
        stream.write(listing)
    partial.rename(archive.with_suffix(".json"))
    return Packed(hashlib.sha256(listing).hexdigest(), digest)


def unpack(
    archive: Path,
    root: Path,
    expected: Packed | None = None,
    waiting: tar.Extraction | None = None,
    *,
    plain: bool = False,
) -> Packed:
    """Apply what ``pack`` wrote to the mounted root file system ``root`` of a container that does not run,
    through ``waiting`` if it was started ahead, there, or to a volume (``plain``); return the digests of what
    was applied.

    Raises OSError when the target's disk or the archive fails, and, before anything is changed, when what
    lies there is not what is ``expected``, or names what cannot be part of a layer. What is extracted is
    digested once more, as it goes by: if the storage changed it in between, OSError again, and the root
    must not be used.
    """
    with beneath.regular_file(archive.with_suffix(".json")) as stream:
        listing = stream.read(LISTING_BYTES + 1)
    listed = hashlib.sha256(listing).hexdigest()
    if expected:
        _demand(listed, expected.listing, archive.with_suffix(".json"))
    found = _listing(listing, plain)
    if not (found.directories or found.others):
        _clear(root, found)
        return Packed(listed)
    ready = contextlib.nullcontext(waiting) if waiting else contextlib.closing(tar.Extraction(root))
    with ready as extraction, beneath.regular_file(archive) as stream:
        if expected:
            _demand(hashlib.file_digest(stream, "sha256").hexdigest(), expected.archive, archive)
            stream.seek(0)
        _clear(root, found)
        digest = extraction.feed(stream)
    if expected:
        _demand(digest, expected.archive, archive)
    return Packed(listed, digest)


def _demand(digest: str, expected: str, path: Path) -> None:
    if digest != expected:
        raise OSError(f"{path.name} on the shared storage is not what the source wrote")


def _listing(text: bytes, plain: bool = False) -> Changes:
    """Raises OSError unless it is made of names that lie below a root."""
    if len(text) > LISTING_BYTES:
        raise OSError("the layer's listing is too long")
    try:
        found = Changes(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        raise OSError("the layer's listing cannot be read") from None
    for names in (found.removed, found.directories, found.others, found.kept):
        if not isinstance(names, list):
            raise OSError("the layer's listing cannot be read")
        for name in names:
            is_root = plain and name == ROOT and names is found.directories
            if not (is_root or beneath.is_name(name)):
                raise OSError(f"the layer's listing has a name that is none of a layer: {name!r:.100}")
    return found


def empty(root: Path) -> None:
    """Remove all that is in a directory. Raises OSError."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for name in os.listdir(descriptor):  # noqa: PTH208 - of a descriptor
            beneath.remove(descriptor, name)
    finally:
        os.close(descriptor)


def _clear(root: Path, found: Changes) -> None:
    """Remove what was removed, and what is in the way of what comes.

    Raises OSError, before it does, if there is no directory where the earlier copy should have brought one:
    it was renamed, and met nothing or a link in its place, and what was in it is missing.
    """
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        parents = {name.rpartition("/")[0] for name in found.directories + found.others}
        for path in {*found.kept, *(parents - {"", *found.directories})}:
            if not beneath.is_directory(descriptor, path):
                raise OSError(f"{path!r:.100} was moved while it was copied")
        for path in found.removed:
            beneath.remove(descriptor, path)
        for path in found.directories:
            if not beneath.is_directory(descriptor, path):
                beneath.remove(descriptor, path)
        for path in found.others:
            if beneath.is_directory(descriptor, path):
                beneath.remove(descriptor, path)
    finally:
        os.close(descriptor)
