"""The coordinator explored: every state, every fault at each step, and protocols broken on purpose."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace

import protocol_diagram
import pytest
from protocol_explorer import Explorer, Rules
from protocol_model import BEFORE, CHANGED, ONLY_IMAGE, Broken, Copy, Honour, Mark, World
from relocate_proxy.protocol.coordinator import (
    CHANGED_CONFIGURATION,
    CHANGED_IMAGE,
    FINAL,
    RESUME,
    TABLE,
    Row,
    State,
    Table,
    begin,
    resume,
    step,
)
from relocate_proxy.protocol.words import (
    Action,
    Actions,
    Answer,
    Cancelled,
    Deadline,
    Differs,
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

S, T = Party.SOURCE, Party.TARGET
FINAL_RECORDS = {
    Phase.MOVED: Record.DONE,
    Phase.ROLLED_BACK: Record.ENDED,
    Phase.STORED: Record.STORED,
    Phase.LOST: Record.LOST,
}


def check(world: World) -> None:
    """The three invariants, and what packets may meet."""
    if world.source is Copy.LIVE and world.target is Copy.LIVE:
        raise Broken("two live copies")
    if not (
        world.source in (Copy.LIVE, Copy.FROZEN)
        or world.target is Copy.LIVE
        or world.image
        or died_by_nature(world)
    ):
        raise Broken("no copy, and none that can be brought back")
    if world.passing is S and world.source not in (Copy.LIVE, Copy.DEAD):
        raise Broken("packets reach a source that does not run")
    if world.passing is T and world.target not in (Copy.LIVE, Copy.DEAD):
        raise Broken("packets reach a target that does not run")
    if world.overtaken and world.source is Copy.LIVE:
        raise Broken("a source lives that clients have overtaken")
    if world.changed is Answer.READY and world.phase is Phase.DUMPING:
        raise Broken("a container is frozen for another configuration")
    if world.changed is not None and world.journal is Record.COMMIT:
        raise Broken("what was changed on the way is committed")
    if world.phase in FINAL:
        check_end(world)


def died_by_nature(world: World) -> bool:
    """The host that held the only copy lost power: S before its vote or after a thaw, T after RESUMED."""
    if world.journal in (Record.RESUMED, Record.DONE):
        return world.target is Copy.DEAD and world.target_mark is Mark.COMMITTED
    return world.source is Copy.DEAD and world.source_mark is not Mark.VOTED


def check_end(world: World) -> None:
    """What C says at its end is true, nothing is left on the other side, and packets go where it says."""
    facts = {
        Phase.MOVED: world.target in (Copy.LIVE, Copy.DEAD) and world.source is Copy.NONE,
        Phase.ROLLED_BACK: world.source in (Copy.LIVE, Copy.DEAD),
        Phase.STORED: world.source in (Copy.DEAD, Copy.NONE) and world.image,
        Phase.LOST: world.source is Copy.DEAD and not world.image,
    }
    assert world.phase is not None
    if not facts[world.phase]:
        raise Broken(f"{world.phase} is not true")
    if world.phase is not Phase.MOVED and world.target in (Copy.LIVE, Copy.INERT, Copy.PARKED):
        raise Broken("a copy is left on the target")
    if world.journal is not FINAL_RECORDS[world.phase]:
        raise Broken("the journal is not closed")
    to = {Phase.MOVED: T, Phase.STORED: None}.get(world.phase, S)
    if world.passing is not to:
        raise Broken("packets do not go where they should")


def explored(rules: Rules | None = None, start: World = BEFORE) -> Explorer:
    """Everything visited; raises Broken if an invariant fails or a fair run does not end."""
    explorer = Explorer(rules, start)
    explorer.explore(check)
    if stuck := explorer.stuck():
        raise Broken(f"a run that does not end: {explorer.story(stuck[0])}")
    return explorer


@pytest.mark.parametrize("start", [BEFORE, ONLY_IMAGE], ids=["relocation", "recovery"])
def test_every_reachable_state_keeps_the_invariants_and_every_fair_run_ends(
    start: World, capsys: pytest.CaptureFixture[str]
) -> None:
    explorer = explored(start=start)
    ends = {world.phase for world in explorer.fair if world.phase in FINAL}
    with capsys.disabled():
        fair = sum(map(len, explorer.fair.values()))
        print(f"\n{len(explorer.fair)} states, {fair} steps without faults, ends: {', '.join(sorted(ends))}")
    assert ends == (set(FINAL_RECORDS) if start is BEFORE else {Phase.MOVED, Phase.STORED})
    phases = {world.phase for world in explorer.fair}
    assert phases >= ({Phase.REVERTING} if start is BEFORE else {Phase.RESUMING_RECOVERY})


@pytest.mark.parametrize("start", CHANGED, ids=["configuration", "images"])
def test_what_was_changed_on_the_storage_is_never_committed(start: World) -> None:
    explorer = explored(start=start)
    assert Phase.RESUMING not in {world.phase for world in explorer.fair}


# Protocols broken on purpose, each found by the same exploration.


def rewritten(old: Row, *actions: Action, to: Phase | None = None) -> Table:
    """The table with one row, wherever it is used, doing something else."""
    new = Row(actions, to or old.to)
    return {key: new if row is old else row for key, row in TABLE.items()}


def late(row: Row) -> Actions:
    """The row's actions with the journal written last."""
    return tuple(sorted(row.actions, key=lambda action: isinstance(action, Journal)))


