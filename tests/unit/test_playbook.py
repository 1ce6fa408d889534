"""The adapter against real ansible-playbook runs on this machine."""

import configparser
import json
import os
import signal
import stat
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from relocate_cli import playbook
from relocate_cli.errors import ExitCode, RelocateError, UsageError
from relocate_cli.playbook import PlaybookResult, TaskEvent
from relocate_cli.settings import Settings

CONTENT = Path(__file__).parents[2]
Run = Callable[..., PlaybookResult]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a playbook of these tasks on two local hosts and one that is not there."""
    (tmp_path / "playbooks").mkdir()
    for plugins in ("callback_plugins", "filter_plugins"):
        (tmp_path / "playbooks" / plugins).symlink_to(CONTENT / "playbooks" / plugins)
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
          register: answer
        - name: Fail on one
          ansible.builtin.shell: "echo first >&2; echo it is full >&2; exit 3"
          when: inventory_hostname == 'there'
        """,
        extravars={"secret": "s3"},
        on_event=watch,
    )
    answers = {host: event.document() for host, event in result.of("answer").items()}
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
    """`relocate kernel` does, to drain a host: nothing of the outer run's reporting is in its environment."""
    within = run("- ansible.builtin.command: env\n", hosts="here").tasks[-1].stdout
    found = dict(line.split("=", 1) for line in within.splitlines() if line.startswith("ANSIBLE_"))
    assert "ANSIBLE_FORKS" in found
    assert not found.keys() & {playbook.EVENTS, "ANSIBLE_STDOUT_CALLBACK", "ANSIBLE_CALLBACK_PLUGINS"}


