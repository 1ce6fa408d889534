"""What a survey says of each container."""

import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from relocate_proxy.belongings import volumes
from relocate_proxy.survey import holdings, preflight
from relocate_proxy.survey.surroundings import Surroundings

JsonObject = dict[str, Any]
# One tenant's million files must not delay the others; what they weigh is then what was seen of them.
WALK_ENTRIES = 200_000
WALK_SECONDS = 1.0


def described(inspect: JsonObject, around: Surroundings) -> JsonObject:
    """One entry of ``containers``: of a container that cannot be read, what the engine says, and that."""
    try:
        return container(inspect, around)
    except Exception as error:  # whatever a tenant thinks of concerns no other container of the host
        reason = f"it could not be read: {type(error).__name__}: {error}"
        return {
            **_identity(inspect),
            "started_at": 0.0,
            "ip": "",
            "ports": [],
            "memory_bytes": 0,
            "obstacles": [{"reason": reason, "hint": "look at it with docker inspect, or start it again"}],
        }


def container(inspect: JsonObject, around: Surroundings) -> JsonObject:
    """One entry of ``containers``. Raises whatever reading it raises."""
    processes = holdings.processes_of(inspect["State"]["Pid"])
    networks = inspect["NetworkSettings"].get("Networks") or {}
    mounted = list(volumes.mounted(inspect))
    carried = [each for each in mounted if volumes.of_this_host_alone(around.volumes.get(each.name, {}))]
    addresses = (network["IPAddress"] for network in networks.values() if network.get("IPAddress"))
    return {
        **_identity(inspect),
        "started_at": datetime.fromisoformat(inspect["State"]["StartedAt"]).timestamp(),
        "ip": next(addresses, ""),
        "ports": sorted(set(published(inspect))),
        "networks": sorted(networks),
        "memory_bytes": sum(map(resident, processes)),
        "layer_bytes": written(inspect, *(each.path for each in carried)),
        "volumes": sorted({each.name for each in carried if not each.anonymous}),
        "shared_volumes": sorted({each.name for each in mounted if each not in carried}),
        "droppable": holdings.droppable(processes),
        "aio_events": holdings.aio_events(processes),
        "obstacles": preflight.obstacles(inspect, around) + holdings.held(processes),
    }


def _identity(inspect: JsonObject) -> JsonObject:
    config = inspect.get("Config") or {}
    return {
        "name": str(inspect.get("Name") or inspect.get("Id") or "?").lstrip("/"),
        "id": inspect.get("Id") or "",
        "image": config.get("Image") or "",
        "labels": config.get("Labels") or {},
    }


def published(inspect: JsonObject) -> Iterator[str]:
    """The ports of the host that lead to the container, such as ``tcp/80``: the engine's choice too."""
    for port, bindings in ((inspect.get("NetworkSettings") or {}).get("Ports") or {}).items():
        protocol = port.partition("/")[2]
        for binding in bindings or []:
            if number := binding.get("HostPort"):
                yield f"{protocol}/{number}"


def written(inspect: JsonObject, *volumes: str) -> int:
    """Bytes of disk that the container's writable layer and these directories take; without the one where the
    engine keeps no such directory."""
    upper = ((inspect.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
    deadline = time.monotonic() + WALK_SECONDS
    total = 0
    for number, blocks in enumerate(_blocks(*([upper] if upper else []), *volumes)):
        total += blocks * 512
        if number + 1 >= WALK_ENTRIES or time.monotonic() > deadline:
            break
    return total


def _blocks(*directories: str) -> Iterator[int]:
    """Blocks of each entry below the directories; of one that goes meanwhile, none."""
    stack = [*directories]
    while stack:
        try:
            with os.scandir(stack.pop()) as entries:
                for entry in entries:
                    yield entry.stat(follow_symlinks=False).st_blocks
                    if entry.is_dir(follow_symlinks=False):
                        stack.append(entry.path)
        except OSError:
            continue


def resident(pid: str) -> int:
    """Anonymous and shared resident bytes of one process, which a dump writes; 0 when it has ended.

    Counted by process, since not every host has the memory controller.
    """
    try:
        lines = Path("/proc", pid, "status").read_text(errors="replace").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))
