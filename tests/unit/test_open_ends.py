"""What recovery on host0 leaves of relocations that no host remembers any more."""

import json
import os
import threading
import time
from pathlib import Path

import pytest
from relocate_proxy import paths
from relocate_proxy.host0 import gateway, open_ends
from relocate_proxy.host0.answers import Remembered
from relocate_proxy.host0.batch import Batch
from relocate_proxy.host0.journal import journal_file, open_journal
from relocate_proxy.protocol.move import Move
from relocate_proxy.protocol.words import Record

VIP = "203.0.113.64"


@pytest.mark.parametrize(
    ("record", "kept"), [(Record.ENDED, False), (Record.LOST, False), (Record.STORED, True)]
)
def test_recover_takes_away_images_that_nothing_needs(
    record: Record, kept: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JOURNAL", "STORAGE", "LOGS"):
        monkeypatch.setattr(paths, name, tmp_path / name)
    for act in ("restore_routes", "withhold"):
        monkeypatch.setattr(gateway, act, lambda _: None)
    monkeypatch.setattr(open_ends, "addresses", dict)
    move = {"id": "move-1", "container": "web", "source": "host1", "target": "host2", "vip": "203.0.113.64"}
    paths.JOURNAL.mkdir()
    line = json.dumps({"record": record, "move": move})
    (paths.JOURNAL / "move-1.jsonl").write_text(line + "\n")
    images = paths.storage_dir("move-1") / "images"
    images.mkdir(parents=True)
    open_ends.recover({}, check=True)
    assert images.exists()
    open_ends.recover({})
    open_ends.recover({}, container="another", keep=False)
    assert images.exists()
    open_ends.recover({}, keep=False)
    assert images.exists() is kept


def test_recover_takes_away_what_an_arming_left_that_every_host_has_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JOURNAL", "STORAGE", "LOGS"):
        monkeypatch.setattr(paths, name, tmp_path / name)
    monkeypatch.setattr(gateway, "restore_routes", lambda _: None)
    monkeypatch.setattr(open_ends, "addresses", lambda: {"host1": "198.18.0.11", "host2": "198.18.0.12"})
    remembered = Remembered("move-3", "source", "web", "203.0.113.64")
    for name, marker in (
        ("move-1", "spec.json"),
        ("move-2", "spec.json"),
        ("move-3", "spec.json"),
        ("backups", "notes"),
    ):
        paths.storage_dir(name).mkdir(parents=True)
        (paths.storage_dir(name) / marker).touch()
    for name in ("move-1", "move-3"):
        os.utime(paths.storage_dir(name) / "spec.json", (0, 0))

    def left(hosts: dict[str, list[Remembered]], **more: bool) -> set[str]:
        open_ends.recover(hosts, **more)
        return {directory.name for directory in paths.STORAGE.iterdir()}

    everything = {"move-1", "move-2", "move-3", "backups"}
    assert left({"host1": [remembered]}, keep=False) == everything, "host2 may remember one"
    assert left({"host1": [remembered], "host2": []}, keep=False, check=True) == everything
    assert left({"host1": [remembered], "host2": []}, keep=True) == everything
    assert left({"host1": [remembered], "host2": []}, keep=False) == everything - {"move-1"}, (
        "move-2 may be under way"
    )
    os.utime(paths.storage_dir("move-2") / "spec.json", (0, 0))
    assert left({"host1": [remembered], "host2": []}, keep=False) == {"move-3", "backups"}


def test_two_recoveries_at_once_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "JOURNAL", tmp_path)
    monkeypatch.setattr(gateway, "restore_routes", lambda _: None)
    known = {"host1": "198.18.0.11", "host2": "198.18.0.12"}
    monkeypatch.setattr(open_ends, "addresses", lambda: known)
    monkeypatch.setattr(open_ends.Driver, "connect", lambda *_, **__: None)
    move = {"id": "move-1", "container": "web", "source": "host1", "target": "host2", "vip": "203.0.113.64"}
    lines = [json.dumps({"record": record, "move": move}) + "\n" for record in (Record.COMMIT, Record.DONE)]
    journal_file("move-1").write_text(lines[0])
    other = open_journal("move-1")

    def end() -> None:
        time.sleep(0.3)
        other.write(lines[1].encode())
        other.close()

    threading.Thread(target=end).start()
    remembered = {"host2": [Remembered("move-1", "target", "web", move["vip"])]}
    found = open_ends.recover(remembered)
    assert found["waiting"] == []
    assert [(ended["outcome"], ended["needs_recover"]) for ended in found["relocations"]] == [
        ("moved", False)
    ]


def test_what_was_armed_and_never_fired_is_settled_on_both_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "JOURNAL", tmp_path)
    monkeypatch.setattr(gateway, "restore_routes", lambda _: None)
    monkeypatch.setattr(open_ends, "addresses", dict)
    sides = ((1, "source"), (2, "target"))
    hosts = {f"host{n}": [Remembered("move-1", side, "web", "203.0.113.64")] for n, side in sides}
    (ended,) = open_ends.recover(hosts)["relocations"]
    assert (ended["source"], ended["target"], ended["outcome"]) == ("host1", "host2", "rolled_back")


