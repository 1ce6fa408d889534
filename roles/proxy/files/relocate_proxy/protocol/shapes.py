"""Checked shapes: a frozen dataclass is a document's exact shape, each field's type says what may be in it.

``Annotated[str, rule]`` has a rule besides; ``tuple[X, ...]`` is a list; ``X | None`` may be null; a
dataclass is an object with just its fields. What does not fit is refused where it enters, and nothing of it
is used.
"""

import json
import re
import socket
import types
from collections.abc import Callable
from dataclasses import MISSING, asdict, fields
from functools import cache
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from relocate_proxy import paths

LARGEST = 1e300  # a number that was sent may be an integer of a thousand digits, which no float can hold
Shape = TypeVar("Shape")
Rule = Callable[[Any], bool]


class ShapeError(ValueError):
    """A document is not of its shape; the message names the field."""


def matches(pattern: str) -> Rule:
    """Text that is all of ``pattern``."""
    compiled = re.compile(pattern, re.ASCII)
    return lambda value: compiled.fullmatch(value) is not None


def within(first: float, last: float) -> Rule:
    """A number from ``first`` to ``last``."""
    return lambda value: first <= value <= last


def at_most(count: int) -> Rule:
    """A list or text of no more than ``count`` items or characters."""
    return lambda value: len(value) <= count


def is_address(value: str) -> bool:
    """A dotted quad."""
    try:
        return len(socket.inet_pton(socket.AF_INET, value)) == 4
    except (OSError, ValueError):
        return False


Identity = Annotated[str, lambda value: paths.IDENTITY.match(value) is not None]
Address = Annotated[str, is_address]
Port = Annotated[int, within(0, 65535)]
Digest = Annotated[str, matches(r"[0-9a-f]{64}|")]  # SHA-256; empty where none was asked for
Seconds = Annotated[float, within(0.001, 3600.0)]


def read(shape: type[Shape], value: Any) -> Shape:
    """``value``, a parsed JSON document, as an instance of ``shape``. Raises ShapeError."""
    if not isinstance(value, dict):
        raise ShapeError(f"{shape.__name__}: not an object")
    hints = _hints(shape)  # type: ignore[arg-type]
    unknown = value.keys() - hints.keys()
    if unknown:
        raise ShapeError(f"{shape.__name__}: {min(map(repr, unknown))[:40]} is not one of its fields")
    required = {f.name for f in fields(shape) if f.default is MISSING}  # type: ignore[arg-type]
    if missing := required - value.keys():
        raise ShapeError(f"{shape.__name__}: {min(missing)} is missing")
    return shape(**{name: _field(hints[name], found, name) for name, found in value.items()})


def parse(shape: type[Shape], text: bytes) -> Shape:
    """``text``, a JSON document, as an instance of ``shape``. Raises ShapeError."""
    return read(shape, document(text))


def document(text: bytes) -> Any:
    """The JSON document of ``text``. Raises ShapeError."""
    try:
        return json.loads(text.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ShapeError(f"not JSON: {error}") from None


def write(instance: Any) -> dict[str, Any]:
    """What `read` makes the instance of again."""
    return asdict(instance)


@cache
def _hints(shape: type[Any]) -> dict[str, Any]:
    return get_type_hints(shape, include_extras=True)


def _refuse(constant: str) -> None:
    """JSON has no NaN and no Infinity; Python's reader would take them."""
    raise ValueError(constant)


def _field(hint: Any, value: Any, name: str) -> Any:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        found = _field(arguments[0], value, name)
        if not all(rule(found) for rule in arguments[1:]):
            raise ShapeError(f"{name} is not what it may be")
        return found
    if origin in (Union, types.UnionType):
        (inner,) = (each for each in arguments if each is not type(None))
        return None if value is None else _field(inner, value, name)
    if origin is tuple and isinstance(value, list):
        return tuple(_field(arguments[0], each, name) for each in value)
    if hint is float and type(value) in (int, float) and abs(value) <= LARGEST:  # not so of NaN
        return float(value)
    if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__"):
        return read(hint, value)
    if hint in (str, int, bool) and type(value) is hint:
        return value
    raise ShapeError(f"{name} is not what it may be")
