"""The verbs of `relocate-proxy`, as far as they do more than call."""

import io
import json
import sys
from pathlib import Path

import pytest
from relocate_proxy import paths, verbs
from relocate_proxy.host import source, target
from relocate_proxy.host0 import fire, gateway, journal, open_ends


def test_each_host_does_its_own_part_of_a_step_and_a_failure_is_one_moves_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done: list[tuple[str, str]] = []

    def refuse(relocation: str) -> None:
        raise source.SourceError("no\nroom")

    monkeypatch.setattr(source, "arm", refuse)
    monkeypatch.setattr(
        target, "arm", lambda identity, container, vip, recovers: done.append((identity, vip))
    )
    moves = [
        {"id": "move-1", "container": "web", "source": "host1", "target": "host2", "vip": "203.0.113.64"},
        {"id": "move-2", "container": "web", "source": "host2", "target": "host1", "vip": "203.0.113.65"},
        {"id": "move-3", "container": "web", "source": "host2", "target": "host3", "vip": "203.0.113.66"},
    ]
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"host": "host1", "moves": moves})))
    assert verbs.arm([]) == 0
    results = json.loads(capsys.readouterr().out)["results"]
    assert [(each["id"], each["ok"], each["reason"]) for each in results] == [
        ("move-1", False, "no room"),
        ("move-2", True, ""),
    ]
    assert done == [("move-2", "203.0.113.65")]


@pytest.mark.parametrize(("strangers", "code"), [({}, 1), ({"move-1": ["host9"]}, 0)])
def test_a_boot_does_not_try_for_ever_to_reach_a_host_that_was_taken_out(
    strangers: dict[str, list[str]], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"waiting": ["move-1"], "strangers": strangers}
    monkeypatch.setattr(open_ends, "recover", lambda *_, **__: found)
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert verbs.recover(["--boot"]) == code


def test_a_malformed_answer_is_named_and_the_other_hosts_are_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = {"host1": json.dumps({"open": [{"id": "/etc", "side": "source"}]}), "host2": '{"open": []}'}
    monkeypatch.setattr(open_ends, "recover", lambda heard, unheard, **_: {"h": heard, "unheard": unheard})
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"hosts": said})))
    assert verbs.recover([]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["h"] == {"host2": []} and "/etc" in found["unheard"]["host1"]


def test_publish_goes_on_without_a_host_whose_survey_is_malformed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("STATE", "JOURNAL"):
        monkeypatch.setattr(paths, name, tmp_path)
    monkeypatch.setattr(gateway, "VIPS", tmp_path / "vips.json")
    monkeypatch.setattr(gateway, "settings", lambda: {"pool": "203.0.113.64/29", "host_interface": "lan0"})
    monkeypatch.setattr(gateway, "_answering", lambda _: {})
    monkeypatch.setattr(gateway, "answered", set)
    monkeypatch.setattr(gateway, "routed", dict)
    monkeypatch.setattr(gateway, "route", lambda *_: None)
    monkeypatch.setattr(fire, "addresses", lambda: {"host1": "198.18.0.11", "host2": "198.18.0.12"})
    web = {"name": "web", "labels": {"relocate.enable": "true"}}
    hosts = {
        "host1": json.dumps({"containers": [web, {"name": "a b", "labels": {}}]}),
        "host2": json.dumps({"containers": [{**web, "name": "db"}]}),
    }
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"hosts": hosts})))
    assert verbs.publish([]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["vips"] == {"db": "203.0.113.65"} and found["refused"] == []
    assert found["unheard"] == {"host1": "its answer has a malformed name: 'a b'"}
    assert journal.at_hand() == {}
