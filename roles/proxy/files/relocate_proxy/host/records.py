"""What a host remembers of a relocation, and where: one file a relocation on disk, what need not outlive this
boot under /run, and the one decision of a source.

    STATE/open/ID.json          SourceFacts or TargetFacts and the stage: durable where the protocol needs it
    RUN/relocation/ID/          sockets and logs of what waits for the window, the layer's snapshot
    RUN/target/CONTAINER/       what the OCI runtime of a prepared container works with
    RUN/decided/ID              voted or thawed, whoever came first; it outlives the relocation
"""

import json
import os
import secrets
import shutil
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, TypeVar

from relocate_proxy import paths
from relocate_proxy.protocol import shapes
from relocate_proxy.protocol.messages import Dumped, RestartPolicy
from relocate_proxy.storage.layer import Packed, Snapshot

JsonObject = dict[str, Any]
DECISION_SECONDS = 86400.0


class Stage(StrEnum):
    """How far a relocation is on a host."""

    ARMING = "arming"
    ARMED = "armed"
    FIRED = "fired"  # host0 has taken it up: only it may call it off
    RUNNING = "running"  # a target's: the copy is the engine's


class Decision(StrEnum):
    """A source's, of which there is one."""

    VOTED = "voted"
    THAWED = "thawed"


@dataclass(frozen=True)
class Volume:
    """One that travels, where it lies on this host; one that is anonymous goes with its container."""

    path: str
    name: str
    anonymous: bool
    first: Packed | None = None  # the first copy


@dataclass(frozen=True)
class SourceFacts:
    """What a source knows of the container that is to leave. ``address``: by which it is reached and sends,
    ``others``: in its other networks; ``links``: the host's ends of its cables."""

    container: str
    vip: str
    container_id: str
    pid: int
    address: str
    cgroup: str
    rootfs: str
    sandbox: str
    links: tuple[str, ...]
    others: tuple[str, ...] = ()
    lazy: bool = False
    configuration: str = ""  # digest of what the target creates from
    layer: Packed | None = None  # the first copy
    volumes: tuple[Volume, ...] = ()
    log_bytes: int = 0
    fired_at: float = 0.0
    restart_policy: RestartPolicy | None = None  # the tenant's, while ours is in its place
    key: str = ""  # of the seal on the vote: whoever may write the storage has it not
    checked: bool = False  # whether the engine runs a health check in it

    @property
    def addresses(self) -> tuple[str, ...]:
        """All of its addresses, in the order in which both hosts have them."""
        return (self.address, *self.others)


@dataclass(frozen=True)
class TargetFacts:
    """What a target knows of the container that is to come. ``storage`` names the relocation whose images it
    is restored from; ``waiter`` is `docker start`, ``engine`` the daemons that it was begun with."""

    container: str
    vip: str
    container_id: str
    storage: str
    restart_policy: RestartPolicy
    configuration: str = ""
    layer: Packed | None = None
    volumes: tuple[Volume, ...] = ()
    rootfs: str = ""
    namespace: str = ""
    address: str = ""
    others: tuple[str, ...] = ()  # its addresses in other networks
    interfaces: tuple[str, ...] = ()  # the container's ends of all its cables
    waiter: int = 0
    engine: tuple[int, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """All of its addresses, in the order in which both hosts have them."""
        return (self.address, *self.others)


def copies(facts: SourceFacts | TargetFacts, dumped: Dumped) -> list[Packed | None]:
    """Of what is restored besides the images: what the digest covers, in the order in which both hosts take
    it."""
    first = [facts.layer, *(volume.first for volume in facts.volumes)]
    return [*first, dumped.layer, *dumped.volumes]


Facts = TypeVar("Facts", SourceFacts, TargetFacts)


@dataclass(frozen=True)
class Open:
    """A relocation that is open on this host, as `remembered` tells host0."""

    id: str
    side: str
    container: str
    vip: str


class Record(Generic[Facts]):
    """One relocation on this host. ``SourceRecord`` and ``TargetRecord`` are the two kinds."""

    side = ""
    shape: type[Any]

    def __init__(self, relocation: str) -> None:
        self.relocation = relocation
        self.file = _open_file(relocation)
        self.run = paths.run_dir(relocation)

    def read(self) -> Facts | None:
        """What is known; None of a relocation that is not open here, or is the other side's."""
        entry = _read_entry(self.file)
        return _facts(self.shape, entry["facts"]) if entry.get("side") == self.side else None

    @property
    def stage(self) -> Stage | None:
        """How far it is; None if it is not open here."""
        entry = _read_entry(self.file)
        return Stage(entry["stage"]) if entry.get("side") == self.side else None

    @property
    def rebooted(self) -> bool:
        """Whether this host has started anew since: of what was prepared there is nothing then."""
        return _read_entry(self.file).get("boot") != _boot()

    def write(self, facts: Facts, stage: Stage, durable: bool = True) -> None:
        """Replace what is known; on disk when this returns if it must outlive a loss of power."""
        entry = {"side": self.side, "stage": stage, "boot": _boot(), "facts": shapes.write(facts)}
        write(self.file, entry, durable)
        self.run.mkdir(parents=True, exist_ok=True, mode=0o700)

    def forget(self) -> None:
        """Remove all that this host remembers of it but its decision, which stays for a day."""
        for path in (self.file, _partial(self.file)):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.run, ignore_errors=True)
        _forget_old_decisions()


