"""What a survey says of each container."""

import os
import re
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from relocate_proxy import engine
from relocate_proxy.belongings import volumes
from relocate_proxy.survey import holdings, preflight
from relocate_proxy.survey.patience import CONTAINER_SECONDS, Patience
from relocate_proxy.survey.surroundings import Surroundings

JsonObject = dict[str, Any]
# One tenant's million files must not delay the others; what they weigh is then what was seen of them.
WALK_ENTRIES = 200_000
WALK_SECONDS = 1.0
ALL_SECONDS = 30.0
# Of its labels those that are ours to read: what else a tenant writes there is his, and may be long.
LABELS = {f"relocate.{name}" for name in ("enable", "group", "lazy", "rate", "threshold", "vip")}
LABEL_LETTERS = 256
MOST_OBSTACLES = 100
PROTOCOLS = ("tcp", "udp", "sctp")
REASON_LETTERS = 200


def all_of(around: Surroundings) -> list[JsonObject]:
    """``containers``: those that run. Each has its own patience, and all together a little more; those with
    few processes come first, so that no tenant's many take the time of the others."""
    known = {id(inspect): holdings.processes_of(_first(inspect)) for inspect in around.neighbours}
    everyone = Patience(ALL_SECONDS)
    found = {}
    for inspect in sorted(around.neighbours, key=lambda each: len(known[id(each)])):
        found[id(inspect)] = described(inspect, around, Patience(min(CONTAINER_SECONDS, everyone.left)))
    return [found[id(inspect)] for inspect in around.neighbours]


def _first(inspect: JsonObject) -> int:
    """The pid of a container's first process, 0 without one."""
    pid = _object(inspect.get("State")).get("Pid")
    return pid if isinstance(pid, int) else 0


def _object(value: Any) -> JsonObject:
    return value if isinstance(value, dict) else {}


def described(inspect: JsonObject, around: Surroundings, patience: Patience | None = None) -> JsonObject:
    """One entry of ``containers``: of a container that cannot be read, what the engine says, and that."""
    try:
        return container(inspect, around, patience or Patience())
    except Exception as error:  # whatever a tenant thinks of concerns no other container of the host
        words = f"{type(error).__name__}: {error}"[:REASON_LETTERS]
        reason = f"it could not be read: {''.join(c if c.isprintable() else ' ' for c in words)}"
        return {
            **_identity(inspect),
            "started_at": 0.0,
            "ip": "",
            "ports": [],
            "memory_bytes": 0,
            "obstacles": [{"reason": reason, "hint": "look at it with docker inspect, or start it again"}],
        }


def container(inspect: JsonObject, around: Surroundings, patience: Patience) -> JsonObject:
    """One entry of ``containers``. Raises whatever reading it raises."""
    processes = holdings.processes_of(inspect["State"]["Pid"])
    networks = inspect["NetworkSettings"].get("Networks") or {}
    mounted = list(volumes.mounted(inspect))
    carried = [each for each in mounted if volumes.of_this_host_alone(around.volumes.get(each.name, {}))]
    obstacles = preflight.obstacles(inspect, around, patience) + holdings.held(processes, patience=patience)
    addresses = (network["IPAddress"] for network in networks.values() if network.get("IPAddress"))
    return {
        **_identity(inspect),
        "started_at": datetime.fromisoformat(inspect["State"]["StartedAt"]).timestamp(),
        "ip": str(next(addresses, "")),
        "ports": sorted(set(published(inspect))),
        "networks": sorted(networks),
        "memory_bytes": sum(map(resident, patience.over(processes))),
        "layer_bytes": written(inspect, (each.path for each in carried), min(WALK_SECONDS, patience.left)),
        "volumes": sorted({each.name for each in carried if not each.anonymous}),
        "shared_volumes": sorted({each.name for each in mounted if each not in carried}),
        "droppable": holdings.droppable(processes, patience=patience),
        "aio_events": holdings.aio_events(processes, patience=patience),
        "obstacles": obstacles[:MOST_OBSTACLES],
    }


def _identity(inspect: JsonObject) -> JsonObject:
    config = _object(inspect.get("Config"))
    labels = _object(config.get("Labels"))
    mine = {name: str(text)[:LABEL_LETTERS] for name, text in labels.items() if name in LABELS}
    return {
        "name": str(inspect.get("Name") or inspect.get("Id") or "?").lstrip("/"),
        "id": str(inspect.get("Id") or ""),
        "image": engine.image_name({**inspect, "Config": config}),
        "labels": mine,
    }


def published(inspect: JsonObject) -> Iterator[str]:
    """The ports of the host that lead to the container, such as ``tcp/80``: the engine's choice too."""
    for port, bindings in ((inspect.get("NetworkSettings") or {}).get("Ports") or {}).items():
        protocol = port.partition("/")[2]
        if protocol not in PROTOCOLS:
            continue
        for binding in bindings or []:
            if re.fullmatch("[0-9]{1,5}", str(number := binding.get("HostPort"))):
                yield f"{protocol}/{number}"


def written(inspect: JsonObject, volumes: Iterable[str] = (), seconds: float = WALK_SECONDS) -> int:
    """Bytes of disk that the container's writable layer and these directories take, as far as ``seconds`` go;
    without the layer where the engine keeps no such directory."""
    upper = ((inspect.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
    deadline = time.monotonic() + seconds
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
