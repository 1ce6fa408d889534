"""The verbs of `relocate testbed`: what they refuse, and what they print."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relocate_cli.cli.testbed import app
from relocate_cli.errors import ExitCode, RefusedError
from relocate_cli.testbed import bed
from relocate_cli.testbed.machine import Machine
from relocate_cli.testbed.places import Places
from relocate_cli.testbed.root import Engine


@pytest.fixture
def of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("RELOCATE_TESTBED_DIR", str(tmp_path))
    return Places.of_user()


@pytest.fixture
def recorded(of: Places, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A testbed whose hosts are all off."""
    of.state.mkdir(parents=True)
    of.record.write_text(json.dumps({"engines": ["28", "28", "26"], "roots": ["/nowhere"] * 3}))
    monkeypatch.setattr(Machine, "pid", lambda self: None)
    return of


WRONG = [
    ("up", "--hosts", "0"),
    ("up", "--hosts", "100"),
    ("up", "--engine", "27"),
    ("power", "host1", "sideways"),
]


@pytest.mark.parametrize("argv", WRONG)
def test_wrong_arguments_are_usage_errors(of: Places, argv: Sequence[str]) -> None:
    assert CliRunner().invoke(app, argv).exit_code == ExitCode.USAGE
    assert not of.state.exists()


@pytest.mark.parametrize("argv", [("status",), ("shell", "host1"), ("power", "host1", "off")])
def test_without_a_testbed_the_way_to_one_is_named(of: Places, argv: Sequence[str]) -> None:
    error = CliRunner().invoke(app, argv).exception
    assert isinstance(error, RefusedError)
    assert "relocate testbed up" in error.hint
    of.state.mkdir(parents=True)
    error = CliRunner().invoke(app, argv).exception
    assert isinstance(error, RefusedError)
    assert "relocate testbed down" in error.hint


def test_an_unknown_host_is_told_from_the_known_ones(recorded: Places) -> None:
    error = CliRunner().invoke(app, ["power", "host3", "off"]).exception
    assert isinstance(error, RefusedError)
    assert error.hint == "it has host0, host1, host2"


def test_status_says_which_hosts_are_off(recorded: Places) -> None:
    shown = CliRunner().invoke(app, ["status", "--json"])
    document = json.loads(shown.stdout)
    assert document["schema"] == "relocate/testbed/v1"
    assert document["engine"] == "28, 26"
    assert [(host["name"], host["role"], host["pid"], host["ssh"]) for host in document["hosts"]] == [
        ("host0", "gateway", None, False),
        ("host1", "host", None, False),
        ("host2", "host", None, False),
    ]
    assert CliRunner().invoke(app, ["status"]).stdout.count(" off\n") == 3


def test_up_prints_what_the_shell_can_evaluate(of: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    machines = tuple(Machine(number, of, Path("/")) for number in range(3))
    asked: list[Engine | bool] = []

    def up(hosts: int, engines: Sequence[Engine], one_wire: bool) -> bed.Testbed:
        asked.extend([*engines, one_wire])
        return bed.Testbed(machines[: hosts + 1], of, tuple(engines), one_wire)

    monkeypatch.setattr(bed, "up", up)
    shown = CliRunner().invoke(app, ["up", "--engine", "28", "--engine", "26+cgroupfs", "--one-wire"])
    assert shown.exit_code == 0
    assert asked == [Engine.DOCKER_28, Engine.DOCKER_26_CGROUPFS, True]
    assert f"export RELOCATE_CONFIG={of.settings}\n" in shown.stdout
