import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relocate_cli import playbook, relocation
from relocate_cli import settings as schema
from relocate_cli.journal import Journal
from relocate_cli.plan import Inventory, Move, Noted, Outcome, Phase, Plan
from relocate_cli.playbook import PlaybookResult, TaskEvent
from relocate_cli.relocation import ARMING, FIRED, SETTLED
from relocate_cli.settings import Settings

PLAN = Plan((Move("web", "h1", "h2", "203.0.113.5", "r1"), Move("db", "h1", "h3", "203.0.113.6", "r2")))
MOVED = {
    "relocation_id": "r1",
    "container": "web",
    "source": "h1",
    "target": "h2",
    "old_ip": "172.17.0.2",
    "new_ip": "172.17.0.9",
    "vip": "203.0.113.5",
    "outcome": "moved",
    "reason": None,
    "window_ms": 61.5,
    "phases": [{"name": "freeze", "ms": 3}],
    "inventory": {
        "compared": 900,
        "mended": [{"kind": "TCP_USER_TIMEOUT", "times": 3, "why": ""}],
        "harmless": [{"kind": "CPU affinity", "times": 1, "why": "not here"}],
    },
}
BACK = MOVED | {"relocation_id": "r2", "container": "db", "outcome": "rolled_back", "reason": "dump failed"}


def ended(
    register: str, host: str, document: dict[str, Any] | None, status: playbook.Status = "ok"
) -> TaskEvent:
    said = "" if document is None else json.dumps(document)
    return TaskEvent("Whatever it is called", host, status, said, register=register)


def started(register: str) -> TaskEvent:
    return TaskEvent("Whatever it is called", "", "started", register=register)


def result(*events: TaskEvent, rc: int = 0, **trouble: Any) -> PlaybookResult:
    return PlaybookResult("relocate", rc, events, **({"failed": {}, "unreachable": {}} | trouble))


@pytest.fixture
def carry_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[PlaybookResult], Any]:
    """Carry out PLAN with a playbook that ends as told; gives outcome and reason of each move, in order."""

    def carry(end: PlaybookResult) -> Any:
        def run(name: str, **options: Any) -> PlaybookResult:
            with Journal(tmp_path) as during:  # written before anything is touched
                assert [entry.id for entry in during.open_relocations()] == ["r1", "r2"]
            assert options["limit"] == "h1,h2,h3,relocate_gateway,relocate_storage"
            for event in end.tasks:
                options["on_event"](event)
            return end

        monkeypatch.setattr(playbook, "run", run)
        with Journal(tmp_path) as journal:
            ends = relocation.carry_out(PLAN, settings=Settings(), journal=journal)
            assert {entry.id for entry in journal.open_relocations()} == {
                entry.id for entry in ends if entry.outcome is Outcome.OPEN
            }
            assert journal.trusted == all(entry.outcome is Outcome.MOVED for entry in ends)
            assert journal.relocations() == ends
        return ends

    return carry


def test_each_move_gets_the_answer_that_is_its_own(carry_out: Any) -> None:
    first, second = carry_out(result(ended(FIRED, "h0", {"relocations": [BACK, MOVED]}, "failed"), rc=2))
    assert (first.outcome, first.new_ip, first.window_ms) == (Outcome.MOVED, "172.17.0.9", 61.5)
    assert first.phases == (Phase("freeze", 3.0),)
    assert first.inventory == Inventory(
        900, (Noted("TCP_USER_TIMEOUT", 3),), (Noted("CPU affinity", 1, "not here"),)
    )
    assert json.loads(json.dumps(first.document()))["inventory"] == MOVED["inventory"]
    assert (second.outcome, second.reason) == (Outcome.ROLLED_BACK, "dump failed")


