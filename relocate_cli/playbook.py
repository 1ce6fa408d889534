"""Starts a playbook and says what each of its tasks did: the only module that knows ansible-runner."""

import json
import os
import re
import shlex
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from relocate_cli import content
from relocate_cli.errors import ExitCode, RelocateError, UsageError
from relocate_cli.settings import Settings

Status = Literal["started", "ok", "changed", "skipped", "failed", "unreachable"]
_STATUS: dict[str, Status] = {
    "runner_on_ok": "ok",
    "runner_on_skipped": "skipped",
    "runner_on_failed": "failed",
    "runner_on_unreachable": "unreachable",
}
RUNNERS_OWN = "awx_display"  # the callback that ansible-runner sets in a playbook's environment


@dataclass(frozen=True)
class TaskEvent:
    """One thing that happened: a task started (``host`` is ""), or ended on a host.

    ``stdout`` is the command's, ``message`` one line of why, ``output`` what Ansible would print.
    """

    task: str
    host: str
    status: Status
    stdout: str = ""
    message: str = ""
    output: str = ""

    def document(self) -> dict[str, Any]:
        """The JSON object that the command printed. Raises RelocateError if it printed none."""
        try:
            document = json.loads(self.stdout)
        except json.JSONDecodeError:
            document = None
        if not isinstance(document, dict):
            raise RelocateError(
                f"{self.host}: task {self.task} did not answer with a document",
                "provision the host with this version: relocate provision",
            )
        return document


OnEvent = Callable[[TaskEvent], None]


@dataclass(frozen=True)
class PlaybookResult:
    """What a playbook did. ``failed`` and ``unreachable`` map the hosts that dropped out to one line each."""

    playbook: str
    rc: int
    tasks: tuple[TaskEvent, ...]
    failed: Mapping[str, str]
    unreachable: Mapping[str, str]
    changed: int = 0
    interrupted: bool = False
    complaint: str = ""

    @property
    def ok(self) -> bool:
        """Whether every host came to the end."""
        return self.rc == 0

    @property
    def trouble(self) -> dict[str, str]:
        """Hosts that dropped out, each with one line."""
        return {**self.failed, **self.unreachable}

    def of(self, task: str) -> dict[str, TaskEvent]:
        """The ends of the task of this name, by host; skipped ones are left out."""
        ends = (event for event in self.tasks if event.task.rpartition(" : ")[2] == task)
        return {event.host: event for event in ends if event.status not in ("started", "skipped")}

    def require(self) -> None:
        """Raise RelocateError with the first trouble, unless there were hosts and all came to the end."""
        if self.ok and self.tasks:
            return
        if self.interrupted:
            raise RelocateError(f"{self.playbook}: interrupted", "run it again: it goes on from there")
        for host, line in self.unreachable.items():
            raise RelocateError(f"{host} {line}", "see that ssh to it works", ExitCode.REFUSED)
        for host, line in self.failed.items():
            raise RelocateError(
                f"{host}: {line}", f"{self.playbook} stopped there; -v shows what Ansible said"
            )
        raise UsageError(
            f"{self.playbook}: {self.complaint or 'it found no hosts'}",
            "look at the inventory, or use -v",
        )


