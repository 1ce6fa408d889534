"""What hosts answer in JSON, checked where it enters host0.

A host may be broken, or somebody else's: what it says names files and routes here. An answer that is not as
it should be counts as none, and concerns that host alone.
"""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from relocate_proxy import paths
from relocate_proxy.protocol.messages import REASON_CHARACTERS
from relocate_proxy.survey import preflight

CONTAINER = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}\Z")
LONGEST = 16 << 20  # characters of an answer
MOST = 10_000  # entries of one
SILENT = "it did not answer"
T = TypeVar("T")


class AnswerError(ValueError):
    """An answer is not as it should be; the message says where."""


@dataclass(frozen=True)
class Remembered:
    """A relocation that a host has not settled; ``side`` is what it is in it, source or target."""

    id: str
    side: str
    container: str
    vip: str


@dataclass(frozen=True)
class Labelled:
    """A running container that takes part; ``wanted`` is the address that its label asks for, if any."""

    name: str
    wanted: str | None


@dataclass(frozen=True)
class Armed:
    """What a host says about one move that it was to arm."""

    ok: bool
    reason: str


def gather(said: Mapping[str, Any], read: Callable[[Any], T]) -> tuple[dict[str, T], dict[str, str]]:
    """The answers as ``read`` understands them, by host, and why each other host counts as silent."""
    heard: dict[str, T] = {}
    unheard: dict[str, str] = {}
    for host, text in said.items():
        try:
            if text is None or text == "":
                raise AnswerError(SILENT)
            heard[host] = read(text)
        except AnswerError as error:
            unheard[host] = str(error)
    return heard, unheard


def remembered(text: Any) -> list[Remembered]:
    """What `remembered` printed. Raises AnswerError."""
    return [
        Remembered(
            _text(entry, "id", lambda said: bool(paths.IDENTITY.match(said))),
            _text(entry, "side", lambda said: said in ("source", "target")),
            _text(entry, "container", is_container),
            _text(entry, "vip", is_address),
        )
        for entry in _objects(_document(text), "open")
    ]


def labelled(text: Any) -> list[Labelled]:
    """The containers of what `survey` printed that take part. Raises AnswerError."""
    found = []
    for entry in _objects(_document(text), "containers"):
        name, labels = _text(entry, "name", is_container), entry.get("labels")
        if not isinstance(labels, dict) or not all(isinstance(value, str) for value in labels.values()):
            raise AnswerError("its answer has malformed labels")
        if preflight.enabled(labels):
            found.append(Labelled(name, labels.get("relocate.vip")))
    return found


def armed(text: Any) -> dict[str, Armed]:
    """What `arm` printed, by the id of the move. Raises AnswerError."""
    found = {}
    for entry in _objects(_document(text), "results"):
        identity = _text(entry, "id", lambda said: bool(paths.IDENTITY.match(said)))
        if not isinstance(entry.get("ok"), bool):
            raise AnswerError("its answer has a malformed ok")
        found[identity] = Armed(entry["ok"], _line(_text(entry, "reason", lambda _: True)))
    return found


def is_container(name: str) -> bool:
    """Whether Docker would let a container have this name."""
    return bool(CONTAINER.match(name))


def is_address(text: str) -> bool:
    """Whether this is an IPv4 address, and nothing else besides."""
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _document(text: Any) -> dict[str, Any]:
    """The object that a host printed; Ansible may have parsed it already."""
    if isinstance(text, str) and len(text) > LONGEST:
        raise AnswerError("its answer is too long")
    try:
        document = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        raise AnswerError("its answer is not JSON") from None
    if not isinstance(document, dict):
        raise AnswerError("its answer is not an object")
    return document


def _objects(document: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = document.get(key)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise AnswerError(f"its answer has no list {key}")
    if len(found) > MOST:
        raise AnswerError(f"its answer's list {key} is too long")
    return found


def _line(said: str) -> str:
    """A reason, which others are told: one line of bounded length that moves no cursor."""
    return "".join(c if c.isprintable() else " " for c in said[:REASON_CHARACTERS])


def _text(entry: dict[str, Any], key: str, is_right: Callable[[str], bool]) -> str:
    said = entry.get(key)
    if not isinstance(said, str) or not is_right(said):
        raise AnswerError(f"its answer has a malformed {key}: {said!r:.80}")
    return said
