"""A fleet that answers playbooks from memory, and the command line in front of it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from relocate_cli import cli, inventory, playbook, recovery, relocation, survey
from relocate_cli.inventory import Inventory
from relocate_cli.journal import Survey
from relocate_cli.playbook import PlaybookResult, TaskEvent


def answer(register: str, document: dict[str, Any]) -> TaskEvent:
    """What host0's task answered that registers this name."""
    return TaskEvent("Whatever it is called", "host0", "ok", json.dumps(document), register=register)


@dataclass
class Hosts:
    """host0 and what the other hosts would say; ``relocated`` is what they were asked to move."""

    surveys: dict[str, Survey] = field(default_factory=dict)
    outcome: str | None = "moved"  # None: nobody saw the end
    reason: str = ""
    recovery: dict[str, Any] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    light: list[bool] = field(default_factory=list)
    relocated: list[dict[str, Any]] = field(default_factory=list)

    def has(self, *surveys: Survey) -> None:
        self.surveys = {entry.host: entry for entry in surveys}

    def run(self, name: str, **options: Any) -> PlaybookResult:
        self.runs.append(name)
        events = getattr(self, f"_{name}")(options.get("extravars") or {})
        away = {host: entry.error for host, entry in self.surveys.items() if entry.error}
        for event in events:
            if options.get("on_event"):
                options["on_event"](event)
        return PlaybookResult(name, 4 if away else 0, tuple(events), {}, away)

    def _survey(self, variables: dict[str, Any]) -> list[TaskEvent]:
        vips = {"vips": {"web": "203.0.113.5"}}
        self.light.append(variables["survey__light"])
        left_out = {"features", "criu"} if self.light[-1] else set()
        answers = [
            TaskEvent(
                "Survey",
                host,
                "ok",
                json.dumps({part: fact for part, fact in entry.document.items() if part not in left_out}),
                register=survey.SURVEYED,
            )
            for host, entry in self.surveys.items()
            if not entry.error
        ]
        return [*answers, answer(survey.PUBLISHED, vips)]

    def _relocate(self, variables: dict[str, Any]) -> list[TaskEvent]:
        moves = variables["relocation__moves"]
        self.relocated += moves
        started = TaskEvent("Fire", "", "started", register=relocation.FIRED)
        if self.outcome is None:
            return [started]
        answers = [
            {
                **{key: move[key] for key in ("container", "source", "target", "vip")},
                "relocation_id": move["id"],
                "old_ip": "172.17.0.2",
                "new_ip": "172.17.0.9",
                "outcome": self.outcome,
                "reason": self.reason,
                "window_ms": 61.0,
                "phases": [],
            }
            for move in moves
        ]
        return [started, answer(relocation.FIRED, {"relocations": answers})]

    def _recover(self, _: dict[str, Any]) -> list[TaskEvent]:
        return [answer(recovery.ENDED, self.recovery)]

    def _provision(self, _: dict[str, Any]) -> list[TaskEvent]:
        return [TaskEvent("Make a directory", host, "changed") for host in self.surveys]


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch, survey: Any, container: Any) -> Hosts:
    """h1 with web, and h2."""
    fleet = Hosts()
    fleet.has(survey("h1", container("web")), survey("h2"))

    def read(_: object) -> Inventory:
        names = frozenset(fleet.surveys)
        return Inventory({"relocate_hosts": names, "relocate_gateway": frozenset({"host0"})}, {})

    monkeypatch.setattr(playbook, "run", fleet.run)
    monkeypatch.setattr(inventory, "read", read)
    return fleet


@dataclass(frozen=True)
class Ended:
    """What the shell saw."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@pytest.fixture
def relocate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ended]:
    """Type `relocate …` in an empty project whose state is beside it."""
    monkeypatch.setenv("RELOCATE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)

    def run(*argv: str) -> Ended:
        monkeypatch.setattr("sys.argv", ["relocate", *argv])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        seen = capsys.readouterr()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, seen.out, seen.err)

    return run
