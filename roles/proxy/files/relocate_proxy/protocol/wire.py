"""The lines between host0 and an agent: bounded JSON, and nothing else gets in.

A line that is not exactly one of the messages (messages.py) is nothing, and does nothing. One that is too
long is passed over: the next is read.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Annotated, Any

from relocate_proxy.protocol import messages, shapes
from relocate_proxy.protocol.messages import Report, Request
from relocate_proxy.protocol.words import Answer, Party, Verb

LINE_BYTES = 1 << 16
ACKNOWLEDGEMENT = b"\n"  # says nothing but that a line has come, which moves the peer's TCP on
HELLO = b'{"hello":1}\n'  # an agent's first line: what a login shell may have printed before it is none
Word = Annotated[str, shapes.at_most(32)]


@dataclass(frozen=True)
class _Envelope:
    relocation: shapes.Identity
    party: Word
    word: Word


def lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Lines of at most ``LINE_BYTES`` but acknowledgements, which are none; longer ones are passed over."""
    while line := stream.readline(LINE_BYTES + 1):
        if len(line) > LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = stream.readline(LINE_BYTES)
        elif line != ACKNOWLEDGEMENT:
            yield line


def encode(message: Request | Report) -> bytes:
    """One line."""
    body = message.question if isinstance(message, Request) else message.reply
    word = messages.VERBS[type(body)] if isinstance(message, Request) else message.answer  # type: ignore[index]
    envelope = {"relocation": message.relocation, "party": message.party, "word": word}
    text = json.dumps({**envelope, "body": shapes.write(body)}, separators=(",", ":"))
    return text.encode() + b"\n"


def decode(line: bytes) -> Request | None:
    """A request, or None if the line is not well-formed."""
    try:
        envelope, body = _open(line)
        party = Party(envelope.party)
        question = shapes.read(messages.QUESTIONS[party, Verb(envelope.word)], body)
    except (ValueError, KeyError):
        return None
    return Request(envelope.relocation, party, question)


def decode_report(line: bytes) -> Report | None:
    """An agent's answer, or None if the line is not well-formed. Whether that host may say it is the
    caller's to know."""
    try:
        envelope, body = _open(line)
        party = Party(envelope.party)
        reply = shapes.read(messages.REPLIES[party, Answer(envelope.word)], body)
    except (ValueError, KeyError):
        return None
    if isinstance(reply, messages.Failed):
        reply = messages.failed(RuntimeError(reply.reason))
    return Report(envelope.relocation, party, reply)


def _open(line: bytes) -> tuple[_Envelope, Any]:
    """Raises ShapeError."""
    found = shapes.document(line)
    if not isinstance(found, dict):
        raise shapes.ShapeError("not an object")
    body = found.pop("body", None)
    return shapes.read(_Envelope, found), body
