"""GNU tar, run in a layer or in a container's root, with the digest of what it writes or reads."""

import contextlib
import hashlib
import os
import subprocess
from pathlib import Path
from typing import IO

from relocate_proxy.storage import beneath

BLOCK_BYTES = 1 << 18
XATTRS = ["--acls", "--xattrs", "--xattrs-include=*", "--xattrs-exclude=trusted.overlay.*"]
CREATE = [
    *("tar", "--create", "--no-recursion", "--numeric-owner", "--sparse", "--format=posix", *XATTRS),
    *("--warning=no-file-ignored", "--warning=no-file-changed", "--ignore-failed-read", "--file=-"),
    *("--null", "--verbatim-files-from", "--files-from=-"),
]
# Without names: tar compares each member with each of them, a minute for 100,000 files.
EXTRACT = [
    *("tar", "--extract", "--numeric-owner", "--same-owner", "--preserve-permissions", "--sparse", *XATTRS),
    *("--delay-directory-restore", "--file=-"),
]


def create(place: Path, names: list[str], archive: Path, confined: bool) -> str:
    """Write the files ``names`` of ``place`` into ``archive``; return its SHA-256.

    What is not there is left out. Raises OSError when the storage or tar fails.
    """
    with _memory() as listing, beneath.new_file(archive) as sink:
        listing.write(b"\0".join(os.fsencode(name) for name in names))
        listing.seek(0)
        with contextlib.closing(_Tar(CREATE, place, confined, listing, subprocess.PIPE)) as tar:
            assert tar.process.stdout
            digest = _pump(tar.process.stdout, sink)
            tar.end()
    return digest


class Extraction:
    """A tar, confined to ``root``, that waits for its archive. It may be started ahead of the window, which
    then need not wait for it; whoever made it closes it."""

    def __init__(self, root: Path) -> None:
        """Raises OSError if it cannot be confined."""
        self._tar = _Tar(EXTRACT, root, True, subprocess.PIPE, subprocess.DEVNULL)

    def feed(self, archive: IO[bytes]) -> str:
        """Extract ``archive`` and return the SHA-256 of what was read. Raises OSError when tar or a disk
        fails."""
        assert self._tar.process.stdin
        digest = _pump(archive, self._tar.process.stdin)
        self._tar.end()
        return digest

    def close(self) -> None:
        """End it, whether or not it was fed. Idempotent."""
        self._tar.close()


class _Tar:
    def __init__(
        self, command: list[str], place: Path, confined: bool, stdin: IO[bytes] | int, stdout: int
    ) -> None:
        self.words = _memory()
        try:
            self.process = subprocess.Popen(
                command,
                cwd=None if confined else place,
                preexec_fn=beneath.confinement(place) if confined else None,
                stdin=stdin,
                stdout=stdout,
                stderr=self.words,
            )
        except subprocess.SubprocessError:
            self.words.close()
            raise OSError("tar could not be confined to the container's files: it needs root") from None
        except OSError:
            self.words.close()
            raise

    def end(self) -> None:
        """Wait for it. Raises OSError with its last words if it failed."""
        if self.process.wait() not in (0, 1):  # 1: a file changed while it was read; the window copies it
            self.words.seek(0)
            raise OSError(f"tar: {self.words.read().decode(errors='replace').strip().splitlines()[-1:]}")

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        self.process.wait()
        self.words.close()


def _memory() -> IO[bytes]:
    return os.fdopen(os.memfd_create("relocate"), "w+b")


def _pump(source: IO[bytes], sink: IO[bytes]) -> str:
    """Copy all of it, and close the sink; the SHA-256 of what was read. A tar that ended says itself why."""
    digest = hashlib.sha256()
    with contextlib.suppress(BrokenPipeError), sink:
        while block := source.read(BLOCK_BYTES):
            digest.update(block)
            sink.write(block)
    return digest.hexdigest()
