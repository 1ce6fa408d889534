"""Whether a container can move at all: by what ``docker inspect`` says of it, and what its processes hold."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

LABEL = "relocate.enable"
RUNTIMES = {"", "runc", "io.containerd.runc.v2"}
ANY_ADDRESS = {"", "0.0.0.0", "::"}
# What CRIU 4.2.1 dumps: protocols as the kernel names them (sockfs's xattr), anonymous inodes as /proc does.
SOCKETS = {"TCP", "UDP", "UDP-Lite", "RAW", "PING", "NETLINK", "PACKET", "UNIX", "UNIX-STREAM"}
SOCKETS |= {name + "v6" for name in ("TCP", "UDP", "RAW", "PING")} | {"UDPLITEv6"}
ANONYMOUS = {"eventfd", "eventpoll", "inotify", "fanotify", "signalfd", "timerfd", "pidfd"}
WATCH = "inotify watch of its root file system"
REMEDIES = {
    WATCH: "let it watch a --tmpfs, or poll",
    "MPTCP socket": "let it use TCP: --sysctl net.mptcp.enabled=0, or, for Go, --env GODEBUG=multipathtcp=0",
    "io_uring": "let it use epoll: most programs have a setting for that",
}


def obstacles(inspect: dict[str, Any]) -> list[dict[str, str]]:
    """Why the container cannot move and what its tenant would have to change; empty when it can.

    ``inspect`` is the engine's document of one container. Answers ``[{"reason", "hint"}]``.

    >>> obstacles({"Config": {"Labels": {"relocate.enable": "true"}}, "HostConfig": {"Privileged": True},
    ...            "NetworkSettings": {"Networks": {"bridge": {}}}})[0]["reason"]
    'it is privileged'
    """
    checks = (_label, _isolation, _devices, _network, _ports, _storage, _process)
    return [{"reason": reason, "hint": hint} for check in checks for reason, hint in check(inspect)]


def enabled(labels: dict[str, str]) -> bool:
    """Whether the tenant lets the container take part."""
    return labels.get(LABEL, "").lower() == "true"


Finding = tuple[str, str]


def _host(inspect: dict[str, Any]) -> dict[str, Any]:
    return inspect.get("HostConfig") or {}


def _label(inspect: dict[str, Any]) -> Iterator[Finding]:
    if not enabled(inspect["Config"].get("Labels") or {}):
        yield f"it has no label {LABEL}=true", f"start it with --label {LABEL}=true"


def _isolation(inspect: dict[str, Any]) -> Iterator[Finding]:
    host = _host(inspect)
    if host.get("Privileged"):
        yield (
            "it is privileged",
            "start it without --privileged; give it the capabilities that it needs by --cap-add",
        )
    for key, option in (("PidMode", "pid"), ("IpcMode", "ipc"), ("UTSMode", "uts"), ("UsernsMode", "userns")):
        mode = host.get(key) or ""
        if mode == "host":
            yield f"it shares the host's {option} namespace", f"start it without --{option}=host"
        elif mode.startswith("container:"):
            yield (
                f"it shares another container's {option} namespace",
                f"start it without --{option}=container:…",
            )
    if (host.get("Runtime") or "") not in RUNTIMES:
        yield f"its runtime is {host['Runtime']}", "start it with the default runtime, runc"


def _devices(inspect: dict[str, Any]) -> Iterator[Finding]:
    host = _host(inspect)
    for device in host.get("Devices") or []:
        yield f"it holds the device {device.get('PathOnHost', '?')}", "start it without --device"
    if host.get("DeviceRequests"):
        yield "it holds a GPU", "start it without --gpus"


def _network(inspect: dict[str, Any]) -> Iterator[Finding]:
    mode = _host(inspect).get("NetworkMode") or "default"
    networks = inspect["NetworkSettings"].get("Networks") or {}
    if mode == "host":
        yield "it uses the host's network", "start it without --network host and publish its ports with -p"
    elif mode.startswith("container:"):
        yield "it uses another container's network", "give it a network of its own"
    elif mode == "none" or not networks:
        yield "it has no network", "attach it to a bridge network"
    elif len(networks) > 1:
        yield f"it is attached to {len(networks)} networks", "leave it attached to one"
    for name, network in networks.items():
        if ((network or {}).get("IPAMConfig") or {}).get("IPv4Address"):
            yield (
                f"its address in {name} is fixed",
                "start it without --ip: it gets a new address with each move",
            )
    if _host(inspect).get("Links"):
        yield "it uses --link", "use a user-defined network instead"


def _ports(inspect: dict[str, Any]) -> Iterator[Finding]:
    for port, bindings in (_host(inspect).get("PortBindings") or {}).items():
        for binding in bindings or []:
            if (address := binding.get("HostIp") or "") not in ANY_ADDRESS:
                yield (
                    f"port {port} is published on {address} only",
                    "publish it on all addresses: the VIP is not that one",
                )


def _storage(inspect: dict[str, Any]) -> Iterator[Finding]:
    for mount in inspect.get("Mounts") or []:
        where = mount.get("Destination", "?")
        if mount.get("Type") == "bind":
            yield (
                f"{where} is the host's {mount.get('Source', '?')}",
                "put the files into the image or on a shared volume",
            )
        elif mount.get("Type") == "volume" and (mount.get("Driver") or "local") == "local":
            name = mount.get("Name") or "?"
            yield (
                f"{where} is the local volume {name[:12]}",
                "use a volume driver with shared storage, or --tmpfs",
            )


def _process(inspect: dict[str, Any]) -> Iterator[Finding]:
    if inspect["Config"].get("Tty"):
        yield "it has a terminal", "start it without -t"


def held(pids: Iterable[str], proc: Path = Path("/proc")) -> list[dict[str, str]]:
    """What processes of a container hold that cannot be dumped, as ``obstacles`` says it, each kind once."""
    found = {finding for pid in pids for finding in _held(proc, pid)}
    return [{"reason": reason, "hint": hint} for reason, hint in sorted(found)]


def droppable(pids: Iterable[str], proc: Path = Path("/proc")) -> bool:
    """Whether a process has memory that the kernel may drop (mmap(2): MAP_DROPPABLE, Linux 6.11), which an
    older kernel cannot restore. glibc 2.41 keeps the state of getrandom(2) in it where the kernel has it."""
    return any(_has_flag(proc / pid / "smaps", "dp") for pid in pids)


def _has_flag(smaps: Path, flag: str) -> bool:
    """Reads no further than it must: the kernel walks a mapping's pages to write its lines."""
    with contextlib.suppress(OSError), smaps.open(errors="replace") as lines:  # unless it has ended
        return any(line.startswith("VmFlags:") and flag in line.split() for line in lines)
    return False


