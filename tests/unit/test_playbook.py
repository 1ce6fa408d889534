"""The adapter against real ansible-playbook runs on this machine."""

import os
import signal
import stat
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from relocate_cli import playbook
from relocate_cli.errors import ExitCode, RelocateError, UsageError
from relocate_cli.playbook import PlaybookResult, TaskEvent
from relocate_cli.settings import Settings

Run = Callable[..., PlaybookResult]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a playbook of these tasks on two local hosts and one that is not there."""
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("RELOCATE_CONTENT_DIR", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")  # as when the venv is not activated
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    hosts = tmp_path / "hosts"
    hosts.write_text("here ansible_connection=local\nthere ansible_connection=local\n[away]\nnowhere\n")

    def play(tasks: str, hosts: str = "here:there", **options: object) -> PlaybookResult:
        book = f"- hosts: {hosts}\n  gather_facts: false\n  tasks:\n" + textwrap.indent(
            textwrap.dedent(tasks), "    "
        )
        (tmp_path / "playbooks/trial.yml").write_text(book)
        settings = Settings(inventory=(str(tmp_path / "hosts"),))
        return playbook.run("trial", settings=settings, **options)  # type: ignore[arg-type]

    return play


@pytest.fixture(autouse=True)
def signals_are_put_back() -> Iterator[None]:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_each_task_answered_on_each_host(run: Run, tmp_path: Path) -> None:
    modes: list[int] = []
    events: list[TaskEvent] = []

    def watch(event: TaskEvent) -> None:
        modes.extend(stat.S_IMODE(entry.stat().st_mode) for entry in (tmp_path / "tmp").glob("relocate-*"))
        events.append(event)

    result = run(
        """
        - name: Answer
          ansible.builtin.command: printf '{"host":"%s","secret":"%s"}' {{ inventory_hostname }} {{ secret }}
        - name: Fail on one
          ansible.builtin.shell: "echo first >&2; echo it is full >&2; exit 3"
          when: inventory_hostname == 'there'
        """,
        extravars={"secret": "s3"},
        on_event=watch,
    )
    answers = {host: event.document() for host, event in result.of("Answer").items()}
    assert answers == {"here": {"host": "here", "secret": "s3"}, "there": {"host": "there", "secret": "s3"}}
    assert result.failed == {"there": "Fail on one: it is full"}
    assert not result.ok
    assert [event.task for event in events if event.status == "started"] == ["Answer", "Fail on one"]
    assert set(modes) == {0o700}
    assert not list((tmp_path / "tmp").iterdir())
    with pytest.raises(RelocateError, match="it is full"):
        result.require()


def test_a_host_that_does_not_answer_is_named(run: Run) -> None:
    result = run("- ansible.builtin.command: 'true'\n", hosts="away")
    assert list(result.unreachable) == ["nowhere"]
    with pytest.raises(RelocateError, match="nowhere cannot be reached") as refused:
        result.require()
    assert refused.value.exit_code is ExitCode.REFUSED


def test_check_mode_and_limit_reach_ansible(run: Run, tmp_path: Path) -> None:
    task = f"- ansible.builtin.copy: {{dest: {tmp_path}/made, content: x, mode: '0644'}}\n"
    result = run(task, check=True, limit="here")
    assert result.ok
    assert result.changed == 1
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("tasks", ["- nonsense: 1\n", "- ansible.builtin.command: [\n"])
def test_a_playbook_that_ansible_refuses_is_one_line(run: Run, tasks: str) -> None:
    result = run(tasks)
    with pytest.raises(UsageError) as refused:
        result.require()
    assert refused.value.message.startswith("trial: ")
    assert "\n" not in refused.value.message


def test_an_interrupt_ends_ansible_and_its_command(run: Run, tmp_path: Path) -> None:
    def interrupt(event: TaskEvent) -> None:
        if event.task == "Dawdle":
            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()

    tasks = f"- name: Dawdle\n  ansible.builtin.shell: sleep 8; touch {tmp_path}/late\n"
    result = run(tasks, on_event=interrupt)
    assert result.interrupted
    assert not result.ok


def test_a_playbook_may_run_this_program(run: Run) -> None:
    """`relocate kernel` does, to drain a host: it finds its own runner's settings in the environment."""
    within = run("- ansible.builtin.command: env\n", hosts="here").tasks[-1].stdout
    names = ("ANSIBLE_STDOUT_CALLBACK", "ANSIBLE_CALLBACK_PLUGINS")
    found = dict(line.split("=", 1) for line in within.splitlines() if line.startswith(names))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.items():
            patch.setenv(name, value)
        assert run("- ansible.builtin.command: echo inner\n", hosts="here").tasks[-1].stdout == "inner"
    assert found.keys() == set(names)


def test_an_inventory_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no such inventory"):
        playbook.inventories(Settings(inventory=("/nowhere/at/all",)))
    with pytest.raises(UsageError, match="no inventory"):
        playbook.inventories(Settings())


def test_what_the_operator_has_set_for_ansible_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANSIBLE_FORKS", "3")
    monkeypatch.delenv("ANSIBLE_CONFIG", raising=False)
    found = playbook.environment()
    assert found["ANSIBLE_FORKS"] == "3"
    assert found["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert found["ANSIBLE_CONFIG"] == str(tmp_path / "ansible.cfg")
