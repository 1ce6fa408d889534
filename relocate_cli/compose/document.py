"""YAML text as a tree of mappings with words as keys, lists, words, truths and nothing.

Numbers and dates stay the words that were written: Compose means text where YAML 1.1 sees the number 22:22 or
the date 2024-01-01. What Compose says by a tag (``!reset``, ``!override``) is kept for the merge.
"""

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from relocate_cli.errors import RelocateError

Tree = dict[str, Any]
MOST_BYTES = 4 << 20
MOST_NODES = 100_000  # aliases of aliases: a few lines of YAML can mean more than fits in memory
DEEPEST = 100
TRUTHS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
NOTHING = {"", "~", "null", "Null", "NULL"}


class ComposeError(RelocateError):
    """A file, or a service, that Compose itself would refuse, in one line."""


@dataclass(frozen=True)
class Tagged:
    """``reset``: what it overrides is gone; ``override``: it replaces instead of being merged."""

    kind: str
    value: Any


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Only composes nodes, and guesses no types."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        return ""


def load(path: Path) -> list[Tree]:
    """The documents of a file. Raises ComposeError."""
    return parse(text(path))


def text(path: Path) -> str:
    """A regular file's text. Raises ComposeError."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ComposeError(f"{path.name} is no file", "name a Compose file")
        if found.st_size > MOST_BYTES:
            raise ComposeError(f"{path.name} has more than {MOST_BYTES >> 20} MiB", "name a Compose file")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ComposeError(
            f"{path.name} cannot be read: {error.strerror}", f"see `ls -l {path.name}`"
        ) from None
    except UnicodeDecodeError:
        raise ComposeError(f"{path.name} is no text in UTF-8", "save it as UTF-8") from None


def parse(content: str) -> list[Tree]:
    """The documents of a YAML text, each a mapping. Raises ComposeError."""
    try:
        nodes = list(_composed(content))
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ComposeError(f"it is no YAML{line}: {error.problem}", "see `docker compose config`") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        said = " ".join(str(error).split())[:120]
        raise ComposeError(f"it is no YAML: {said}", "see `docker compose config`") from None
    growth = _Growth()
    trees = [growth.tree(node, 0) for node in nodes]
    for tree in trees:
        if not isinstance(tree, dict):
            raise ComposeError("it is no mapping", "a Compose file has `services:` at its top")
    return trees


def _composed(content: str) -> Iterator[Any]:
    loader = _Loader(content)
    try:
        while loader.check_node():
            yield loader.get_node()
    finally:
        loader.dispose()


class _Growth:
    """Turns nodes into trees and counts them, so that neither a cycle nor a bomb of aliases ends the run."""

    def __init__(self) -> None:
        self._nodes = 0

    def tree(self, node: Any, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MOST_NODES or depth > DEEPEST:
            raise ComposeError("its aliases mean more than can be read", "write it with fewer YAML aliases")
        value: Any
        if isinstance(node, yaml.MappingNode):
            value = self._mapping(node, depth)
        elif isinstance(node, yaml.SequenceNode):
            value = [self.tree(each, depth + 1) for each in node.value]
        else:
            value = str(node.value)
            if not node.style and not node.tag.startswith("!"):
                value = None if value in NOTHING else TRUTHS.get(value, value)
        if node.tag == "!reset":
            return Tagged("reset", None)
        return Tagged("override", value) if node.tag == "!override" else value

    def _mapping(self, node: Any, depth: int) -> Tree:
        found: Tree = {}
        inherited: Tree = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ComposeError("a key of it is no word", "see `docker compose config`")
            if key.value == "<<" and not key.style:
                sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
                for source in sources:
                    tree = self.tree(source, depth + 1)
                    if not isinstance(tree, dict):
                        raise ComposeError("its `<<` merges no mapping", "see `docker compose config`")
                    inherited = {**tree, **inherited}
            else:
                found[str(key.value)] = self.tree(value, depth + 1)
        return {**inherited, **found}