FREEZE = TABLE[Phase.ARMING_SOURCE, (S, Answer.READY)]
DUMPED = TABLE[Phase.DUMPING, (S, Answer.DUMPED)]
COMMIT = TABLE[Phase.VOTING_TARGET, (T, Answer.RESTORED)]
RESUMED = TABLE[Phase.RESUMING, (T, Answer.RESUMED)]
RUNNING = TABLE[Phase.OWNING, (T, Answer.RUNNING)]
GONE = TABLE[Phase.RESUMING, (T, Answer.GONE)]
ABORT = TABLE[Phase.RESTORING, Timeout]
THAWED = TABLE[Phase.UNDOING_SOURCE, (S, Answer.THAWED)]

BROKEN = {
    "commit heard before it is on disk": Rules(rewritten(COMMIT, *late(COMMIT))),
    "commit taken back at a deadline": Rules({**TABLE, (Phase.RESUMING, Timeout): ABORT}),
    "thaw after commit without the target's word": Rules({**TABLE, (Phase.RESUMING, Timeout): GONE}),
    "a late failure believed after commit": Rules({**TABLE, (Phase.RESUMING, (T, Answer.FAILED)): GONE}),
    "thaw heard before the revert is on disk": Rules(rewritten(GONE, *late(GONE))),
    "watchdog thaws after the vote": Rules(honour=Honour(watchdog_heeds_vote=False)),
    "source votes after its watchdog thawed": Rules(honour=Honour(vote_heeds_watchdog=False)),
    "source freezes again on a late message": Rules(honour=Honour(source_remembers_thaw=False)),
    "target restores again on a late message": Rules(honour=Honour(target_remembers_end=False)),
    "target says that it runs what is dying": Rules(honour=Honour(target_makes_sure=False)),
    "target lets go of what has run": Rules(
        {**TABLE, (Phase.OWNING, (T, Answer.GONE)): GONE}, honour=Honour(target_keeps_what_ran=False)
    ),
    "a late word believed after packets went on": Rules({**TABLE, (Phase.OWNING, (T, Answer.GONE)): GONE}),
    "packets go on without a record": Rules(
        rewritten(RESUMED, *RESUMED.actions[1:], to=Phase.RESUMING)
        | {(Phase.RESUMING, (T, Answer.RUNNING)): RUNNING}
    ),
    "packets go on before it is on disk": Rules(
        rewritten(RESUMED, *RESUMED.actions[1:], *RESUMED.actions[:1])
    ),
    "commit before the source's vote": Rules({**TABLE, (Phase.RESTORING, (T, Answer.RESTORED)): COMMIT}),
    "armed with another configuration": Rules({**TABLE, (Phase.ARMING_TARGET, Differs): FREEZE}),
    "another image restored": Rules({**TABLE, (Phase.VOTING_TARGET, Differs): COMMIT}),
    "two coordinators at once": Rules(alone=False),
    "freeze without a hold": Rules(rewritten(FREEZE, *FREEZE.actions[1:])),
    "route changed before commit": Rules(rewritten(DUMPED, *DUMPED.actions, Switch(T))),
    "release before the target runs": Rules(rewritten(COMMIT, *COMMIT.actions, Release())),
    "release before the source runs": Rules(rewritten(ABORT, *ABORT.actions, Release())),
    "source destroyed before the target runs": Rules(
        rewritten(COMMIT, *COMMIT.actions, Send(S, Verb.DESTROY))
    ),
    "end without a journal record": Rules(rewritten(THAWED, *THAWED.actions[:-2], *THAWED.actions[-1:])),
    "nothing is repeated": Rules(repeats=False),
    "host0 boots without a hold": Rules(resume={**RESUME, Record.COMMIT: Row((Switch(T),), Phase.RESUMING)}),
    "aborted relocation goes on after a crash": Rules(resume={**RESUME, Record.ABORT: RESUME[Record.COMMIT]}),
}