def environment() -> dict[str, str]:
    """What Ansible finds in its environment. What the operator has set there wins."""
    chosen = {
        "ANSIBLE_ROLES_PATH": str(content.find() / "roles"),
        "ANSIBLE_HOST_KEY_CHECKING": "True",  # the runner would set False
        "ANSIBLE_PIPELINING": "True",
        # A question asked by ssh would wait for ever behind the runner's terminal.
        # A shared connection to a host that has vanished would hang for TCP's quarter of an hour.
        "ANSIBLE_SSH_ARGS": "-C -o ControlMaster=auto -o ControlPersist=300s -o BatchMode=yes"
        " -o ServerAliveInterval=5 -o ServerAliveCountMax=3",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_FORKS": "25",
        "ANSIBLE_LOCALHOST_WARNING": "False",
        "ANSIBLE_DEPRECATION_WARNINGS": "False",
    }
    if "ANSIBLE_CONFIG" not in os.environ and Path("ansible.cfg").is_file():
        chosen["ANSIBLE_CONFIG"] = str(
            Path("ansible.cfg").absolute()
        )  # the playbook runs in another directory
    chosen |= {key: os.environ[key] for key in chosen if key in os.environ}
    if os.environ.get("ANSIBLE_STDOUT_CALLBACK") == RUNNERS_OWN:
        # A playbook runs this program (`relocate kernel` drains): what its runner has set is for itself.
        chosen |= {"ANSIBLE_STDOUT_CALLBACK": "", "ANSIBLE_CALLBACK_PLUGINS": ""}
    # `venv/bin/relocate` may be started without the venv being activated.
    chosen["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return chosen


def inventories(settings: Settings) -> list[str]:
    """The inventory sources for ``-i``. Raises UsageError if there are none, or one is not there."""
    if not settings.inventory:
        raise UsageError("no inventory", "name one with -i, or make a project: relocate init DIR")
    for source in settings.inventory:
        if "," not in source and not Path(source).exists():
            raise UsageError(
                f"{source}: there is no such inventory",
                f"named by: {settings.origins.get('inventory', 'the program')}",
            )
    return list(settings.inventory)


def run(
    playbook: str,
    *,
    settings: Settings,
    inventory: list[str] | None = None,
    extravars: Mapping[str, Any] | None = None,
    limit: str | None = None,
    check: bool = False,
    diff: bool = False,
    verbosity: int = 0,
    on_event: OnEvent | None = None,
) -> PlaybookResult:
    """Run playbooks/``playbook``.yml to its end; a first SIGINT or SIGTERM ends it, a second kills it.

    Does not raise when a host fails: ``PlaybookResult.require`` does.
    """
    import ansible_runner  # 0.1 s

    sources = inventories(settings) if inventory is None else inventory
    place = content.find()
    # Nothing of an earlier run may be in it (a reused one reapplies old variables), and it holds secrets.
    private = Path(tempfile.mkdtemp(prefix="relocate-"))
    watch = _Watch(on_event, verbosity)
    flags = [flag for flag, wanted in (("--check", check), ("--diff", diff)) if wanted]
    try:
        with watch.signals():
            ended = ansible_runner.run(
                private_data_dir=str(private),
                project_dir=str(place),
                playbook=f"playbooks/{playbook}.yml",
                inventory=sources,
                extravars=dict(extravars or {}),
                envvars=environment(),
                limit=limit,
                cmdline=shlex.join(flags) or None,
                verbosity=verbosity or None,
                quiet=True,
                settings={"pexpect_timeout": 0.2},  # how often a wish to stop is looked at, in seconds
                event_handler=watch.event,
                cancel_callback=lambda: watch.kill,
            )
            said = ended.stdout.read() if ended.rc and not watch.stats else ""
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return watch.result(playbook, ended.rc, said)


class _Watch:
    """Turns the runner's events into ours, and signals into an orderly end."""

    def __init__(self, on_event: OnEvent | None, verbosity: int) -> None:
        self.on_event = on_event
        self.verbosity = verbosity
        self.tasks: list[TaskEvent] = []
        self.stats: Mapping[str, Mapping[str, int]] = {}
        self.pid = 0
        self.interrupted = False
        self.kill = False

    def event(self, raw: Mapping[str, Any]) -> bool:
        """One event of the runner; True keeps it, which the runner needs for its statistics."""
        self.pid = raw.get("pid", self.pid)
        data = raw.get("event_data", {})
        kind = raw["event"]
        # With --diff the differences are what was asked for.
        if raw.get("stdout") and (self.verbosity or kind == "runner_on_file_diff"):
            print(raw["stdout"], file=sys.stderr, flush=True)
        if kind == "playbook_on_stats":
            self.stats = data
        elif kind == "playbook_on_task_start":
            self._emit(TaskEvent(data["task"], "", "started"))
        elif kind in _STATUS:
            self._emit(_ended(data, _STATUS[kind], raw.get("stdout", "")))
        return True

    def _emit(self, event: TaskEvent) -> None:
        self.tasks.append(event)
        if self.on_event is not None:
            self.on_event(event)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """While inside, SIGINT and SIGTERM go to ansible-playbook, which is in a session of its own."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        # The runner's own way kills the parent only and leaves Ansible's workers behind.
        self.kill = self.interrupted or not self.pid
        self.interrupted = True
        if not self.kill:
            os.kill(self.pid, signal.SIGINT)

    def result(self, playbook: str, rc: int, said: str) -> PlaybookResult:
        """What came of it. ``said`` is Ansible's whole output if it did not get as far as statistics."""
        last = {event.host: event for event in self.tasks if event.status in ("failed", "unreachable")}
        return PlaybookResult(
            playbook=playbook,
            rc=rc,
            tasks=tuple(self.tasks),
            failed={host: _line(last, host) for host in self.stats.get("failures", {})},
            unreachable={host: _silence(last, host) for host in self.stats.get("dark", {})},
            changed=sum(self.stats.get("changed", {}).values()),
            interrupted=self.interrupted,
            complaint=complaint(said),
        )


def _ended(data: Mapping[str, Any], status: Status, output: str) -> TaskEvent:
    res = data.get("res") or {}
    if status == "ok" and res.get("changed"):
        status = "changed"
    stdout = res.get("stdout")
    # A command says what is wrong on stderr; "non-zero return code" helps nobody.
    message = next(
        (text for text in map(str, (res.get("stderr"), res.get("msg"))) if text not in ("", "None")), ""
    )
    lines = [line for line in message.strip().splitlines() if line.strip()]
    return TaskEvent(
        task=data.get("task", ""),
        host=data.get("host", ""),
        status=status,
        stdout=stdout if isinstance(stdout, str) else "",
        message=lines[-1].strip() if lines and status in ("failed", "unreachable") else "",
        output=output,
    )


def _line(last: Mapping[str, TaskEvent], host: str) -> str:
    event = last.get(host)
    return f"{event.task.rpartition(' : ')[2]}: {event.message or 'failed'}" if event else "failed"


def _silence(last: Mapping[str, TaskEvent], host: str) -> str:
    return f"cannot be reached: {last[host].message if host in last else 'no answer'}"


def complaint(said: str) -> str:
    """The line of Ansible's output ``said`` that says why it did not start."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line]
    return (errors or lines or [""])[0].removeprefix("[ERROR]:").removeprefix("ERROR!").strip()
