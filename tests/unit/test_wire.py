"""What an agent and host0 take from each other: bounded, well-formed, and nothing else however it is bent."""

from __future__ import annotations

import io
import json
import random
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy import paths
from relocate_proxy.host import agent
from relocate_proxy.protocol import messages, shapes, wire
from relocate_proxy.protocol.words import Party

DIGEST = "0123456789abcdef" * 4
DUMPED: dict[str, Any] = {
    "old_ip": "172.17.1.2",
    "new_ip": "172.17.2.2",
    "carried": DIGEST,
    "restart_policy": {"name": "always", "retries": 0},
    "others": ["172.18.0.9"],
    "layer": {"listing": DIGEST, "archive": ""},
    "volumes": [{"listing": DIGEST, "archive": DIGEST}, None],
    "pages": None,
    "inventory": DIGEST,
    "laps": [{"name": "dump", "ms": 31.25}],
    "spans": [{"name": "criu post-dump", "at": 1.5, "ms": 30.0}],
}
LAPS = DUMPED["laps"]
VOTE = {"configuration": DIGEST, "dumped": DUMPED, "images": DIGEST}
COMPARED: dict[str, Any] = {
    "compared": 900,
    "mended": [{"kind": "TCP_USER_TIMEOUT", "times": 3, "why": ""}],
    "harmless": [{"kind": "CPU affinity", "times": 1, "why": "this host has not the processors"}],
}


def message(party: str, word: str, **body: Any) -> dict[str, Any]:
    return {"relocation": "a1b2c3d4e5f6", "party": party, "word": word, "body": body}


def line(document: object) -> bytes:
    return json.dumps(document).encode() + b"\n"


REQUESTS = [
    message("source", "ready", deadline=30.0, verify=False, peer=None, inventory="full"),
    message("source", "freeze", new_ip="172.17.2.2", others=["172.18.0.9"]),
    message("source", "thaw"),
    message("source", "destroy", recovers="0a0b0c0d0e0f"),
    message("target", "ready", deadline=30.0, verify=True, peer="198.18.0.11", inventory="off"),
    message("target", "restore", seconds=30.0, verify=True, peer="198.18.0.11", dumped=DUMPED, voted=None),
    message("target", "restore", seconds=30.0, verify=True, peer=None, dumped=None, voted=VOTE),
    message("target", "commit"),
    message("target", "own"),
    message("target", "destroy", recovers=None),
]
REPORTS = [
    message("source", "ready", configuration=DIGEST, address="172.17.1.2", others=[]),
    message("target", "ready", configuration=DIGEST, address="172.17.2.2", others=["172.18.0.9"]),
    message("source", "dumped", **DUMPED),
    message("source", "digested", images=DIGEST),
    message("source", "stored", vote=VOTE),
    message("target", "restored", new_ip="172.17.2.2", images="", laps=LAPS, spans=[], inventory=None),
    message("target", "restored", new_ip="172.17.2.2", images="", laps=[], spans=[], inventory=COMPARED),
    message("target", "resumed", laps=[], spans=[]),
    message("target", "running"),
    message("source", "failed", reason="CRIU dump: a socket it does not know"),
]


@pytest.mark.parametrize("document", REQUESTS, ids=lambda d: f"{d['party']}-{d['word']}")
def test_a_request_arrives_as_it_was_sent(document: dict[str, Any]) -> None:
    arrived = wire.decode(line(document))
    assert arrived is not None
    assert json.loads(wire.encode(arrived)) == document


