"""`relocate experiment`, as far as it goes without a machine to boot on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relocate_cli.errors import RefusedError
from relocate_cli.testbed import preflight

Run = Callable[..., Any]


@pytest.fixture(autouse=True)
def nothing_is_booted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RefusedError("the testbed cannot run here: it is a test", "-")

    monkeypatch.setattr(preflight, "check", refuse)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--policy", "magic"], "policy: magic"),
        (["--tick", "soon"], "tick: soon"),
        (["--for", "ever"], "for: ever"),
        (["--attackers", "9"], "attackers: 1 to 4, not 9"),
        (["--hosts", "0"], "hosts: 2 to"),
        (["--for", "1m"], "for: 60 s are less than the horizon"),
        (["--threshold", "0.9"], "threshold"),
        (["--seed", "-1"], "seed: zero or more"),
        (["--engine", "27"], "engine: there is no 27"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(relocate: Run, options: list[str], named: str) -> None:
    ended = relocate("experiment", "time", *options)
    assert ended.code == 2 and ended.out == ""
    assert named in ended.err and ended.err.count("\n") == 1


def test_a_directory_that_cannot_be_written_is_refused_before_anything_is_booted(
    relocate: Run, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    ended = relocate("experiment", "space", "--out", str(tmp_path / "file"))
    assert ended.code == 2 and "out: " in ended.err
    assert (tmp_path / "file").read_text() == ""


def test_a_machine_without_the_means_is_refused(relocate: Run, tmp_path: Path) -> None:
    ended = relocate("experiment", "space", "--out", str(tmp_path / "new"))
    assert ended.code == 3 and "cannot run here" in ended.err
    assert list((tmp_path / "new").iterdir()) == []


def test_policies_of_the_other_experiment_are_none_of_this_one(relocate: Run) -> None:
    assert "high" in relocate("experiment", "time", "--policy", "high").err
    assert "they are static, random, high" in relocate("experiment", "space", "--policy", "truncated").err
