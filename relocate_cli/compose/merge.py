"""One tree over another, as Compose merges files and extended services (compose-spec: 13-merge.md)."""

from typing import Any

from relocate_cli.compose.document import Tagged, Tree

REPLACED = {"logging"}
PAIRS = {"labels", "annotations", "sysctls", "networks"}
BY_TARGET = {"volumes", "devices", "secrets", "configs"}


def over(base: Any, other: Any, key: str = "") -> Any:
    """``other`` over ``base``, which are values of ``key``; neither is changed."""
    if isinstance(other, Tagged):
        return other
    base = base.value if isinstance(base, Tagged) else base
    if base is None or other is None:
        return base if other is None else other
    if key in REPLACED:
        return other
    if key in PAIRS and {type(base), type(other)} == {dict, list}:
        base, other = _pairs(base), _pairs(other)
    if isinstance(base, dict) and isinstance(other, dict):
        return {**base, **{name: over(base.get(name), value, name) for name, value in other.items()}}
    if isinstance(base, list) or isinstance(other, list):
        return _listed(base, other, key)
    return other


def settled(tree: Any) -> Any:
    """The tree without its tags: what is reset is gone."""
    if isinstance(tree, dict):
        return {
            key: settled(value)
            for key, value in tree.items()
            if not (isinstance(value, Tagged) and value.kind == "reset")
        }
    if isinstance(tree, list):
        return [settled(each) for each in tree]
    if isinstance(tree, Tagged):
        return None if tree.kind == "reset" else settled(tree.value)
    return tree


def _pairs(tree: Any) -> Tree:
    """A mapping, of a list of ``key=value`` too."""
    if isinstance(tree, dict):
        return tree
    words = [each.partition("=") for each in tree if isinstance(each, str)]
    return {key: value if equals else None for key, equals, value in words}


def _listed(base: Any, other: Any, key: str) -> list[Any]:
    """Both as lists, one after the other; of entries for the same place the later is kept."""
    before = base if isinstance(base, list) else [base]
    after = other if isinstance(other, list) else [other]
    if key in BY_TARGET:
        targets = [_target(each) for each in after]
        before = [each for each in before if not (target := _target(each)) or target not in targets]
    return [*before, *(each for each in after if each not in before)]


def _target(entry: Any) -> str:
    """Where an entry of a service's volumes, devices, secrets or configs shows in the container."""
    if isinstance(entry, dict):
        return str(entry.get("target") or entry.get("source") or "")
    parts = str(entry).split(":")
    return parts[1] if len(parts) > 1 else parts[0]
