"""A service as ``docker inspect`` would tell its container: the parts that the preflight reads."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any

from relocate_cli.compose import mounts
from relocate_cli.compose.document import ComposeError, Tree
from relocate_cli.compose.fields import HINT, entries, flag, mapping, texts, word, words
from relocate_cli.compose.mounts import Mount, named
from relocate_cli.compose.read import Project

Document = dict[str, Any]
PORT = re.compile(
    r"(?:(?P<ip>\[[^]]*\]|[^:]*):)??(?:(?P<host>[^:]*):)?(?P<port>[^:/]+)(?:/(?P<protocol>\w+))?\Z"
)


def document(project: Project, name: str) -> Document:
    """The engine's document of the container of service ``name``. Raises ComposeError."""
    service = project.services[name]
    mounted = mounts.of_service(project, service)
    networks = _networks(project, service)
    return {
        "Id": identity(project, name),
        "Name": f"/{word(service, 'container_name') or f'{project.name}-{name}-1'}",
        "Config": {
            "Image": word(service, "image"),
            "Labels": _labels(project, name, service),
            "Tty": flag(service, "tty"),
            "OpenStdin": flag(service, "stdin_open"),
        },
        "HostConfig": {
            **_host_config(project, service),
            **_binds(mounted),
            "NetworkMode": _mode(project, word(service, "network_mode")) or next(iter(networks), "none"),
        },
        "Mounts": [_mounted(project, name, each) for each in mounted],
        "NetworkSettings": {"Networks": networks},
    }


def replica(project: Project, name: str, document: Document) -> Document | None:
    """The document of a second container of the same service, if there are to be several."""
    service = project.services[name]
    wanted = word(service, "scale") or word(mapping(service, "deploy"), "replicas")
    if not wanted.isdecimal() or int(wanted) < 2:
        return None
    return {**document, "Id": identity(project, f"{name} 2"), "Name": f"/{project.name}-{name}-2"}


def only(project: Project, name: str, document: Document, *mounted: Mount) -> Document:
    """The document of service ``name`` with these mounts alone."""
    host = {**document["HostConfig"], **_binds(mounted)}
    return {**document, "HostConfig": host, "Mounts": [_mounted(project, name, each) for each in mounted]}


def network_documents(project: Project) -> list[Document]:
    """The project's networks as the engine would tell them; one that is external is taken for a bridge."""
    found = []
    for key in {"default": None, **project.networks}:
        said = project.networks.get(key, {})
        ipam = [each for each in entries(mapping(said, "ipam"), "config") if isinstance(each, dict)]
        name = named(project, said, key)
        found.append(
            {
                "Name": name,
                "Driver": word(said, "driver") or (name if name in ("host", "none") else "bridge"),
                "Internal": flag(said, "internal"),
                "EnableIPv6": flag(said, "enable_ipv6"),
                "IPAM": {"Config": [{"Subnet": word(each, "subnet")} for each in ipam if each.get("subnet")]},
                "Options": texts(said, "driver_opts"),
                "Labels": texts(said, "labels"),
            }
        )
    return found


def identity(project: Project, name: str) -> str:
    """An id as the engine gives one."""
    return hashlib.sha256(f"{project.file}\0{name}".encode(errors="replace")).hexdigest()


def host_ports(document: Document) -> list[str]:
    """Ports of the host that it asks for, such as ``tcp/80``."""
    found = []
    for port, bindings in document["HostConfig"]["PortBindings"].items():
        found += [f"{port.partition('/')[2]}/{each['HostPort']}" for each in bindings if each["HostPort"]]
    return found


def _labels(project: Project, name: str, service: Tree) -> dict[str, str]:
    place = str(project.file.absolute().parent)
    return {
        **texts(service, "labels"),
        "com.docker.compose.project": project.name,
        "com.docker.compose.project.working_dir": place,
        "com.docker.compose.service": name,
    }


def _host_config(project: Project, service: Tree) -> Document:
    security = words(service, "security_opt")
    document: Document = {
        "Annotations": texts(service, "annotations") or None,
        "CapAdd": words(service, "cap_add"),
        "CapDrop": words(service, "cap_drop"),
        "CgroupParent": word(service, "cgroup_parent"),
        "CgroupnsMode": word(service, "cgroup"),
        "DeviceCgroupRules": words(service, "device_cgroup_rules"),
        "DeviceRequests": _requests(service),
        "Devices": [_device(each) for each in entries(service, "devices")],
        "IpcMode": _mode(project, word(service, "ipc")),
        "Isolation": word(service, "isolation"),
        "Links": words(service, "links") + words(service, "external_links") or None,
        "LogConfig": {"Type": word(mapping(service, "logging"), "driver"), "Config": {}},
        "PidMode": _mode(project, word(service, "pid")),
        "PortBindings": _ports(service),
        "Privileged": flag(service, "privileged"),
        "Runtime": word(service, "runtime"),
        "SecurityOpt": [each for each in security if each != "systempaths=unconfined"],
        "Sysctls": texts(service, "sysctls"),
        "UTSMode": word(service, "uts"),
        "UsernsMode": word(service, "userns_mode"),
        "VolumesFrom": [_reference(project, each) for each in words(service, "volumes_from")] or None,
    }
    if "systempaths=unconfined" in security:
        document |= {"MaskedPaths": [], "ReadonlyPaths": []}
    return document


