"""The world around the coordinator: S, T, G and the network at their worst.

The network is the set of all messages ever sent: each may arrive now, later, never, again, in any order. That
is loss, duplication, reordering and delay without a bound, and it stays finite. A fault empties it for one
party (its channel breaks, its agent is killed), so that progress cannot lean on a message that was lost.
There is no clock: a deadline may pass at any moment, so no safety depends on one.
Faults are not counted: every party may crash or lose power at each step, again and again.
A host that loses power is back at once, since one that stays down differs from slow messages in nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from relocate_proxy.protocol.words import Answer, Party, Phase, Record, Verb

S, T = Party.SOURCE, Party.TARGET


class Message(NamedTuple):
    """A verb on its way to the party, or an answer on its way from it."""

    party: Party
    verb: Verb | None
    answer: Answer | None
    evidence: str = ""


class Copy(StrEnum):
    """The container, or what a host has of it."""

    LIVE = "live"
    FROZEN = "frozen"
    PARKED = "parked"  # T: runc and the shim wait in front of CRIU
    INERT = "inert"  # T: restored, nothing executed
    DEAD = "dead"  # by loss of power, or with its shim
    NONE = "none"


class Mark(StrEnum):
    """What a party has on disk about the relocation."""

    NEW = "new"
    ARMED = "armed"  # S: the watchdog runs
    VOTED = "voted"  # S: only C decides now
    THAWED = "thawed"  # S: never freezes again
    COMMITTED = "committed"  # T
    ENDED = "ended"  # T: never restores again, as after COMMITTED


class World(NamedTuple):
    """All of it. `phase` is None while C is down; `journal` is its last record."""

    phase: Phase | None
    journal: Record | None
    source: Copy
    source_mark: Mark
    target: Copy
    target_mark: Mark
    route: Party | None  # G, lost with host0's power: then nothing passes
    held: bool
    net: frozenset[Message]
    evidence: str = ""  # what C remembers of it
    changed: Answer | None = None  # in which statement T differs: somebody else writes the storage
    overtaken: bool = False  # packets have reached T's copy

    @property
    def passing(self) -> Party | None:
        """Whom packets reach."""
        return None if self.held else self.route

    @property
    def image(self) -> bool:
        """A complete image that nothing has overtaken."""
        overtaken = self.source_mark is Mark.THAWED or self.journal in (Record.RESUMED, Record.DONE)
        return not overtaken and self.source_mark is Mark.VOTED


BEFORE = World(None, None, Copy.LIVE, Mark.NEW, Copy.PARKED, Mark.NEW, S, False, frozenset())
CHANGED = [BEFORE._replace(changed=answer) for answer in (Answer.READY, Answer.RESTORED)]
ONLY_IMAGE = World(None, None, Copy.DEAD, Mark.VOTED, Copy.PARKED, Mark.NEW, S, False, frozenset())


class Broken(Exception):  # noqa: N818 - a finding, not an error
    """An invariant does not hold; the message says which."""


@dataclass(frozen=True)
class Honour:
    """What the parties promise; each can be broken to see that the protocol needs it."""

    watchdog_heeds_vote: bool = True
    vote_heeds_watchdog: bool = True
    source_remembers_thaw: bool = True
    target_remembers_end: bool = True
    target_makes_sure: bool = True
    target_keeps_what_ran: bool = True


# The parties: what a verb, the time or bad luck does to them.


def at_source(world: World, verb: Verb, honour: Honour) -> Iterator[World]:
    """S receives a verb."""
    copy, mark = world.source, world.source_mark
    dead = copy is Copy.DEAD
    if verb is Verb.READY:
        if mark in (Mark.NEW, Mark.ARMED) and not dead:
            yield say(world._replace(source_mark=Mark.ARMED), S, Answer.READY)
        else:
            yield say(world, S, Answer.FAILED)
    elif verb is Verb.FREEZE:
        if mark is Mark.VOTED:
            yield say(say(world, S, Answer.DUMPED), S, Answer.DIGESTED)
        elif copy is Copy.LIVE and (mark is Mark.ARMED or not honour.source_remembers_thaw):
            yield world._replace(source=Copy.FROZEN)  # dump_ends or dump_fails follows
        elif copy is not Copy.FROZEN:
            yield say(world, S, Answer.FAILED)
    elif verb is Verb.THAW:
        if copy is Copy.NONE:
            raise Broken("thaw of a destroyed source")
        if dead:
            yield say(world, S, Answer.STORED if mark is Mark.VOTED else Answer.GONE)
        else:
            yield say(world._replace(source=Copy.LIVE, source_mark=Mark.THAWED), S, Answer.THAWED)
    else:
        if copy is Copy.LIVE:
            raise Broken("a live source is destroyed")
        yield say(world._replace(source=Copy.NONE), S, Answer.DESTROYED)


def at_target(world: World, verb: Verb, honour: Honour) -> Iterator[World]:
    """T receives a verb."""
    copy, mark = world.target, world.target_mark
    left = Copy.DEAD if copy is Copy.DEAD else Copy.NONE
    ended = world._replace(target=left, target_mark=mark if mark is Mark.COMMITTED else Mark.ENDED)
    if verb is Verb.READY:
        yield say(world, T, Answer.READY if copy is Copy.PARKED else Answer.FAILED)
    elif verb is Verb.RESTORE:
        if copy is Copy.PARKED or (not honour.target_remembers_end and copy in (Copy.DEAD, Copy.NONE)):
            yield say(world._replace(target=Copy.INERT), T, Answer.RESTORED)
            yield say(ended, T, Answer.FAILED)  # CRIU refuses
        elif copy is Copy.INERT:
            yield say(world, T, Answer.RESTORED)
        elif copy is not Copy.LIVE:
            yield say(ended, T, Answer.FAILED)
    elif verb is Verb.COMMIT:
        if copy in (Copy.INERT, Copy.LIVE):
            running = world._replace(target=Copy.LIVE, target_mark=Mark.COMMITTED)
            yield say(running, T, Answer.RESUMED)
        elif not honour.target_makes_sure and copy is Copy.DEAD:
            yield say(world, T, Answer.RESUMED)  # it saw processes that were being killed
        else:
            yield say(ended, T, Answer.GONE)
    elif verb is Verb.OWN:
        if mark is not Mark.COMMITTED:
            raise Broken("the target is to own what has not run")
        kept = copy is Copy.LIVE or honour.target_keeps_what_ran
        yield say(world, T, Answer.RUNNING if kept else Answer.GONE)  # dead: it is started anew there
    else:
        if copy is Copy.LIVE or mark is Mark.COMMITTED:
            raise Broken("destroy after commit")
        yield say(ended, T, Answer.DESTROYED)


def by_itself(world: World, honour: Honour) -> Iterator[World]:
    """S's dump ends well, or its deadline comes first: only one of the two creates the vote file."""
    if world.source is Copy.FROZEN and world.source_mark is Mark.ARMED:
        yield say(world._replace(source_mark=Mark.VOTED), S, Answer.DUMPED)
    if world.source is Copy.FROZEN and world.source_mark is Mark.VOTED:
        yield say(world, S, Answer.DIGESTED)
    if not honour.vote_heeds_watchdog and world.source is Copy.LIVE and world.source_mark is Mark.THAWED:
        # the dump was under way at the thaw, and ends now
        yield say(say(world, S, Answer.DUMPED), S, Answer.DIGESTED)
    fires = world.source_mark is Mark.ARMED or (
        world.source_mark is Mark.VOTED and not honour.watchdog_heeds_vote
    )
    if fires and world.source in (Copy.LIVE, Copy.FROZEN):
        yield world._replace(source=Copy.LIVE, source_mark=Mark.THAWED)


