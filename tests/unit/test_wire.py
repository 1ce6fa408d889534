"""What an agent and host0 take from each other: bounded, well-formed, and nothing else however it is bent."""

from __future__ import annotations

import io
import json
import queue
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy import agent, paths, wire
from relocate_proxy.protocol import Answer, Party, Verb

DIGEST = "0123456789abcdef" * 4
FLOW = {
    "protocol": "tcp",
    "state": "ESTABLISHED",
    "timeout": 300,
    "source": "203.0.113.2",
    "destination": "203.0.113.64",
    "source_port": 4000,
    "destination_port": 80,
    "reply_source": "172.17.1.2",
    "reply_destination": "203.0.113.2",
    "reply_source_port": 8080,
    "reply_destination_port": 4000,
}
DUMPED: dict[str, Any] = {
    "old_ip": "172.17.1.2",
    "new_ip": "172.17.2.2",
    "layer": True,
    "flows": [FLOW],
    "log": "said\\n",
}
LAPS = [{"name": "dump", "ms": 31.25}]


def request(party: str, verb: str, **data: Any) -> dict[str, Any]:
    return {"relocation": "a1b2c3d4e5f6", "party": party, "verb": verb, "data": data}


def report(party: str, answer: str, reason: str = "", **data: Any) -> dict[str, Any]:
    return {"relocation": "a1b2c3d4e5f6", "party": party, "answer": answer, "reason": reason, "data": data}


REQUESTS = [
    request("source", "ready", deadline=30.0, verify=False),
    request("source", "freeze", new_ip="172.17.2.2"),
    request("source", "thaw"),
    request("source", "destroy", recovers="0a0b0c0d0e0f"),
    request("target", "ready", deadline=30.0),
    request("target", "restore", seconds=30.0, dumped=DUMPED, manifest={"files.img": DIGEST}),
    request("target", "restore", seconds=30, stored=True),
    request("target", "commit"),
    request("target", "destroy", recovers=None),
]
REPORTS = [
    report("source", "ready", spec_digest=DIGEST, old_ip="172.17.1.2"),
    report("target", "ready", spec_digest=DIGEST, new_ip="172.17.2.2"),
    report("source", "dumped", laps=LAPS, **DUMPED),
    report("source", "dumped", manifest={"pages-1.img": DIGEST}),
    report("target", "restored", laps=LAPS, new_ip="172.17.2.2"),
    report("target", "running"),
    report("source", "failed", "CRIU dump: a socket it does not know"),
]


@pytest.mark.parametrize("document", REQUESTS, ids=lambda d: f"{d['party']}-{d['verb']}")
def test_a_request_arrives_as_it_was_sent(document: dict[str, Any]) -> None:
    arrived = wire.decode(wire.encode(document))
    assert arrived == wire.Request(
        "a1b2c3d4e5f6", Party(document["party"]), Verb(document["verb"]), document["data"]
    )


@pytest.mark.parametrize("document", REPORTS, ids=lambda d: f"{d['party']}-{d['answer']}")
def test_a_report_arrives_as_it_was_sent(document: dict[str, Any]) -> None:
    arrived = wire.decode_report(wire.encode(document))
    assert arrived == wire.Report(
        "a1b2c3d4e5f6",
        Party(document["party"]),
        Answer(document["answer"]),
        document["reason"],
        document["data"],
    )


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b'"ready"',
        b"{}",
        b"[" * 100_000,
        b"\xff\xfe{}",
        json.dumps(request("source", "thaw")).encode("utf-16"),
        wire.encode(request("source", "commit")),
        wire.encode(request("target", "thaw")),
        wire.encode(request("source", "shell")),
        wire.encode(request("source", "ready")),
        wire.encode(request("source", "ready", deadline=float("nan"))),
        wire.encode(request("source", "ready", deadline=1e300)),
        wire.encode(request("source", "ready", deadline=True)),
        wire.encode(request("source", "freeze", new_ip="172.17.2.2; reboot")),
        wire.encode(request("source", "freeze", new_ip="172.17.2.2\0")),
        wire.encode(request("source", "freeze", new_ip="::1")),
        wire.encode(request("source", "destroy", recovers="../../../etc/passwd")),
        wire.encode(request("target", "restore", seconds=30)),
        wire.encode(request("target", "restore", seconds=30, dumped=DUMPED | {"flows": [FLOW | {"x": 1}]})),
        wire.encode(request("target", "restore", seconds=30, dumped=DUMPED | {"flows": [{}]})),
        wire.encode(
            request("target", "restore", seconds=30, dumped=DUMPED | {"flows": [FLOW | {"state": "A\n-F"}]})
        ),
        wire.encode(
            request("target", "restore", seconds=30, dumped=DUMPED, manifest={"../files.img": DIGEST})
        ),
        wire.encode(request("source", "thaw") | {"relocation": "../a1b2c3"}),
        wire.encode(request("source", "thaw") | {"relocation": "a1b2c3\n"}),
        wire.encode(request("source", "thaw") | {"relocation": ["a1b2c3"]}),
        wire.encode(request("source", "thaw") | {"data": []}),
    ],
)
def test_what_is_not_well_formed_is_nothing(line: bytes) -> None:
    assert wire.decode(line) is None


