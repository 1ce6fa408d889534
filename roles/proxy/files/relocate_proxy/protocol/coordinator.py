"""The coordinator of one relocation: a pure state machine, `step(state, event) -> (state, actions)`.

Parties: the source S has the container, the target T is to have it; the gateway G and the coordinator C are
host0. Presumed abort; C's journal is the one authority. `docs/protocol.md` shows the table below as a diagram
and says what each party owes; `tests/unit/test_coordinator.py` explores every state that C, S, T, G and the
network between them can reach. The driver executes actions strictly in order and decides nothing.

Rules the table obeys:

* (Journal first.) A decision is on disk before anybody hears of it: COMMIT before `commit`, ABORT before
  `thaw` and `destroy`, REVERT before `thaw`, RESUMED before packets go on and before S's `destroy`.
  `Journal` returns after fsync.
* (Two votes.) COMMIT only with S's `digested` (it will not thaw by itself any more) and T's `restored` (the
  copy is complete and has executed nothing). Until then each failure, deadline or wish leads to ABORT.
* (Evidence.) Both parties state what configuration they were armed with, and what images they dumped and
  restored. Where the second states another than the first, the row is that of `Differs`.
* (One way.) After ABORT `commit` is never sent; after COMMIT T's `destroy` is never sent, and S is thawed
  only if T says `gone`, which T says only if it has no copy and has made sure that it never will.
  After RESUMED nobody goes back: clients may have overtaken S. What then befalls the copy befalls a container
  of T's, which starts again there as its tenant wishes.
* (Thaw does not wait for T.) T's copy executes nothing before `commit`, and after ABORT there is none.
* (Hold.) Packets wait from before the freeze until the copy that the route names runs. STORED keeps the hold:
  a client that retransmits may still be there after `recover`; a reset would be the end.
* (Repeat.) Every message is idempotent. In a decided phase `Timeout` repeats what is unanswered, for ever; a
  channel that comes back does so in every phase. Answers that a phase does not wait for are stale: ignored.
* (Crash.) `resume` needs the last journal record alone. Stopping at any moment is the same as a crash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from relocate_proxy.protocol.words import (
    Actions,
    Answer,
    Cancelled,
    Deadline,
    Differs,
    Event,
    Finish,
    Heard,
    Hold,
    Journal,
    Party,
    Phase,
    Reconnected,
    Record,
    Release,
    Send,
    SetTimer,
    Switch,
    Timeout,
    Verb,
)

# What the party that is waited for does, where the phase does not say it.
DOING = {Phase.VOTING_TARGET: "restoring", Phase.VOTING_SOURCE: "taking the digests of the images"}
CHANGED_CONFIGURATION = "the container's configuration was changed on the shared storage"
CHANGED_IMAGE = "an image was changed on the shared storage between dump and restore"


@dataclass(frozen=True, slots=True)
class State:
    """Where a relocation stands. `evidence` is what the party that answered first has stated; `reason` says
    why it was not moved; no decision depends on that."""

    phase: Phase
    reason: str = field(default="", compare=False)
    evidence: str = ""

    @property
    def finished(self) -> bool:
        """Nothing is left to do for C."""
        return self.phase in FINAL


@dataclass(frozen=True, slots=True)
class Row:
    """A transition: what C does, then where it stands."""

    actions: Actions
    to: Phase


Trigger: TypeAlias = tuple[Party, Answer] | type[Timeout] | type[Cancelled] | type[Differs]
Table: TypeAlias = Mapping[tuple[Phase, Trigger], Row]

S, T = Party.SOURCE, Party.TARGET
FINAL = frozenset({Phase.MOVED, Phase.ROLLED_BACK, Phase.STORED, Phase.LOST})
ARMING = (Phase.ARMING, Phase.ARMING_SOURCE, Phase.ARMING_TARGET)
VOTING = (Phase.RESTORING, Phase.VOTING_SOURCE, Phase.VOTING_TARGET)
UNDECIDED = (*ARMING, Phase.DUMPING, *VOTING)

# In which answer the second party states what the first has stated.
COMPARING: Mapping[Phase, tuple[Party, Answer]] = {
    Phase.ARMING_SOURCE: (S, Answer.READY),
    Phase.ARMING_TARGET: (T, Answer.READY),
    Phase.VOTING_SOURCE: (S, Answer.DIGESTED),
    Phase.VOTING_TARGET: (T, Answer.RESTORED),
}

# What a phase has asked and repeats. A phase without a line is final.
ASKS: Mapping[Phase, tuple[Send, ...]] = {
    Phase.ARMING: (Send(S, Verb.READY), Send(T, Verb.READY)),
    Phase.ARMING_SOURCE: (Send(S, Verb.READY),),
    Phase.ARMING_TARGET: (Send(T, Verb.READY),),
    Phase.DUMPING: (Send(S, Verb.FREEZE),),
    Phase.RESTORING: (Send(S, Verb.FREEZE), Send(T, Verb.RESTORE)),
    Phase.VOTING_SOURCE: (Send(S, Verb.FREEZE),),
    Phase.VOTING_TARGET: (Send(T, Verb.RESTORE),),
    Phase.RESUMING: (Send(T, Verb.COMMIT),),
    Phase.OWNING: (Send(T, Verb.OWN),),
    Phase.REMOVING: (Send(S, Verb.DESTROY),),
    Phase.UNDOING: (Send(S, Verb.THAW), Send(T, Verb.DESTROY)),
    Phase.UNDOING_SOURCE: (Send(S, Verb.THAW),),
    Phase.UNDOING_TARGET: (Send(T, Verb.DESTROY),),
    Phase.REVERTING: (Send(S, Verb.THAW),),
    Phase.STORING: (Send(T, Verb.DESTROY),),
    Phase.LOSING: (Send(T, Verb.DESTROY),),
    Phase.RECOVERING: (Send(T, Verb.RESTORE),),
    Phase.RESUMING_RECOVERY: (Send(T, Verb.COMMIT),),
}

DEADLINES: Mapping[Phase, Deadline] = dict.fromkeys(ASKS, Deadline.REPEAT) | {
    Phase.ARMING: Deadline.READY,
    Phase.ARMING_SOURCE: Deadline.READY,
    Phase.ARMING_TARGET: Deadline.READY,
    Phase.DUMPING: Deadline.DUMP,
    Phase.RESTORING: Deadline.RESTORE,
    Phase.VOTING_SOURCE: Deadline.RESTORE,
    Phase.VOTING_TARGET: Deadline.RESTORE,
    Phase.RECOVERING: Deadline.RESTORE,
}

FREEZE = Row((Hold(), Send(S, Verb.FREEZE)), Phase.DUMPING)
ABORT = Row((Journal(Record.ABORT), Send(S, Verb.THAW), Send(T, Verb.DESTROY)), Phase.UNDOING)
GIVE_UP = Row((Send(T, Verb.DESTROY),), Phase.STORING)
COMMIT = Row((Journal(Record.COMMIT), Send(T, Verb.COMMIT), Switch(T)), Phase.RESUMING)
GO_ON = Row((Journal(Record.RESUMED), Release(), Send(T, Verb.OWN)), Phase.OWNING)
REMOVE = Row((Send(S, Verb.DESTROY),), Phase.REMOVING)
END_MOVED = Row((Journal(Record.DONE), Finish(Phase.MOVED)), Phase.MOVED)
END_ROLLED_BACK = Row((Journal(Record.ENDED), Finish(Phase.ROLLED_BACK)), Phase.ROLLED_BACK)
END_THAWED = Row((Release(), *END_ROLLED_BACK.actions), Phase.ROLLED_BACK)
END_STORED = Row((Journal(Record.STORED), Finish(Phase.STORED)), Phase.STORED)
END_LOST = Row((Journal(Record.LOST), Release(), Finish(Phase.LOST)), Phase.LOST)

TABLE: Table = {
    (Phase.ARMING, (S, Answer.READY)): Row((), Phase.ARMING_TARGET),
    (Phase.ARMING, (T, Answer.READY)): Row((), Phase.ARMING_SOURCE),
    (Phase.ARMING_SOURCE, (S, Answer.READY)): FREEZE,
    (Phase.ARMING_TARGET, (T, Answer.READY)): FREEZE,
    (Phase.DUMPING, (S, Answer.DUMPED)): Row((Send(T, Verb.RESTORE),), Phase.RESTORING),
    (Phase.RESTORING, (S, Answer.DIGESTED)): Row((), Phase.VOTING_TARGET),
    (Phase.RESTORING, (T, Answer.RESTORED)): Row((), Phase.VOTING_SOURCE),
    (Phase.VOTING_SOURCE, (S, Answer.DIGESTED)): COMMIT,
    (Phase.VOTING_TARGET, (T, Answer.RESTORED)): COMMIT,
    (Phase.RESUMING, (T, Answer.RESUMED)): GO_ON,
    (Phase.RESUMING, (T, Answer.GONE)): Row(
        (Journal(Record.REVERT), Switch(S), Send(S, Verb.THAW)), Phase.REVERTING
    ),
    (Phase.OWNING, (T, Answer.RUNNING)): REMOVE,
    (Phase.REMOVING, (S, Answer.DESTROYED)): END_MOVED,
    # Before COMMIT, whatever goes wrong ends in ABORT.
    **{(phase, Timeout): ABORT for phase in UNDECIDED},
    **{(phase, Cancelled): ABORT for phase in UNDECIDED},
    **{(phase, Differs): ABORT for phase in COMPARING},
    **{(phase, (party, Answer.FAILED)): ABORT for phase in UNDECIDED for party in Party},
    (Phase.UNDOING, (S, Answer.THAWED)): Row((Release(),), Phase.UNDOING_TARGET),
    (Phase.UNDOING, (S, Answer.STORED)): Row((), Phase.STORING),
    (Phase.UNDOING, (S, Answer.GONE)): Row((), Phase.LOSING),
    (Phase.UNDOING, (T, Answer.DESTROYED)): Row((), Phase.UNDOING_SOURCE),
    (Phase.UNDOING_SOURCE, (S, Answer.THAWED)): END_THAWED,
    (Phase.UNDOING_SOURCE, (S, Answer.STORED)): END_STORED,
    (Phase.UNDOING_SOURCE, (S, Answer.GONE)): END_LOST,
    (Phase.UNDOING_TARGET, (T, Answer.DESTROYED)): END_ROLLED_BACK,
    (Phase.STORING, (T, Answer.DESTROYED)): END_STORED,
    (Phase.LOSING, (T, Answer.DESTROYED)): END_LOST,
    (Phase.REVERTING, (S, Answer.THAWED)): END_THAWED,
    (Phase.REVERTING, (S, Answer.STORED)): END_STORED,
    (Phase.REVERTING, (S, Answer.GONE)): END_LOST,
    # The container is only in the image: the same two phases, and no source to go back to.
    (Phase.RECOVERING, (T, Answer.RESTORED)): Row(
        (Journal(Record.COMMIT_RECOVERY), Send(T, Verb.COMMIT), Switch(T)), Phase.RESUMING_RECOVERY
    ),
    (Phase.RECOVERING, (T, Answer.FAILED)): GIVE_UP,
    (Phase.RECOVERING, Timeout): GIVE_UP,
    (Phase.RECOVERING, Cancelled): GIVE_UP,
    (Phase.RESUMING_RECOVERY, (T, Answer.RESUMED)): GO_ON,
    (Phase.RESUMING_RECOVERY, (T, Answer.GONE)): END_STORED,
}

# What the last journal record means to a coordinator that starts: the actions make G right again (it may have
# lost hold and route with host0's power) before anybody is asked anything.
HELD_AT_SOURCE: Actions = (Hold(), Switch(S))
HELD_AT_TARGET: Actions = (Hold(), Switch(T))
OPEN_AT_SOURCE: Actions = (Switch(S), Release())
OPEN_AT_TARGET: Actions = (Switch(T), Release())
RESUME: Mapping[Record, Row] = {
    Record.BEGIN: Row((Journal(Record.ABORT), *HELD_AT_SOURCE), Phase.UNDOING),
    Record.ABORT: Row(HELD_AT_SOURCE, Phase.UNDOING),
    Record.COMMIT: Row(HELD_AT_TARGET, Phase.RESUMING),
    Record.RESUMED: Row(OPEN_AT_TARGET, Phase.OWNING),
    Record.REVERT: Row(HELD_AT_SOURCE, Phase.REVERTING),
    Record.RECOVER: Row(HELD_AT_SOURCE, Phase.STORING),
    Record.COMMIT_RECOVERY: Row(HELD_AT_TARGET, Phase.RESUMING_RECOVERY),
    Record.DONE: Row((*OPEN_AT_TARGET, Finish(Phase.MOVED)), Phase.MOVED),
    Record.ENDED: Row((*OPEN_AT_SOURCE, Finish(Phase.ROLLED_BACK)), Phase.ROLLED_BACK),
    Record.STORED: Row((*HELD_AT_SOURCE, Finish(Phase.STORED)), Phase.STORED),
    Record.LOST: Row((*OPEN_AT_SOURCE, Finish(Phase.LOST)), Phase.LOST),
}


def begin() -> tuple[State, Actions]:
    """Start a relocation whose container runs on the source."""
    return _enter(State(Phase.ARMING), (Journal(Record.BEGIN), *ASKS[Phase.ARMING]))


def recover() -> tuple[State, Actions]:
    """Start bringing back a container that is only in the image, after an instance that ended as STORED.

    A fresh relocation id, since parties refuse for ever what belongs to an ended one.
    """
    return _enter(State(Phase.RECOVERING), (Journal(Record.RECOVER), Hold(), *ASKS[Phase.RECOVERING]))


def resume(
    records: Sequence[Record],
    reason: str = "the coordinator was interrupted",
    table: Mapping[Record, Row] = RESUME,
) -> tuple[State, Actions]:
    """Stand where the journal says; `records` are this relocation's, oldest first, and not empty.

    >>> resume([Record.BEGIN])[0].phase.value
    'undoing'
    """
    row = table[records[-1]]
    return _enter(State(row.to, reason), _because(row.actions + ASKS.get(row.to, ()), reason))


def step(state: State, event: Event, table: Table = TABLE) -> tuple[State, Actions]:
    """What C does about an event. Total: an event that the phase does not wait for changes nothing.

    >>> step(State(Phase.UNDOING_SOURCE), Heard(Party.TARGET, Answer.RESTORED))
    (State(phase=<Phase.UNDOING_SOURCE: 'undoing_source'>, reason=''), ())
    """
    trigger = trigger_of(state, event)
    row = None if trigger is None else table.get((state.phase, trigger))
    if row is not None:
        reason = state.reason or _reason(state.phase, event, trigger)
        evidence = event.evidence if isinstance(event, Heard) and row.to in COMPARING else ""
        after, actions = State(row.to, reason, evidence), _because(row.actions, reason)
        same_timer = DEADLINES.get(row.to) == DEADLINES.get(state.phase)
        return (after, actions) if same_timer else _enter(after, actions)
    if isinstance(event, Timeout):
        return _enter(state, ASKS.get(state.phase, ()))
    if isinstance(event, Reconnected):
        return state, tuple(ask for ask in ASKS.get(state.phase, ()) if ask.party is event.party)
    return state, ()


def trigger_of(state: State, event: Event) -> Trigger | None:
    """The event as the table names it; a new channel is in no row."""
    if isinstance(event, Reconnected):
        return None
    if not isinstance(event, Heard):
        return type(event)
    answered = event.party, event.answer
    states = COMPARING.get(state.phase) == answered
    return Differs if states and event.evidence != state.evidence else answered


def _enter(state: State, actions: Actions) -> tuple[State, Actions]:
    """Set the phase's timer after its actions; a final phase has none."""
    timer = DEADLINES.get(state.phase)
    return state, actions if timer is None else (*actions, SetTimer(timer))


def _because(actions: Actions, reason: str) -> Actions:
    """Fill the reason into the actions that report one."""
    return tuple(replace(a, reason=reason) if isinstance(a, Journal | Finish) else a for a in actions)


def _reason(phase: Phase, event: Event, trigger: Trigger | None) -> str:
    """Why the relocation leaves the straight way; empty while it does not."""
    if trigger is Differs:
        return CHANGED_CONFIGURATION if phase in ARMING else CHANGED_IMAGE
    match event:
        case Heard(party, Answer.FAILED, reason):
            return f"{party}: {reason or 'failed'}"
        case Heard(party, Answer.GONE | Answer.STORED):
            return f"{party}: its copy is gone"
        case Timeout():
            return f"no answer in time while {DOING.get(phase, phase.value.replace('_', ' '))}"
        case Cancelled(reason):
            return reason
        case _:
            return ""
