"""The container's writable layer: a full copy ahead of the window, and inside it only what changed since.

Read from the overlay's upper directory on the source (whiteouts are character devices 0:0, opaque directories
bear ``trusted.overlay.opaque=y``: kernel.org, overlayfs.rst), applied through the mounted root file system on
the target, as deletions followed by a tar archive. Never written to an upper directory that is mounted.
"""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

OPAQUE = "trusted.overlay.opaque"
CLOCK_SLACK_SECONDS = 1.0  # ctime is taken from a coarse clock; copying a file twice is harmless
XATTRS = ["--acls", "--xattrs", "--xattrs-include=*", "--xattrs-exclude=trusted.overlay.*"]
TAR_CREATE = [
    *("tar", "--create", "--no-recursion", "--numeric-owner", "--sparse", "--format=posix", *XATTRS),
    *("--warning=no-file-ignored", "--warning=no-file-changed", "--ignore-failed-read"),
]
TAR_EXTRACT = [
    *("tar", "--extract", "--numeric-owner", "--same-owner", "--preserve-permissions", "--sparse", *XATTRS),
    "--delay-directory-restore",
]

# A root file system of its own, in which there is nothing but programs and the layer at /layer.
CONFINED = [
    *("unshare", "--mount", "--propagation", "private", "sh", "-euc"),
    "mount -t tmpfs -o mode=700 none /mnt; mkdir /mnt/usr /mnt/layer; ln -s usr/lib usr/lib64 usr/bin /mnt;"
    ' mount --bind /usr /mnt/usr; mount --bind "$0" /mnt/layer; exec chroot /mnt "$@"',
]


@dataclass(frozen=True)
class Snapshot:
    """What a copy has seen: its start (seconds since the epoch), and of each directory its inode and its
    names."""

    taken_at: float = 0.0
    directories: dict[str, tuple[int, frozenset[str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Changes:
    """Paths relative to the root of the layer, in an order that can be applied: removed first, parents
    before children."""

    removed: list[str]
    directories: list[str]
    others: list[str]

    def __bool__(self) -> bool:
        return bool(self.removed or self.directories or self.others)


def changes(upper: Path, since: Snapshot) -> tuple[Changes, Snapshot]:
    """Compare ``upper`` with what an earlier copy saw (an empty Snapshot: all of it).

    Raises OSError when the layer cannot be read.
    """
    found = Changes([], [], [])
    after: dict[str, tuple[int, frozenset[str]]] = {}
    stamp = time.time() - CLOCK_SLACK_SECONDS
    for path, inode, entries, fresh in _walk(upper, since):
        names = frozenset(entry.name for entry in entries)
        after[path] = (inode, names)
        if not fresh:
            found.removed.extend(path + name for name in since.directories[path][1] - names)
        elif path in since.directories:  # another directory took this name
            found.removed.append(path.removesuffix("/"))
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            if not fresh and status.st_ctime < since.taken_at and entry.name in since.directories[path][1]:
                continue
            _sort_in(found, path + entry.name, entry, status)
    return found, Snapshot(stamp, after)


def _walk(upper: Path, since: Snapshot) -> Iterator[tuple[str, int, list[os.DirEntry[str]], bool]]:
    """Yield ``(path with a slash, inode, entries, is new)`` of each directory, parents first. All below
    a new one is new."""
    stack = [("", upper.stat().st_ino, False)]
    while stack:
        path, inode, inside_new = stack.pop()
        seen = since.directories.get(path)
        fresh = inside_new or seen is None or seen[0] != inode
        with os.scandir(upper / path) as iterator:
            entries = list(iterator)
        stack += [(f"{path}{e.name}/", e.inode(), fresh) for e in entries if e.is_dir(follow_symlinks=False)]
        yield path, inode, entries, fresh


def _sort_in(found: Changes, path: str, entry: os.DirEntry[str], status: os.stat_result) -> None:
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        found.removed.append(path)
    elif stat.S_ISDIR(status.st_mode):
        with contextlib.suppress(OSError):
            if os.getxattr(entry.path, OPAQUE, follow_symlinks=False) == b"y":
                found.removed.append(path)
        found.directories.append(path)
    elif not stat.S_ISSOCK(status.st_mode):
        found.others.append(path)


def pack(upper: Path, found: Changes, archive: Path, frozen: bool = True) -> None:
    """Write ``found`` beside ``archive`` as JSON and, if anything is to be copied, its files into
    ``archive``.

    A container that is not ``frozen`` may put a link in the place of a directory meanwhile: tar is
    confined to the layer then. Raises OSError when the storage or the layer fails (tar's own words in it).
    """
    names = found.directories + found.others
    if names:
        listing = b"\0".join(os.fsencode(name) for name in names)
        confined = [] if frozen else [*CONFINED, str(upper)]
        place = ["--directory", str(upper) if frozen else "/layer"]
        command = [
            *confined,
            *TAR_CREATE,
            "--file=-",
            *place,
            "--null",
            "--verbatim-files-from",
            "--files-from=-",
        ]
        with archive.open("wb") as stream:
            _run(command, listing, stream)
    listing_path = archive.with_suffix(".json")
    partial = listing_path.with_suffix(".partial")
    partial.write_text(
        json.dumps({"removed": found.removed, "directories": found.directories, "others": found.others})
    )
    partial.rename(listing_path)


def unpack(archive: Path, root: Path) -> None:
    """Apply what ``pack`` wrote to the mounted root file system ``root`` of a container that does not run.

    Raises OSError when the target's disk or the archive fails.
    """
    found = Changes(**json.loads(archive.with_suffix(".json").read_text()))
    for path in found.removed:
        _remove(root, path)
    for path in found.directories:
        if not _is(root, path, stat.S_ISDIR):
            _remove(root, path)
    for path in found.others:
        if _is(root, path, stat.S_ISDIR):
            _remove(root, path)
    if found.directories or found.others:
        _run([*TAR_EXTRACT, "--file", str(archive), "--directory", str(root)], b"")


def _parent(root: Path, path: str) -> tuple[int, str] | None:
    """Open the directory of ``path`` below ``root`` without following any link; None if it is not there."""
    *parents, name = path.split("/")
    directory = os.open(root, os.O_DIRECTORY | os.O_RDONLY)
    for part in parents:
        try:
            below = os.open(part, os.O_DIRECTORY | os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
        except OSError:
            return None
        finally:
            os.close(directory)
        directory = below
    return directory, name


def _is(root: Path, path: str, kind: object) -> bool:
    place = _parent(root, path)
    if place is None:
        return False
    directory, name = place
    try:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except OSError:
        return False
    finally:
        os.close(directory)
    return bool(kind(mode)) if callable(kind) else False


def _remove(root: Path, path: str) -> None:
    place = _parent(root, path)
    if place is None:
        return
    directory, name = place
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            shutil.rmtree(name, dir_fd=directory)
        else:
            os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    finally:
        os.close(directory)


def _run(command: list[str], stdin: bytes, stdout: IO[bytes] | int = subprocess.DEVNULL) -> None:
    ended = subprocess.run(command, input=stdin, stdout=stdout, stderr=subprocess.PIPE, check=False)
    if ended.returncode > 1:  # 1: a file changed while it was read; the window copies it again
        raise OSError(f"tar: {ended.stderr.decode(errors='replace').strip().splitlines()[-1:]}")
