"""What a target would have to have for a container, by the very constraints that choose targets: they are
asked about a host that has nothing but Docker."""

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from relocate_cli import constraints, hearing
from relocate_cli.compose.translate import host_ports
from relocate_cli.journal import Survey

STANDARD = ("bridge", "host", "none")  # which every engine has
BARE = {"networks": ["bridge"], "volumes": [], "no_bridges": {}}


@dataclass(frozen=True)
class Needs:
    """``lacking``: what has to be there; ``made``: what would be made there."""

    lacking: tuple[str, ...] = ()
    made: tuple[str, ...] = ()


def needs(document: dict[str, Any], shared: Sequence[str]) -> Needs:
    """Of the container with this engine's document, with ``shared`` volumes that do not travel."""
    attached = [name for name in document["NetworkSettings"]["Networks"] if name not in STANDARD]
    networks = tuple(f"network {name}" for name in attached)
    lacking = () if _networks_are_made() else networks
    others = (*(f"volume {name}" for name in shared), *(f"port {port} free" for port in host_ports(document)))
    return Needs((*lacking, *others), () if lacking else networks)


@functools.cache
def _networks_are_made() -> bool:
    """Whether a host may take a container of a network that is not there."""
    now = time.time()
    entry = {
        "name": "it",
        "id": "it",
        "image": "",
        "started_at": now,
        "ip": "",
        "ports": [],
        "memory_bytes": 0,
    }
    here = Survey("here", now, {"containers": [{**entry, "networks": ["its-own"]}]}, {})
    there = Survey("there", now, {"capacity": BARE}, {})
    both = hearing.build([here, there], {})
    return not constraints.why_not(both.containers[0], both.host("here"), both.host("there"), float("inf"))