@pytest.fixture(autouse=True)
def _no_garbage() -> Iterator[None]:
    """A million tuples and no cycles: the collector would only cost a third of the time."""
    gc.disable()
    yield
    gc.enable()


def slips() -> Iterator[tuple[str, Rules]]:
    """Each deed of the table left out, and each record written only after the message that follows it.

    ABORT is left alone: see `test_abort_is_presumed`.
    """
    rows = {id(row): (key, row) for key, row in TABLE.items()}
    for (phase, _), row in rows.values():
        for n, action in enumerate(row.actions):
            if action == Journal(Record.ABORT):
                continue
            if isinstance(action, Journal | Hold | Release | Switch):
                rest = (*row.actions[:n], *row.actions[n + 1 :])
                yield f"{phase} without {action}", Rules(rewritten(row, *rest))
            if isinstance(action, Journal) and any(isinstance(a, Send) for a in row.actions[n:]):
                yield f"{phase} {action} late", Rules(rewritten(row, *late(row)))


SLIPS = dict(slips())


@pytest.mark.parametrize("name", SLIPS)
def test_nothing_in_the_table_can_be_left_out(name: str) -> None:
    assert is_found(SLIPS[name])


def test_abort_is_presumed() -> None:
    """A journal that says only BEGIN means abort already: ABORT spares a crashed coordinator time."""
    without = {
        key: replace(row, actions=tuple(a for a in row.actions if a != Journal(Record.ABORT)))
        for key, row in TABLE.items()
    }
    assert not is_found(Rules(without))


def is_found(rules: Rules) -> bool:
    """Whether an exploration tells this protocol from a right one."""
    for start in (ONLY_IMAGE, BEFORE, *CHANGED):
        try:
            explored(rules, start)
        except Broken:
            return True
    return False


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_protocol_is_found(name: str) -> None:
    assert is_found(BROKEN[name])


# What the driver and the reader may rely on.


