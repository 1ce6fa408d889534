"""The words of the protocol: what the coordinator hears, says and does.

`docs/protocol.md` says what each means to a party. Agents use `Verb` and `Answer` on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias


class Party(StrEnum):
    """Who answers."""

    SOURCE = "source"
    TARGET = "target"


class Verb(StrEnum):
    """What C asks of a party; the comment names the answers."""

    READY = "ready"  # S, T: ready | failed
    FREEZE = "freeze"  # S: dumped | failed
    RESTORE = "restore"  # T: restored | failed
    COMMIT = "commit"  # T: resumed | gone
    OWN = "own"  # T: running
    THAW = "thaw"  # S: thawed | stored | gone
    DESTROY = "destroy"  # S, T: destroyed


class Answer(StrEnum):
    """What a party says."""

    READY = "ready"
    DUMPED = "dumped"  # the images are complete; S does not thaw by itself any more
    DIGESTED = "digested"  # S's vote: with the digest of what it dumped
    RESTORED = "restored"  # T's vote: with the digest of what it restored from
    RESUMED = "resumed"  # the copy executes
    RUNNING = "running"  # it is T's engine's like any other; what becomes of it is T's alone
    THAWED = "thawed"
    DESTROYED = "destroyed"
    FAILED = "failed"
    GONE = "gone"  # no copy here that has executed, and there never will be
    STORED = "stored"  # gone from S, after its vote: the image is complete and newer than anything else


class Record(StrEnum):
    """What the journal holds, one line each, written and synced before the actions that follow."""

    BEGIN = "begin"
    RECOVER = "recover"  # instead of BEGIN: the container is only in the image
    COMMIT = "commit"
    COMMIT_RECOVERY = "commit_recovery"
    RESUMED = "resumed"  # clients may have overtaken S's copy: no way back to it
    ABORT = "abort"
    REVERT = "revert"
    DONE = "done"  # final: on the target
    ENDED = "ended"  # final: on the source
    STORED = "stored"  # final: in the image, wants `recover`
    LOST = "lost"  # final: the source's host died before an image was complete


class Phase(StrEnum):
    """The state: what C waits for."""

    ARMING = "arming"
    ARMING_SOURCE = "arming_source"
    ARMING_TARGET = "arming_target"
    DUMPING = "dumping"
    RESTORING = "restoring"
    VOTING_SOURCE = "voting_source"
    VOTING_TARGET = "voting_target"
    RESUMING = "resuming"
    OWNING = "owning"
    REMOVING = "removing"
    UNDOING = "undoing"
    UNDOING_SOURCE = "undoing_source"
    UNDOING_TARGET = "undoing_target"
    REVERTING = "reverting"
    STORING = "storing"
    LOSING = "losing"
    RECOVERING = "recovering"
    RESUMING_RECOVERY = "resuming_recovery"
    MOVED = "moved"
    ROLLED_BACK = "rolled_back"
    STORED = "stored"
    LOST = "lost"


class Deadline(StrEnum):
    """Which time limit `SetTimer` means; the driver knows the seconds."""

    READY = "ready"
    DUMP = "dump"
    RESTORE = "restore"
    REPEAT = "repeat"


@dataclass(frozen=True, slots=True)
class Heard:
    """A party answered; `reason` is for `failed`, `evidence` for what both parties must say alike."""

    party: Party
    answer: Answer
    reason: str = field(default="", compare=False)
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Differs:
    """What a party answered is not what the other did: the table's name for such a `Heard`."""


@dataclass(frozen=True, slots=True)
class Timeout:
    """The timer that was set last ran out."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody wants it stopped: honoured until COMMIT, then ignored."""

    reason: str = field(default="cancelled", compare=False)


@dataclass(frozen=True, slots=True)
class Reconnected:
    """The channel to a party is new: whatever was under way in the old one may be lost."""

    party: Party


Event: TypeAlias = Heard | Timeout | Cancelled | Reconnected


@dataclass(frozen=True, slots=True)
class Send:
    """Hand a verb to the party's channel. No channel: drop it, `Reconnected` or `Timeout` repeats it."""

    party: Party
    verb: Verb


@dataclass(frozen=True, slots=True)
class Journal:
    """Append and fsync, then go on."""

    record: Record
    reason: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Hold:
    """G: packets to the VIP wait. Idempotent."""


@dataclass(frozen=True, slots=True)
class Switch:
    """G: the VIP's route names this party's host. Idempotent."""

    party: Party


@dataclass(frozen=True, slots=True)
class Release:
    """G: packets go on along the route. Idempotent."""


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Replace the timer."""

    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Finish:
    """The end; `phase` is one of FINAL."""

    phase: Phase
    reason: str = field(default="", compare=False)


Action: TypeAlias = Send | Journal | Hold | Switch | Release | SetTimer | Finish
Actions: TypeAlias = tuple[Action, ...]