class World:
    """host0's directories with journals; which units run, which were stopped, and what a driver took up."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.stopped: list[str] = []
        self.resumed: list[str] = []

    def journal(self, identity: str, record: Record, source: str = "host1", container: str = "web") -> None:
        move = {"id": identity, "container": container, "source": source, "target": "host2", "vip": VIP}
        line = json.dumps({"record": record, "move": move}) + "\n"
        with journal_file(identity).open("a") as stream:
            stream.write(line)

    def batch(self, *identities: str) -> None:
        moves = (Move(identity, "web", "host1", "host2", VIP) for identity in identities)
        Batch(identities[0], tuple(moves), 1).write()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """host1 and host2 are known; what a driver takes up ends well."""
    found = World()
    for name in ("JOURNAL", "STORAGE", "LOGS"):
        monkeypatch.setattr(paths, name, tmp_path / name)
        (tmp_path / name).mkdir()
    for act in ("restore_routes", "withhold"):
        monkeypatch.setattr(gateway, act, lambda _: None)
    known = {"host1": "198.18.0.11", "host2": "198.18.0.12"}
    monkeypatch.setattr(open_ends, "addresses", lambda: known)
    monkeypatch.setattr(open_ends, "RECOVER_SECONDS", 0.3)
    monkeypatch.setattr(open_ends.units, "is_active", found.running.__contains__)
    monkeypatch.setattr(open_ends.units, "stop", found.stopped.append)

    class Driver:
        def __init__(self, addresses: dict[str, str]) -> None:
            self.addresses = addresses

        def connect(self, hosts: set[str], seconds: float) -> None:
            for host in hosts:
                self.addresses[host]

        def resume(self, identity: str) -> None:
            found.resumed.append(identity)
            found.journal(identity, Record.ENDED)

        def run(self, patience: float) -> None: ...

        def close(self) -> None: ...

    monkeypatch.setattr(open_ends, "Driver", Driver)
    return found


def test_a_host_that_was_taken_out_of_the_inventory_concerns_its_own_relocation(world: World) -> None:
    world.journal("move-1", Record.COMMIT, source="host9")
    world.journal("move-2", Record.COMMIT, container="db")
    found = open_ends.recover({})
    assert found["waiting"] == ["move-1"]
    assert found["strangers"] == {"move-1": ["host9"]}
    assert world.resumed == ["move-2"]


def test_the_others_of_a_batch_that_nobody_carries_on_go_on_too(world: World) -> None:
    world.batch("move-1", "move-2", "move-3")
    world.journal("move-1", Record.ABORT)
    world.journal("move-2", Record.COMMIT, container="db")
    remembered = {"host1": [Remembered("move-3", "source", "c", "203.0.113.64")]}
    found = open_ends.recover(remembered, container="web")
    assert [entry["id"] for entry in found["open"]] == ["move-1"]
    assert world.resumed == ["move-1", "move-2"]
    assert json.loads((paths.JOURNAL / "move-3.outcome.json").read_text())["outcome"] == "rolled_back"
    assert not list(paths.JOURNAL.glob("*.batch.json"))
    (queued,) = open_ends.recover(remembered)["relocations"]
    assert (queued["outcome"], queued["needs_recover"]) == ("rolled_back", False)


def test_what_ended_as_host0_lost_power_is_reported(world: World) -> None:
    """The journal says DONE, the table of addresses does not say yet where the container is."""
    world.batch("move-1")
    world.journal("move-1", Record.DONE)
    open_ends.recover({})
    assert world.resumed == ["move-1"]


def test_a_batch_that_is_under_way_is_not_stopped(world: World) -> None:
    world.batch("move-1", "move-2")
    world.running.add("relocate-coordinator@move-1")
    world.journal("move-1", Record.COMMIT)
    found = open_ends.recover({"host1": [Remembered("move-2", "source", "web", "203.0.113.64")]})
    assert world.stopped == []
    assert [(each["id"], each["needs_recover"]) for each in found["relocations"]] == [("move-2", True)]
    assert list(paths.JOURNAL.glob("*.batch.json"))


def test_a_batch_that_has_nothing_to_do_with_it_is_left_alone(world: World) -> None:
    world.batch("move-2")
    world.journal("move-1", Record.ABORT)
    world.journal("move-2", Record.COMMIT, container="db")
    open_ends.recover({}, container="web")
    assert world.resumed == ["move-1"] and world.stopped == []


def test_the_journal_and_not_a_host_says_whose_a_relocation_is(world: World) -> None:
    """Else `recover web` would settle, and remove, what another container is stored in."""
    world.journal("move-1", Record.STORED, container="db")
    found = open_ends.recover({"host1": [Remembered("move-1", "source", "web", "v")]}, container="web")
    assert found["relocations"] == []


def test_what_moved_long_ago_is_not_called_rolled_back(world: World) -> None:
    """A target that was away since would remove the only copy."""
    world.journal("move-1", Record.DONE)
    os.utime(journal_file("move-1"), (1e9, 1e9))
    open_ends.recover({})
    assert not list(paths.JOURNAL.rglob("*.jsonl"))
    (ended,) = open_ends.recover({"host2": [Remembered("move-1", "target", "web", "v")]})["relocations"]
    assert (ended["outcome"], ended["target"], ended["needs_recover"]) == ("moved", "host2", False)


def test_who_claims_anothers_part_in_a_relocation_leaves_it_open_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "JOURNAL", tmp_path)
    monkeypatch.setattr(gateway, "restore_routes", lambda _: None)
    monkeypatch.setattr(open_ends, "addresses", dict)
    mine = Remembered("move-1", "source", "web", "203.0.113.64")
    theirs = Remembered("move-1", "target", "web", "203.0.113.64")
    found = open_ends.recover({"host1": [mine], "host2": [theirs], "liar": [mine, theirs]})["relocations"]
    assert [(each["source"], each["target"]) for each in found] == [("host1", "host2"), ("liar", "liar")]
    assert {each["outcome"] for each in found} == {"rolled_back"}
