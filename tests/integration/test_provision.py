"""Provisioning: a second run changes nothing, `--check` tells, drift is repaired; also by Ansible alone."""

import os
import re
import subprocess
import sys
from pathlib import Path

from harness import Lab

from relocate_cli import content


def test_a_second_run_changes_nothing_and_leaves_running_containers_alone(lab: Lab) -> None:
    lab.run("web")
    started = ("inspect", "--format", "{{.State.StartedAt}} {{.State.Pid}}", "web")
    before = lab.docker("host1", *started)
    ended = lab.relocate("provision", "--json")
    assert ended.code == 0, ended.err
    document = ended.document()
    assert document["changed"] == []
    assert {entry["host"]: entry["error"] for entry in document["hosts"]} == dict.fromkeys(
        ("host0", "host1", "host2")
    )
    assert lab.docker("host1", *started) == before


def test_check_mode_by_ansible_itself_says_what_has_drifted_and_changes_nothing(lab: Lab) -> None:
    program = "/usr/lib/relocate/relocate_proxy/protocol/wire.py"
    lab.shell("host2", f"echo '# drifted' >> {program}")
    bin_directory = Path(sys.executable).parent
    root = content.find()
    command = [
        bin_directory / "ansible-playbook",
        "-i",
        lab.bed.places.inventory,
        root / "playbooks/provision.yml",
    ]
    environment = os.environ | {
        "PATH": f"{bin_directory}:{os.environ['PATH']}",
        "ANSIBLE_ROLES_PATH": str(root / "roles"),
    }
    arguments = [str(word) for word in (*command, "--check", "--diff")]
    ended = subprocess.run(
        arguments, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stdout[-2000:]
    changed = dict(re.findall(r"^(host\d)\s.*changed=(\d+)", ended.stdout, re.MULTILINE))
    assert changed == {"host0": "0", "host1": "0", "host2": "1"}
    assert "drifted" in lab.shell("host2", f"tail -n 1 {program}")
    repaired = lab.relocate("provision", "--json", "--limit", "host2,host0")
    assert repaired.code == 0, repaired.err
    changed_on = {entry["host"] for entry in repaired.document()["changed"]}
    assert changed_on == {"host2"}, "the program, and what it guards"
    assert "drifted" not in lab.shell("host2", f"tail -n 1 {program}")