def faults(world: World) -> Iterator[World]:
    """Everything that nobody wants. C's crash inside a step is in `performed`."""
    if world.source is Copy.FROZEN and world.source_mark is Mark.ARMED:
        yield say(world, S, Answer.FAILED)  # the dump fails
    if world.source not in (Copy.DEAD, Copy.NONE):
        yield world._replace(source=Copy.DEAD)  # power; the watchdog goes too
    if world.target not in (Copy.DEAD, Copy.NONE):
        yield world._replace(target=Copy.DEAD)  # power
    if world.target in (Copy.PARKED, Copy.INERT):
        yield say(world._replace(target=Copy.DEAD), T, Answer.FAILED)  # the shim dies, and T notices
    for party in Party:
        yield world._replace(net=frozenset(m for m in world.net if m.party is not party))
    if world.phase is not None:
        yield world._replace(phase=None, evidence="")  # C's process
    yield world._replace(phase=None, evidence="", route=None, held=False)  # host0's power


def say(world: World, party: Party, answer: Answer) -> World:
    """The party answers; T states something else than S where the storage was changed in between."""
    evidence = "another" if party is T and answer is world.changed else ""
    return post(world, Message(party, None, answer, evidence))


def post(world: World, message: Message) -> World:
    """The network has one more message."""
    return world if message in world.net else world._replace(net=world.net | {message})
