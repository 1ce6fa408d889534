"""What the driver does beyond what the coordinator decides."""

from dataclasses import replace
from pathlib import Path

import pytest
from relocate_proxy import paths
from relocate_proxy.host0 import driver
from relocate_proxy.host0.journal import read_journal
from relocate_proxy.protocol.messages import VERBS, Destroyed, Failed, Report, Request, Restore, Stored
from relocate_proxy.protocol.move import Move
from relocate_proxy.protocol.words import Party
from test_storage import VOTE

MOVE = Move("move-2", "web", "host1", "host2", "203.0.113.64")


class Line:
    """A channel that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Request] = []

    def send(self, message: Request) -> None:
        self.sent.append(message)


@pytest.mark.parametrize(
    ("recovers", "record", "said"),
    [
        (None, "begin", {"host1": ["ready"], "host2": ["ready"]}),
        ("move-1", "recover", {"host1": [], "host2": ["restore"]}),
    ],
)
def test_a_stored_container_is_restored_and_its_source_not_asked_to_dump_it(
    recovers: str | None,
    record: str,
    said: dict[str, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paths, "JOURNAL", tmp_path)
    monkeypatch.setattr(driver, "Hold", lambda vip, relocation: None)
    lines = {"host1": Line(), "host2": Line()}
    driven = driver.Driver({"host1": "198.18.0.11", "host2": "198.18.0.12"})
    monkeypatch.setattr(driven, "channels", lines)
    driven.begin(replace(MOVE, recovers=recovers))
    assert [line["record"] for line in read_journal("move-2")] == [record]
    assert {host: [VERBS[type(m.question)] for m in line.sent] for host, line in lines.items()} == said


def test_what_a_stored_container_must_be_is_in_the_journal_and_goes_to_whoever_restores_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from the storage: who could change what lies there would have it restored."""
    monkeypatch.setattr(paths, "JOURNAL", tmp_path)
    monkeypatch.setattr(driver, "Hold", lambda vip, relocation: None)
    monkeypatch.setattr(driver.packet_queue, "sweep", lambda relocation: None)
    for act in ("route", "withhold"):
        monkeypatch.setattr(driver.gateway, act, lambda *_: None)
    lines = {"host1": Line(), "host2": Line()}
    driven = driver.Driver({"host1": "198.18.0.11", "host2": "198.18.0.12"})
    monkeypatch.setattr(driven, "channels", lines)
    first = replace(MOVE, id="move-1")
    driven.begin(first)
    driven._hear("host2", Report("move-1", Party.TARGET, Failed("no")))
    driven._hear("host1", Report("move-1", Party.SOURCE, Stored(VOTE)))
    driven._hear("host2", Report("move-1", Party.TARGET, Destroyed()))
    assert [line["record"] for line in read_journal("move-1")] == ["begin", "abort", "stored"]
    driven.begin(replace(MOVE, recovers="move-1"))
    asked = lines["host2"].sent[-1].question
    assert isinstance(asked, Restore) and asked.voted == VOTE and asked.dumped is None
