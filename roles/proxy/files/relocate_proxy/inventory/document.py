"""An inventory as a document: facts one by one, and of the sockets, of which there may be thousands, one
vector of values for all that are alike."""

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

Value = str | int | None  # None: the kernel gave no answer


class Mode(StrEnum):
    """How much is looked at (``[relocation] inventory``)."""

    FULL = "full"
    SOCKETS = "sockets"
    OFF = "off"


class Fact(NamedTuple):
    """``of``: whose; ``kind``: a row of the table of kinds."""

    kind: str
    of: str
    value: Value


class Socket(NamedTuple):
    """``of``: process and descriptor of whoever holds it first; ``vector``: which of the vectors is its."""

    of: str
    vector: int
    name: str
    peer: str
    received: int
    unsent: int


class Vector(NamedTuple):
    """Values of the options that ``labels`` (an index) names."""

    labels: int
    values: tuple[Value, ...]


class DocumentError(ValueError):
    """A document is not an inventory."""


@dataclass(frozen=True)
class Inventory:
    """What was found of one container."""

    mode: Mode
    facts: tuple[Fact, ...] = ()
    labels: tuple[tuple[str, ...], ...] = ()
    vectors: tuple[Vector, ...] = ()
    sockets: tuple[Socket, ...] = ()

    def encode(self) -> bytes:
        """What `decode` reads."""
        parts = [self.mode, self.facts, self.labels, self.vectors, self.sockets]
        return json.dumps(parts, separators=(",", ":")).encode()

    def values(self, socket: Socket) -> dict[str, Value]:
        """The options of one socket, by label."""
        vector = self.vectors[socket.vector]
        return dict(zip(self.labels[vector.labels], vector.values, strict=True))

    @property
    def count(self) -> int:
        """How many facts there are."""
        each = [len(vector.values) + 4 for vector in self.vectors]
        return len(self.facts) + sum(each[socket.vector] for socket in self.sockets)


def decode(text: bytes) -> Inventory:
    """Raises DocumentError: whoever wrote it is another host."""
    try:
        mode, facts, labels, vectors, sockets = json.loads(text)
        found = Inventory(
            Mode(mode),
            tuple(Fact(_text(k), _text(o), _value(v)) for k, o, v in facts),
            tuple(tuple(map(_text, each)) for each in labels),
            tuple(Vector(_number(n), tuple(map(_value, values))) for n, values in vectors),
            tuple(
                Socket(_text(o), _number(v), _text(n), _text(p), _number(r), _number(u))
                for o, v, n, p, r, u in sockets
            ),
        )
        if any(len(found.labels[each.labels]) != len(each.values) for each in found.vectors):
            raise DocumentError("a vector is not of its labels' length")
        if any(not 0 <= each.vector < len(found.vectors) for each in found.sockets):
            raise DocumentError("a socket has no vector")
    except (ValueError, TypeError, IndexError, RecursionError) as error:
        raise DocumentError(f"not an inventory: {error}") from None
    return found


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise DocumentError("text was expected")
    return value


def _number(value: Any) -> int:
    if type(value) is not int:
        raise DocumentError("a number was expected")
    return value


def _value(value: Any) -> Value:
    if value is not None and type(value) not in (str, int):
        raise DocumentError("a value was expected")
    return value  # type: ignore[no-any-return]
