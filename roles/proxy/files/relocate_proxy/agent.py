"""The agent on a host: what host0's key may run, and all it may run. One JSON message a line, in and out.

In: ``{"relocation", "verb", "party", "data"}``; out: ``{"relocation", "party", "answer", "reason",
"data"}`` (protocol.py has the words).
All that must outlive the agent lies with the parked runcs, the timers and the records; a new agent
answers for an old one.
"""

import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from relocate_proxy import records, source, target, wire
from relocate_proxy.protocol import Answer, Party, Verb
from relocate_proxy.stopwatch import Stopwatch
from relocate_proxy.urgency import be_prompt

Inbox = queue.SimpleQueue[wire.Request]


class Agent:
    """Serves one channel. Each relocation has a thread of its own, so one that waits stops no other."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.write = write
        self.queues: dict[str, Inbox] = {}

    def receive(self, request: wire.Request) -> None:
        """Hand a request to its relocation's thread."""
        if request.relocation not in self.queues:
            self.queues[request.relocation] = queue.SimpleQueue()
            threading.Thread(target=self._work, args=(request.relocation, request.party), daemon=True).start()
        self.queues[request.relocation].put(request)

    def _work(self, relocation: str, party: Party) -> None:
        inbox = self.queues[relocation]
        side = SourceSide(relocation) if party is Party.SOURCE else TargetSide(relocation, inbox)
        while True:
            request = inbox.get()
            try:
                for answer, data in side.obey(request.verb, request.data):
                    self._answer(relocation, party, answer, "", data)
            except Exception as error:
                self._answer(relocation, party, Answer.FAILED, str(error) or type(error).__name__, {})

    def _answer(
        self, relocation: str, party: Party, answer: Answer, reason: str, data: dict[str, Any]
    ) -> None:
        line = wire.encode(
            {"relocation": relocation, "party": party, "answer": answer, "reason": reason, "data": data}
        )
        self.write(line)


Answers = Iterator[tuple[Answer, dict[str, Any]]]
MANIFEST_SECONDS = 30.0


class SourceSide:
    """Verbs of a source."""

    def __init__(self, relocation: str) -> None:
        self.relocation = relocation
        self.window: source.Window | None = None
        self.dumped: dict[str, Any] | None = None

    def obey(self, verb: Verb, data: dict[str, Any]) -> Answers:
        """Carry out one verb; raises what the answer `failed` then carries as its reason."""
        if verb is Verb.READY:
            if records.decided(self.relocation):
                raise source.SourceError("this relocation was decided already")
            if self.window is None:
                peer, verify = data.get("peer", ""), data.get("verify", True)
                self.window = source.Window(self.relocation, float(data["deadline"]), peer, verify)
            be_prompt()
            facts = self.window.facts
            yield Answer.READY, {"spec_digest": facts["spec_digest"], "old_ip": facts["address"]}
        elif verb is Verb.FREEZE:
            window, dumped = self._freeze(data)
            yield Answer.DUMPED, dumped
            if window.verify:
                yield Answer.DUMPED, {"manifest": window.manifest()}
        elif verb is Verb.THAW:
            yield source.answer_thaw(self.relocation), {}
        elif verb is Verb.DESTROY:
            source.destroy(data.get("recovers") or self.relocation)
            yield Answer.DESTROYED, {}

    def _freeze(self, data: dict[str, Any]) -> tuple[source.Window, dict[str, Any]]:
        if self.window is None:
            raise source.SourceError("freeze without ready: the agent was restarted")
        if self.dumped is None:
            if records.decided(self.relocation):
                raise source.SourceError("this relocation was decided already")
            try:
                self.dumped = self.window.freeze(data["new_ip"])
            except Exception:
                self.window.undo()
                raise
        return self.window, self.dumped


class TargetSide:
    """Verbs of a target."""

    def __init__(self, relocation: str, inbox: Inbox) -> None:
        self.relocation = relocation
        self.inbox = inbox
        self.window: target.Window | None = None
        self.restored: dict[str, Any] | None = None

    def obey(self, verb: Verb, data: dict[str, Any]) -> Answers:
        """Carry out one verb; raises what the answer `failed` then carries as its reason."""
        if verb is Verb.READY:
            self.window = self.window or target.Window(self.relocation)
            be_prompt()
            facts = self.window.facts
            yield Answer.READY, {"spec_digest": facts["spec_digest"], "new_ip": facts["address"]}
        elif verb is Verb.RESTORE:
            if self.restored is None:
                self.restored = self._restore(data)
            yield Answer.RESTORED, self.restored
        elif verb is Verb.COMMIT:
            watch = Stopwatch()
            running = target.resume(self.relocation, self.window.shim if self.window else None)
            watch.lap("resume")
            if running:
                yield Answer.RUNNING, {"early": True}
                running = target.take_over(self.relocation)
            if self.window:
                watch.phases(self.window.shim.seen)
            yield (Answer.RUNNING if running else Answer.GONE), watch.document()
        elif verb is Verb.DESTROY:
            target.destroy(self.relocation)
            yield Answer.DESTROYED, {}

    def _restore(self, data: dict[str, Any]) -> dict[str, Any]:
        self.window = self.window or target.Window(self.relocation)
        seconds = float(data["seconds"])
        if data.get("stored"):
            return self.window.restore(self.window.stored(), seconds)
        self.window.peer = data.get("peer", "")
        manifest = (lambda: self._manifest(data)) if data.get("verify", True) else None
        return self.window.restore(data["dumped"], seconds, manifest)

    def _manifest(self, data: dict[str, Any]) -> dict[str, str]:
        """The images' digests: in the request, or in its repetition, which follows as soon as the source
        has them."""
        while "manifest" not in data:
            try:
                request = self.inbox.get(timeout=MANIFEST_SECONDS)
            except queue.Empty:
                raise target.TargetError("the digests of the images did not come") from None
            if request.verb is not Verb.RESTORE:
                self.inbox.put(request)
                raise target.TargetError("called off")
            data = request.data
        manifest: dict[str, str] = data["manifest"]
        return manifest


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
