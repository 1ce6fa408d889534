"""The inventory as Ansible itself reads it: groups, hosts and their variables."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relocate_cli import playbook
from relocate_cli.errors import UsageError
from relocate_cli.settings import Settings

HOSTS, GATEWAY, STORAGE = "relocate_hosts", "relocate_gateway", "relocate_storage"


@dataclass(frozen=True)
class Inventory:
    """``groups``: the hosts of each group, children's included; ``variables``: those of each host."""

    groups: Mapping[str, frozenset[str]]
    variables: Mapping[str, Mapping[str, Any]]

    @property
    def hosts(self) -> frozenset[str]:
        """The container hosts."""
        return self.groups[HOSTS]

    @property
    def gateway(self) -> str:
        """host0."""
        return next(iter(self.groups[GATEWAY]))


def read(settings: Settings) -> Inventory:
    """Ask ansible-inventory. Raises UsageError unless it has container hosts and exactly one gateway."""
    sources = playbook.inventories(settings)
    arguments = [part for source in sources for part in ("-i", source)]
    program = Path(sys.executable).parent / "ansible-inventory"
    asked = subprocess.run(
        [str(program if program.exists() else "ansible-inventory"), *arguments, "--list"],
        env=os.environ | playbook.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    where = ", ".join(sources)
    if asked.returncode:
        raise UsageError(f"{where}: {playbook.complaint(asked.stderr)}", "ansible-inventory --list shows it")
    document = json.loads(asked.stdout)
    groups = {name: frozenset(_members(document, name)) for name in document if name != "_meta"}
    for name, wanted in ((HOSTS, "a host or more"), (GATEWAY, "exactly one host")):
        size = len(groups.get(name, ()))
        if not size or (name == GATEWAY and size > 1):
            raise UsageError(
                f"{where}: group {name} has {size} hosts", f"it needs {wanted}; see `relocate init`"
            )
    return Inventory(groups, document.get("_meta", {}).get("hostvars", {}))


def _members(document: Mapping[str, Any], group: str) -> set[str]:
    entry = document.get(group, {})
    inner = (_members(document, child) for child in entry.get("children", ()))
    return set(entry.get("hosts", ())).union(*inner)
