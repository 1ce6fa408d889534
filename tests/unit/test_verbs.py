"""The verbs of `relocate-proxy`, as far as they do more than call."""

import io
import json
import sys
from pathlib import Path

import pytest
from relocate_proxy import paths, source, verbs


def test_no_target_waits_for_the_moves_that_its_source_arms_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moves = [{"id": f"move-{number}", "source": "host1", "target": "host2"} for number in range(20)]
    there: list[int] = []

    def arm(move: dict[str, str]) -> dict[str, str]:
        there.append(len(list(tmp_path.iterdir())))
        return {}

    monkeypatch.setattr(paths, "STORAGE", tmp_path)
    monkeypatch.setattr(source, "arm", arm)
    document = {"host": "host1", "moves": moves, "repository": ""}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(document)))
    assert verbs.arm([]) == 0
    assert there == [20] * 20
    assert all(result["ok"] for result in json.loads(capsys.readouterr().out)["results"])
