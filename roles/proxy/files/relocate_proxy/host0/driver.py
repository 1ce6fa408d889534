"""Runs coordinators: channels to the agents, deadlines, the journal, the gateway. It decides nothing
(coordinator.py does)."""

import heapq
import json
import math
import os
import queue
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import BinaryIO, assert_never

from relocate_proxy.host import records
from relocate_proxy.host0 import gateway, packet_queue
from relocate_proxy.host0.channel import Channel, Events
from relocate_proxy.host0.journal import move_of, open_journal, outcome_file, read_journal, voted_of
from relocate_proxy.host0.packet_queue import Hold, HoldError
from relocate_proxy.host0.report import Said, report
from relocate_proxy.kernel import logs, shell
from relocate_proxy.kernel.priority import be_prompt
from relocate_proxy.protocol import coordinator, messages, shapes
from relocate_proxy.protocol.move import Move
from relocate_proxy.protocol.words import (
    Action,
    Cancelled,
    Deadline,
    Event,
    Finish,
    Heard,
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
from relocate_proxy.protocol.words import Hold as HoldAction

SECONDS = {Deadline.READY: 20.0, Deadline.DUMP: 15.0, Deadline.RESTORE: 15.0, Deadline.REPEAT: 2.0}


@dataclass
class Relocation:
    """One move under way: the pure state, and what travels with the messages."""

    move: Move
    journal: BinaryIO
    peers: dict[Party, str]
    state: coordinator.State | None = None
    said: Said = field(default_factory=Said)
    marks: dict[str, float] = field(default_factory=dict)
    hold: Hold | None = None
    timer: int = 0

    def host(self, party: Party) -> str:
        return self.move.host(party)


class Driver:
    """Carries several relocations through their coordinators in one loop."""

    def __init__(self, addresses: dict[str, str]) -> None:
        self.addresses = addresses
        self.events: Events = queue.SimpleQueue()
        self.channels: dict[str, Channel] = {}
        self.relocations: dict[str, Relocation] = {}
        self.timers: list[tuple[float, int, str]] = []
        self.ticket = 0

    def connect(self, hosts: set[str], seconds: float = 8.0) -> None:
        """Open the channels and give them a moment; one that does not open in time may do so later."""
        for host in hosts - set(self.channels):
            self.channels[host] = Channel(host, self.addresses[host], self.events)
        deadline = time.monotonic() + seconds
        for host in hosts:
            self.channels[host].ready.wait(max(0.0, deadline - time.monotonic()))

    def begin(self, move: Move) -> None:
        """Take a new relocation in: of a running container, or of one that is only in the images."""
        relocation = self._add(move, open_journal(move.id))
        relocation.state, actions = coordinator.recover() if move.recovers else coordinator.begin()
        self._act(relocation, actions)

    def resume(self, identity: str) -> None:
        """Take up a relocation where its journal stands, unless another coordinator is at it."""
        try:
            stream = open_journal(identity)
        except BlockingIOError:
            return
        journal = read_journal(identity)
        if not journal:
            return
        relocation = self._add(move_of(journal), stream)
        relocation.state, actions = coordinator.resume([Record(line["record"]) for line in journal])
        self._act(relocation, actions)

    def _add(self, move: Move, journal: BinaryIO) -> Relocation:
        relocation = Relocation(move, journal, self._peers(move))
        self.relocations[move.id] = relocation
        return relocation

    def open(self) -> int:
        """How many relocations have not ended."""
        return sum(1 for r in self.relocations.values() if r.state is not None and not r.state.finished)

    def run(self, at_most: int = 0, patience: float = math.inf) -> None:
        """Handle events until no more than ``at_most`` relocations are open, or ``patience`` seconds
        have passed."""
        be_prompt()
        end = time.monotonic() + patience
        while self.open() > at_most and time.monotonic() < end:
            while self.timers and self.timers[0][0] <= time.monotonic():
                _, ticket, identity = heapq.heappop(self.timers)
                if self.relocations[identity].timer == ticket:
                    self._step(self.relocations[identity], Timeout())
            wait = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else None
            try:
                event = self.events.get(timeout=wait)
            except queue.Empty:
                continue
            if isinstance(event, str):
                self._reconnected(event)
            else:
                self._hear(*event)

    def _reconnected(self, host: str) -> None:
        for relocation in self.relocations.values():
            for party in Party:
                if (
                    relocation.host(party) == host
                    and relocation.state is not None
                    and not relocation.state.finished
                ):
                    self._step(relocation, Reconnected(party))

    def _hear(self, host: str, report: messages.Report) -> None:
        relocation, party, answer = self.relocations.get(report.relocation), report.party, report.answer
        if relocation is None or relocation.host(party) != host:
            return
        relocation.marks.setdefault(f"{party}:{answer}", time.monotonic())
        relocation.said.note(party, report.reply)
        reason, evidence = messages.reason(report.reply), messages.evidence(report.reply)
        self._step(relocation, Heard(party, answer, reason, evidence))

    def _step(self, relocation: Relocation, event: Event) -> None:
        assert relocation.state is not None
        before = relocation.state.phase
        relocation.state, actions = coordinator.step(relocation.state, event)
        self._act(relocation, actions)
        if relocation.state.phase is not before:
            note = logs.of(relocation.move.id)
            note.info("%s → %s %s", before, relocation.state.phase, relocation.state.reason)

    def _act(self, relocation: Relocation, actions: tuple[Action, ...]) -> None:
        for action in actions:
            try:
                self._do(relocation, action)
            except (HoldError, shell.ToolError) as error:
                assert relocation.state is not None
                if relocation.state.phase not in coordinator.UNDECIDED:
                    raise  # a crash: the unit starts again, and `resume` sets hold and route anew
                self._step(relocation, Cancelled(f"gateway: {error}"))
                return

    def _do(self, relocation: Relocation, action: Action) -> None:
        match action:
            case Send(party, verb):
                self._send(relocation, party, verb)
            case Journal(record, reason):
                self._journal(relocation, record, reason)
            case HoldAction():
                if relocation.hold is None:
                    relocation.hold = Hold(relocation.move.vip, relocation.move.id)
                relocation.marks.setdefault("hold", time.monotonic())
            case Switch(party):
                host = relocation.host(party)
                gateway.route(relocation.move.vip, self.addresses[host])
                relocation.marks.setdefault("route", time.monotonic())
            case Release():
                if relocation.hold is not None:
                    relocation.hold.release()
                relocation.marks.setdefault("release", time.monotonic())
            case SetTimer(deadline):
                self.ticket += 1
                relocation.timer = self.ticket
                heapq.heappush(
                    self.timers,
                    (
                        time.monotonic() + self._seconds(relocation, deadline),
                        self.ticket,
                        relocation.move.id,
                    ),
                )
            case Finish(phase, reason):
                self._finish(relocation, phase, reason)
            case _:
                assert_never(action)

    def _seconds(self, relocation: Relocation, deadline: Deadline) -> float:
        if deadline in (Deadline.DUMP, Deadline.RESTORE):
            return relocation.move.deadline or SECONDS[deadline]
        return SECONDS[deadline]

    def _send(self, relocation: Relocation, party: Party, verb: Verb) -> None:
        relocation.marks.setdefault(f"send:{verb}", time.monotonic())
        request = messages.Request(relocation.move.id, party, self._question(relocation, party, verb))
        self.channels[relocation.host(party)].send(request)

    def _question(self, relocation: Relocation, party: Party, verb: Verb) -> messages.Question:
        move, said = relocation.move, relocation.said
        verify = move.verify
        match verb:
            case Verb.READY:
                deadline = self._seconds(relocation, Deadline.DUMP)
                return messages.GetReady(deadline, verify, relocation.peers.get(party), move.inventory)
            case Verb.FREEZE:
                assert said.ready_target is not None
                return messages.Freeze(said.ready_target.address, said.ready_target.others)
            case Verb.RESTORE:
                dumped = None if move.recovers else said.dumped
                voted = voted_of(move.recovers) if move.recovers else None
                seconds = self._seconds(relocation, Deadline.RESTORE)
                return messages.Restore(seconds, verify, relocation.peers.get(party), dumped, voted)
            case Verb.COMMIT:
                return messages.Commit()
            case Verb.OWN:
                return messages.Own()
            case Verb.THAW:
                return messages.Thaw()
            case Verb.DESTROY:
                recovers = move.recovers if party is Party.SOURCE else None
                return messages.Destroy(recovers)

    def _peers(self, move: Move) -> dict[Party, str]:
        """To each party the other's address; without one, no page stays behind. A name is looked up here,
        ahead of the window."""
        peers = {}
        for party, other in ((Party.SOURCE, move.target), (Party.TARGET, move.source)):
            with suppress(OSError, KeyError):
                peers[party] = socket.gethostbyname(self.addresses[other])
        return peers

    def _journal(self, relocation: Relocation, record: Record, reason: str) -> None:
        line = {"record": record, "at": time.time(), "reason": reason, "move": shapes.write(relocation.move)}
        if record is Record.STORED and relocation.said.stored is not None:
            line["vote"] = shapes.write(relocation.said.stored.vote)
        relocation.journal.write(json.dumps(line).encode() + b"\n")
        relocation.journal.flush()
        os.fdatasync(relocation.journal.fileno())
        relocation.marks.setdefault(f"journal:{record}", time.monotonic())

    def _finish(self, relocation: Relocation, phase: Phase, reason: str) -> None:
        if phase is Phase.MOVED:
            gateway.moved(relocation.move.container, self.addresses[relocation.move.target])
        if phase is Phase.STORED:
            gateway.withhold(relocation.move.vip)
            packet_queue.sweep(relocation.move.id)
        outcome = report(relocation.move, relocation.said, relocation.marks, phase, reason)
        records.write(outcome_file(relocation.move.id), outcome)
        relocation.journal.close()

    def close(self) -> None:
        """Hang up all channels."""
        for channel in self.channels.values():
            channel.close()
