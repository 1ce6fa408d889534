"""Batches on host0, and what is removed from the storage after them."""

import errno
import json
import os
import shutil
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
from relocate_proxy import paths
from relocate_proxy.host0 import fire, gateway
from relocate_proxy.host0.batch import Batch
from relocate_proxy.host0.journal import journal_file, outcome_file
from relocate_proxy.protocol import coordinator
from relocate_proxy.protocol.move import Move
from relocate_proxy.protocol.words import Phase

KNOWN = {"host1": "198.18.0.11", "host2": "198.18.0.12"}


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JOURNAL", "STORAGE", "LOGS"):
        monkeypatch.setattr(paths, name, tmp_path / name)
        (tmp_path / name).mkdir()
    monkeypatch.setattr(fire, "addresses", lambda: KNOWN)


def move(number: int, source: str = "host1") -> Move:
    return Move(f"move-{number}", f"c{number}", source, "host2", f"203.0.113.{number}")


def armed(*moves: Move) -> str:
    return json.dumps({"results": [{"id": each.id, "ok": True, "reason": ""} for each in moves]})


@dataclass
class Carried:
    """A relocation as `fire` looks at it."""

    move: Move
    state: coordinator.State | None


class Driver:
    """Ends windows one event at a time; ``stuck`` ones are decided and wait for a host for ever."""

    stuck: frozenset[str] = frozenset()

    def __init__(self, addresses: dict[str, str]) -> None:
        self.addresses = addresses
        self.relocations: dict[str, Carried] = {}
        self.most = 0

    def connect(self, hosts: set[str]) -> None:
        for host in hosts:
            self.addresses[host]

    def begin(self, move: Move) -> None:
        begin = {"record": "begin", "move": asdict(move)}
        journal_file(move.id).write_text(json.dumps(begin) + "\n")
        self.relocations[move.id] = Carried(move, coordinator.State(Phase.ARMING))
        windows = [c for c in self.relocations.values() if c.state and c.state.phase is Phase.ARMING]
        assert len(windows) <= 2

    def resume(self, identity: str) -> None:
        pytest.fail(f"{identity} has ended")

    def run(self, patience: float = 0.0) -> None:
        for carried in self.relocations.values():
            if carried.state == coordinator.State(Phase.ARMING):
                left = Phase.RESUMING if carried.move.id in self.stuck else Phase.MOVED
                carried.state = coordinator.State(left)
                return
        time.sleep(patience)

    def close(self) -> None: ...


def test_what_waits_for_a_host_stands_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fire, "Driver", Driver)
    monkeypatch.setattr(fire, "LINGER_SECONDS", 0.05)
    monkeypatch.setattr(Driver, "stuck", frozenset({"move-1", "move-2", "move-3"}))
    Batch("move-1", tuple(move(n) for n in range(1, 7)), 2).write()
    assert fire.coordinate("move-1") == 0
    assert all(journal_file(f"move-{n}").exists() for n in range(1, 7))
    assert not list(paths.JOURNAL.glob("*.batch.json"))


def test_a_move_of_a_host_that_is_not_in_the_inventory_is_said_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fire, "Driver", Driver)
    Batch("move-1", (move(1, "host9"), move(2)), 1).write()
    assert fire.coordinate("move-1") == 0
    report = json.loads(outcome_file("move-1").read_text())
    assert report["outcome"] == "rolled_back" and "inventory" in report["reason"]
    assert journal_file("move-2").exists()


def test_what_has_ended_is_not_taken_up_again_after_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its container may have moved on: its route would be set back."""
    monkeypatch.setattr(fire, "Driver", Driver)
    Batch("move-1", (move(1),), 1).write()
    journal_file("move-1").write_text(json.dumps({"record": "done", "move": asdict(move(1))}) + "\n")
    outcome_file("move-1").write_text('{"outcome": "moved"}')
    assert fire.coordinate("move-1") == 0


def test_a_batch_is_followed_while_it_gets_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fire.units, "begin", lambda *_, **__: None)
    monkeypatch.setattr(fire, "FOLLOW_SECONDS", 0.3)
    moves = [move(n) for n in range(1, 4)]

    def carry() -> None:
        for each in moves[:2]:
            for record in ("begin", "commit"):
                time.sleep(0.2)
                with journal_file(each.id).open("a") as stream:
                    stream.write(record)
            outcome_file(each.id).write_text(json.dumps({"relocation_id": each.id, "outcome": "moved"}))

    threading.Thread(target=carry).start()
    told = [asdict(each) for each in moves]
    found = fire.fire({"moves": told, "armed": [{host: armed(*moves) for host in KNOWN}], "parallel": 1})
    assert [each["outcome"] for each in found] == ["moved", "moved", "failed"]


def test_a_host_whose_answer_is_malformed_has_not_armed_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fire.units, "begin", lambda *_, **__: outcome_file("move-2").write_text('{"a": 1}'))
    moves = [move(1, "host3"), move(2)]
    said = {"host1": armed(*moves), "host2": armed(*moves), "host3": '{"results": 7}'}
    told = [asdict(each) for each in moves]
    refused, fired = fire.fire({"moves": told, "armed": [{host: armed(*moves) for host in said}, said]})
    assert "host3" in refused["reason"] and "results" in refused["reason"]
    assert fired == {"a": 1}


def test_images_that_the_storage_keeps_are_not_called_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    for outcome in ("moved", "rolled_back"):
        fire.sweep("move-1", outcome)  # gone already
    paths.storage_dir("move-1").mkdir()

    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(OSError, match="Read-only"):
        fire.sweep("move-1", "moved")


@pytest.mark.parametrize("said", ["/etc", "../x", ".", ""])
def test_only_what_lies_below_the_storage_is_removed(said: str, tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(ValueError, match="not the id"):
        fire.sweep(said, "moved")
    assert (tmp_path / "x").exists() and paths.STORAGE.exists()


def test_logs_are_kept_and_no_link_is_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.log").write_text("secret")
    work = paths.storage_dir("move-1") / "work-source"
    work.mkdir(parents=True)
    (work / "dump.log").write_text("why")
    (work / "key.log").symlink_to(secret / "key.log")
    os.mkfifo(work / "pipe.log")
    (work.parent / "work-target").symlink_to(secret)
    paths.storage_dir("move-2").symlink_to(secret)
    for identity in ("move-1", "move-2"):
        fire.sweep(identity, "rolled_back")
    assert {path.name: path.read_text() for path in paths.LOGS.rglob("*.log")} == {"dump.log": "why"}
    assert (secret / "key.log").exists()
    assert list(paths.STORAGE.iterdir()) == []


def test_nothing_is_left_of_a_batch_that_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "route", lambda *_: pytest.fail("a route was set"))
    assert fire.coordinate("move-1") == 0