def test_one_that_could_not_be_armed_is_rolled_back_and_does_not_stop_the_other(carry_out: Any) -> None:
    armed = ended(ARMING[1], "h3", {"results": [{"id": "r2", "ok": False, "reason": "no space"}]})
    first, second = carry_out(result(armed, ended(FIRED, "h0", {"relocations": [MOVED]})))
    assert first.outcome is Outcome.MOVED
    assert (second.outcome, second.reason) == (Outcome.ROLLED_BACK, "no space")


def test_one_that_a_host_could_not_settle_stays_open_and_the_other_does_not(carry_out: Any) -> None:
    results = [{"id": "r1", "ok": True, "reason": ""}, {"id": "r2", "ok": False, "reason": "no engine"}]
    fired = ended(FIRED, "h0", {"relocations": [MOVED, BACK]})
    first, second = carry_out(result(fired, ended(SETTLED, "h1", {"results": results}, "failed"), rc=2))
    assert first.outcome is Outcome.MOVED
    assert (second.outcome, second.reason) == (Outcome.OPEN, "h1: no engine")


def test_if_the_window_never_opened_nothing_was_lost(carry_out: Any) -> None:
    ends = carry_out(result(rc=4, unreachable={"h2": "Describe: no route"}))
    assert {(entry.outcome, entry.reason) for entry in ends} == {
        (Outcome.ROLLED_BACK, "h2: Describe: no route")
    }


def test_if_a_part_of_the_report_is_missing_nothing_follows_from_silence(carry_out: Any) -> None:
    ends = carry_out(result(complaint="a part is missing", unread=True))
    assert {(entry.outcome, entry.reason) for entry in ends} == {(Outcome.OPEN, "a part is missing")}


def test_if_nobody_saw_the_end_of_the_window_it_stays_open(carry_out: Any) -> None:
    events = (started(FIRED), ended(FIRED, "h0", None, "unreachable"))
    ends = carry_out(result(*events, rc=4, unreachable={"h0": "Fire: gone"}))
    assert {entry.outcome for entry in ends} == {Outcome.OPEN}
    assert all("h0: Fire: gone" in entry.reason for entry in ends)


@pytest.mark.parametrize(
    ("begun", "outcome", "words"),
    [
        ([], Outcome.ROLLED_BACK, "interrupted"),
        ([ARMING[1]], Outcome.OPEN, "interrupted before the window, so it runs where it was"),
        ([ARMING[1], FIRED], Outcome.OPEN, "interrupted; host0 carries on by itself"),
    ],
)
def test_what_an_interrupt_leaves_armed_is_open(
    carry_out: Any, begun: list[str], outcome: Outcome, words: str
) -> None:
    ends = carry_out(result(*(started(register) for register in begun), rc=99, interrupted=True))
    assert {(entry.outcome, entry.reason) for entry in ends} == {(outcome, words)}


def test_progress_names_each_phase_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registers = ["", ARMING[1], ARMING[1], FIRED, SETTLED]

    def run(name: str, **options: Any) -> PlaybookResult:
        for register in registers:
            options["on_event"](started(register))
        return result()

    monkeypatch.setattr(playbook, "run", run)
    seen: list[str] = []
    with Journal(tmp_path) as journal:
        relocation.carry_out(PLAN, settings=Settings(), journal=journal, on_phase=seen.append)
    assert seen == ["arm", "fire", "settle"]


def test_the_playbook_is_told_the_deadline_the_budget_and_what_to_keep() -> None:
    chosen = Settings(
        storage=schema.Storage(keep=True),
        relocation=schema.Relocation(deadline=5.0),
        policy=schema.Policy(max_parallel=0),
    )
    told = relocation.variables(Plan((*PLAN.moves, Move("x", "h2", "h1", "", "r3", "r0"))), chosen)
    assert [move["deadline"] for move in told["relocation__moves"]] == [5.0, 5.0, 5.0]
    assert [move.get("recovers") for move in told["relocation__moves"]] == [None, None, "r0"]
    assert (told["relocation__parallel"], told["relocation__keep"]) == (3, True)
