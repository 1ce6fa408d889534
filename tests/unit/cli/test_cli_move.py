"""`relocate move` and what it leaves behind, against hosts that answer from memory."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relocate_cli.journal import lock

Run = Callable[..., Any]


def test_a_move_says_what_happened_and_writes_it_down(relocate: Run, hosts: Any) -> None:
    ended = relocate("move", "web", "--to", "h2")
    assert ended.code == 0
    assert ended.out == "web: h1 → h2, 172.17.0.2 → 172.17.0.9, window 61 ms\n"
    assert relocate("history", "--json").document["relocations"][0]["outcome"] == "moved"


def test_json_is_the_documented_document_and_nothing_else(relocate: Run, hosts: Any) -> None:
    document = relocate("move", "web", "--json", "-q").document
    assert document.pop("relocation_id")
    assert document.pop("started") <= document.pop("ended")
    assert document == {
        "schema": "relocate/move/v1",
        "container": "web",
        "source": "h1",
        "target": "h2",
        "old_ip": "172.17.0.2",
        "new_ip": "172.17.0.9",
        "vip": "203.0.113.5",
        "outcome": "moved",
        "reason": "",
        "window_ms": 61.0,
        "gap_ms": None,
        "phases": [],
        "inventory": None,
    }


def test_check_names_the_target_and_moves_nothing(relocate: Run, hosts: Any) -> None:
    assert relocate("move", "web", "--check").out == "web would move: h1 → h2, it keeps 203.0.113.5\n"
    document = relocate("move", "web", "--check", "--json").document
    assert (document["check"], document["source"], document["target"]) == (True, "h1", "h2")
    assert hosts.relocated == []


def test_a_second_move_needs_no_second_survey_and_goes_back(relocate: Run, hosts: Any) -> None:
    relocate("move", "web")
    relocate("move", "web")
    assert hosts.runs == ["survey", "relocate", "relocate"]
    assert [(move["source"], move["target"]) for move in hosts.relocated] == [("h1", "h2"), ("h2", "h1")]


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (("wbe",), 2, "there is no container wbe (did you mean web?)"),
        (("web", "--to", "h22"), 2, "there is no host h22 (did you mean h2?)"),
        (("web", "--to", "h1"), 3, "it is already there"),
        (("shy",), 3, "shy cannot move: it has no label"),
        (("twin",), 2, "2 containers twin, on h1 and h2"),
        (("web", "--to", "away"), 3, "away: no route to host"),
        (("web", "--to", "full"), 3, "port tcp/80 is taken"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_nothing_is_touched(
    relocate: Run, hosts: Any, survey: Run, container: Run, argv: tuple[str, ...], code: int, said: str
) -> None:
    shy, twin = container("shy", ports=[], labels={}), container("twin", ports=[])
    hosts.has(
        survey("h1", container("web"), shy, twin),
        survey("h2", twin),
        survey("away", error="no route to host"),
        survey("full", container("other")),
    )
    ended = relocate("move", *argv, "-q")
    assert (ended.code, ended.out) == (code, "")
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert hosts.relocated == []


def test_a_refusal_never_rests_on_old_facts(relocate: Run, hosts: Any, survey: Run, container: Run) -> None:
    relocate("survey")
    hosts.has(survey("h1", container("web"), container("new", ports=[])), survey("h2"))
    assert relocate("move", "new").code == 0


def test_what_was_rolled_back_is_said_on_stderr_with_its_reason(relocate: Run, hosts: Any) -> None:
    hosts.outcome, hosts.reason = "rolled_back", "criu: Error (pie): no space"
    ended = relocate("move", "web", "-q")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err == "relocate: web: h1 → h2: rolled back: criu: Error (pie): no space\n"
    hosts.outcome = "moved"
    relocate("move", "web")
    assert hosts.runs == ["survey", "relocate", "survey", "relocate"]  # the facts were in doubt


def test_an_end_that_nobody_saw_forbids_the_next_move_until_recovered(relocate: Run, hosts: Any) -> None:
    hosts.outcome = None
    assert relocate("move", "web").code == 4
    hosts.outcome = "moved"
    refused = relocate("move", "web")
    assert (refused.code, len(hosts.relocated)) == (4, 1)
    assert "relocate recover" in refused.err
    known = hosts.relocated[0]["id"]
    hosts.recovery = {
        "relocations": [
            {"relocation_id": known, "container": "web", "outcome": "rolled_back", "needs_recover": False}
        ]
    }
    assert relocate("recover").code == 0
    assert relocate("move", "web").code == 0


def test_another_run_at_work_is_exit_5(relocate: Run, hosts: Any, tmp_path: Path) -> None:
    with lock(tmp_path / "state"):
        ended = relocate("move", "web")
    assert (ended.code, hosts.runs) == (5, [])
    assert "--wait" in ended.err


def test_without_an_inventory_there_is_nothing_to_move(relocate: Run) -> None:
    ended = relocate("move", "web")
    assert (ended.code, ended.out) == (2, "")
    assert "relocate init" in ended.err
