"""The shared storage's directory of one relocation: who opens a file there does it through this module.

    spec.json          the container's configuration, from which the target creates it
    layer-0.{tar,json} the writable layer, copied while the container ran; layer-1: what changed since
    volume-N-0.{tar,json}, volume-N-1: each volume that travels likewise
    log-0, log-1       the container's log likewise
    images/            CRIU's images; work-dump/, work-restore/: its logs
    flows.json         the connections' conntrack entries
    inventory.json     what the source's kernel showed of the frozen container
    vote.json          what the source has voted with, under its seal, for after a loss of power

Whoever may write the storage is not believed: what is read here has a digest that came over a channel, a
seal, or a shape that it is held to. No file is opened through a link. Nobody waits for a file to appear.
"""

import hashlib
import hmac
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any

from relocate_proxy import paths
from relocate_proxy.kernel.flows import Flow
from relocate_proxy.protocol import shapes
from relocate_proxy.protocol.messages import Vote
from relocate_proxy.storage import beneath, images
from relocate_proxy.storage.layer import Packed

JsonObject = dict[str, Any]
MARKER = ".relocate-storage"  # the storage role puts it there
MOST_FLOWS = 1 << 18  # nf_conntrack's own bound on a large host
LARGEST_DOCUMENT = 1 << 28
NO_LINKS = 0x2000  # ST_NOSYMFOLLOW, Linux 5.10; CRIU and runc open the images by their paths


class StorageError(Exception):
    """What lies on the storage is not what it should be, or the storage does not take or give it."""


@dataclass(frozen=True)
class Flows:
    """``flows.json``."""

    flows: Annotated[tuple[Flow, ...], shapes.at_most(MOST_FLOWS)]


@dataclass(frozen=True)
class _Sealed:
    """``vote.json``: the digest of the images comes as soon as it is known."""

    vote: Vote
    seal: shapes.Digest


def require() -> None:
    """Raises StorageError when this host has not the storage that the others have: what it would write where
    that should be mounted nobody would find. And where links are followed: whoever may write there would
    have CRIU and runc, which go by paths, write elsewhere as root."""
    if not (paths.STORAGE / MARKER).exists():
        raise StorageError(f"the shared storage is not here: mount {paths.STORAGE}")
    if not os.statvfs(paths.STORAGE).f_flag & NO_LINKS:
        raise StorageError(
            f"links on the shared storage are followed: mount {paths.STORAGE} with nosymfollow"
        )


