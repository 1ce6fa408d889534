"""What host0 asks of a party, and what a party answers: one shape for each message.

A source's words reach the target through host0, so every field has its own rule, and none can be made large
by a tenant: what may be large (flows, the log's last lines, listings of files) lies beside the images, and
the message has its digest.
"""

from dataclasses import dataclass
from typing import Annotated, TypeAlias

from relocate_proxy.protocol.move import InventoryMode
from relocate_proxy.protocol.shapes import Address, Digest, Identity, Port, Seconds, at_most, matches, within
from relocate_proxy.protocol.words import Answer, Party, Verb
from relocate_proxy.storage.layer import Packed

Name = Annotated[str, matches(r"[a-z][a-z _-]{0,31}")]
Milliseconds = Annotated[float, within(-1e7, 1e7)]
REASON_CHARACTERS = 1000
MOST_NETWORKS = 16
Addresses = Annotated[tuple[Address, ...], at_most(MOST_NETWORKS)]
MOST_KINDS = 64


@dataclass(frozen=True)
class Lap:
    """One of the consecutive parts of a window."""

    name: Name
    ms: Milliseconds


@dataclass(frozen=True)
class Span:
    """What ran beside the laps: ``at`` ms after the first began."""

    name: Name
    at: Milliseconds
    ms: Milliseconds


Laps = Annotated[tuple[Lap, ...], at_most(32)]
Spans = Annotated[tuple[Span, ...], at_most(64)]


@dataclass(frozen=True)
class Noted:
    """Differences of one kind; ``why`` they are harmless."""

    kind: Annotated[str, matches(r"[A-Za-z][A-Za-z0-9_ ,/-]{0,47}")]
    times: Annotated[int, within(1, 2**31)]
    why: Annotated[str, at_most(200)] = ""


@dataclass(frozen=True)
class Compared:
    """What came of holding the copy against what was frozen: how many facts, which were put right."""

    compared: Annotated[int, within(0, 2**31)]
    mended: Annotated[tuple[Noted, ...], at_most(MOST_KINDS)] = ()
    harmless: Annotated[tuple[Noted, ...], at_most(MOST_KINDS)] = ()


@dataclass(frozen=True)
class RestartPolicy:
    """A container's, as its tenant last set it (Docker's words and limits)."""

    name: Annotated[str, matches(r"|no|always|unless-stopped|on-failure")]
    retries: Annotated[int, within(0, 2**31 - 1)] = 0


# host0 asks.


@dataclass(frozen=True)
class GetReady:
    """``deadline``: seconds after which a source thaws by itself. ``peer``: the other party's address.
    ``inventory``: how much of the container a source looks at."""

    deadline: Seconds
    verify: bool = True
    peer: Address | None = None
    inventory: InventoryMode = "off"


@dataclass(frozen=True)
class Freeze:
    """``new_ip``: what the images are to say; ``others``: in its other networks, by their names."""

    new_ip: Address
    others: Addresses = ()


@dataclass(frozen=True)
class Dumped:
    """What a source answers when its images are complete, and what the target restores from.

    ``layer``: digests of the writable layer's last changes, listing and archive; None if there are none.
    ``others``: new addresses in its other networks.
    ``carried``: digest of the flows and the log's last lines. ``inventory``: digest of the inventory, empty
    if none was taken. ``pages``: port at which memory that was not written is served. ``volumes``: like
    ``layer``, of each that travels.
    """

    old_ip: Address
    new_ip: Address
    carried: Digest
    restart_policy: RestartPolicy
    layer: Packed | None = None
    volumes: Annotated[tuple[Packed | None, ...], at_most(32)] = ()
    others: Addresses = ()
    pages: Port | None = None
    inventory: Digest = ""
    laps: Laps = ()
    spans: Spans = ()


@dataclass(frozen=True)
class Vote:
    """What a source has voted with, and all that is believed of what it has left on the storage:
    ``configuration`` and ``images`` are the digests of what the container is created and restored from."""

    configuration: Digest
    dumped: Dumped
    images: Digest = ""


@dataclass(frozen=True)
class Restore:
    """``dumped``: what the source has said. ``voted``: of a container that is only in the images, what
    host0's journal has kept of that."""

    seconds: Seconds
    verify: bool = True
    peer: Address | None = None
    dumped: Dumped | None = None
    voted: Vote | None = None


@dataclass(frozen=True)
class Commit:
    """Let the copy run."""


@dataclass(frozen=True)
class Own:
    """See to it that the engine owns the copy."""


