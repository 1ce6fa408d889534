"""What this host is and what runs on it: one document for the controller (docs/developers.md has its
shape).

Everything slow is started at once and collected at the end. The engine is asked over its socket with a plain
HTTP request: importing a client library would cost more than the whole light survey.
"""

import contextlib
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from relocate_proxy import paths, preflight
from relocate_proxy.engine import EngineError

JsonObject = dict[str, Any]
Outputs = dict[str, tuple[int, str]]
ENGINE_SOCKET = "/run/docker.sock"
DOCKER_ROOT = Path("/var/lib/docker")
ENGINE_SECONDS = 5.0
COMMAND_SECONDS = 20.0
CRIU_FEATURES = ("mem_dirty_track", "uffd", "pidfd_store", "network_lock_nftables")
# Sections of Debian whose packages say nothing about how a host can be attacked.
DULL_SECTIONS = {"doc", "fonts", "localization", "libdevel", "debug", "metapackages", "introspection"}
# CPU flags by which a program chooses its instructions when it starts; the others concern the kernel.
INSTRUCTIONS = re.compile(
    r"(mmx|s?sse|avx|amx|fma|f16c|bmi|xsave|aes|vaes|v?pclmul|gfni|sha|popcnt|abm|movbe|adx|rdrand|rdseed"
    r"|rdtscp|rdpid|cx16|lahf_lm|fsgsbase|erms|fsrm|clflushopt|clwb|movdir|serialize|waitpkg|pku|ospke|hle"
    r"|rtm|asimd|neon|sve|crc32|atomics)"
)


def survey(light: bool) -> JsonObject:
    """The survey document; ``light`` leaves out ``features`` and ``criu``, which change seldom.

    Raises EngineError when the Docker engine does not answer.
    """
    taken_at = time.time()
    commands = {} if light else start_commands()
    found = running()
    document: JsonObject = {
        "taken_at": taken_at,
        "capacity": capacity(found),
        "containers": [container(entry) for entry in found],
    }
    if not light:
        outputs = {name: collect(process) for name, process in commands.items()}
        document["criu"] = criu(outputs)
        document["features"] = {"C": computing(outputs), "N": network(), "S": services(outputs)}
    return document


def start_commands() -> dict[str, subprocess.Popen[str] | None]:
    """The programs that know the rest, all running side by side; None where one is not installed."""
    package = "${db:Status-Abbrev}\t${Section}\t${Package}=${Version}\n"
    commands = {
        "packages": ["dpkg-query", "--show", "--showformat", package],
        "units": ["systemctl", "list-units", "--type=service", "--state=running", "--plain", "--no-legend"],
        "criu version": ["criu", "--version"],
        "criu check": ["criu", "check"],
    }
    commands |= {f"criu {feature}": ["criu", "check", "--feature", feature] for feature in CRIU_FEATURES}
    return {
        name: subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if shutil.which(command[0])
        else None
        for name, command in commands.items()
    }


def collect(process: subprocess.Popen[str] | None) -> tuple[int, str]:
    """Exit code and output of a started program; one that hangs or is not installed (None) has failed."""
    if process is None:
        return 1, "not installed"
    try:
        output, _ = process.communicate(timeout=COMMAND_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return 1, "it did not end in time"
    return process.returncode, output


def ask_engine(path: str) -> Any:
    """GET ``path`` from the engine. Raises EngineError when it does not answer, or not with 200."""
    request = f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n"  # 1.0: the answer ends with the connection
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ENGINE_SECONDS)
            connection.connect(ENGINE_SOCKET)
            connection.sendall(request.encode())
            with connection.makefile("rb") as stream:
                head, _, body = stream.read().partition(b"\r\n\r\n")
    except OSError as error:
        raise EngineError(f"the Docker engine does not answer: {error}") from None
    if head.split(b" ")[1:2] != [b"200"]:
        raise EngineError(f"the Docker engine answers {path} with {head[:60].decode()!r}")
    return json.loads(body)


