"""What a target lets in of the configuration that a source has sent it: the source may be somebody else's.

The rules are the preflight's (survey/); here they meet what this host has, and only what they know goes on to
the engine.
"""

import re
from typing import Any
from urllib.parse import quote

from relocate_proxy import engine
from relocate_proxy.belongings import networks
from relocate_proxy.belongings.networks import Network
from relocate_proxy.belongings.volumes import Volumes
from relocate_proxy.engine import NotFoundError
from relocate_proxy.protocol import shapes
from relocate_proxy.protocol.messages import RestartPolicy
from relocate_proxy.survey import confinement, preflight
from relocate_proxy.survey.confinement import DriverOf, Permits, SpecificationError

JsonObject = dict[str, Any]
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}\Z")
IMAGE = re.compile(
    r"[a-zA-Z0-9._:\[\]-]{1,300}/relocate/[0-9a-f]{32}@sha256:[0-9a-f]{64}\Z"
)  # as `push` says it
IMAGE_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._:/@\[\]-]{0,511}\Z")
DESCRIPTOR = re.compile(r"[\x20-\x7e]{0,4096}\Z")
ENDPOINT = "com.docker.network.endpoint."


def admit(said: JsonObject, container: str) -> JsonObject:
    """The specification ``said`` for ``container``, as far as it may be created from here.

    Raises SpecificationError with what is not let in, EngineError when the engine does not answer.
    """
    bridges = {str(each["Name"]) for each in engine.networks()}
    try:
        return admitted(said, container, confinement.permits(), _driver_of, bridges)
    except SpecificationError as error:
        raise SpecificationError(f"the configuration that it was sent is refused: {error}") from None


def _driver_of(volume: str) -> str:
    try:
        return str(engine.look_up(f"/volumes/{quote(volume, safe='')}")["Driver"])
    except NotFoundError:
        return ""


def admitted(
    said: JsonObject, container: str, permits: Permits, driver_of: DriverOf, bridges: set[str]
) -> JsonObject:
    """As `admit`. Pure."""
    name = _text(said, "name", NAME)
    if name != container:
        raise SpecificationError(f"it is of a container {name}, not of {container}")
    config, host, attached = (_object(said, key) for key in ("config", "host_config", "networks"))
    descriptors = said.get("descriptors")
    if not isinstance(descriptors, list) or len(descriptors) > 8:
        raise SpecificationError("it has no list of descriptors")
    if not all(isinstance(each, str) and DESCRIPTOR.match(each) for each in descriptors):
        raise SpecificationError("one of its descriptors is no word")
    brought, belongings = _belongings(said)
    if foreign := attached.keys() - bridges - {each.name for each in brought}:
        raise SpecificationError(f"this host has no bridge network {min(foreign)[:60]!r}")
    document = {"Config": config, "HostConfig": host, "NetworkSettings": {"Networks": attached}}
    named = {each.name for each in belongings.carried} | {each.name for each in belongings.shared}
    # `belongings.volumes` sees to it that they are these.
    known = confinement.travelling(named - {""}, driver_of)
    for reason, _ in preflight.specified(document, permits, known):
        raise SpecificationError(reason)
    if host.get("NetworkMode") not in (None, "", "default", "bridge", *attached):
        raise SpecificationError(f"its network mode {host['NetworkMode']!r:.60} is none of its networks")
    _check_policy(host)
    return {
        "name": name,
        "image": _text(said, "image", IMAGE),
        "image_name": _text(said, "image_name", IMAGE_NAME),
        "config": confinement.kept(config, confinement.CONFIG),
        "host_config": confinement.kept(host, confinement.HOST),
        "networks": {network: _endpoint(settings) for network, settings in attached.items()},
        "descriptors": descriptors,
        "bridges": said.get("bridges", []),
        "volumes": said.get("volumes", {}),
        "attached": _attached(said, attached),
    }


def _belongings(said: JsonObject) -> tuple[list[Network], Volumes]:
    """What it brings along; older configurations know of nothing."""
    try:
        return networks.read(said.get("bridges", [])), shapes.read(Volumes, said.get("volumes", {}))
    except shapes.ShapeError as error:
        raise SpecificationError(f"of what it brings along {error}") from None


def _attached(said: JsonObject, attached: JsonObject) -> list[str]:
    """Its networks, that of its way out first."""
    found = said.get("attached", list(attached))
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise SpecificationError("it has no list of its networks")
    if sorted(found) != sorted(attached):
        raise SpecificationError("the list of its networks is not of these")
    return found


def _check_policy(host: JsonObject) -> None:
    """Our record of the relocation has it, and has to be readable to be cleaned up."""
    try:
        shapes.read(RestartPolicy, shapes.write(engine.policy_of({"HostConfig": host})))
    except (AttributeError, TypeError, ValueError):
        raise SpecificationError("its restart policy is none of Docker's") from None


def _endpoint(settings: Any) -> JsonObject:
    """A container's place in a network, without an address of its own choice."""
    if not isinstance(settings, dict):
        raise SpecificationError("its place in a network is no object")
    options = settings.get("DriverOpts") or {}
    if not isinstance(options, dict) or not all(key.startswith(ENDPOINT) for key in options):
        raise SpecificationError("its network has options that are not an endpoint's")
    return {"Aliases": settings.get("Aliases"), "Links": None, "DriverOpts": options or None}


def _object(said: JsonObject, key: str) -> JsonObject:
    found = said.get(key)
    if not isinstance(found, dict):
        raise SpecificationError(f"it has no object {key}")
    return found


def _text(said: JsonObject, key: str, shape: re.Pattern[str]) -> str:
    found = said.get(key)
    if not isinstance(found, str) or not shape.match(found):
        raise SpecificationError(f"its {key} is {found!r:.60}")
    return found
