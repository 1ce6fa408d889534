"""``${VARIABLE}`` as Compose fills it in, and the file .env beside a Compose file."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from relocate_cli.compose import document
from relocate_cli.compose.document import Tagged

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
OPERATORS = (":-", ":?", ":+", "-", "?", "+")
DEEPEST = 20
LONGEST = 64 << 10  # values may be made of values
LINE = re.compile(r"\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*[=:]\s*(.*?)\s*$")


class Variables:
    """Values by name; ``missing`` collects those that were asked for, have none, and have no default."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self.missing: set[str] = set()

    def fill(self, tree: Any) -> Any:
        """The tree with every variable in its words replaced; keys are left alone."""
        if isinstance(tree, str):
            return self.text(tree) if "$" in tree else tree
        if isinstance(tree, dict):
            return {key: self.fill(value) for key, value in tree.items()}
        if isinstance(tree, list):
            return [self.fill(each) for each in tree]
        if isinstance(tree, Tagged):
            return Tagged(tree.kind, self.fill(tree.value))
        return tree

    def text(self, text: str, depth: int = 0) -> str:
        """``text`` with its variables replaced. What is no variable stays as it is written.

        >>> Variables({"A": "1"}).text("$A ${A} $$A ${B:-${A}2} ${A:+x} [$B]")
        '1 1 $A 12 x []'
        """
        if depth > DEEPEST:
            return text
        out, at, size = [], 0, 0
        while (dollar := text.find("$", at)) >= 0:
            out.append(text[at:dollar])
            said, at = self._one(text, dollar, depth)
            out.append(said)
            size += len(said)
            if size > LONGEST:
                break
        return "".join([*out, text[at:]])[:LONGEST]

    def _one(self, text: str, dollar: int, depth: int) -> tuple[str, int]:
        """What stands for the variable at ``dollar``, and where the text goes on."""
        if text.startswith("$$", dollar):
            return "$", dollar + 2
        if found := NAME.match(text, dollar + 1):
            return self._value(found[0]), found.end()
        if not text.startswith("{", dollar + 1):
            return "$", dollar + 1
        end = _closing(text, dollar + 1)
        found = NAME.match(text, dollar + 2)
        name, rest = (found[0], text[found.end() : end]) if found else ("", "?")
        operator = next((each for each in OPERATORS if rest.startswith(each)), "")
        if not name or end == len(text) or (rest and not operator):
            return text[dollar : end + 1], end + 1
        return self._operated(name, operator, rest[len(operator) :], depth), end + 1

    def _operated(self, name: str, operator: str, argument: str, depth: int) -> str:
        value = self.values.get(name)
        given = value is not None and (bool(value) or not operator.startswith(":"))
        match operator[-1:]:
            case "-":
                return value or "" if given else self.text(argument, depth + 1)
            case "+":
                return self.text(argument, depth + 1) if given else ""
        return self._value(name)

    def _value(self, name: str) -> str:
        if name not in self.values:
            self.missing.add(name)
        return self.values.get(name, "")


def _closing(text: str, opening: int) -> int:
    """Where the brace at ``opening`` is closed; the text's length if it never is."""
    depth = 0
    for at in range(opening, len(text)):
        if text[at] == "{" and text[at - 1] == "$":
            depth += 1
        elif text[at] == "}":
            depth -= 1
            if not depth:
                return at
    return len(text)


def environment(path: Path, known: Mapping[str, str]) -> dict[str, str]:
    """``known`` and, where it does not say, what the file of variables says. Raises ComposeError."""
    values = dict(known)
    own: set[str] = set()
    for line in document.text(path).splitlines():
        found = LINE.match(line)
        if found and (found[1] in own or found[1] not in known):
            own.add(found[1])
            values[found[1]] = _unquoted(found[2], values)
    return values


def _unquoted(value: str, values: Mapping[str, str]) -> str:
    if value[:1] == "'" and (end := value.find("'", 1)) > 0:
        return value[1:end]
    if value[:1] == '"' and (end := value.find('"', 1)) > 0:
        return Variables(values).text(value[1:end])
    return Variables(values).text(re.sub(r"(^|\s)#.*", "", value).rstrip())
