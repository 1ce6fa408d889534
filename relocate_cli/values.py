"""What a setting may be: each function reads a value of TOML, or its text in the environment.

They raise ValueError with what the value must be, to follow "it must be".
"""

import re
from collections.abc import Callable
from typing import cast

_UNITS = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(value: object) -> float:
    """Seconds of ``"500ms"``, ``"90s"``, ``"1m"``, ``"2h"``, ``"1d"`` or of a plain number of seconds.

    >>> duration("1m"), duration(2.5)
    (60.0, 2.5)
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*", str(value))
    if match is None:
        raise ValueError("a duration such as 500ms, 90s, 1m, 2h or 1d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def positive(convert: Callable[[object], float]) -> Callable[[object], float]:
    """``convert``, and then not zero or less."""

    def converted(value: object) -> float:
        number = convert(value)
        if not number > 0:
            raise ValueError("greater than zero")
        return number

    return converted


def number(value: object) -> float:
    """A number, also as text."""
    if isinstance(value, bool):
        raise ValueError("a number")
    try:
        return float(cast("str | float", value))
    except (TypeError, ValueError):
        raise ValueError("a number") from None


def share(value: object) -> float:
    """A number above zero, 1 at most."""
    found = number(value)
    if not 0.0 < found <= 1.0:
        raise ValueError("above zero, 1 at most")
    return found


def count(value: object) -> int:
    """A whole number, zero or more."""
    if isinstance(value, bool) or not re.fullmatch(r"\d+", str(value)):
        raise ValueError("a whole number, zero or more")
    return int(str(value))


def flag(value: object) -> bool:
    """True or false, also as text."""
    known = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
    try:
        return known[str(value).lower()]
    except KeyError:
        raise ValueError("true or false") from None


def text(value: object) -> str:
    """A string as it is."""
    if not isinstance(value, str):
        raise ValueError("a string")
    return value


def texts(value: object) -> tuple[str, ...]:
    """A list of strings, or one string with commas."""
    if isinstance(value, str):  # the environment: commas separate
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise ValueError("a list of strings")


def hours(value: object) -> tuple[str, ...]:
    """Spans of the day; one may pass midnight."""
    clock = r"([01]\d|2[0-3]):[0-5]\d"
    spans = texts(value)
    if not all(re.fullmatch(f"{clock}-{clock}", span) for span in spans):
        raise ValueError('spans such as "22:00-06:00"')
    return spans


def one_of(*choices: str) -> Callable[[object], str]:
    """One of these words."""

    def chosen(value: object) -> str:
        if value not in choices:
            raise ValueError("one of " + ", ".join(choices))
        return str(value)

    return chosen