def test_a_field_without_a_rule_is_left_out() -> None:
    found = wire.decode(wire.encode(request("source", "thaw", command="reboot")))
    assert found is not None and found.data == {}
    nested = request("target", "restore", seconds=30, dumped={**DUMPED, "dumped": DUMPED})
    found = wire.decode(wire.encode(nested))
    assert found is not None and found.data["dumped"] == DUMPED


def test_a_reason_cannot_write_on_the_terminal() -> None:
    found = wire.decode_report(wire.encode(report("source", "failed", "\x1b[2J" + "x" * 5000)))
    assert found is not None and found.reason.isprintable() and len(found.reason) <= wire.REASON_CHARACTERS


def test_a_line_that_is_too_long_ends_the_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "LINE_BYTES", 10)
    assert list(wire.lines(io.BytesIO(b"123456789\n1234567890\n1\n"))) == [b"123456789\n"]


def test_acknowledgements_are_no_lines() -> None:
    assert list(wire.lines(io.BytesIO(b"{}\n" + wire.ACKNOWLEDGEMENT + b"[]\n"))) == [b"{}\n", b"[]\n"]


# Fuzzing: 10^5 bent messages.

SCRAPS: list[Any] = [None, True, -1, 0, 2**70, 1e308, "", "\0", "../x", "-F", "a b", "x" * 300, [], {}, [[]]]


def bend(random: random.Random, document: dict[str, Any]) -> bytes:
    """One message with a few things wrong: in its structure, or in its bytes."""
    copy = json.loads(json.dumps(document))
    for _ in range(random.randrange(3)):
        at = copy
        while isinstance(at, dict) and at:
            key = random.choice(list(at))
            if not isinstance(at[key], dict) or random.random() < 0.3:
                choice = random.random()
                if choice < 0.2:
                    del at[key]
                elif choice < 0.4:
                    at[random.choice(["data", "dumped", "recovers", "new_ip", "verb", "log"])] = at[key]
                else:
                    at[key] = random.choice(SCRAPS)
                break
            at = at[key]
    line = bytearray(wire.encode(copy))
    for _ in range(random.choice([0, 0, 1, 2, 8])):
        start = random.randrange(len(line))
        line[start : start + random.randrange(4)] = random.randbytes(random.randrange(4))
        line = line or bytearray(b" ")
    return bytes(line)


def harmless(value: Any) -> bool:
    """Whether nothing in it could be taken for a path, an option or a command."""
    if isinstance(value, dict):
        return all(harmless(key) and harmless(inner) for key, inner in value.items())
    if isinstance(value, list):
        return all(map(harmless, value))
    return not isinstance(value, str) or re.fullmatch(r"|[\w][\w.-]*", value, re.ASCII) is not None


@pytest.fixture
def forbidden(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host where nothing is armed, and where whoever starts a program fails the test."""
    for name in ("STATE", "RUN", "STORAGE", "TARGETS", "LOGS"):
        monkeypatch.setattr(paths, name, tmp_path / name)

    def refuse(*arguments: Any, **_: Any) -> None:
        raise AssertionError(f"a program was started: {arguments}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr("os.kill", refuse)


def test_bent_requests_crash_nothing_and_do_nothing(forbidden: None, tmp_path: Path) -> None:
    dice = random.Random(6)
    taken = 0
    for n in range(100_000):
        found = wire.decode(bend(dice, REQUESTS[n % len(REQUESTS)]))
        if found is None:
            continue
        taken += 1
        assert harmless(found.relocation) and harmless({**found.data, "log": "", "dumped": None})
        assert harmless({**(found.data.get("dumped") or {}), "log": ""})
        assert wire.decode(wire.encode(vars(found))) == found
        if found.verb is Verb.RESTORE and "manifest" not in found.data:
            found.data["manifest"] = {}  # else the agent waits for it
        obey(found)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == []
    assert 1_000 < taken < 60_000, "bent too much or too little"


def obey(request: wire.Request) -> None:
    """What the agent's thread does; it answers `failed` to any exception but a failed test."""
    inbox: agent.Inbox = queue.SimpleQueue()
    side: agent.SourceSide | agent.TargetSide = (
        agent.SourceSide(request.relocation)
        if request.party is Party.SOURCE
        else agent.TargetSide(request.relocation, inbox)
    )
    try:
        list(side.obey(request.verb, request.data))
    except AssertionError:
        raise
    except Exception as error:
        assert str(error)


@pytest.mark.parametrize("decode", [wire.decode, wire.decode_report])
def test_noise_is_nothing(decode: Callable[[bytes], object]) -> None:
    dice = random.Random(7)
    assert not any(decode(dice.randbytes(dice.randrange(200))) for _ in range(5_000))


def test_bent_reports_crash_nothing() -> None:
    dice = random.Random(8)
    for n in range(30_000):
        found = wire.decode_report(bend(dice, REPORTS[n % len(REPORTS)]))
        assert found is None or wire.decode_report(wire.encode(vars(found))) == found
