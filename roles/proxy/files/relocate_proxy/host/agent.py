"""The agent on a host: what host0's key may run, and all it may run. One JSON message a line, in and out
(messages.py has them, protocol.py the words).

All that must outlive the agent lies with the parked runcs, the timers and the records; a new agent
answers for an old one.
"""

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator

from relocate_proxy.host import source, target
from relocate_proxy.host.records import SourceRecord
from relocate_proxy.host.stopwatch import Stopwatch
from relocate_proxy.inventory import taking
from relocate_proxy.inventory.document import Mode
from relocate_proxy.kernel import logs
from relocate_proxy.kernel.priority import be_prompt
from relocate_proxy.protocol import messages, wire
from relocate_proxy.protocol.messages import (
    Commit,
    Destroy,
    Freeze,
    GetReady,
    Own,
    Reply,
    Report,
    Request,
    Restore,
    Thaw,
)
from relocate_proxy.protocol.words import Party

Inbox = queue.SimpleQueue[Request]


class Agent:
    """Serves one channel. Each relocation has a thread of its own, so one that waits stops no other."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.write = write
        self.queues: dict[tuple[str, Party], Inbox] = {}

    def receive(self, request: Request) -> None:
        """Hand a request to its relocation's thread."""
        key = request.relocation, request.party
        if key not in self.queues:
            self.queues[key] = queue.SimpleQueue()
            threading.Thread(target=self._work, args=key, daemon=True).start()
        self.queues[key].put(request)

    def _work(self, relocation: str, party: Party) -> None:
        side = SourceSide(relocation) if party is Party.SOURCE else TargetSide(relocation)
        while True:
            request = self.queues[relocation, party].get()
            try:
                for reply in side.obey(request.question):
                    self._answer(relocation, party, reply)
            except Exception as error:
                self._answer(relocation, party, messages.failed(error))

    def _answer(self, relocation: str, party: Party, reply: Reply) -> None:
        report = Report(relocation, party, reply)
        self.write(wire.encode(report))
        logs.of(relocation).info("%s: %s %s", party, report.answer, messages.reason(reply))


class SourceSide:
    """Verbs of a source."""

    def __init__(self, relocation: str) -> None:
        self.record = SourceRecord(relocation)
        self.window: source.Window | None = None

    def obey(self, question: messages.Question) -> Iterator[Reply]:
        """Carry out one verb; raises what the answer `failed` then carries as its reason."""
        relocation = self.record.relocation
        match question:
            case GetReady(deadline, verify, peer, inventory):
                self._refuse_decided()
                self.window = self.window or source.Window(
                    relocation, deadline, peer, verify, Mode(inventory)
                )
                be_prompt()
                facts = self.window.facts
                yield messages.Ready(facts.configuration, facts.address, facts.others)
            case Freeze():
                if self.window is None:
                    raise source.SourceError("freeze without ready: the agent was restarted")
                yield self.window.dumped or self._freeze(self.window, question)
                yield messages.Digested(self.window.digest())
            case Thaw():
                yield source.answer_thaw(relocation)
            case Destroy(recovers):
                source.destroy(recovers or relocation)
                yield messages.Destroyed()

    def _freeze(self, window: source.Window, question: Freeze) -> messages.Dumped:
        self._refuse_decided()
        try:
            return window.freeze((question.new_ip, *question.others))
        except Exception:
            window.undo()
            raise

    def _refuse_decided(self) -> None:
        if self.record.decision is not None:
            raise source.SourceError("this relocation was decided already")


class TargetSide:
    """Verbs of a target."""

    def __init__(self, relocation: str) -> None:
        self.relocation = relocation
        self.window: target.Window | None = None
        self.restored: messages.Restored | None = None

    def obey(self, question: messages.Question) -> Iterator[Reply]:
        """Carry out one verb; raises what the answer `failed` then carries as its reason."""
        match question:
            case GetReady(inventory=mode):
                self.window = self.window or target.Window(self.relocation)
                if Mode(mode) is not Mode.OFF:
                    taking.prepare()
                be_prompt()
                facts = self.window.facts
                yield messages.Ready(facts.configuration, facts.address, facts.others)
            case Restore():
                self.restored = self.restored or self._restore(question)
                yield self.restored
            case Commit():
                watch = Stopwatch()
                resumed = target.resume(self.relocation, self.window.shim if self.window else None)
                watch.lap("resume")
                if self.window:
                    watch.phases(self.window.shim.seen)
                yield messages.Resumed(watch.laps, watch.spans) if resumed else messages.Gone()
            case Own():
                target.own(self.relocation)
                yield messages.Running()
            case Destroy():
                if self.window:
                    self.window.close()
                target.destroy(self.relocation)
                yield messages.Destroyed()

    def _restore(self, question: Restore) -> messages.Restored:
        self.window = self.window or target.Window(self.relocation)
        self.window.peer = question.peer
        if question.dumped is not None:
            return self.window.restore(question.dumped, question.seconds, question.verify)
        if question.voted is None:
            raise target.TargetError("host0 has no record of what was dumped")
        return self.window.restore_stored(question.voted, question.seconds, question.verify)


def serve() -> int:
    """Read standard input until host0 hangs up. A malformed line is answered by nothing and does
    nothing."""

    lock = threading.Lock()

    def write(line: bytes) -> None:
        with lock:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()

    for pid in (0, os.getppid()):  # this thread reads what sshd brings
        be_prompt(pid)
    agent = Agent(write)
    write(wire.HELLO)
    for line in wire.lines(sys.stdin.buffer):
        request = wire.decode(line)
        if request is not None:
            write(wire.ACKNOWLEDGEMENT)
            agent.receive(request)
    return 0
