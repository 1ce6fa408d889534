"""What a host remembers, and the one decision of a source."""

import shutil
from pathlib import Path

import pytest
from relocate_proxy import paths
from relocate_proxy.host import records
from relocate_proxy.host.records import Decision, SourceFacts, SourceRecord, Stage, TargetFacts, TargetRecord
from relocate_proxy.protocol.messages import RestartPolicy
from relocate_proxy.storage.layer import Packed, Snapshot


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")


SOURCE = SourceFacts("web", "203.0.113.65", "c" * 64, 1, "172.17.1.2", "/cg", "/root", "/ns", ("veth0",))
TARGET = TargetFacts("web", "203.0.113.65", "c" * 64, "r-1", RestartPolicy("always"), engine=(1, 2))


@pytest.mark.parametrize(
    ("first", "second"), [(Decision.VOTED, Decision.THAWED), (Decision.THAWED, Decision.VOTED)]
)
def test_only_the_first_decision_stands(first: Decision, second: Decision) -> None:
    record = SourceRecord("r-1")
    assert record.decide(first)
    assert not record.decide(second)
    assert record.decide(first), "the one who decided may ask again"
    assert record.decision is first


def test_a_file_that_was_cut_off_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text('{"a": 1')
    assert records.read(tmp_path / "facts.json") == {}
    assert records.read(tmp_path / "none.json") == {}


def test_what_is_known_comes_back_until_it_is_forgotten() -> None:
    packed = SOURCE.__class__(**{**vars(SOURCE), "layer": Packed("0" * 64)})
    SourceRecord("r-1").write(packed, Stage.ARMING)
    TargetRecord("r-2").write(TARGET, Stage.ARMED)
    assert SourceRecord("r-1").read() == packed and TargetRecord("r-2").read() == TARGET
    assert TargetRecord("r-2").stage is Stage.ARMED and not TargetRecord("r-2").rebooted
    assert TargetRecord("r-1").read() is None and TargetRecord("r-1").stage is None
    assert [(each.id, each.side, each.container) for each in records.remembered()] == [
        ("r-1", "source", "web"),
        ("r-2", "target", "web"),
    ]
    SourceRecord("r-1").forget()
    TargetRecord("r-2").forget()
    assert records.remembered() == []


def test_a_host_that_started_anew_knows_it() -> None:
    record = TargetRecord("r-1")
    record.write(TARGET, Stage.FIRED)
    assert not record.rebooted
    shutil.rmtree(paths.RUN)
    assert record.rebooted and record.read() == TARGET


def test_a_decision_outlives_what_is_forgotten() -> None:
    """A dump that ends after its watchdog thawed must not vote for a container that runs."""
    record = SourceRecord("r-1")
    record.write(SOURCE, Stage.FIRED)
    assert record.decide(Decision.THAWED)
    record.forget()
    assert not record.decide(Decision.VOTED)


def test_nobody_freezes_what_is_forgotten() -> None:
    record = SourceRecord("r-1")
    record.write(SOURCE, Stage.FIRED)
    assert not record.was_frozen
    record.note_frozen()
    assert record.was_frozen
    record.forget()
    with pytest.raises(OSError):
        record.note_frozen()


def test_only_what_was_never_fired_may_be_taken_away() -> None:
    TargetRecord("r-1").write(TARGET, Stage.FIRED)
    TargetRecord("r-2").write(TARGET, Stage.ARMING)
    assert records.unfired(TargetRecord, "web") == ["r-2"]
    assert records.unfired(SourceRecord, "web") == []
    assert records.unfired(TargetRecord, "db") == []


def test_what_is_forgotten_leaves_nothing() -> None:
    """Of an agent, too, that was killed while it wrote."""
    record = SourceRecord("r-1")
    record.write(SOURCE, Stage.ARMED)
    record.write_snapshot(Snapshot(1.0, {"": (2, frozenset({"a"}))}, frozenset({"a/"})))
    assert record.read_snapshot() == Snapshot(1.0, {"": (2, frozenset({"a"}))}, frozenset({"a/"}))
    record.file.with_suffix(".partial").write_text("{")
    record.forget()
    assert list(record.file.parent.iterdir()) == [] and not record.run.exists()
