"""A container with a terminal: a shell that goes on after a move: attached to, resized, stopped as ever."""

import json
import shlex
import time

from harness import JsonObject, Lab

# What it says tells that it is the one that was started, and that its terminal is one.
SHELL = """
trap 'echo told to end; exit 7' TERM
trap 'echo size $(stty size)' WINCH
while true; do
    if read -t 1 line; then n=$((n+1)); echo "$n: $line on $(tty)"; fi
done
"""
DETACH = "\\020\\021"  # ctrl-p ctrl-q


def run(lab: Lab) -> None:
    lab.run("sh", "host1", "--publish=7000:7000", "-t", "-i", command=("sh", "-c", SHELL))


def logs(lab: Lab, host: str) -> str:
    return lab.docker(host, "logs", "sh").replace("\r", "")


def type_in(lab: Lab, host: str, words: str, rows: int = 24) -> str:
    """Attach in a terminal of this many rows, type a line, look at what comes, and detach."""
    keys = f"(sleep 1; printf '{words}\\n'; sleep 2; printf '{DETACH}'; sleep 1)"
    attach = shlex.quote(f"stty rows {rows} cols 80; docker attach sh")
    return lab.shell(host, f"{keys} | timeout 20 script -qec {attach} /dev/null", check=False).replace(
        "\r", ""
    )


def test_a_shell_under_it_goes_on_with_its_terminal(lab: Lab) -> None:
    run(lab)
    assert "1: one on /dev/pts/0" in type_in(lab, "host1", "one")
    report = lab.move("sh")
    assert report["outcome"] == "moved", report["reason"]
    assert "2: two on /dev/pts/0" in type_in(lab, "host2", "two")
    assert "size 30 80" in type_in(lab, "host2", "", rows=30)
    lines = logs(lab, "host2").split("\n")
    assert {"1: one on /dev/pts/0", "2: two on /dev/pts/0"} <= {*lines}, lines

    report = lab.move("sh", "host2", "host1")
    assert report["outcome"] == "moved", report["reason"]
    assert "4: four on /dev/pts/0" in type_in(lab, "host1", "four")
    lab.docker("host1", "stop", "sh")
    state = json.loads(lab.docker("host1", "inspect", "--format", "{{json .State}}", "sh"))
    assert (state["Status"], state["ExitCode"]) == ("exited", 7), state
    assert logs(lab, "host1").rstrip().endswith("told to end")
    lab.await_no_leftovers()
    for host in lab.hosts:
        assert lab.shell(host, "pgrep -af '[r]elocate_proxy runtime' || true") == ""


def test_who_is_attached_to_it_keeps_it(lab: Lab) -> None:
    run(lab)
    attached = "(sleep 8; printf '\\020\\021') | script -qec 'docker attach sh' /dev/null"
    lab.shell("host1", f"({attached}) >/dev/null 2>&1 </dev/null &")
    time.sleep(1.5)
    (answer, *_) = lab.arm(lab.plan("sh"))
    assert "docker attach" in answer["host1"], answer


def test_a_move_that_is_rolled_back_leaves_it_its_terminal(lab: Lab) -> None:
    run(lab)

    def sabotage(plan: JsonObject) -> None:
        lab.shell("host2", f"pkill -9 -f '[r]estore .*{plan['id']}'")

    report = lab.move("sh", between=sabotage)
    assert report["outcome"] == "rolled_back", report
    assert "1: one on /dev/pts/0" in type_in(lab, "host1", "one")
    lab.await_no_leftovers()
    assert lab.shell("host2", "pgrep -af '[r]elocate_proxy runtime' || true") == ""