class StorageArea:
    """One relocation's directory, 0700; its files 0600."""

    def __init__(self, relocation: str) -> None:
        self.directory = paths.storage_dir(relocation)
        self.images = self.directory / "images"
        self.dump_work = self.directory / "work-dump"
        self.restore_work = self.directory / "work-restore"

    def create(self) -> None:
        """Raises OSError when the storage is not there, or refuses."""
        for directory in (self.directory, self.images, self.dump_work, self.restore_work):
            directory.mkdir(mode=0o700, exist_ok=True)

    def remove(self) -> None:
        """All of it, if it is there. Raises OSError when the storage keeps it."""
        with suppress(FileNotFoundError):
            shutil.rmtree(self.directory)

    @property
    def is_there(self) -> bool:
        """Whether there is anything of this relocation."""
        return self.directory.is_dir()

    def layer(self, round_: int) -> Path:
        """The archive of a copy of the writable layer; its listing lies beside it."""
        return self.directory / f"layer-{round_}.tar"

    def volume(self, number: int, round_: int) -> Path:
        """Likewise, of the volume that the configuration names at this place."""
        return self.directory / f"volume-{number}-{round_}.tar"

    # The configuration.

    def write_configuration(self, specification: JsonObject) -> str:
        """Its digest is what both parties state to host0."""
        return self._write_stated("spec.json", json.dumps(specification).encode())

    def read_configuration(self) -> tuple[JsonObject, str]:
        """The configuration and the digest of the bytes that were read."""
        text = self._read("spec.json")
        specification = shapes.document(text)
        if not isinstance(specification, dict):
            raise StorageError("spec.json is not an object")
        return specification, hashlib.sha256(text).hexdigest()

    # What is carried beside the images.

    def write_flows(self, flows: list[Flow]) -> str:
        """Returns the digest."""
        text = json.dumps(shapes.write(Flows(tuple(flows)))).encode()
        return self._write_stated("flows.json", text)

    def read_flows(self, digest: str) -> list[Flow]:
        """Raises StorageError when they are not those of ``digest``, or not of their shape."""
        return list(shapes.parse(Flows, self._read_stated("flows.json", digest)).flows)

    def write_inventory(self, text: bytes) -> str:
        """Returns the digest."""
        return self._write_stated("inventory.json", text)

    def read_inventory(self, digest: str) -> bytes:
        """Raises StorageError when it is not that of ``digest``."""
        return self._read_stated("inventory.json", digest)

    def copy_log(self, log: Path, round_: int, since: int = 0) -> int:
        """Copy a container's log from byte ``since``; returns its length. One that is not there is empty."""
        with self._create(f"log-{round_}") as target:
            try:
                with log.open("rb") as stream:
                    stream.seek(since)
                    shutil.copyfileobj(stream, target)
                    return stream.tell()
            except FileNotFoundError:
                return 0

    def append_log(self, round_: int, log: Path) -> None:
        """Put what ``copy_log`` took at the end of the log of the container that is to have it."""
        with beneath.regular_file(self.directory / f"log-{round_}") as stream:
            if os.fstat(stream.fileno()).st_size == 0:
                return  # another log driver's keep no such file
            with log.open("ab") as target:
                os.fchmod(target.fileno(), 0o640)
                shutil.copyfileobj(stream, target)

    # The images.

    def write_descriptors(self, descriptors: list[str]) -> None:
        """runc restore reads this before it talks to CRIU; the dump will write the same."""
        self._write("images/descriptors.json", json.dumps(descriptors).encode())

    def digest(
        self,
        copies: list[Packed | None],
        known: Mapping[str, str] | None = None,
        instead: Mapping[str, str] | None = None,
    ) -> str:
        """Of all images and of the copies of the layer and the volumes (`images.digest_of_all`)."""
        beside = [digest for each in copies if each for digest in (each.listing, each.archive)]
        return images.digest_of_all(self.images, beside, known, instead)

    def dump_error(self) -> str:
        """Why a dump failed, in CRIU's words, or in the system's if nothing can be written here; or empty."""
        return images.first_error(self.dump_work / "dump.log") or self._refusal()

    def restore_error(self) -> str:
        """CRIU's own reason that a restore failed, or empty."""
        return images.first_error(self.restore_work / "restore.log")

    def _refusal(self) -> str:
        """Why the storage takes no images, in the system's words; empty if it does."""
        try:
            self._write("probe", bytes(1 << 16))
            (self.directory / "probe").unlink()
        except OSError as error:
            return f"the shared storage takes no image: {error.strerror}"
        return ""

    # The vote.

    def write_vote(self, vote: Vote, key: str) -> None:
        """Replaces what was there. ``key``: a secret of this host, for this relocation."""
        self._write("vote.json", json.dumps(shapes.write(_Sealed(vote, _seal(vote, key)))).encode())

    def read_vote(self, key: str) -> Vote | None:
        """What this host has voted with; None if it has not. Raises ShapeError, or StorageError if it was
        written by another."""
        try:
            found = shapes.parse(_Sealed, self._read("vote.json"))
        except FileNotFoundError:
            return None
        if not key or not hmac.compare_digest(found.seal, _seal(found.vote, key)):
            raise StorageError("vote.json was changed on the shared storage")
        return found.vote

    # Files.

    def _write(self, name: str, text: bytes) -> None:
        """Replace a file as a whole."""
        beneath.replace_file(self.directory / name, text)

    def _write_stated(self, name: str, text: bytes) -> str:
        """Likewise; the digest, which its reader gets over a channel."""
        self._write(name, text)
        return hashlib.sha256(text).hexdigest()

    def _read_stated(self, name: str, digest: str) -> bytes:
        """Raises StorageError when it is not that of ``digest``."""
        text = self._read(name)
        if hashlib.sha256(text).hexdigest() != digest:
            raise StorageError(f"{name} was changed on the shared storage")
        return text

    def _create(self, name: str) -> IO[bytes]:
        return beneath.new_file(self.directory / name)

    def _read(self, name: str) -> bytes:
        with beneath.regular_file(self.directory / name) as stream:
            text: bytes = stream.read(LARGEST_DOCUMENT + 1)
        if len(text) > LARGEST_DOCUMENT:
            raise StorageError(f"{name} on the shared storage is too large")
        return text


def _seal(vote: Vote, key: str) -> str:
    text = json.dumps(shapes.write(vote), sort_keys=True).encode()
    return hmac.new(key.encode(), text, hashlib.sha256).hexdigest()
