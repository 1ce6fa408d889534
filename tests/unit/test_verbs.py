"""The verbs of `relocate-proxy`, as far as they do more than call."""

import io
import json
import sys

import pytest
from relocate_proxy import source, target, verbs


def test_each_host_does_its_own_part_of_a_step_and_a_failure_is_one_moves_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[tuple[str, str]] = []

    def refuse(relocation: str) -> None:
        raise source.SourceError("no\nroom")

    monkeypatch.setattr(source, "arm", refuse)
    monkeypatch.setattr(target, "arm", lambda identity, vip, recovers: done.append((identity, vip)))
    moves = [
        {"id": "r-1", "source": "host1", "target": "host2", "vip": "203.0.113.64"},
        {"id": "r-2", "source": "host2", "target": "host1", "vip": "203.0.113.65"},
        {"id": "r-3", "source": "host2", "target": "host3", "vip": "203.0.113.66"},
    ]
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"host": "host1", "moves": moves})))
    assert verbs.arm([]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [(each["id"], each["ok"], each["reason"]) for each in results] == [
        ("r-1", False, "no room"),
        ("r-2", True, ""),
    ]
    assert done == [("r-2", "203.0.113.65")]
