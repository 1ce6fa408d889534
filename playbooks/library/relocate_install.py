#!/usr/bin/python3
"""Puts a set of small files in place in one task, with byte code and shared objects made on the host."""

from __future__ import annotations

import importlib.util
import json
import py_compile
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: relocate_install
short_description: Put a set of small text files in place
description:
  - Does for a whole program what would be one task for each file, since over SSH a task costs most.
  - Files that begin with C(#!) become executable. Python files in owned directories are byte-compiled.
options:
  files:
    description: Absolute path to content. What is not a string is written as JSON.
    type: dict
    required: true
  owned:
    description: Directories of which this module alone decides what they hold; other files are removed.
    type: list
    elements: path
    default: []
  once:
    description: Leave a file alone that exists, whatever it holds.
    type: bool
    default: false
  objects:
    description: Shared objects to compile, absolute path to the C source.
    type: dict
    default: {}
author: RELOCATE
"""

MADE_ON_THE_HOST = {".pyc", ".so"}


@dataclass
class Outcome:
    """What differed, in the shape of Ansible's diff."""

    before: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> bool:
        """Whether anything was, or in check mode would be, changed."""
        return bool(self.before or self.after)


def text_of(value: Any) -> str:
    """The content as written to disk."""
    return value if isinstance(value, str) else json.dumps(value, indent=2, sort_keys=True) + "\n"


def mode_of(content: str) -> int:
    """Scripts are executable, all else is not; everybody may read."""
    return 0o755 if content.startswith("#!") else 0o644


def write_files(files: dict[str, Any], outcome: Outcome, check: bool) -> None:
    """Write what differs in content or mode, each file whole or not at all."""
    for name, value in sorted(files.items()):
        path, content = Path(name), text_of(value)
        before = path.read_text() if path.is_file() else None
        if before == content and path.stat().st_mode & 0o777 == mode_of(content):
            continue
        outcome.before[name] = before or ""
        outcome.after[name] = content
        if not check:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            whole = path.with_name(f".{path.name}.new")
            whole.write_text(content)
            whole.chmod(mode_of(content))
            whole.replace(path)


def remove_strangers(owned: list[str], files: dict[str, Any], outcome: Outcome, check: bool) -> None:
    """Remove what an earlier version left in the owned directories."""
    for directory in map(Path, owned):
        for path in sorted(directory.rglob("*")):
            if path.is_file() and path.suffix not in MADE_ON_THE_HOST and str(path) not in files:
                outcome.before[str(path)] = ""
                if not check:
                    path.unlink()


def older(made: Path, source: Path) -> bool:
    """Whether ``made`` is missing or from before ``source``."""
    return not made.is_file() or (source.is_file() and made.stat().st_mtime < source.stat().st_mtime)


def compile_python(owned: list[str], outcome: Outcome, check: bool) -> None:
    """Byte-compile what has no fresh byte code, so that the first call is as fast as the second."""
    for source in sorted(path for directory in owned for path in Path(directory).rglob("*.py")):
        made = Path(importlib.util.cache_from_source(str(source)))
        if older(made, source):
            if str(source) not in outcome.after:
                outcome.after[str(made)] = "byte code\n"
            if not check:
                py_compile.compile(str(source), doraise=True)


def compile_objects(objects: dict[str, str], outcome: Outcome, check: bool) -> None:
    """Compile the shared objects that are missing or older than their source.

    Raises subprocess.CalledProcessError with the compiler's words in ``stderr``, OSError without a compiler.
    """
    for name, source in sorted(objects.items()):
        made = Path(name)
        if older(made, Path(source)):
            outcome.after[name] = f"made from {source}\n"
            if not check:
                whole = made.with_name(f".{made.name}.new")
                command = ["gcc", "-O2", "-Wall", "-shared", "-fPIC", "-o", str(whole), source, "-ldl"]
                subprocess.run(command, check=True, capture_output=True, text=True)
                whole.replace(made)


def main() -> None:
    """The module."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "required": True},
            "owned": {"type": "list", "elements": "path", "default": []},
            "objects": {"type": "dict", "default": {}},
            "once": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    files, owned, objects = (module.params[name] for name in ("files", "owned", "objects"))
    if module.params["once"]:
        files = {name: content for name, content in files.items() if not Path(name).exists()}
    outcome = Outcome()
    try:
        write_files(files, outcome, module.check_mode)
        remove_strangers(owned, files, outcome, module.check_mode)
        compile_python(owned, outcome, module.check_mode)
        compile_objects(objects, outcome, module.check_mode)
    except subprocess.CalledProcessError as error:
        words = error.stderr.strip().splitlines() or ["failed"]
        reason = next((line for line in words if "error:" in line), words[0])
        module.fail_json(msg=f"gcc: {reason}", rc=error.returncode)
    except (OSError, py_compile.PyCompileError) as error:
        module.fail_json(msg=str(error))
    differences = [
        {
            "before_header": name,
            "after_header": name,
            "before": outcome.before.get(name, ""),
            "after": outcome.after.get(name, ""),
        }
        for name in sorted({*outcome.before, *outcome.after})
    ]
    module.exit_json(changed=outcome.changed, diff=differences)


if __name__ == "__main__":
    main()