def test_the_straight_way() -> None:
    state, actions = begin()
    ready = (Send(S, Verb.READY), Send(T, Verb.READY))
    assert actions == (Journal(Record.BEGIN), *ready, SetTimer(Deadline.READY))
    way: list[tuple[Heard, Actions]] = [
        (Heard(T, Answer.READY, evidence="c"), ()),
        (Heard(S, Answer.READY, evidence="c"), (Hold(), Send(S, Verb.FREEZE), SetTimer(Deadline.DUMP))),
        (Heard(S, Answer.DUMPED), (Send(T, Verb.RESTORE), SetTimer(Deadline.RESTORE))),
        (Heard(S, Answer.DIGESTED, evidence="i"), ()),
        (
            Heard(T, Answer.RESTORED, evidence="i"),
            (Journal(Record.COMMIT), Send(T, Verb.COMMIT), Switch(T), SetTimer(Deadline.REPEAT)),
        ),
        (Heard(T, Answer.RESUMED), (Journal(Record.RESUMED), Release(), Send(T, Verb.OWN))),
        (Heard(T, Answer.RUNNING), (Send(S, Verb.DESTROY),)),
        (Heard(S, Answer.DESTROYED), (Journal(Record.DONE), Finish(Phase.MOVED))),
    ]
    for event, expected in way:
        state, actions = step(state, event)
        assert actions == expected
    assert state.finished


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (Heard(S, Answer.READY, evidence="c"), Heard(T, Answer.READY, evidence="d"), CHANGED_CONFIGURATION),
        (Heard(T, Answer.RESTORED, evidence="i"), Heard(S, Answer.DIGESTED, evidence="j"), CHANGED_IMAGE),
    ],
)
def test_what_the_parties_state_differently_ends_it(first: Heard, second: Heard, reason: str) -> None:
    start = State(Phase.ARMING if first.answer is Answer.READY else Phase.RESTORING)
    state, _ = step(step(start, first)[0], second)
    assert (state.phase, state.reason) == (Phase.UNDOING, reason)


def test_a_reason_reaches_the_journal_and_the_end() -> None:
    state = State(Phase.DUMPING)
    state, (journal, *_) = step(state, Heard(S, Answer.FAILED, "criu: unsupported socket"))
    assert isinstance(journal, Journal) and journal.reason == "source: criu: unsupported socket"
    state, _ = step(state, Heard(T, Answer.DESTROYED))
    _, actions = step(state, Heard(S, Answer.THAWED))
    assert isinstance(actions[-1], Finish) and actions[-1].reason == "source: criu: unsupported socket"


def test_a_deadline_says_what_took_too_long() -> None:
    after, _ = step(State(Phase.VOTING_TARGET, evidence="i"), Timeout())
    assert after.reason == "no answer in time while restoring"


@pytest.mark.parametrize("phase", Phase)
def test_a_timer_that_ran_out_is_set_again_or_the_phase_left(phase: Phase) -> None:
    after, actions = step(State(phase), Timeout())
    assert (after.phase in FINAL) or any(isinstance(action, SetTimer) for action in actions)


def test_a_new_channel_repeats_only_what_is_unanswered_there() -> None:
    assert step(State(Phase.UNDOING), Reconnected(T)) == (State(Phase.UNDOING), (Send(T, Verb.DESTROY),))
    assert step(State(Phase.UNDOING_SOURCE), Reconnected(T))[1] == ()


@pytest.mark.parametrize(
    "phase", [Phase.RESUMING, Phase.OWNING, Phase.REMOVING, Phase.REVERTING, Phase.MOVED]
)
def test_a_wish_to_stop_comes_too_late_after_commit(phase: Phase) -> None:
    assert step(State(phase), Cancelled()) == (State(phase), ())


def test_every_record_can_be_resumed_and_every_open_phase_asks_something() -> None:
    for record in Record:
        state, actions = resume([record])
        assert isinstance(actions[-1], Finish) == state.finished
        assert state.finished or any(isinstance(action, Send) for action in actions)


def test_the_page_shows_this_table() -> None:
    page = protocol_diagram.PAGE.read_text()
    assert protocol_diagram.drawn(page) == page, "run: python tests/unit/protocol_diagram.py"
