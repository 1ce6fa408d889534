"""What this host is and what runs on it: one document for the controller (docs/developers.md has its
shape).

Everything slow is started at once and collected at the end.
"""

import os
import platform
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from relocate_proxy import engine, paths
from relocate_proxy.survey import containers, surroundings
from relocate_proxy.survey.surroundings import Surroundings

JsonObject = dict[str, Any]
Outputs = dict[str, tuple[int, str]]
DOCKER_ROOT = Path("/var/lib/docker")
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
    around = surroundings.look()
    document: JsonObject = {
        "taken_at": taken_at,
        "capacity": capacity(around),
        "containers": containers.all_of(around),
    }
    if not light:
        deadline = time.monotonic() + COMMAND_SECONDS  # of all, since they run side by side
        outputs = {name: collect(process, deadline) for name, process in commands.items()}
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
        name: subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        if shutil.which(command[0])
        else None
        for name, command in commands.items()
    }


def collect(process: subprocess.Popen[str] | None, deadline: float) -> tuple[int, str]:
    """Exit code and output of a started program; one that hangs or is not installed (None) has failed."""
    if process is None:
        return 1, "not installed"
    try:
        output, _ = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return 1, "it did not end in time"
    return process.returncode, output


def capacity(around: Surroundings) -> JsonObject:
    """What the host has and what of it is free. A port on which anything listens counts as published."""
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text(errors="replace").splitlines())
    ports = {port for inspect in around.neighbours for port in containers.published(inspect)}
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "possible_cpus": possible_cpus(),
        "memory_bytes": int(memory["MemTotal"].split()[0]) << 10,
        "memory_free_bytes": int(memory["MemAvailable"].split()[0]) << 10,
        "disk_free_bytes": free_bytes(DOCKER_ROOT),
        "storage_free_bytes": free_bytes(paths.STORAGE),
        "mtu": mtu(default_route()[0]),
        "published_ports": sorted(ports | set(listening())),
        "no_bridges": around.no_bridges,
        "volumes": sorted(around.volumes),
    }


def possible_cpus(path: Path = Path("/sys/devices/system/cpu/possible")) -> int:
    """Processors that the kernel is ready for, by which it sizes AIO contexts; 0 where it does not say."""
    try:
        ranges = [part.split("-") for part in path.read_text().strip().split(",")]
    except OSError:
        return 0
    return sum(int(ends[-1]) - int(ends[0]) + 1 for ends in ranges)


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
            lines = (proc / name).read_text(errors="replace").splitlines()[1:]
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
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
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
    components = engine.look_up("/version")["Components"]
    release = platform.freedesktop_os_release()
    return {
        "cpu_model": model,
        "cpu_flags": flags,
        "kernel": platform.release(),
        "distribution": f"{release.get('ID', '')} {release.get('VERSION_ID', '')}".strip(),
        "packages": [identity for section, identity in package_rows(outputs) if section not in DULL_SECTIONS],
        "container_runtime": [f"{part['Name']}={part['Version']}" for part in components],
    }


def package_rows(outputs: Outputs) -> list[tuple[str, str]]:
    """Section without its area, and ``name=version``, of each installed package."""
    rows = (line.split("\t") for line in outputs["packages"][1].splitlines() if line.startswith("ii "))
    return [(section.rpartition("/")[2], identity) for _, section, identity in rows]


def network() -> JsonObject:
    """Feature group N: how the containers are connected."""
    networks = engine.look_up("/networks")
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
    routes = [line.split() for line in Path("/proc/net/route").read_text(errors="replace").splitlines()[1:]]
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
            {tag for image in engine.look_up("/images/json") for tag in image.get("RepoTags") or []}
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
