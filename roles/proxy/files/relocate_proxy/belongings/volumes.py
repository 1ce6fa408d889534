"""Volumes that a container brings along: described where it leaves, made empty where it comes to, removed
again when the move is rolled back.

Those of the driver ``local`` without options are directories of one host: they travel. Any other is the same
storage wherever it is mounted, so it must be there already. Anonymous ones the engine makes by itself.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote

from relocate_proxy import engine
from relocate_proxy.belongings.labels import MADE, Labels, marked, unmarked
from relocate_proxy.kernel import logs
from relocate_proxy.protocol import shapes

JsonObject = dict[str, Any]
MOST = 32
SHARED_TYPES = ("nfs", "nfs4", "cifs", "smb3", "ceph", "glusterfs")  # of the local driver's option "type"
Name = Annotated[str, shapes.matches(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}|")]


class VolumeError(Exception):
    """A volume that cannot come along, in one line."""


@dataclass(frozen=True)
class Volume:
    """One that travels; ``name`` is empty if nobody gave it one."""

    destination: Annotated[str, shapes.matches(r"/[^\0]{0,4095}")]
    name: Name
    labels: Labels = ()


@dataclass(frozen=True)
class Shared:
    """One that is the same on both hosts."""

    name: Name
    driver: Annotated[str, shapes.at_most(255)]
    options: Labels = ()


@dataclass(frozen=True)
class Volumes:
    """What the specification of a container says of its volumes."""

    carried: Annotated[tuple[Volume, ...], shapes.at_most(MOST)] = ()
    shared: Annotated[tuple[Shared, ...], shapes.at_most(MOST)] = ()


@dataclass(frozen=True)
class Mounted:
    """A volume in a container of this host."""

    name: str
    anonymous: bool
    destination: str
    path: str


def mounted(inspect: JsonObject) -> Iterator[Mounted]:
    """The volumes of a container, wherever they are in it, by the engine's document of it."""
    host = inspect.get("HostConfig") or {}
    named = {bind.partition(":")[0] for bind in host.get("Binds") or [] if ":" in bind}
    named |= {mount.get("Source") for mount in host.get("Mounts") or []}
    for mount in inspect.get("Mounts") or []:
        if mount.get("Type") == "volume":
            name = mount.get("Name") or ""
            yield Mounted(name, name not in named, mount["Destination"], mount.get("Source") or "")


def travelling(inspect: JsonObject, wanted: Volumes) -> list[Mounted]:
    """Of a container that leaves: those that travel, in the order of ``wanted``."""
    found = {each.destination: each for each in mounted(inspect)}
    return [found[volume.destination] for volume in wanted.carried]


def users() -> dict[str, dict[str, str]]:
    """Of each volume the containers that have it, running or not: ids and names. Raises EngineError."""
    found: dict[str, dict[str, str]] = {}
    for line in engine.look_up("/containers/json?all=true"):
        for each in mounted(line):
            found.setdefault(each.name, {})[line["Id"]] = str((line.get("Names") or ["?"])[0]).lstrip("/")
    return found


def of_this_host_alone(document: JsonObject) -> bool:
    """Whether the engine's ``document`` of a volume is one of a plain directory here, which travels."""
    return document.get("Driver") == "local" and not document.get("Options")


def unable(document: JsonObject) -> str:
    """Why the engine's ``document`` of a volume is of none that another host can have; or empty.

    >>> unable({"Driver": "local", "Options": {"type": "none", "o": "bind", "device": "/srv"}})
    'it is a mount of this host (type none)'
    """
    kind = (document.get("Options") or {}).get("type", "none")
    if document.get("Driver") == "local" and document.get("Options") and kind not in SHARED_TYPES:
        return f"it is a mount of this host (type {kind})"
    return ""


def of_container(inspect: JsonObject) -> Volumes:
    """What the target of a container needs to know of its volumes. Raises ShapeError or EngineError."""
    carried: list[JsonObject] = []
    shared: list[JsonObject] = []
    once = {each.name: each for each in mounted(inspect)}
    for each in once.values():
        document = _look_up(each.name) or {}
        if of_this_host_alone(document):
            name = "" if each.anonymous else each.name
            said = {"destination": each.destination, "name": name}
            carried.append({**said, "labels": unmarked(document.get("Labels"))})
        else:
            options = unmarked(document.get("Options"))
            shared.append({"name": each.name, "driver": document.get("Driver", ""), "options": options})
    return shapes.read(Volumes, {"carried": carried, "shared": shared})


def make(relocation: str, wanted: Volumes) -> None:
    """Make those with a name that travel, and see that the others are here.

    Raises VolumeError or EngineError; `drop` removes what was made.
    """
    for shared in wanted.shared:
        _expect(shared)
    for volume in wanted.carried:
        if not volume.name:
            continue
        if _look_up(volume.name):
            raise VolumeError(
                f"a volume {volume.name} is on the target already: remove it if it is not needed"
            )
        body = {"Name": volume.name, "Labels": marked(volume.labels, relocation)}
        made = engine.ask("/volumes/create", "POST", body)  # answers for one that is there already, too
        if (made.get("Labels") or {}).get(MADE) != relocation:
            raise VolumeError(f"a volume {volume.name} has come on the target meanwhile")
        logs.of(relocation).info("volume %s is made", volume.name)


def _expect(shared: Shared) -> None:
    found = _look_up(shared.name)
    if found is None:
        raise VolumeError(f"the target has no volume {shared.name}: make it there as it is here")
    options = {option.key: option.value for option in shared.options}
    if (found["Driver"], found.get("Options") or {}) != (shared.driver, options) or of_this_host_alone(found):
        raise VolumeError(f"volume {shared.name} of the target is another: its driver or its options differ")


def created(inspect: JsonObject, wanted: Volumes) -> list[Mounted]:
    """The volumes that travel of a container that was created for them, in their order.

    Raises VolumeError if it has any that it was not to have: another tenant's must not be reached.
    """
    found = {each.destination: each for each in mounted(inspect)}
    expected = [volume.destination for volume in wanted.carried]
    others = {each.name for each in wanted.shared} | {each.name for each in wanted.carried}
    for each in found.values():
        if each.destination not in expected and each.name not in others:
            raise VolumeError(f"{each.destination} is a volume that does not come along")
    answer = []
    for volume in wanted.carried:
        here = found.get(volume.destination)
        if here is None or here.anonymous != (not volume.name) or here.name != (volume.name or here.name):
            raise VolumeError(f"{volume.destination} is not the volume that it was to be")
        answer.append(here)
    return answer


def drop(relocation: str) -> None:
    """Remove what `make` has made, of a relocation that was rolled back. Idempotent. Raises EngineError."""
    for volume in engine.ask("/volumes", filters={"label": [f"{MADE}={relocation}"]})["Volumes"] or []:
        _remove(volume["Name"])


def leave(names: Iterable[str]) -> None:
    """Remove those that have gone with their container; one that somebody else uses by now is his."""
    for name in names:
        try:
            _remove(name)
        except engine.EngineError as error:
            if "in use" not in str(error):
                raise
            logs.of("").warning("volume %s stays: %s", name, error)


def _remove(name: str) -> None:
    try:
        engine.ask(f"/volumes/{quote(name)}", "DELETE")
    except engine.NotFoundError:
        return


def _look_up(name: str) -> JsonObject | None:
    try:
        found: JsonObject = engine.ask(f"/volumes/{quote(name)}")
    except engine.NotFoundError:
        return None
    return found
