"""The commented relocate.toml of a new project, made of the schema itself."""

import json
import textwrap
from dataclasses import asdict, is_dataclass
from typing import Any

from relocate_cli.settings import SECTIONS, Key, schema

_HEAD = """\
# Settings of this fleet. A line such as "# name = 1" shows a default: remove the "# " to change it.
# Each can also be set in the environment, as RELOCATE_CLOCK_RATE; `relocate config show` says which holds.
"""
_CHOSEN = {"inventory": ["inventory"]}


def settings() -> str:
    """Every documented setting with its meaning; only the inventory is set."""
    keys = list(schema())
    parts = [_HEAD, *(_entry(key) for key in keys if "." not in key.name)]
    for name, section in SECTIONS.items():
        about = textwrap.wrap(
            (section.__doc__ or "").split("\n\n")[0], 106, initial_indent="# ", subsequent_indent="# "
        )
        parts.append("\n".join([*about, f"[{name}]"]) + "\n")
        parts += [_entry(key) for key in keys if key.name.startswith(f"{name}.")]
    return "\n".join(parts)


def _entry(key: Key) -> str:
    name = key.name.rpartition(".")[2]
    if key.name in _CHOSEN:
        return f"# {key.about}\n{name} = {_toml(_CHOSEN[key.name])}\n"
    return f"# {key.about}\n# {name} = {_toml(key.default)}\n"


def _toml(value: Any) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        return "{" + ", ".join(f"{name} = {item}" for name, item in asdict(value).items()) + "}"
    if isinstance(value, tuple):
        value = list(value)
    return json.dumps(value)  # strings, numbers, booleans and lists of them are spelled alike
