"""What a host answers: nothing that is malformed gets in, and it is that host's trouble alone."""

import json
from typing import Any

import pytest
from relocate_proxy import paths
from relocate_proxy.host0 import answers
from relocate_proxy.host0.answers import Armed, Labelled, Remembered

ENTRY = {"id": "move-1", "side": "source", "container": "web", "vip": "203.0.113.64"}


def opened(**changes: Any) -> str:
    return json.dumps({"open": [ENTRY | changes]})


def test_a_host_that_answers_as_it_should_is_heard() -> None:
    heard, unheard = answers.gather({"host1": opened(), "host2": ""}, answers.remembered)
    assert heard == {"host1": [Remembered("move-1", "source", "web", "203.0.113.64")]}
    assert unheard == {"host2": "it did not answer"}


@pytest.mark.parametrize(
    "bad",
    [
        *(opened(id=said) for said in ("/etc", "../x", "..", "", "a", "move-1\n", "MOVE-1", 7, None)),
        *(opened(side=said) for said in ("", "host0", ["source"])),
        *(opened(container=said) for said in ("", "-x", "a/b", "web\n", "a b", {})),
        *(opened(vip=said) for said in ("", "203.0.113.64/0", "::1", "web", "203.0.113.64\n", 1)),
        "[]", "{", '{"open": {}}', '{"open": ["x"]}', "[" * 100000, '{"open": [{}]}',
    ],
)  # fmt: skip
def test_what_is_malformed_concerns_the_host_that_said_it(bad: str) -> None:
    heard, unheard = answers.gather({"host1": bad, "host2": opened()}, answers.remembered)
    assert heard.keys() == {"host2"}
    assert "answer" in unheard["host1"]


def test_of_a_survey_the_containers_that_take_part_count() -> None:
    labels = {"relocate.enable": "true", "relocate.vip": "203.0.113.65"}
    containers = [{"name": "web", "labels": labels}, {"name": "db", "labels": {}}]
    assert answers.labelled(json.dumps({"containers": containers})) == [Labelled("web", "203.0.113.65")]


@pytest.mark.parametrize(
    "bad",
    [
        {"name": "a;b", "labels": {}},
        {"name": "web", "labels": None},
        {"name": "web", "labels": {"relocate.enable": True}},
        {"labels": {}},
    ],
)
def test_a_malformed_survey_is_none(bad: Any) -> None:
    with pytest.raises(answers.AnswerError):
        answers.labelled(json.dumps({"containers": [bad]}))


def test_what_arm_said_may_have_been_parsed_already() -> None:
    document = {"results": [{"id": "move-1", "ok": False, "reason": "no space"}]}
    for said in (document, json.dumps(document)):
        assert answers.armed(said) == {"move-1": Armed(False, "no space")}
    with pytest.raises(answers.AnswerError):
        answers.armed({"results": [{"id": "move-1", "ok": "yes", "reason": ""}]})


@pytest.mark.parametrize("said", ["/etc", "../x", "", ".", "a/b", "move-1\n"])
def test_no_directory_is_named_by_what_is_no_id(said: str) -> None:
    from relocate_proxy.host0 import journal

    for of in (paths.storage_dir, journal.journal_file, journal.outcome_file):
        with pytest.raises(ValueError, match="not the id"):
            of(said)


@pytest.mark.parametrize("said", [0, False, [], {}, 7, "x" * (answers.LONGEST + 1), {"open": [{}] * 10_001}])
def test_what_is_no_answer_is_that_hosts_alone(said: Any) -> None:
    heard, unheard = answers.gather({"host1": said, "host2": opened()}, answers.remembered)
    assert heard.keys() == {"host2"} and unheard.keys() == {"host1"}


def test_a_reason_is_one_line_of_bounded_length() -> None:
    said = {"results": [{"id": "move-1", "ok": False, "reason": "\x1b[2J\n" + "x" * 5000}]}
    reason = answers.armed(json.dumps(said))["move-1"].reason
    assert reason.isprintable() and len(reason) == 1000
