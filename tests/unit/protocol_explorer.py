"""Explores every state that the coordinator and its world can reach, breadth first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from protocol_model import (
    BEFORE,
    Broken,
    Copy,
    Honour,
    Message,
    S,
    T,
    World,
    at_source,
    at_target,
    by_itself,
    faults,
    post,
)
from relocate_proxy.protocol import coordinator
from relocate_proxy.protocol.coordinator import FINAL, RESUME, TABLE, Row, State, Table, Trigger
from relocate_proxy.protocol.words import (
    Actions,
    Cancelled,
    Event,
    Heard,
    Hold,
    Journal,
    Phase,
    Reconnected,
    Record,
    Release,
    Send,
    SetTimer,
    Switch,
    Timeout,
)


@dataclass(frozen=True)
class Rules:
    """The protocol under test; each field can be replaced by a broken one."""

    table: Table = field(default_factory=lambda: TABLE)
    resume: Mapping[Record, Row] = field(default_factory=lambda: RESUME)
    honour: Honour = Honour()  # noqa: RUF009 - frozen
    repeats: bool = True
    alone: bool = True  # one coordinator at a time


def performed(world: World, state: State, actions: Actions) -> Iterator[World]:
    """The driver executes actions one by one and may die before each. The last world is without a crash."""
    for action in actions:
        if not isinstance(action, SetTimer):  # the world does not see it
            yield world._replace(phase=None, evidence="")
        if isinstance(action, Send):
            world = post(world, Message(action.party, action.verb, None))
        elif isinstance(action, Journal):
            world = world._replace(journal=action.record)
        elif isinstance(action, Switch):
            world = world._replace(route=action.party)
        elif isinstance(action, Hold | Release):
            world = world._replace(held=isinstance(action, Hold))
        world = world._replace(overtaken=world.overtaken or world.passing is T)
    yield world._replace(phase=state.phase, evidence=state.evidence)


class Explorer:
    """Everything reachable from `start`.

    Answers that no phase ahead of C hears are left out of the network: they can do nothing any more, and
    without them there are four times fewer states.
    """

    def __init__(self, rules: Rules | None = None, start: World = BEFORE, limit: int = 2_000_000) -> None:
        self.rules = rules or Rules()
        self.start = start
        self.limit = limit
        self.came_from: dict[World, World | None] = {}
        self.fair: dict[World, list[World]] = {}  # steps that a run without further faults may take
        self._steps: dict[tuple[State, Event], tuple[State, Actions]] = {}
        self._nets: dict[tuple[frozenset[Message], Phase | None, Record | None], frozenset[Message]] = {}
        self._ahead = {phase: self._triggers_ahead(phase) for phase in Phase}

    def _triggers_ahead(self, phase: Phase) -> set[Trigger]:
        """What any phase that C can still come to hears, with crashes on the way."""
        seen, todo, triggers = {phase}, [phase], set[Trigger]()
        while todo:
            at = todo.pop()
            rows = {trigger: row for (of, trigger), row in self.rules.table.items() if of is at}
            triggers |= set(rows)
            journaled = [a.record for row in rows.values() for a in row.actions if isinstance(a, Journal)]
            ahead = [row.to for row in rows.values()] + [self.rules.resume[record].to for record in journaled]
            todo += [to for to in ahead if to not in seen]
            seen.update(ahead)
        return triggers

    def _heard(self, world: World) -> frozenset[Message]:
        """The network without answers that can do nothing any more; C may be down, or crash."""
        key = world.net, world.phase, world.journal
        if key not in self._nets:
            triggers = self._ahead[world.phase] if world.phase is not None else set()
            if world.journal is not None:
                triggers = triggers | self._ahead[self.rules.resume[world.journal].to]
            useful = {m for m in world.net if m.answer is None or (m.party, m.answer) in triggers}
            self._nets[key] = frozenset(useful)
        return self._nets[key]

    def _step(self, state: State, event: Event) -> tuple[State, Actions]:
        if (state, event) not in self._steps:
            after, actions = coordinator.step(state, event, self.rules.table)
            if isinstance(event, Timeout | Reconnected) and not self.rules.repeats:
                after, actions = state, ()
            self._steps[state, event] = after, actions
        return self._steps[state, event]

    def coordinate(self, world: World, event: Event) -> list[World]:
        """C takes an event; all but the last world are crashes."""
        assert world.phase is not None
        before = State(world.phase, evidence=world.evidence)
        state, actions = self._step(before, event)
        if state == before and not actions:
            return [world]
        return list(performed(world, state, actions))

    def fair_steps(self, world: World) -> Iterator[tuple[World, list[World]]]:
        """Each step without a fault, and the crashes on its way."""
        for party, verb, answer, evidence in world.net:
            if verb is not None:
                at = at_source if party is S else at_target
                for after in at(world, verb, self.rules.honour):
                    yield after, []
            elif answer is not None and world.phase is not None:
                *crashes, after = self.coordinate(world, Heard(party, answer, evidence=evidence))
                yield after, crashes
        for after in by_itself(world, self.rules.honour):
            yield after, []
        if world.phase is None:
            if world.journal is not None:  # else nothing had begun, and nobody comes back to it
                state, actions = coordinator.resume([world.journal], table=self.rules.resume)
                *crashes, after = performed(world, state, actions)
                yield after, crashes
            return
        for event in (Timeout(), Reconnected(S), Reconnected(T)):
            *crashes, after = self.coordinate(world, event)
            yield after, crashes

    def explore(self, check: Callable[[World], None]) -> None:
        """Visit everything; `check` raises Broken. Then every fair run must end well."""
        state, actions = coordinator.begin() if self.start.source is Copy.LIVE else coordinator.recover()
        todo = deque(performed(self.start, state, actions))
        self.came_from.update(dict.fromkeys(todo))
        while todo:
            world = todo.popleft()
            check(world)
            steps = list(self.fair_steps(world))
            self.fair[world] = self.tidy(after for after, _ in steps if after != world)
            others = [crash for _, crashes in steps for crash in crashes]
            others += faults(world)
            if world.phase is not None:
                others += self.coordinate(world, Cancelled())
                if not self.rules.alone and world.journal is not None:
                    _, actions = coordinator.resume([world.journal])
                    mine = State(world.phase, evidence=world.evidence)
                    done = performed(world, mine, actions)
                    others += [a._replace(phase=world.phase, evidence=world.evidence) for a in done]
            for after in self.fair[world] + self.tidy(others):
                if after not in self.came_from:
                    self.came_from[after] = world
                    todo.append(after)
            if len(self.came_from) > self.limit:
                raise Broken(f"more than {self.limit} states")

    def tidy(self, worlds: Iterable[World]) -> list[World]:
        """The worlds with only the messages that matter."""
        tidied = []
        for world in worlds:
            net = self._heard(world)
            tidied.append(world if net == world.net else world._replace(net=net))
        return tidied

    def stuck(self) -> list[World]:
        """Worlds from which no run without further faults ends. Empty means that every fair run ends.

        Fair: a step that is possible again and again is taken some time. In a finite graph such runs end in a
        final state exactly if from each state a final state can be reached.
        """
        into: dict[World, list[World]] = {}
        for world, afters in self.fair.items():
            for after in afters:
                into.setdefault(after, []).append(world)
        ending = [world for world in self.fair if world.phase in FINAL or world.journal is None]
        seen = set(ending)
        while ending:
            for before in into.get(ending.pop(), ()):
                if before not in seen:
                    seen.add(before)
                    ending.append(before)
        return [world for world in self.fair if world not in seen]

    def story(self, world: World) -> str:
        """How it came to this, one world a line: for whoever reads a failed test."""
        lines = []
        at: World | None = world
        while at is not None:
            lines.append(str(at._replace(net=frozenset())) + " ".join(map(str, at.net)))
            at = self.came_from[at]
        return "\n".join(reversed(lines))
