"""host0's journal: what is at hand, what is put away, and what is remembered of what was removed."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy import paths
from relocate_proxy.host0 import journal
from relocate_proxy.protocol.move import Move
from relocate_proxy.protocol.words import Record

NOW = 1_800_000_000.0
DAY = 86400.0


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "JOURNAL", tmp_path)


def ended(identity: str, record: Record, days_ago: float, **more: Any) -> None:
    move = Move(identity, f"c-{identity}", "host1", "host2", "203.0.113.64", **more)
    path = journal.journal_file(identity)
    path.write_text(json.dumps({"record": record, "move": asdict(move)}) + "\n")
    journal.outcome_file(identity).write_text("{}")
    os.utime(path, (NOW - days_ago * DAY,) * 2)


def put_away(now: float = NOW) -> None:
    journal.put_away(journal.at_hand(), now)


def test_what_has_ended_is_put_away_and_still_found() -> None:
    ended("move-1", Record.DONE, 1)
    ended("move-2", Record.COMMIT, 40)
    ended("move-3", Record.STORED, 40)
    ended("move-4", Record.ENDED, 0.01)
    put_away()
    assert journal.at_hand().keys() == {"move-2", "move-3", "move-4"}
    assert journal.begun("move-1") and journal.is_final(journal.read_journal("move-1"))
    assert not journal.outcome_file("move-1").exists()
    assert journal.busy(journal.at_hand()).keys() == {"c-move-2", "c-move-3"}


def test_what_was_brought_back_goes_with_what_brought_it_back() -> None:
    ended("move-1", Record.STORED, 3)
    ended("a-move", Record.DONE, 2, recovers="move-1")
    put_away()
    assert journal.at_hand() == {}
    assert journal.stored(journal.at_hand()) == []


def test_after_a_month_only_that_it_moved_is_known() -> None:
    """Without a journal a host would be told that it was rolled back, and remove the only copy."""
    for identity, record in (("move-1", Record.DONE), ("move-2", Record.ENDED), ("move-3", Record.COMMIT)):
        ended(identity, record, 1)
    put_away()
    put_away(NOW + 32 * DAY)
    assert not journal.begun("move-1") and not journal.begun("move-2")
    assert journal.has_moved("move-1") and not journal.has_moved("move-2")
    assert journal.at_hand().keys() == {"move-3"}
    with pytest.raises(FileNotFoundError):
        journal.read_journal("move-1")


def test_a_file_that_is_no_journal_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x y.jsonl").write_text("?")
    (tmp_path / "move-9.jsonl").write_text('{"record": "be')
    assert journal.at_hand() == {}
    assert not journal.begun("move-9"), "a coordinator that starts again begins it"
