"""Reads what a host has said of itself: each value has its kind and its bounds, or the document is refused.

A host may be broken, or somebody else's. What it says decides about it alone, is of bounded size, and may be
shown on a terminal.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

WORD = 256  # characters
WORDS = 20_000  # of a set; packages are the largest, Debian's desktop has 5,000
SENTENCE = 1000
LARGEST = 1e15  # of a number: a petabyte
OBJECTS = 10_000
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}\Z")
PORT = re.compile(r"(tcp|udp|sctp)/[0-9]{1,5}\Z")


class SaidError(ValueError):
    """What was said is not what may be said; the message names the field."""


class Said:
    """An object of a host's document. ``where`` leads to it, for the errors, which are SaidError."""

    def __init__(self, value: Any, where: str = "it") -> None:
        if not isinstance(value, Mapping):
            raise SaidError(f"{where} is no object")
        self.value: Mapping[str, Any] = value
        self.where = where

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number of decent size. Without ``default`` it has to be there."""
        found = self._get(key, default)
        if isinstance(found, bool) or not isinstance(found, int | float) or not _decent(found):
            raise self._wrong(key, found, "a number")
        return float(found)

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number, zero or more."""
        found = self.number(key, default)
        if found < 0:
            raise self._wrong(key, found, "zero or more")
        return int(found)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        found = self._get(key, default)
        if not isinstance(found, bool):
            raise self._wrong(key, found, "true or false")
        return found

    def word(self, key: str, default: str | None = None, shape: re.Pattern[str] | None = None) -> str:
        """Text of this shape, if one is given; what is long, or unfit for a terminal, is made fit."""
        found = self._get(key, default)
        if not isinstance(found, str) or (shape and not shape.match(found)):
            raise self._wrong(key, found, "a word" if shape is None else "such a word")
        return line(found)

    def words(self, key: str, shape: re.Pattern[str] | None = None) -> frozenset[str]:
        """A list of words as a set, empty if it is not there."""
        found = self._get(key, ())
        if not isinstance(found, list | tuple):
            raise self._wrong(key, found, "a list of words")
        return words(each for each in found if self._is_word(key, each, shape))

    def texts(self, key: str) -> dict[str, str]:
        """An object of text, such as labels, empty if it is not there or null."""
        found = self._get(key, {})
        found = {} if found is None else found
        if not isinstance(found, Mapping) or not all(isinstance(each, str) for each in found.values()):
            raise self._wrong(key, found, "an object of text")
        return {str(name): text for name, text in found.items()}

    def inner(self, key: str) -> "Said":
        """An object in it, empty if it is not there."""
        return Said(self._get(key, {}), f"{self.where}.{key}"[:SENTENCE])

    def objects(self, key: str) -> Iterator["Said"]:
        """A list of objects, empty if it is not there."""
        found = self._get(key, ())
        if not isinstance(found, list | tuple) or len(found) > OBJECTS:
            raise self._wrong(key, found, "a list of objects")
        for number, each in enumerate(found):
            yield Said(each, f"{self.where}.{key}[{number}]")

    def _get(self, key: str, default: Any) -> Any:
        if key not in self.value and default is None:
            raise SaidError(f"{self.where} has no {key}")
        return self.value.get(key, default)

    def _is_word(self, key: str, each: Any, shape: re.Pattern[str] | None) -> bool:
        if not isinstance(each, str) or (shape is not None and not shape.match(each)):
            raise self._wrong(key, each, "a list of words")
        return True

    def _wrong(self, key: str, found: Any, wanted: str) -> SaidError:
        return SaidError(f"{self.where}.{key} is not {wanted}: {line(repr(found)[:60])}")


def words(found: Iterable[str]) -> frozenset[str]:
    """A set of no more, and no longer, words than hosts have: the first, by name."""
    return frozenset(sorted({each[:WORD] for each in found})[:WORDS])


def line(text: str) -> str:
    """One line of bounded length that moves no cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:SENTENCE])


def _decent(value: float) -> bool:
    """Also of an integer of a thousand digits."""
    return abs(value) <= LARGEST and (isinstance(value, int) or math.isfinite(value))
