"""The messages between host0 and an agent: bounded lines of JSON, and nothing else gets in.

A line that is not exactly what it should be is None here, and nothing happens. Every field has one rule,
whoever sends it: what a source says reaches the target's conntrack and file names through host0. A field that
has no rule is left out.
"""

import json
import math
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, TypeGuard, TypeVar

from relocate_proxy.protocol import Answer, Party, Verb

LINE_BYTES = 16 << 20
ACKNOWLEDGEMENT = b"\n"  # says nothing but that a line has come, which moves the peer's TCP on
HELLO = b'{"hello":1}\n'  # an agent's first line: what a login shell may have printed before it is none
REASON_CHARACTERS = 1000
LONGEST_SECONDS = 3600.0
IDENTITY = re.compile(r"[a-z0-9][a-z0-9-]{3,63}\Z")
DIGEST = re.compile(r"[0-9a-f]{64}\Z")
IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
LAP_NAME = re.compile(r"[a-z][a-z _-]{0,31}\Z")
CONNTRACK_STATE = re.compile(r"[A-Z][A-Z0-9_]{0,31}\Z|\Z")


@dataclass(frozen=True)
class Request:
    """What host0 asks of one party of one relocation."""

    relocation: str
    party: Party
    verb: Verb
    data: dict[str, Any]


@dataclass(frozen=True)
class Report:
    """What an agent answers."""

    relocation: str
    party: Party
    answer: Answer
    reason: str
    data: dict[str, Any]


Rule = Callable[[Any], bool]
Word = TypeVar("Word", Party, Verb, Answer)


def _text(pattern: re.Pattern[str]) -> Rule:
    return lambda value: isinstance(value, str) and pattern.match(value) is not None


def _list_of(rule: Rule) -> Rule:
    return lambda value: isinstance(value, list) and all(map(rule, value))


def _exactly(rules: dict[str, Rule]) -> Rule:
    return lambda value: _is_object(value) and value.keys() == rules.keys() and _fits(value, rules)


def _whole(last: int) -> Rule:
    return lambda value: type(value) is int and 0 <= value <= last


def _is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict)


def _fits(value: dict[str, Any], rules: dict[str, Rule]) -> bool:
    return all(rules[name](found) for name, found in value.items())


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _seconds(value: Any) -> bool:
    return _number(value) and 0 < value <= LONGEST_SECONDS


def _address(value: Any) -> bool:
    try:
        return isinstance(value, str) and len(socket.inet_pton(socket.AF_INET, value)) == 4
    except (OSError, ValueError):
        return False


def _manifest(value: Any) -> bool:
    return _is_object(value) and all(IMAGE_NAME.match(n) and _text(DIGEST)(d) for n, d in value.items())


_port = _whole(65535)
_flow = _exactly(
    {
        "protocol": lambda value: value in ("tcp", "udp"),
        "state": _text(CONNTRACK_STATE),
        "timeout": _whole(2**31 - 1),
        "source": _address,
        "destination": _address,
        "source_port": _port,
        "destination_port": _port,
        "reply_source": _address,
        "reply_destination": _address,
        "reply_source_port": _port,
        "reply_destination_port": _port,
    }
)
RULES: dict[str, Rule] = {
    "deadline": _seconds,
    "seconds": _seconds,
    "stored": _flag,
    "early": _flag,
    "recovers": lambda value: value is None or _text(IDENTITY)(value),
    "spec_digest": _text(DIGEST),
    "old_ip": _address,
    "new_ip": _address,
    "manifest": _manifest,
    "layer": _flag,
    "verify": _flag,
    "peer": _address,
    "pages": _whole(65535),
    "flows": _list_of(_flow),
    "log": lambda value: isinstance(value, str),
    "laps": _list_of(_exactly({"name": _text(LAP_NAME), "ms": _number})),
    "spans": _list_of(_exactly({"name": _text(LAP_NAME), "at": _number, "ms": _number})),
}
VERBS: dict[Party, dict[Verb, set[str]]] = {
    Party.SOURCE: {Verb.READY: {"deadline"}, Verb.FREEZE: {"new_ip"}, Verb.THAW: set(), Verb.DESTROY: set()},
    Party.TARGET: {Verb.READY: set(), Verb.RESTORE: {"seconds"}, Verb.COMMIT: set(), Verb.DESTROY: set()},
}
DUMPED = {"old_ip", "new_ip", "layer", "flows", "log"}
NEEDED: dict[tuple[Party, Answer], set[str]] = {
    (Party.SOURCE, Answer.READY): {"spec_digest", "old_ip"},
    (Party.TARGET, Answer.READY): {"spec_digest", "new_ip"},
    (Party.TARGET, Answer.RESTORED): {"new_ip", "laps"},
}


def _data(value: Any, needed: set[str]) -> dict[str, Any] | None:
    """The fields that have a rule; None if one breaks its rule or a needed one is missing."""
    if not _is_object(value):
        return None
    known = {name: found for name, found in value.items() if name in RULES}
    return known if needed <= known.keys() and _fits(known, RULES) else None


def lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines of at most ``LINE_BYTES`` but acknowledgements; a longer one ends the channel."""
    while line := stream.readline(LINE_BYTES + 1):
        if len(line) > LINE_BYTES:
            return
        if line != ACKNOWLEDGEMENT:
            yield line


def decode(line: bytes) -> Request | None:
    """A request, or None if the line is not well-formed."""
    document = _document(line)
    party, verb = _word(Party, document.get("party")), _word(Verb, document.get("verb"))
    if party is None or verb is None or verb not in VERBS[party]:
        return None
    data = _data(document["data"], VERBS[party][verb])
    if data is None:
        return None
    if verb is Verb.RESTORE and not data.get("stored"):
        data["dumped"] = _data(document["data"].get("dumped"), DUMPED)
        if data["dumped"] is None:
            return None
    return Request(document["relocation"], party, verb, data)


def decode_report(line: bytes) -> Report | None:
    """An agent's answer, or None if the line is not well-formed. Whether that host may say it is the
    caller's to know."""
    document = _document(line)
    party, answer = _word(Party, document.get("party")), _word(Answer, document.get("answer"))
    reason = document.get("reason", "")
    if party is None or answer is None or not isinstance(reason, str):
        return None
    data = _data(document["data"], NEEDED.get((party, answer), set()))
    if data is None or (answer is Answer.DUMPED and "manifest" not in data and not data.keys() >= DUMPED):
        return None
    printable = "".join(c if c.isprintable() else " " for c in reason[:REASON_CHARACTERS])
    return Report(document["relocation"], party, answer, printable, data)


def encode(document: dict[str, Any]) -> bytes:
    """One line."""
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def _word(words: type[Word], value: Any) -> Word | None:
    return words(value) if isinstance(value, str) and value in set(words) else None


def _document(line: bytes) -> dict[str, Any]:
    """An object with a plain ``relocation`` and an object ``data``; empty if the line is anything else."""
    try:
        document = json.loads(line.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError):
        return {}
    if not _is_object(document):
        return {}
    document.setdefault("data", {})
    plain = _text(IDENTITY)(document.get("relocation")) and _is_object(document["data"])
    return document if plain else {}


def _refuse(constant: str) -> None:
    """JSON has no NaN and no Infinity; Python's reader would take them."""
    raise ValueError(constant)