@dataclass(frozen=True)
class Thaw:
    """Go on as if nothing had been."""


@dataclass(frozen=True)
class Destroy:
    """``recovers``: the relocation under which a source knows its dead container, if another's."""

    recovers: Identity | None = None


# A party answers.


@dataclass(frozen=True)
class Ready:
    """``configuration``: digest of what the container is to be created from, or was. ``address``: its own;
    ``others``: in its other networks."""

    configuration: Digest
    address: Address
    others: Addresses = ()


@dataclass(frozen=True)
class Digested:
    """``images``: digest of all images."""

    images: Digest


@dataclass(frozen=True)
class Restored:
    """``images``: digest of those that were restored from. ``inventory``: what came of the comparison."""

    new_ip: Address
    images: Digest
    laps: Laps = ()
    spans: Spans = ()
    inventory: Compared | None = None


@dataclass(frozen=True)
class Resumed:
    """The copy executes."""

    laps: Laps = ()
    spans: Spans = ()


@dataclass(frozen=True)
class Failed:
    """``reason``: one line for a person."""

    reason: Annotated[str, at_most(REASON_CHARACTERS)]


@dataclass(frozen=True)
class Running:
    """The copy is the engine's."""


@dataclass(frozen=True)
class Thawed:
    """The container goes on, or is as its tenant has left it."""


@dataclass(frozen=True)
class Destroyed:
    """Nothing of it is here."""


@dataclass(frozen=True)
class Gone:
    """No copy that has executed, and there never will be one."""


@dataclass(frozen=True)
class Stored:
    """Gone, and the image is complete: with what it must be."""

    vote: Vote


Question: TypeAlias = GetReady | Freeze | Restore | Commit | Own | Thaw | Destroy
Reply: TypeAlias = (
    Ready | Dumped | Digested | Restored | Resumed | Running | Thawed | Destroyed | Gone | Stored | Failed
)
S, T = Party.SOURCE, Party.TARGET
QUESTIONS: dict[tuple[Party, Verb], type[Question]] = {
    (S, Verb.READY): GetReady,
    (S, Verb.FREEZE): Freeze,
    (S, Verb.THAW): Thaw,
    (S, Verb.DESTROY): Destroy,
    (T, Verb.READY): GetReady,
    (T, Verb.RESTORE): Restore,
    (T, Verb.COMMIT): Commit,
    (T, Verb.OWN): Own,
    (T, Verb.DESTROY): Destroy,
}
REPLIES: dict[tuple[Party, Answer], type[Reply]] = {
    (S, Answer.READY): Ready,
    (S, Answer.DUMPED): Dumped,
    (S, Answer.DIGESTED): Digested,
    (S, Answer.THAWED): Thawed,
    (S, Answer.STORED): Stored,
    (S, Answer.GONE): Gone,
    (S, Answer.DESTROYED): Destroyed,
    (S, Answer.FAILED): Failed,
    (T, Answer.READY): Ready,
    (T, Answer.RESTORED): Restored,
    (T, Answer.RESUMED): Resumed,
    (T, Answer.RUNNING): Running,
    (T, Answer.GONE): Gone,
    (T, Answer.DESTROYED): Destroyed,
    (T, Answer.FAILED): Failed,
}
VERBS: dict[type[Question], Verb] = {question: verb for (_, verb), question in QUESTIONS.items()}
ANSWERS: dict[type[Reply], Answer] = {reply: answer for (_, answer), reply in REPLIES.items()}


@dataclass(frozen=True)
class Request:
    """What host0 asks of one party of one relocation."""

    relocation: str
    party: Party
    question: Question


@dataclass(frozen=True)
class Report:
    """What an agent answers."""

    relocation: str
    party: Party
    reply: Reply

    @property
    def answer(self) -> Answer:
        """The reply as the protocol's table calls it."""
        return ANSWERS[type(self.reply)]


def failed(error: Exception) -> Failed:
    """An error's words as an answer, without what could write on a terminal."""
    words = str(error) or type(error).__name__
    return Failed("".join(c if c.isprintable() else " " for c in words[:REASON_CHARACTERS]))


def evidence(reply: Reply) -> str:
    """What both parties must state alike; empty where there is nothing of that kind."""
    match reply:
        case Ready():
            return reply.configuration
        case Digested() | Restored():
            return reply.images
        case _:
            return ""


def reason(reply: Reply) -> str:
    """Why a party failed."""
    return reply.reason if isinstance(reply, Failed) else ""
