"""The values of a service, read as what Compose takes them for."""

from typing import Any

from relocate_cli.compose.document import ComposeError, Tree

HINT = "see `docker compose config`"


def word(tree: Tree, key: str) -> str:
    """A word; "" where there is none. Raises ComposeError."""
    value = tree.get(key)
    if isinstance(value, dict | list):
        raise ComposeError(f"its {key} is no word", HINT)
    return "" if value is None else str(value)


def flag(tree: Tree, key: str) -> bool:
    """Whether it says yes."""
    return str(tree.get(key)).lower() in ("true", "yes", "on", "y", "1")


def entries(tree: Tree, key: str) -> list[Any]:
    """A list's entries, or the one that stands for a list, without empty ones. Raises ComposeError."""
    value = tree.get(key)
    if isinstance(value, dict):
        raise ComposeError(f"its {key} is no list", HINT)
    return [each for each in (value if isinstance(value, list) else [value]) if each not in (None, "")]


def words(tree: Tree, key: str) -> list[str]:
    """A list of words. Raises ComposeError."""
    found = entries(tree, key)
    if any(isinstance(each, dict | list) for each in found):
        raise ComposeError(f"its {key} has an entry that is no word", HINT)
    return [str(each) for each in found]


def mapping(tree: Tree, key: str) -> Tree:
    """A mapping; of a list of ``key=value`` too. Raises ComposeError."""
    value = tree.get(key)
    if isinstance(value, list):
        parts = [str(each).partition("=") for each in words(tree, key)]
        return {name: text if equals else None for name, equals, text in parts}
    if value is not None and not isinstance(value, dict):
        raise ComposeError(f"its {key} is no mapping", HINT)
    return value or {}


def texts(tree: Tree, key: str) -> dict[str, str]:
    """A mapping of words to words. Raises ComposeError."""
    found = mapping(tree, key)
    return {name: word(found, name) for name in found}