class SourceRecord(Record[SourceFacts]):
    """A container that is to leave."""

    side = "source"
    shape = SourceFacts

    @property
    def socket(self) -> Path:
        """Of the shim in front of the waiting dump."""
        return self.run / "dump.sock"

    @property
    def log(self) -> Path:
        """What runc says of the waiting dump."""
        return self.run / "dump.log"

    @property
    def runc_root(self) -> Path:
        """A state directory of runc in which the container's network namespace counts as external."""
        return self.run / "runc"

    def note_frozen(self) -> None:
        """From now on it may be us who keep the container still. Raises OSError once it is forgotten."""
        (self.run / "frozen").touch()

    @property
    def was_frozen(self) -> bool:
        """Whether `note_frozen` was called in this boot."""
        return (self.run / "frozen").exists()

    def write_snapshot(self, snapshot: Snapshot, volume: int | None = None) -> None:
        """What the first copy of the layer, or of a volume, has seen."""
        seen = {path: [inode, sorted(names)] for path, (inode, names) in snapshot.directories.items()}
        document = {"taken_at": snapshot.taken_at, "directories": seen, "opaque": sorted(snapshot.opaque)}
        write(self._snapshot(volume), document)

    def read_snapshot(self, volume: int | None = None) -> Snapshot:
        """What `write_snapshot` wrote. Raises KeyError without one."""
        stored = read(self._snapshot(volume))
        directories = {
            path: (inode, frozenset(names)) for path, (inode, names) in stored["directories"].items()
        }
        return Snapshot(stored["taken_at"], directories, frozenset(stored["opaque"]))

    def _snapshot(self, volume: int | None) -> Path:
        return self.run / ("snapshot.json" if volume is None else f"snapshot-{volume}.json")

    def decide(self, decision: Decision) -> bool:
        """Take the one decision: the first caller wins, whoever it is; True if it now stands so.

        It outlives ``forget``: who comes late with a vote, or with a freeze, must find it.
        """
        directory = paths.RUN / "decided"
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        mine = directory / f"{self.relocation}.{os.getpid()}.{threading.get_ident()}"
        mine.write_text(decision)
        try:
            os.link(mine, directory / self.relocation)
        except FileExistsError:
            return self.decision is decision
        finally:
            mine.unlink()
        return True

    @property
    def decision(self) -> Decision | None:
        """What was decided; None if nothing was."""
        try:
            return Decision((paths.RUN / "decided" / self.relocation).read_text())
        except OSError:
            return None


class TargetRecord(Record[TargetFacts]):
    """A container that is to come."""

    side = "target"
    shape = TargetFacts

    @property
    def socket(self) -> Path:
        """Of the shim in front of the waiting restore."""
        return self.run / "restore.sock"

    @property
    def log(self) -> Path:
        """What `docker start` says."""
        return self.run / "start.log"


def remembered() -> list[Open]:
    """Every relocation that is open on this host."""
    found = [(path.stem, _read_entry(path)) for path in sorted((paths.STATE / "open").glob("*.json"))]
    return [
        Open(identity, entry["side"], entry["facts"]["container"], entry["facts"]["vip"])
        for identity, entry in found
        if entry
    ]


def unfired(kind: type[Record[Any]], container: str) -> list[str]:
    """Relocations of a container that were armed here but never fired: an interrupted run left them."""
    mine = (each for each in remembered() if (each.side, each.container) == (kind.side, container))
    return [each.id for each in mine if kind(each.id).stage in (Stage.ARMING, Stage.ARMED)]


def _open_file(relocation: str) -> Path:
    return paths.STATE / "open" / f"{relocation}.json"


def _boot() -> str:
    """Another word after each start of this host, which empties /run. The kernel's boot id is that of the
    machine below, where a host is a container."""
    place = paths.RUN / "boot"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        mine = place.with_suffix(f".{os.getpid()}.{threading.get_ident()}")
        mine.write_text(secrets.token_hex(8))
        with suppress(FileExistsError):
            os.link(mine, place)
        mine.unlink()
    return place.read_text()


def _read_entry(path: Path) -> JsonObject:
    entry = read(path)
    return entry if entry.keys() == {"side", "stage", "boot", "facts"} else {}


def _facts(shape: type[Facts], document: JsonObject) -> Facts:
    return shapes.read(shape, document)


def _forget_old_decisions() -> None:
    for decision in (paths.RUN / "decided").glob("*"):
        try:
            if time.time() - decision.stat().st_mtime > DECISION_SECONDS:
                decision.unlink()
        except FileNotFoundError:
            continue  # another's forgetting came first


# Files of JSON.


def write(path: Path, document: Any, durable: bool = False) -> None:
    """Replace a JSON file as a whole; with ``durable`` it is on disk when this returns."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = _partial(path)
    with partial.open("w") as stream:
        os.fchmod(stream.fileno(), 0o600)
        json.dump(document, stream)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())
    partial.rename(path)


def _partial(path: Path) -> Path:
    """What a writer that was killed leaves."""
    return path.with_suffix(".partial")


def read(path: Path) -> JsonObject:
    """A JSON file; empty if it is not there or was cut off."""
    try:
        document: JsonObject = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return document
