"""What a service mounts: its volumes, and the files of its configs and secrets."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from relocate_cli.compose.document import ComposeError, Tree
from relocate_cli.compose.fields import HINT, entries, flag, mapping, texts, word
from relocate_cli.compose.read import Project, absolute

HOST_PATH = re.compile(r"[./~\\]|[A-Za-z]:")
SOCKET = "/var/run/docker.sock"
DEEPEST = 20  # volumes_from


@dataclass(frozen=True)
class Mount:
    """``source``: the host's path of a bind, or a volume's name, which is empty for an anonymous one;
    ``part``: of which only a directory is mounted."""

    kind: str
    source: str
    target: str
    read_only: bool = False
    part: str = ""


def of_service(project: Project, service: Tree, depth: int = 0) -> list[Mount]:
    """Every mount, the later in place of an earlier one at the same path. Raises ComposeError."""
    found = [*_inherited(project, service, depth)]
    found += [_volume(project, each) for each in entries(service, "volumes")]
    found += _files(project, service, "configs", "/")
    found += _files(project, service, "secrets", "/run/secrets/")
    if flag(service, "use_api_socket"):
        found.append(Mount("bind", SOCKET, SOCKET))
    return list({each.target: each for each in found}.values())


def volume_document(project: Project, name: str) -> Tree:
    """A volume of the project as the engine would tell it; one that is external is taken for a plain one."""
    for key, said in project.volumes.items():
        if volume_name(project, key) == name:
            driver = word(said, "driver") or "local"
            return {
                "Name": name,
                "Driver": driver,
                "Options": texts(said, "driver_opts") or None,
                "Labels": texts(said, "labels"),
            }
    return {"Name": name, "Driver": "local", "Options": None, "Labels": {}}


def volume_name(project: Project, key: str) -> str:
    """As the engine knows it."""
    return named(project, project.volumes.get(key, {}), key)


def named(project: Project, said: Tree, key: str) -> str:
    """The engine's name of a network or a volume that the file calls ``key``."""
    external = said.get("external")
    if isinstance(external, dict):  # before version 3.4
        return word(external, "name") or key
    return word(said, "name") or (key if flag(said, "external") else f"{project.name}_{key}")


def _volume(project: Project, entry: Any) -> Mount:
    if isinstance(entry, str):
        return _short(project, entry)
    if not isinstance(entry, dict):
        raise ComposeError("its volumes have an entry that is none", HINT)
    kind, source, target = word(entry, "type") or "volume", word(entry, "source"), word(entry, "target")
    if kind == "bind":
        source = absolute(source, Path(project.file).absolute().parent)
    elif kind == "volume" and source:
        source = volume_name(project, source)
    part = word(mapping(entry, "volume"), "subpath") if kind == "volume" else ""
    return Mount(kind, source, target, flag(entry, "read_only"), part)


def _short(project: Project, entry: str) -> Mount:
    drive = 2 if re.match(r"[A-Za-z]:[\\/]", entry) else 0
    first, *rest = entry[drive:].split(":")
    first = entry[:drive] + first
    if not rest:
        return Mount("volume", "", first)
    if not first or not rest[0]:
        raise ComposeError(f"its volume {entry[:60]!r} lacks a part", "set the variables that it is made of")
    read_only = "ro" in (rest[1].split(",") if len(rest) > 1 else ())
    if HOST_PATH.match(first):
        return Mount("bind", first, rest[0], read_only)
    return Mount("volume", volume_name(project, first), rest[0], read_only)


def _files(project: Project, service: Tree, section: str, folder: str) -> Iterator[Mount]:
    """Those that Compose mounts; what the file itself or a variable says is copied into the container."""
    known = project.secrets if section == "secrets" else project.configs
    for entry in entries(service, section):
        said = entry if isinstance(entry, dict) else {"source": str(entry)}
        source = word(said, "source")
        target = word(said, "target") or source
        if path := word(known.get(source, {}), "file"):
            yield Mount("bind", path, target if target.startswith("/") else folder + target, read_only=True)


def _inherited(project: Project, service: Tree, depth: int) -> Iterator[Mount]:
    """By ``volumes_from``, of services of this project."""
    for entry in entries(service, "volumes_from"):
        name = str(entry).split(":")[0]
        if name in project.services and depth < DEEPEST:
            yield from of_service(project, project.services[name], depth + 1)
