"""What a host remembers, and the one decision of a source."""

from pathlib import Path

import pytest
from relocate_proxy import paths, records


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "RUN", tmp_path / "run")
    monkeypatch.setattr(paths, "STATE", tmp_path / "state")


@pytest.mark.parametrize(("first", "second"), [("voted", "thawed"), ("thawed", "voted")])
def test_only_the_first_decision_stands(first: str, second: str) -> None:
    assert records.decide("r-1", first)
    assert not records.decide("r-1", second)
    assert records.decide("r-1", first), "the one who decided may ask again"
    assert records.decided("r-1") == first


def test_a_file_that_was_cut_off_counts_as_none(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text('{"a": 1')
    assert records.read(tmp_path / "facts.json") == {}
    assert records.read(tmp_path / "none.json") == {}


def test_remembered_lists_what_is_open_until_it_is_forgotten() -> None:
    facts = {"side": "source", "container": "web", "vip": "203.0.113.65", "pid": 1}
    records.write(records.open_record("r-1"), facts, durable=True)
    assert records.remembered() == [
        {"id": "r-1", "side": "source", "container": "web", "vip": "203.0.113.65"}
    ]
    records.forget("r-1")
    assert records.remembered() == []


def test_a_decision_outlives_what_is_forgotten() -> None:
    """A dump that ends after its watchdog thawed must not vote for a container that runs."""
    assert records.decide("r-1", "thawed")
    records.forget("r-1")
    assert not records.decide("r-1", "voted")


def test_only_what_was_never_fired_may_be_taken_away() -> None:
    for relocation in ("r-1", "r-2"):
        facts = {"side": "target", "container": "web", "vip": "203.0.113.65"}
        records.write(records.open_record(relocation), facts)
    records.fire("r-1")
    assert records.unfired("target", "web") == ["r-2"]
    assert records.unfired("source", "web") == []
    assert records.unfired("target", "db") == []


def test_what_is_forgotten_leaves_nothing_and_cannot_be_fired() -> None:
    """An agent that was killed while it wrote, and one that comes after the thaw."""
    record = records.open_record("r-1")
    records.write(record, {"side": "source", "container": "web", "vip": "203.0.113.65"})
    record.with_suffix(".partial").write_text("{")
    records.forget("r-1")
    records.fire("r-1")
    assert list(record.parent.iterdir()) == []
    assert records.remembered() == []
