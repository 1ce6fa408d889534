import multiprocessing
import sqlite3
import stat
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from relocate_cli.errors import ExitCode, LockedError, UsageError
from relocate_cli.journal import Due, Journal, Survey, lock
from relocate_cli.plan import Inventory, Noted, Outcome, Phase, Relocation

MOVED = Relocation(
    "r1", "web", "h1", "h2", "203.0.113.5", "172.17.0.2", "172.17.0.3",
    10.0, 12.0, Outcome.MOVED, "", 61.5, (Phase("freeze", 3.25), Phase("restore", 40.0)),
)  # fmt: skip
WEB = {"name": "web", "ip": "172.17.0.2", "started_at": 1.0, "ports": ["tcp/80"]}


def test_a_relocation_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.record(MOVED)
    with Journal(tmp_path) as journal:
        assert journal.relocations() == (MOVED,)


def test_a_journal_of_before_there_was_an_inventory_is_read(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.record(MOVED)
    with sqlite3.connect(tmp_path / "journal.sqlite") as database:
        database.execute("ALTER TABLE relocation DROP COLUMN inventory")
    compared = replace(MOVED, id="r2", started=20.0, inventory=Inventory(9, (Noted("user", 2),)))
    with Journal(tmp_path) as journal:
        journal.record(compared)
        assert journal.relocations() == (MOVED, compared)


def test_nobody_else_reads_when_a_container_moves_next(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").touch(0o644)
    with Journal(tmp_path) as journal:
        journal.record(MOVED)
        assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


def test_history_is_oldest_first_and_limited_to_the_newest(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        for number in range(5):
            journal.record(Relocation(str(number), "ab"[number % 2], "h1", "h2", started=float(number)))
        assert [entry.id for entry in journal.relocations(limit=2)] == ["3", "4"]
        assert [entry.id for entry in journal.relocations(container="a")] == ["0", "2", "4"]
        assert [entry.id for entry in journal.relocations(since=3.0)] == ["3", "4"]


def test_a_relocation_that_nobody_ended_stays_open(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.record(MOVED)
        journal.record(Relocation("r2", "db", "h1", "h2", started=20.0))
        assert [entry.id for entry in journal.open_relocations()] == ["r2"]


def test_a_failed_survey_keeps_the_facts_of_the_last_good_one(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.keep_surveys("inv", [Survey("h1", 5.0, {"containers": []}, {"rack": 1})], {})
        journal.keep_surveys("inv", [Survey("h1", None, {}, {"rack": 2}, "unreachable")], {})
        assert journal.surveys("inv") == (Survey("h1", 5.0, {"containers": []}, {"rack": 2}, "unreachable"),)


def test_facts_of_another_inventory_are_not_facts(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.keep_surveys("inv", [Survey("h1", 5.0, {}, {})], {"web": "203.0.113.5"})
        assert journal.surveys("other") == ()
        assert journal.vips() == {"web": "203.0.113.5"}


def test_after_a_move_the_facts_say_so(tmp_path: Path) -> None:
    taken = {"published_ports": ["tcp/22", "tcp/80"]}
    with Journal(tmp_path) as journal:
        there = Survey("h1", 5.0, {"containers": [WEB], "capacity": taken}, {})
        journal.keep_surveys("inv", [there, Survey("h2", 5.0, {"containers": []}, {})], {})
        journal.container_moved(MOVED)
        first, second = journal.surveys("inv")
    assert first.document["containers"] == []
    assert first.document["capacity"]["published_ports"] == ["tcp/22"]
    assert second.document["containers"] == [{**WEB, "ip": "172.17.0.3", "started_at": 12.0}]
    assert second.document["capacity"]["published_ports"] == ["tcp/80"]


def test_due_times_come_soonest_first_and_can_be_forgotten(tmp_path: Path) -> None:
    late, soon = Due("a", 9.0, 0.0, 1.0, "truncated"), Due("b", 3.0, 0.0, 1.0, "truncated")
    with Journal(tmp_path) as journal:
        journal.set_due([late, soon])
        assert journal.due() == (soon, late)
        journal.forget_due(["b", "never was"])
        assert journal.due() == (late,)


def test_a_drained_host_is_drained_until_it_is_taken_back(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.drain("h1")
        journal.drain("h1")
        assert journal.drained() == {"h1"}
        journal.undrain("h1")
        assert journal.drained() == frozenset()


def test_a_state_directory_that_cannot_be_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError):
        Journal(tmp_path / "file")


def _hold(state: Path, held: Event, done: Event) -> None:
    with lock(state):
        held.set()
        done.wait(30)


def test_a_second_run_is_refused_and_named_and_let_in_afterwards(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held, done))
    other.start()
    assert held.wait(30)
    with pytest.raises(LockedError, match=str(other.pid)) as refused, lock(tmp_path):
        pass
    assert refused.value.exit_code is ExitCode.LOCKED
    done.set()
    with lock(tmp_path, wait=30):
        pass
    other.join()