def running() -> list[JsonObject]:
    """The engine's full documents of the running containers.

    A container that is arriving or has just gone is left out: the engine would not answer for the one until
    its relocation has ended, and does not know the other.
    """
    documents = []
    for entry in ask_engine("/containers/json"):
        if not (paths.TARGETS / entry["Id"]).exists():
            try:
                documents.append(ask_engine(f"/containers/{entry['Id']}/json"))
            except EngineError:
                continue
    return documents


def container(inspect: JsonObject) -> JsonObject:
    """One entry of ``containers``."""
    processes = processes_of(inspect["State"]["Pid"])
    networks = (inspect["NetworkSettings"].get("Networks") or {}).values()
    return {
        "name": inspect["Name"].lstrip("/"),
        "id": inspect["Id"],
        "image": inspect["Config"]["Image"],
        "labels": inspect["Config"].get("Labels") or {},
        "started_at": datetime.fromisoformat(inspect["State"]["StartedAt"]).timestamp(),
        "ip": next((network["IPAddress"] for network in networks if network.get("IPAddress")), ""),
        "ports": sorted(set(published(inspect))),
        "memory_bytes": sum(map(resident, processes)),
        "layer_bytes": written(inspect),
        "droppable": preflight.droppable(processes),
        "obstacles": preflight.obstacles(inspect) + preflight.held(processes),
    }


def published(inspect: JsonObject) -> Iterator[str]:
    """The ports of the host that lead to the container, such as ``tcp/80``."""
    for port, bindings in (inspect["NetworkSettings"].get("Ports") or {}).items():
        protocol = port.partition("/")[2]
        for binding in bindings or []:
            yield f"{protocol}/{binding['HostPort']}"


def processes_of(pid: int) -> list[str]:
    """The pids of the container whose first process this is."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        group = next(line.removeprefix("0::/") for line in lines if line.startswith("0::"))
        return Path("/sys/fs/cgroup", group, "cgroup.procs").read_text().split()
    except (OSError, StopIteration):
        return [str(pid)]


def written(inspect: JsonObject) -> int:
    """Bytes of disk that the container's writable layer takes; 0 where the engine keeps no such directory."""
    total, stack = 0, [(inspect.get("GraphDriver", {}).get("Data") or {}).get("UpperDir")]
    while stack:
        with contextlib.suppress(OSError, TypeError), os.scandir(stack.pop()) as entries:
            for entry in entries:
                total += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
    return total


def resident(pid: str) -> int:
    """Anonymous and shared resident bytes of one process, which a dump writes; 0 when it has ended.

    Counted by process, since not every host has the memory controller.
    """
    try:
        lines = Path("/proc", pid, "status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def capacity(containers: Iterable[JsonObject]) -> JsonObject:
    """What the host has and what of it is free. A port on which anything listens counts as published."""
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    ports = {port for inspect in containers for port in published(inspect)}
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": int(memory["MemTotal"].split()[0]) << 10,
        "memory_free_bytes": int(memory["MemAvailable"].split()[0]) << 10,
        "disk_free_bytes": free_bytes(DOCKER_ROOT),
        "storage_free_bytes": free_bytes(paths.STORAGE),
        "mtu": mtu(default_route()[0]),
        "published_ports": sorted(ports | set(listening())),
    }