def _held(proc: Path, pid: str) -> Iterator[Finding]:
    process = proc / pid
    with contextlib.suppress(OSError):  # it has ended
        if "TracerPid:\t0\n" not in (process / "status").read_text():
            yield f"process {pid} of it is being traced (strace, gdb)", "end that first"
        if (process / "ns/user").stat().st_ino != (proc / "self/ns/user").stat().st_ino:
            yield "it has a user namespace", "do without: it is a sandbox's, or the engine's userns-remap"
        device = (process / "root").stat().st_dev
        root = os.major(device) << 20 | os.minor(device)  # as the kernel writes it
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                if kind := _undumpable(descriptor, root):
                    hint = REMEDIES.get(kind, "let the program close it, or do without it")
                    yield f"it holds what CRIU cannot dump: {kind}", hint


def _undumpable(descriptor: Path, root: int) -> str:
    """The kind of an open file that CRIU refuses, else "". Raises OSError when it was closed meanwhile.

    ``root``: device of the root file system, an overlay, whose file handles name nothing that CRIU can open.
    """
    target = str(descriptor.readlink())
    if target.startswith("socket:"):
        protocol = os.getxattr(descriptor, "system.sockprotoname").rstrip(b"\0").decode()
        return "" if protocol in SOCKETS else f"{protocol} socket"
    if target.startswith("anon_inode:"):
        kind = target.removeprefix("anon_inode:").strip("[]")
        watches = (descriptor.parents[1] / "fdinfo" / descriptor.name).read_text()
        if kind == "inotify" and f" sdev:{root:x} " in watches:
            return WATCH
        return "" if kind in ANONYMOUS else kind
    return "secret memory" if target.startswith("/secretmem") else ""