@pytest.mark.parametrize("document", REPORTS, ids=lambda d: f"{d['party']}-{d['word']}")
def test_a_report_arrives_as_it_was_sent(document: dict[str, Any]) -> None:
    arrived = wire.decode_report(line(document))
    assert arrived is not None
    assert json.loads(wire.encode(arrived)) == document


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b'"ready"',
        b"{}",
        b"[" * 100_000,
        b"\xff\xfe{}",
        json.dumps(message("source", "thaw")).encode("utf-16"),
        line(message("source", "commit")),
        line(message("target", "thaw")),
        line(message("source", "shell")),
        line(message("source", "ready")),
        line(message("source", "ready", deadline=float("nan"))),
        line(message("source", "ready", deadline=1e300)),
        line(message("source", "ready", deadline=True)),
        line(message("source", "freeze", new_ip="172.17.2.2; reboot")),
        line(message("source", "freeze", new_ip="172.17.2.2\0")),
        line(message("source", "freeze", new_ip="::1")),
        line(message("source", "destroy", recovers="../../../etc/passwd")),
        line(message("source", "thaw", command="reboot")),
        line(message("target", "restore", seconds=30, dumped=DUMPED | {"carried": "../flows.json"})),
        line(message("target", "restore", seconds=30, dumped=DUMPED | {"layer": {"listing": 1}})),
        line(message("target", "restore", seconds=30, dumped=DUMPED | {"restart_policy": {"name": "sh"}})),
        line(message("target", "restore", seconds=30, dumped=DUMPED | {"laps": LAPS * 1000})),
        line(message("target", "restore", seconds=30, dumped={**DUMPED, "dumped": DUMPED})),
        line(message("target", "restore", seconds=30, voted=VOTE | {"configuration": "/etc/passwd"})),
        line(message("source", "thaw") | {"relocation": "../a1b2c3"}),
        line(message("source", "thaw") | {"relocation": "a1b2c3\n"}),
        line(message("source", "thaw") | {"relocation": ["a1b2c3"]}),
        line(message("source", "thaw") | {"body": []}),
        line(message("source", "thaw") | {"more": 1}),
    ],
)
def test_what_is_not_well_formed_is_nothing(text: bytes) -> None:
    assert wire.decode(text) is None


def test_no_message_can_be_longer_than_a_line_may_be() -> None:
    """Whatever a tenant does: its flows, logs and files are not in any."""
    longest = DUMPED | {"laps": LAPS * 32, "spans": DUMPED["spans"] * 64}
    restore = message("target", "restore", seconds=3600.0, verify=True, peer="198.18.0.255", dumped=longest)
    assert wire.decode(line(restore)) is not None
    assert len(line(restore)) < wire.LINE_BYTES / 4
    noted = [{"kind": "x" * 48, "times": 2**31, "why": "y" * 200}] * 64
    inventory = {"compared": 2**31, "mended": noted, "harmless": noted}
    restored = message(
        "target", "restored", **{name: longest[name] for name in ("new_ip", "laps", "spans")}, images=DIGEST
    )
    restored["body"]["inventory"] = inventory
    assert wire.decode_report(line(restored)) is not None
    assert len(line(restored)) < wire.LINE_BYTES


def test_a_reason_cannot_write_on_the_terminal() -> None:
    for words in ("\x1b[2J", "x" * 5000, ""):
        failed = messages.failed(OSError(words))
        assert failed.reason.isprintable() and 0 < len(failed.reason) <= messages.REASON_CHARACTERS
    found = wire.decode_report(line(message("source", "failed", reason="\x1b[2J")))
    assert found is not None and messages.reason(found.reply) == " [2J"


def test_a_line_that_is_too_long_is_passed_over_and_the_next_is_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`thaw` after a long answer must be read."""
    monkeypatch.setattr(wire, "LINE_BYTES", 10)
    for long in (b"1234567890\n", b"x" * 45 + b"\n"):
        assert list(wire.lines(io.BytesIO(b"123456789\n" + long + b"1\n"))) == [b"123456789\n", b"1\n"]


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
                    at[random.choice(["body", "dumped", "recovers", "new_ip", "word", "carried"])] = at[key]
                else:
                    at[key] = random.choice(SCRAPS)
                break
            at = at[key]
    text = bytearray(line(copy))
    for _ in range(random.choice([0, 0, 1, 2, 8])):
        start = random.randrange(len(text))
        text[start : start + random.randrange(4)] = random.randbytes(random.randrange(4))
        text = text or bytearray(b" ")
    return bytes(text)


def harmless(value: Any) -> bool:
    """Whether nothing in it could be taken for a path, an option or a command."""
    if isinstance(value, dict):
        return all(harmless(key) and harmless(inner) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return all(map(harmless, value))
    return not isinstance(value, str) or re.fullmatch(r"|[\w][\w .-]*", value, re.ASCII) is not None


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
        assert harmless(found.relocation) and harmless(shapes.write(found.question))
        assert wire.decode(wire.encode(found)) == found
        obey(found)
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == []
    assert 1_000 < taken < 60_000, "bent too much or too little"


def obey(request: messages.Request) -> None:
    """What the agent's thread does; it answers `failed` to any exception but a failed test."""
    kind = agent.SourceSide if request.party is Party.SOURCE else agent.TargetSide
    try:
        list(kind(request.relocation).obey(request.question))
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
        assert found is None or wire.decode_report(wire.encode(found)) == found
