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
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Self

from relocate_cli import content
from relocate_cli.errors import ExitCode, RelocateError, UsageError
from relocate_cli.settings import Settings

Status = Literal["started", "ok", "changed", "skipped", "failed", "unreachable"]
ENDS = ("ok", "changed", "skipped", "failed", "unreachable")
PLUGIN = "playbooks/callback_plugins/relocate_events.py"
POLL = 0.2  # how often events and a wish to stop are looked at, in seconds
EVENTS = "ANSIBLE_RELOCATE_EVENTS"  # names the file in which the plugin writes


@dataclass(frozen=True)
class TaskEvent:
    """One thing that happened: a task started (``host`` is ""), or ended on a host.

    ``task`` is its title, for people; ``register`` is the name of its answer in the role, by which programs
    know it. ``stdout`` is the command's, ``message`` one line of why.
    """

    task: str
    host: str
    status: Status
    stdout: str = ""
    message: str = ""
    register: str = ""

    def document(self) -> dict[str, Any]:
        """The JSON object that the command printed. Raises RelocateError if it printed none."""
        try:
            document = json.loads(self.stdout)
        except (ValueError, RecursionError):
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
    """What a playbook did. ``failed`` and ``unreachable`` map the hosts that dropped out to one line each.

    ``unread`` says that a part of what Ansible reported is missing, so that nothing follows from silence.
    """

    playbook: str
    rc: int
    tasks: tuple[TaskEvent, ...]
    failed: Mapping[str, str]
    unreachable: Mapping[str, str]
    changed: int = 0
    interrupted: bool = False
    complaint: str = ""
    unread: bool = False

    @property
    def ok(self) -> bool:
        """Whether every host came to the end, as far as is known."""
        return self.rc == 0 and not self.unread

    @property
    def trouble(self) -> dict[str, str]:
        """Hosts that dropped out, each with one line."""
        return {**self.failed, **self.unreachable}

    def of(self, register: str) -> dict[str, TaskEvent]:
        """The ends of the task that registers this name, by host; skipped ones are left out."""
        ends = (event for event in self.tasks if event.register == register)
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
        if self.unread:
            raise RelocateError(
                f"{self.playbook}: {self.complaint}", "run it again; -v shows what Ansible said"
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
    # Nobody's to choose: a fact that a host answers would override the inventory's variable of that name.
    chosen["ANSIBLE_INJECT_FACT_VARS"] = "False"
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

    Does not raise when a host fails: ``PlaybookResult.require`` does. Raises UsageError, before anything is
    touched, if the content has no plugin that would report what happened.
    """
    from ansible_runner import interface  # 0.1 s

    sources = inventories(settings) if inventory is None else inventory
    place = content.find()
    if not (place / PLUGIN).is_file():
        raise UsageError(
            f"{place}: there is no {PLUGIN}", "set RELOCATE_CONTENT_DIR, or install relocate again"
        )
    # Nothing of an earlier run may be in it (a reused one reapplies old variables), and it holds secrets.
    private = Path(tempfile.mkdtemp(prefix="relocate-"))
    flags = [flag for flag, wanted in (("--check", check), ("--diff", diff)) if wanted]
    try:
        with _Watch(private / "events", on_event, verbosity) as watch, watch.signals():
            runner = interface.init_runner(
                private_data_dir=str(private),
                project_dir=str(place),
                playbook=f"playbooks/{playbook}.yml",
                inventory=sources,
                extravars=dict(extravars or {}),
                envvars=environment() | {EVENTS: str(watch.path)},
                limit=limit,
                cmdline=shlex.join(flags) or None,
                verbosity=verbosity or None,
                quiet=True,
                settings={"pexpect_timeout": POLL},
                event_handler=watch.output,
                cancel_callback=watch.poll,
            )
            # The runner's own callback hides events in what is printed, where those of many forks tear
            # each other apart; ours does not, so what is printed may be what the operator chose.
            for name in ("ANSIBLE_STDOUT_CALLBACK", "ANSIBLE_CALLBACK_PLUGINS"):
                runner.config.env.pop(name, None)
                runner.config.env |= {name: os.environ[name]} if name in os.environ else {}
            runner.run()
            watch.read()
            said = runner.stdout.read() if runner.rc and not watch.stats else ""
    finally:
        shutil.rmtree(private, ignore_errors=True)
    if watch.error is not None:
        raise watch.error
    return watch.result(playbook, runner.rc, said)


class _Watch:
    """Turns the lines that our callback plugin writes into events, and signals into an orderly end."""

    def __init__(self, path: Path, on_event: OnEvent | None, verbosity: int) -> None:
        self.path = path
        self.on_event = on_event
        self.verbosity = verbosity
        self.tasks: list[TaskEvent] = []
        self.stats: Mapping[str, Mapping[str, int]] = {}
        self.pid = 0
        self.lines = 0
        self.malformed = 0
        self.missing = False
        self.interrupted = False
        self.kill = False
        self.error: Exception | None = None
        self._rest = b""

    def __enter__(self) -> Self:
        self._file = os.open(self.path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def output(self, raw: Mapping[str, Any]) -> bool:
        """A line that Ansible printed. False: the runner need not keep it as a file."""
        if self.verbosity and "stdout" in raw:
            print(raw["stdout"], file=sys.stderr, flush=True)
        return False

    def poll(self) -> bool:
        """Read on; whether the playbook is to be killed. The runner asks every ``POLL`` seconds."""
        try:
            self.read()
        except Exception as error:  # raised here, it would leave Ansible running
            self.error = error
            self.on_event = None
            self._end()
        return self.kill

    def read(self) -> None:
        """Take what was written since the last time, but for a line that is not whole yet."""
        while chunk := os.read(self._file, 1 << 20):
            *lines, self._rest = (self._rest + chunk).split(b"\n")
            for line in lines:
                self.line(line)

    def line(self, line: bytes) -> None:
        """One line of the plugin's; one that is not understood is counted."""
        self.lines += 1
        try:
            said = json.loads(line)
            event = self._understood(said)
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            self.malformed += 1
        else:
            if event is not None:
                self._emit(event)

    def _understood(self, said: Mapping[str, Any]) -> TaskEvent | None:
        """The event of a task, or None for a line about something else, which is kept here."""
        match said["event"]:
            case "begun":
                self.pid = int(said["pid"])
            case "ended":
                self.stats = {key: dict(said[key]) for key in ("failures", "dark", "changed")}
                self.missing = said["lines"] != self.lines
            case "diff":
                # With --diff the differences are what was asked for; with -v Ansible prints them itself.
                if not self.verbosity:
                    print(said["text"], file=sys.stderr, flush=True)
            case "started":
                return TaskEvent(said["task"], "", "started", register=said["register"])
            case status if status in ENDS:
                return _ended(said, status)
            case other:
                raise ValueError(other)
        return None

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
        self.kill = self.interrupted
        self.interrupted = True
        if not self.kill:
            self._end()

    def _end(self) -> None:
        """Let Ansible end in order, if it has begun."""
        # The runner's own way kills the parent only and leaves Ansible's workers behind.
        self.kill = not self.pid
        if self.pid:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGINT)

    def result(self, playbook: str, rc: int, said: str) -> PlaybookResult:
        """What came of it. ``said`` is Ansible's whole output if it did not get as far as statistics."""
        last = {event.host: event for event in self.tasks if event.status in ("failed", "unreachable")}
        unread = self._unread(rc)
        return PlaybookResult(
            playbook=playbook,
            rc=rc,
            tasks=tuple(self.tasks),
            failed={host: _line(last, host) for host in self.stats.get("failures", {})},
            unreachable={host: _silence(last, host) for host in self.stats.get("dark", {})},
            changed=sum(self.stats.get("changed", {}).values()),
            interrupted=self.interrupted,
            complaint=unread or complaint(said),
            unread=bool(unread),
        )

    def _unread(self, rc: int) -> str:
        """What of Ansible's report is missing, in one line; "" if nothing is."""
        if self.malformed:
            return f"{self.malformed} line(s) of what Ansible reported could not be read"
        if self.missing or (rc == 0 and not self.stats):
            return "a part of what Ansible reported is missing"
        return ""


def _ended(said: Mapping[str, Any], status: Status) -> TaskEvent:
    # A command says what is wrong on stderr; "non-zero return code" helps nobody.
    message: str = said["stderr"] or said["msg"]
    lines = [line for line in message.strip().splitlines() if line.strip()]
    return TaskEvent(
        task=said["task"],
        host=said["host"],
        status=status,
        stdout=said["stdout"],
        message=lines[-1].strip() if lines and status in ("failed", "unreachable") else "",
        register=said["register"],
    )


def _line(last: Mapping[str, TaskEvent], host: str) -> str:
    event = last.get(host)
    return f"{event.task}: {event.message or 'failed'}" if event else "failed"


def _silence(last: Mapping[str, TaskEvent], host: str) -> str:
    return f"cannot be reached: {last[host].message if host in last else 'no answer'}"


def complaint(said: str) -> str:
    """The line of Ansible's output ``said`` that says why it did not start."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", said)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    errors = [line for line in lines if "ERROR" in line]
    return (errors or lines or [""])[0].removeprefix("[ERROR]:").removeprefix("ERROR!").strip()
