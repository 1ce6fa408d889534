"""CRIU's images: the new IP goes into files.img, and one digest binds what was dumped to what is
restored.

Formats: criu.org/Images. files.img is two magic words, then entries ``[u32 length][protobuf file_entry]``.
"""

import hashlib
import ipaddress
import json
import os
import re
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from relocate_proxy.storage import beneath

AF_INET, AF_INET6 = 2, 10
MAPPED_PREFIX = [0, 0, int.from_bytes(b"\x00\x00\xff\xff", "little")]
HEADER_BYTES = 8
FILES = "files.img"
DUMPED_FILES = "files.dumped"  # is no image: the digest does not cover it
LOG_BYTES = 16 << 20
FOLLOW_SECONDS = 0.001
BLOCK_BYTES = 1 << 18  # SHA-256 of it takes a fraction of a millisecond
ERROR_LINE = re.compile(r"Error \([^)]*\): (?P<words>.*)")
HARMLESS = (
    "rlimit: Can't setup RLIMIT_NOFILE for self",
)  # said, and ignored, wherever CAP_SYS_RESOURCE is missing


def _word(address: str) -> int:
    """An IPv4 address as CRIU stores it: the bytes in network order, read as a little-endian u32."""
    return int.from_bytes(ipaddress.IPv4Address(address).packed, "little")


def _entries(data: bytes, message: Any) -> Iterator[tuple[int, int, Any]]:
    """Yield ``(start, end, entry)`` of each entry, the length word included."""
    at = HEADER_BYTES
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        end = at + 4 + size
        yield at, end, message.FromString(data[at + 4 : end])
        at = end


def rewrite_addresses(files_img: Path, moved: Mapping[str, str]) -> int:
    """Replace each old address of ``moved`` by its new one in every Internet socket, as its own and as its
    peer's; return how many sockets were changed. A peer at an old address is the container itself.

    All at once: what is old on one host may be new on the other. Sockets bound to any address or to loopback
    keep theirs. IPv4-mapped IPv6 addresses (dual-stack servers) are rewritten too.

    Raises OSError when the image cannot be read or written.
    """
    with beneath.regular_file(files_img, writable=True) as image:
        rewritten, changed = _rewritten(image.read(), moved)
        if changed:
            image.seek(0)
            image.write(rewritten)
            image.truncate()
    return changed


def take_over(directory: Path, moved: Mapping[str, str]) -> dict[str, str]:
    """Make complete images, dumped for a target that never ran them, ready for one at other addresses.

    What was dumped is kept beside them, so that this can be done again for another target. Returns what the
    digest of the rewritten image stands for: `digest_of_all` takes it as ``instead``, and so still says what
    was dumped. Raises OSError.
    """
    original = directory / DUMPED_FILES
    try:
        with beneath.regular_file(original) as kept:
            data = kept.read()
    except FileNotFoundError:
        with beneath.regular_file(directory / FILES) as image:
            data = image.read()
        beneath.replace_file(original, data)
    rewritten, _ = _rewritten(data, moved)
    beneath.replace_file(directory / FILES, rewritten)
    return {hashlib.sha256(rewritten).hexdigest(): hashlib.sha256(data).hexdigest()}


def _rewritten(data: bytes, moved: Mapping[str, str]) -> tuple[bytes, int]:
    from pycriu.images.fdinfo_pb2 import file_entry

    words = {_word(old): _word(new) for old, new in moved.items()}
    parts, kept_from, changed = [data[:HEADER_BYTES]], HEADER_BYTES, 0
    for start, end, entry in _entries(data, file_entry):
        if not entry.HasField("isk"):
            continue
        own = _replace(entry.isk.src_addr, entry.isk.family, words)
        peers = _replace(entry.isk.dst_addr, entry.isk.family, words)
        if not (own or peers):
            continue
        changed += 1
        payload = entry.SerializeToString()
        parts += [data[kept_from:start], struct.pack("<I", len(payload)), payload]
        kept_from = end
    return b"".join([*parts, data[kept_from:]]), changed


def _replace(address: Any, family: int, words: Mapping[int, int]) -> bool:
    """Replace it in place; whether it was an old one."""
    if family == AF_INET and len(address) == 1:
        at = 0
    elif family == AF_INET6 and list(address)[:3] == MAPPED_PREFIX:
        at = 3
    else:
        return False
    if address[at] not in words:
        return False
    address[at] = words[address[at]]
    return True


def digest_of_all(
    directory: Path,
    beside: list[str],
    known: Mapping[str, str] | None = None,
    instead: Mapping[str, str] | None = None,
) -> str:
    """One SHA-256 for the names and contents of all images, and for the digests of what travels ``beside``
    them; of an image that is in ``known`` it is taken from there, and one in ``instead`` stands for another.
    """
    names = (entry for entry in sorted(directory.iterdir()) if entry.suffix in (".img", ".json"))
    found = ((entry.name, (known or {}).get(entry.name) or _digest(entry)) for entry in names)
    digests = [[name, (instead or {}).get(digest, digest)] for name, digest in found]
    return hashlib.sha256(json.dumps([digests, beside]).encode()).hexdigest()


class Follower:
    """SHA-256 of the images of memory, taken while CRIU appends to them."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hashes: dict[Path, Any] = {}
        self.read: dict[Path, int] = {}

    def follow(self, ended: threading.Event) -> None:
        """Read on until the dump has ``ended``. Raises OSError when the storage fails."""
        while not ended.wait(FOLLOW_SECONDS):
            for _ in self._blocks():
                if ended.is_set():
                    return

    def digests(self) -> dict[str, str]:
        """What `digest_of_all` takes as known. To be called when the images are complete."""
        for _ in self._blocks():
            os.sched_yield()
        return {path.name: found.hexdigest() for path, found in self.hashes.items()}

    def _blocks(self) -> Iterator[None]:
        """Take in what has come, and pause after each block."""
        for path in self.directory.glob("pages-*.img"):
            found = self.hashes.setdefault(path, hashlib.sha256())
            with beneath.regular_file(path) as stream:
                stream.seek(self.read.get(path, 0))
                while block := stream.read(BLOCK_BYTES):
                    found.update(block)
                    self.read[path] = stream.tell()
                    yield


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with beneath.regular_file(path) as stream:
        while block := stream.read(BLOCK_BYTES):
            found.update(block)
            os.sched_yield()  # to CRIU, if it waits for this core
    return found.hexdigest()


def first_error(log: Path) -> str:
    """CRIU's own first error line in ``log`` that stopped it, or an empty string."""
    try:
        with beneath.regular_file(log) as stream:
            lines = stream.read(LOG_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return ""
    errors = [match["words"] for line in lines if (match := ERROR_LINE.search(line))]
    return next((words for words in errors if not words.startswith(HARMLESS)), "")
