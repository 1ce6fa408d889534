"""What the timer role is told; the role itself is tested where roles are."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relocate_cli import playbook
from relocate_cli.cli import timer
from relocate_cli.playbook import PlaybookResult, TaskEvent

Run = Callable[..., Any]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The variables of the last run; nothing is installed, cron is there."""
    seen: dict[str, Any] = {}

    def run(name: str, **options: Any) -> PlaybookResult:
        assert (name, options["inventory"]) == ("timer", ["localhost,"])
        seen.update(options["extravars"])
        return PlaybookResult(name, 0, (TaskEvent("Write", "localhost", "ok"),), {}, {})

    monkeypatch.setattr(playbook, "run", run)
    monkeypatch.setattr(
        timer, "_FILES", {"systemd": tmp_path / "relocate-tick.timer", "cron": tmp_path / "relocate-tick"}
    )
    return seen


def test_install_runs_this_very_command_in_the_project(
    relocate: Run, told: dict[str, Any], tmp_path: Path
) -> None:
    assert relocate("timer", "install").code == 0
    program, verb, *_ = shlex.split(told["timer__command"])
    assert Path(program).is_absolute() and verb == "tick"
    assert (told["timer__kind"], told["timer__directory"]) == ("systemd", str(tmp_path))


def test_cron_instead_and_a_configuration_elsewhere(
    relocate: Run, told: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "a b.toml").write_text("")
    assert relocate("timer", "install", "--cron", "-c", "a b.toml").code == 0
    assert told["timer__kind"] == "cron"
    assert shlex.split(told["timer__command"])[-1] == str(tmp_path / "a b.toml")


def test_cron_that_is_not_installed_is_refused(
    relocate: Run, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(timer, "_FILES", {"cron": tmp_path / "none" / "relocate-tick"})
    assert relocate("timer", "install", "--cron").code == 3
    assert told == {}


def test_status_and_removal(relocate: Run, told: dict[str, Any], tmp_path: Path) -> None:
    assert relocate("timer", "status", "--json").document["kind"] is None
    (tmp_path / "relocate-tick").touch()
    assert relocate("timer", "status", "--json").document["active"] is True
    assert relocate("timer", "remove").code == 0
    assert told["timer__state"] == "absent"