def test_answers_of_many_hosts_are_whole(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANSIBLE_FORKS", "30")
    names = [f"h{number}" for number in range(30)]
    (tmp_path / "hosts").write_text("".join(f"{name} ansible_connection=local\n" for name in names))
    result = run(
        """
        - ansible.builtin.debug: {msg: "{{ 'é' * 9000 }}"}
        - ansible.builtin.command: printf '{"host":"%s","long":"%065536d"}' {{ inventory_hostname }} 0
          register: answer
        """,
        hosts="all",
    )
    assert result.ok
    answers = {host: event.document() for host, event in result.of("answer").items()}
    assert {host: answer["host"] for host, answer in answers.items()} == {name: name for name in names}


def test_what_is_not_to_be_logged_is_not_reported(run: Run) -> None:
    result = run(
        """
        - ansible.builtin.command: echo hidden
          register: answer
          no_log: true
        - ansible.builtin.shell: echo hidden >&2; exit 1
          no_log: true
        """,
        hosts="here",
    )
    assert "hidden" not in repr(result)
    assert [event.status for event in result.tasks if event.host] == ["changed", "failed"]


def test_verbose_is_what_ansible_prints_and_diff_is_the_differences(
    run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    task = f"- ansible.builtin.copy: {{dest: {tmp_path}/made, content: 'text', mode: '0644'}}\n"
    run(task, hosts="here", check=True)
    assert capfd.readouterr() == ("", "")
    run(task, hosts="here", check=True, diff=True)
    said = capfd.readouterr()
    assert (said.out, "+text" in said.err, "PLAY" in said.err) == ("", True, False)
    run(task, hosts="here", check=True, diff=True, verbosity=1)
    said = capfd.readouterr()
    assert (said.out, said.err.count("+text"), "PLAY RECAP" in said.err) == ("", 1, True)


def test_host0_is_sent_the_containers_and_no_package_lists(run: Run, tmp_path: Path) -> None:
    """What is not a document reaches host0 as it is, which refuses it for that host alone."""
    (tmp_path / "hosts").write_text(
        "[all:vars]\nansible_connection=local\n[relocate_hosts]\nhere\nthere\nsilent\n"
    )
    (publish,) = yaml.safe_load((CONTENT / "roles/relocation/tasks/publish.yml").read_text())
    publish["ansible.builtin.command"]["argv"] = ["cat"]
    survey = {"taken_at": 5.0, "containers": [{"name": "web", "labels": {"a": "b"}}]}
    long = survey | {"features": {"S": {"packages": ["a 1"]}}}
    answers = {"here": json.dumps(long), "there": "garbage"}
    tell = "printf '%s' '{{ answers[inventory_hostname] }}'"
    tasks = [
        {
            "ansible.builtin.command": tell,
            "register": "survey__document",
            "when": "inventory_hostname in answers",
        },
        publish | {"run_once": True},
    ]
    result = run(yaml.safe_dump(tasks), hosts="all", extravars={"answers": answers}, limit="here,there")
    (sent,) = result.of("relocation__published").values()
    hosts = sent.document()["hosts"]
    assert json.loads(hosts.pop("here")) == survey
    assert hosts == {"there": "garbage", "silent": ""}


def test_a_fact_that_a_host_answers_does_not_override_the_inventory(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANSIBLE_INJECT_FACT_VARS", "True")  # not the operator's to choose
    (tmp_path / "hosts").write_text("here ansible_connection=local relocate_address=192.0.2.1\n")
    evil = tmp_path / "playbooks/library/evil.py"
    evil.parent.mkdir()
    evil.write_text(
        '#!/usr/bin/python3\nprint(\'{"changed": false, "ansible_facts": {"relocate_address": "x"}}\')\n'
    )
    result = run(
        """
        - evil:
        - ansible.builtin.command: echo {{ relocate_address }} {{ hostvars['here'].relocate_address }}
          register: answer
        """,
        hosts="here",
    )
    assert result.of("answer")["here"].stdout == "192.0.2.1 192.0.2.1"


INVENTORY = """
[relocate_gateway]
here ansible_connection=local relocate_address=192.0.2.1
[relocate_storage]
here
[relocate_hosts]
there ansible_connection=local relocate_address={address}
"""
RENDER = """
- ansible.builtin.include_vars: {content}/roles/storage/vars/main.yml
- ansible.builtin.include_vars: {content}/roles/proxy/vars/main.yml
- evil:
  when: inventory_hostname == 'there'
  register: proxy__host_key
- ansible.builtin.copy:
    content: "{{{{ lookup('ansible.builtin.template', '{content}/roles/storage/templates/' ~ template) }}}}"
    dest: {place}/exports
  when: inventory_hostname == 'here'
  vars: {{storage__path: /srv/shared, template: relocate.exports.j2}}
- ansible.builtin.copy:
    content: "{{{{ proxy__gateway_files['/etc/relocate/ssh/known_hosts'] }}}}"
    dest: {place}/known_hosts
  when: inventory_hostname == 'here'
  vars: {{groups: {{relocate_hosts: [there], relocate_gateway: [here]}}}}
"""
KEY = "ssh-ed25519 " + "A" * 68


def rendered(
    run: Run, tmp_path: Path, answer: dict[str, object], address: str = "192.0.2.2"
) -> PlaybookResult:
    """The files on host0 that name other hosts, after ``answer`` from one of those."""
    (tmp_path / "hosts").write_text(INVENTORY.format(address=address))
    evil = tmp_path / "playbooks/library/evil.py"
    evil.parent.mkdir()
    evil.write_text(f"#!/usr/bin/python3\nprint({json.dumps(answer)!r})\n")
    return run(RENDER.format(content=CONTENT, place=tmp_path), hosts="here:there", limit="here,there")


def test_a_host_that_answers_facts_is_in_the_exports_and_known_hosts_as_the_inventory_says(
    run: Run, tmp_path: Path
) -> None:
    facts = {"relocate_address": "x(ro)\n/ *", "ansible_host": "x", "storage__users": ["*"]}
    answer = {"changed": False, "ansible_facts": facts, "stdout": f"{KEY} root@there\n"}
    result = rendered(run, tmp_path, answer)
    assert result.ok, result.trouble
    (line,) = (line for line in (tmp_path / "exports").read_text().splitlines() if line[:1] not in ("#", ""))
    assert line.startswith("/srv/shared 192.0.2.2(rw,") and "*" not in line
    assert (tmp_path / "known_hosts").read_text() == f"192.0.2.2 {KEY}\n"


def test_a_host_that_answers_more_than_one_key_is_named(run: Run, tmp_path: Path) -> None:
    result = rendered(run, tmp_path, {"changed": False, "stdout": f"{KEY} root@there\n* {KEY}\n"})
    assert not (tmp_path / "known_hosts").exists()
    assert "there: " in result.failed["here"] and "is not an Ed25519 key" in result.failed["here"]


def test_what_is_no_address_stops_it_with_the_hosts_name(run: Run, tmp_path: Path) -> None:
    result = rendered(run, tmp_path, {"changed": False, "stdout": KEY}, "'x(ro) *'")
    assert not (tmp_path / "exports").exists()
    assert "there: " in result.failed["here"] and "neither an IPv4 address" in result.failed["here"]


@pytest.mark.parametrize(
    "torn", ['{"event":"ok","ho', '{"uuid":"1"}', "[]", "7", '{"event":"ended"}', "\udcff"]
)
def test_a_torn_line_is_one_line_that_names_the_playbook(run: Run, torn: str) -> None:
    watch = playbook._Watch(Path("unused"), None, 0)
    watch.line(torn.encode(errors="surrogateescape"))
    result = watch.result("trial", 0, "")
    assert not result.ok
    with pytest.raises(RelocateError, match=r"^trial: 1 line.* could not be read$"):
        result.require()


def test_content_without_our_plugin_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "playbooks/callback_plugins").unlink()
    with pytest.raises(UsageError, match="there is no playbooks/callback_plugins"):
        run("- ansible.builtin.command: 'true'\n", hosts="here")


@pytest.mark.parametrize("lines", [2, 4])
def test_a_line_that_was_never_written_is_missed(lines: int) -> None:
    watch = playbook._Watch(Path("unused"), None, 0)
    watch.line(b'{"event":"begun","pid":1}')
    watch.line(b'{"event":"ended","failures":{},"dark":{},"changed":{},"lines":%d}' % lines)
    assert watch.result("trial", 0, "").ok == (lines == 2)


def test_who_watches_may_fail(run: Run) -> None:
    def fail(_: TaskEvent) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run("- ansible.builtin.command: 'true'\n", hosts="here", on_event=fail)


def test_an_inventory_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="no such inventory"):
        playbook.inventories(Settings(inventory=("/nowhere/at/all",)))
    with pytest.raises(UsageError, match="no inventory"):
        playbook.inventories(Settings())


def test_who_calls_ansible_by_hand_is_as_safe() -> None:
    found = configparser.ConfigParser()
    found.read(CONTENT / "ansible.cfg")
    assert not found.getboolean("defaults", "inject_facts_as_vars")


def test_what_the_operator_has_set_for_ansible_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "ansible.cfg").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANSIBLE_FORKS", "3")
    monkeypatch.delenv("ANSIBLE_CONFIG", raising=False)
    found = playbook.environment()
    assert found["ANSIBLE_FORKS"] == "3"
    assert found["ANSIBLE_HOST_KEY_CHECKING"] == "True"
    assert found["ANSIBLE_CONFIG"] == str(tmp_path / "ansible.cfg")