def _mode(project: Project, said: str) -> str:
    """A namespace, as the engine is told whose."""
    kind, _, name = said.partition(":")
    return f"container:{identity(project, name)}" if kind == "service" else said


def _reference(project: Project, said: str) -> str:
    name = said.removeprefix("container:").split(":")[0]
    return identity(project, name) if name in project.services else name


def _requests(service: Tree) -> list[Document]:
    """GPUs and the like, by either of the two ways to ask for them."""
    resources = mapping(mapping(service, "deploy"), "resources")
    asked = entries(mapping(resources, "reservations"), "devices")
    asked += [service["gpus"]] if isinstance(service.get("gpus"), str) else entries(service, "gpus")
    return [{"Driver": word(each, "driver") if isinstance(each, dict) else ""} for each in asked]


def _device(entry: Any) -> Document:
    if isinstance(entry, dict):
        return {"PathOnHost": word(entry, "source"), "PathInContainer": word(entry, "target")}
    source, _, rest = str(entry).partition(":")
    return {"PathOnHost": source, "PathInContainer": rest.split(":")[0] or source}


def _ports(service: Tree) -> dict[str, list[Document]]:
    """A range stays one entry: what holds for one of its ports holds for all."""
    found: dict[str, list[Document]] = {}
    for entry in entries(service, "ports"):
        if isinstance(entry, dict):
            ip, host, port = (word(entry, key) for key in ("host_ip", "published", "target"))
            protocol = word(entry, "protocol")
        elif parts := PORT.match(str(entry).strip()):
            ip, host, port, protocol = (parts[key] or "" for key in ("ip", "host", "port", "protocol"))
        else:
            raise ComposeError(f"its port {str(entry)[:60]!r} is none", HINT)
        key = f"{port}/{protocol or 'tcp'}"
        found.setdefault(key, []).append({"HostIp": ip.strip("[]"), "HostPort": host})
    return found


def _networks(project: Project, service: Tree) -> dict[str, Document]:
    """By the engine's names, the first being the one that NetworkMode names."""
    mode = word(service, "network_mode")
    if mode:
        return {mode: {}} if mode in ("host", "none", "bridge") else {}
    asked = mapping(service, "networks") or {"default": None}
    places = {key: said if isinstance(said, dict) else {} for key, said in asked.items()}
    found = {}
    for key, settings in sorted(places.items(), key=_rank):
        address = word(settings, "ipv4_address")
        found[named(project, project.networks.get(key, {}), key)] = {
            "IPAMConfig": {"IPv4Address": address} if address else None,
            "Aliases": words(settings, "aliases"),
        }
    return found


def _rank(place: tuple[str, Tree]) -> tuple[float, str]:
    """Where Compose has a network among a service's."""
    key, settings = place
    try:
        return -float(word(settings, "priority") or 0), key
    except ValueError:
        raise ComposeError(f"its priority in network {key} is no number", HINT) from None


def _binds(mounted: Sequence[Mount]) -> Document:
    """As Compose asks the engine for mounts: in words for directories of the host, else in objects."""
    binds = [each for each in mounted if each.kind == "bind"]
    modes = (f"{each.source}:{each.target}:{'ro' if each.read_only else 'rw'}" for each in binds)
    return {"Binds": [*modes], "Mounts": [_asked(each) for each in mounted if each.kind != "bind"]}


def _asked(mount: Mount) -> Document:
    said = {"Type": mount.kind, "Source": mount.source, "Target": mount.target, "ReadOnly": mount.read_only}
    return {**said, "VolumeOptions": {"Subpath": mount.part}} if mount.part else said


def _mounted(project: Project, service: str, mount: Mount) -> Document:
    """As the engine tells it of the container."""
    found = {
        "Type": mount.kind,
        "Source": mount.source,
        "Destination": mount.target,
        "RW": not mount.read_only,
    }
    if mount.kind == "volume":
        name = mount.source or f"of {service} at {mount.target}"
        found |= {"Name": name, "Driver": mounts.volume_document(project, name)["Driver"], "Source": ""}
    return found
