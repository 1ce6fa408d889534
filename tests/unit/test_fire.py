"""What recovery on host0 leaves of relocations that no host remembers any more."""

import errno
import json
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest
from relocate_proxy import fire, gateway, paths
from relocate_proxy.journal import journal_file, open_journal
from relocate_proxy.protocol import Record


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
    monkeypatch.setattr(fire, "addresses", dict)
    move = {"id": "m-1", "container": "web", "source": "host1", "target": "host2", "vip": "203.0.113.64"}
    paths.JOURNAL.mkdir()
    line = json.dumps({"record": record, "move": move})
    (paths.JOURNAL / "m-1.jsonl").write_text(line + "\n")
    images = paths.storage_dir("m-1") / "images"
    images.mkdir(parents=True)
    fire.recover({}, check=True)
    assert images.exists()
    fire.recover({})
    fire.recover({}, container="another", keep=False)
    assert images.exists()
    fire.recover({}, keep=False)
    assert images.exists() is kept


def test_images_that_the_storage_keeps_are_not_called_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "STORAGE", tmp_path)
    fire.sweep("m-1", "moved")  # gone already
    paths.storage_dir("m-1").mkdir()

    def refuse(path: Path) -> None:
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(OSError, match="Read-only"):
        fire.sweep("m-1", "moved")


def test_recover_takes_away_what_an_arming_left_that_every_host_has_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JOURNAL", "STORAGE", "LOGS"):
        monkeypatch.setattr(paths, name, tmp_path / name)
    monkeypatch.setattr(gateway, "restore_routes", lambda _: None)
    monkeypatch.setattr(fire, "addresses", lambda: {"host1": "198.18.0.11", "host2": "198.18.0.12"})
    remembered = {"id": "m-3", "side": "source", "container": "web", "vip": "203.0.113.64"}
    for name, marker in (("m-1", "failed"), ("m-2", "spec.json"), ("m-3", "failed"), ("backups", "notes")):
        paths.storage_dir(name).mkdir(parents=True)
        (paths.storage_dir(name) / marker).touch()

    def left(hosts: dict[str, list[dict[str, str]]], **more: bool) -> set[str]:
        fire.recover(hosts, **more)
        return {directory.name for directory in paths.STORAGE.iterdir()}

    everything = {"m-1", "m-2", "m-3", "backups"}
    assert left({"host1": [remembered]}, keep=False) == everything, "host2 may remember one"
    assert left({"host1": [remembered], "host2": []}, keep=False, check=True) == everything
    assert left({"host1": [remembered], "host2": []}, keep=True) == everything
    assert left({"host1": [remembered], "host2": []}, keep=False) == everything - {"m-1"}, (
        "m-2 may be under way"
    )
    os.utime(paths.storage_dir("m-2") / "spec.json", (0, 0))
    assert left({"host1": [remembered], "host2": []}, keep=False) == {"m-3", "backups"}


def test_two_recoveries_at_once_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "JOURNAL", tmp_path)
    monkeypatch.setattr(gateway, "restore_routes", lambda _: None)
    monkeypatch.setattr(fire, "addresses", dict)
    monkeypatch.setattr(fire.Driver, "connect", lambda *_, **__: None)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: None)
    move = {"id": "m-1", "container": "web", "source": "host1", "target": "host2", "vip": "203.0.113.64"}
    lines = [json.dumps({"record": record, "move": move}) + "\n" for record in (Record.COMMIT, Record.DONE)]
    journal_file("m-1").write_text(lines[0])
    other = open_journal("m-1")

    def end() -> None:
        time.sleep(0.3)
        other.write(lines[1].encode())
        other.close()

    threading.Thread(target=end).start()
    remembered = {"host2": [{"id": "m-1", "side": "target", "container": "web", "vip": move["vip"]}]}
    found = fire.recover(remembered)
    assert found["waiting"] == []
    assert [(ended["outcome"], ended["needs_recover"]) for ended in found["relocations"]] == [
        ("moved", False)
    ]


def test_what_was_armed_and_never_fired_is_settled_on_both_hosts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "JOURNAL", tmp_path)
    monkeypatch.setattr(gateway, "restore_routes", lambda _: None)
    entry = {"id": "m-1", "container": "web", "vip": "203.0.113.64"}
    hosts = {f"host{n}": [{**entry, "side": side}] for n, side in ((1, "source"), (2, "target"))}
    (ended,) = fire.recover(hosts)["relocations"]
    assert (ended["source"], ended["target"], ended["outcome"]) == ("host1", "host2", "rolled_back")
