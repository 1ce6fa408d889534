"""Tells `relocate` what each task did: whole JSON lines in a file, one write each.

What Ansible prints cannot carry it: with many forks several processes write to that terminal, and lines tear.
"""

from __future__ import annotations

import json
import os
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: relocate_events
type: notification
short_description: Writes what tasks did to a file, for relocate
description:
  - Does nothing unless C(ANSIBLE_RELOCATE_EVENTS) names the file, which must exist.
  - Runs in Ansible's main process alone, under its lock, so that there is one writer.
"""

VARIABLE = "ANSIBLE_RELOCATE_EVENTS"
# The longest answer that is handed on; half a JSON document would be worth nothing.
LONGEST_ANSWER = 16 << 20
LONGEST_WORDS = 1 << 14


class CallbackModule(CallbackBase):
    """One line an event, which relocate_cli/playbook.py reads.

    ``begun`` (pid), ``started`` (task, register), ``ok``, ``changed``, ``skipped``, ``failed`` or
    ``unreachable`` (host, task, register, stdout, stderr, msg), ``diff`` (text), ``ended`` (failures, dark,
    changed: hosts with counts; lines: how many there are, this one too).
    """

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "relocate_events"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self) -> None:
        super().__init__()
        # Taken out, since a task on this machine may run Ansible too, and this file is not for its events.
        path = os.environ.pop(VARIABLE, "")
        self.disabled = not path
        self._lines = 0
        if path:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            self._write(event="begun", pid=os.getpid())

    def _write(self, **line: Any) -> None:
        self._lines += 1
        os.write(self._file, json.dumps(line, default=str).encode() + b"\n")

    def _start(self, task: Any) -> None:
        self._write(event="started", **_identity(task))

    def _end(self, status: str, result: Any) -> None:
        said = result._result
        if said.get("_ansible_no_log"):
            said = {"changed": said.get("changed")}
        stdout = said.get("stdout")
        self._write(
            event="changed" if status == "ok" and said.get("changed") else status,
            host=result._host.get_name(),
            **_identity(result._task),
            stdout=stdout if isinstance(stdout, str) and len(stdout) <= LONGEST_ANSWER else "",
            stderr=_words(said.get("stderr")),
            msg=_words(said.get("msg")),
        )

    def v2_playbook_on_task_start(self, task: Any, is_conditional: bool) -> None:
        self._start(task)

    def v2_playbook_on_handler_task_start(self, task: Any) -> None:
        self._start(task)

    def v2_runner_on_ok(self, result: Any) -> None:
        self._end("ok", result)

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._end("failed", result)

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._end("skipped", result)

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._end("unreachable", result)

    def v2_on_file_diff(self, result: Any) -> None:
        said = result._result
        for part in said.get("results", [said]) if result._task.loop else [said]:
            if part.get("diff") and part.get("changed") and not part.get("_ansible_no_log"):
                self._write(event="diff", text=self._get_diff(part["diff"]))

    def v2_playbook_on_stats(self, stats: Any) -> None:
        self._write(
            event="ended",
            failures=stats.failures,
            dark=stats.dark,
            changed=stats.changed,
            lines=self._lines + 1,
        )


def _identity(task: Any) -> dict[str, str]:
    """What tells a task from others: its title is for people, its register for programs."""
    register = task.register
    return {"task": task.name or task.action, "register": register if isinstance(register, str) else ""}


def _words(said: Any) -> str:
    """The end of what was said, where the reason stands."""
    return "" if said is None else str(said)[-LONGEST_WORDS:]