def free_bytes(directory: Path) -> int:
    """Of the file system of this directory, 0 when it is not there."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return 0
    return found.f_bavail * found.f_frsize


def listening(proc: Path = Path("/proc/net")) -> Iterator[str]:
    """Open ports that others can reach, such as ``tcp/22``: TCP that listens (0A), UDP unconnected (07)."""
    for name, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        try:
            lines = (proc / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for fields in map(str.split, lines):
            address, _, port = fields[1].partition(":")
            loopback = address == "0" * 24 + "01000000" or (len(address) == 8 and address.endswith("7F"))
            if fields[3] == state and not loopback:
                yield f"{name[:3]}/{int(port, 16)}"


def cpu() -> tuple[str, list[str]]:
    """Model and flags of the first processor, on x86 and on ARM."""
    fields: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    model = fields.get("model name") or f"{fields.get('CPU implementer')} {fields.get('CPU part')}"
    return model, sorted((fields.get("flags") or fields.get("Features", "")).split())


def criu(outputs: Outputs) -> JsonObject:
    """What decides whether a dump of one host restores on another."""
    code, words = outputs["criu check"]
    version = re.search(r"Version: (\S+)", outputs["criu version"][1])
    return {
        "version": version[1] if version else "",
        "check": "ok" if code == 0 else (words.strip().splitlines() or ["failed"])[-1],
        "kernel": platform.release(),
        "cgroup": 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1,
        "arch": platform.machine(),
        "cpu_flags": [flag for flag in cpu()[1] if INSTRUCTIONS.match(flag)],
        "features": [feature for feature in CRIU_FEATURES if outputs[f"criu {feature}"][0] == 0],
    }


def computing(outputs: Outputs) -> JsonObject:
    """Feature group C: what the containers run on."""
    model, flags = cpu()
    engine = ask_engine("/version")["Components"]
    release = platform.freedesktop_os_release()
    return {
        "cpu_model": model,
        "cpu_flags": flags,
        "kernel": platform.release(),
        "distribution": f"{release.get('ID', '')} {release.get('VERSION_ID', '')}".strip(),
        "packages": [identity for section, identity in package_rows(outputs) if section not in DULL_SECTIONS],
        "container_runtime": [f"{part['Name']}={part['Version']}" for part in engine],
    }


def package_rows(outputs: Outputs) -> list[tuple[str, str]]:
    """Section without its area, and ``name=version``, of each installed package."""
    rows = (line.split("\t") for line in outputs["packages"][1].splitlines() if line.startswith("ii "))
    return [(section.rpartition("/")[2], identity) for _, section, identity in rows]


def network() -> JsonObject:
    """Feature group N: how the containers are connected."""
    networks = ask_engine("/networks")
    device, gateway = default_route()
    return {
        "subnets": sorted(
            part["Subnet"] for net in networks for part in net["IPAM"]["Config"] or [] if "Subnet" in part
        ),
        "bridges": sorted(path.parent.name for path in Path("/sys/class/net").glob("*/bridge")),
        "drivers": sorted({net["Driver"] for net in networks}),
        "mtu": mtu(device),
        "gateway": gateway,
        "open_ports": sorted(set(listening())),
    }


def default_route() -> tuple[str, str]:
    """Device and gateway of the default route; without one, the first route's device and ""."""
    # Device, destination and gateway (little-endian hexadecimal) lead each line of the kernel's table.
    routes = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    for device, destination, gateway, *_ in routes:
        if destination == "00000000":
            return device, socket.inet_ntoa(bytes.fromhex(gateway)[::-1])
    return next((route[0] for route in routes), "lo"), ""


def mtu(device: str) -> int:
    """Bytes that a packet of this device may have."""
    return int(Path("/sys/class/net", device, "mtu").read_text())


def services(outputs: Outputs) -> JsonObject:
    """Feature group S: what runs, each unit with the version of the package that it is from."""
    versions = dict(identity.split("=", 1) for _, identity in package_rows(outputs))
    units = [line.split()[0] for line in outputs["units"][1].splitlines() if ".service" in line]
    owners = unit_owners()
    packages = {unit: owners.get(re.sub(r"@.*[.]", "@.", unit), "") for unit in units}
    return {
        "services": sorted(f"{unit}={versions.get(name, '')}".rstrip("=") for unit, name in packages.items()),
        "images": sorted(
            {tag for image in ask_engine("/images/json") for tag in image.get("RepoTags") or []}
        ),
    }


def unit_owners(info: Path = Path("/var/lib/dpkg/info")) -> dict[str, str]:
    """systemd unit → the package that ships it, from dpkg's own lists."""
    owners: dict[str, str] = {}
    for listing in info.glob("*.list"):
        text = listing.read_text(errors="replace")
        if "/systemd/system/" in text:
            package = listing.stem.partition(":")[0]
            owners |= dict.fromkeys(re.findall(r"/systemd/system/([^/\n]+[.]service)$", text, re.M), package)
    return owners
