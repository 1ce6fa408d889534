"""What a container asks of its host: one table of the engine's HostConfig, which says on a source what keeps
a container where it is, and on a target what is let in.

A target does not believe the source that sent it a specification, so this is a list of what is allowed: a key
that is not in the table, or a value that its rule does not know, is refused. Words as in the engine's API
(docs.docker.com/reference/api/engine, ContainerCreate).
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

from relocate_proxy import engine, paths
from relocate_proxy.protocol import shapes

JsonObject = dict[str, Any]
Finding = tuple[str, str]
DriverOf = Callable[[str], str]

# What Docker gives every container (moby: oci/caps/defaults.go); more than this is the operator's to permit.
CAPABILITIES = frozenset(
    {
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE"),
        *("NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    }
)
RUNTIMES = frozenset({"", "runc", "io.containerd.runc.v2"})
# Their files and sockets are Docker's own, or none. Others make the engine itself talk to an address.
LOG_DRIVERS = frozenset({"", "json-file", "local", "journald", "none"})
SECURITY = re.compile(r"no-new-privileges([:=](true|false))?\Z")
# Those that runc finds in a namespace of the container's own (libcontainer/configs/validate).
SYSCTLS = re.compile(
    r"(net|fs\.mqueue)\.[a-zA-Z0-9_./-]+\Z|kernel\.(msg(max|mnb|mni)|sem|shm(all|max|mni)|shm_rmid_forced)\Z"
)
# What every engine since 20.10 hides from a container, and keeps it from writing; later ones add to it.
MASKED = {f"/proc/{name}" for name in ("asound", "acpi", "kcore", "keys", "latency_stats", "timer_list")}
MASKED |= {"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"}
READ_ONLY = {f"/proc/{name}" for name in ("bus", "fs", "irq", "sys", "sysrq-trigger")}
# Limits and conveniences inside the container, for the engine to read.
_HARMLESS = """
BlkioDeviceReadBps BlkioDeviceReadIOps BlkioDeviceWriteBps BlkioDeviceWriteIOps BlkioWeight
BlkioWeightDevice CapDrop ConsoleSize ContainerIDFile CpuCount CpuPercent CpuPeriod CpuQuota
CpuRealtimePeriod CpuRealtimeRuntime CpuShares CpusetCpus CpusetMems Dns DnsOptions DnsSearch ExtraHosts
GroupAdd IOMaximumBandwidth IOMaximumIOps Init KernelMemory KernelMemoryTCP Memory MemoryReservation
MemorySwap MemorySwappiness NanoCpus NetworkMode OomKillDisable OomScoreAdj PidsLimit PortBindings
PublishAllPorts ReadonlyRootfs RestartPolicy ShmSize StorageOpt Tmpfs Ulimits VolumeDriver
"""
HARMLESS = frozenset(_HARMLESS.split())  # NetworkMode and PortBindings have rules of their own, in preflight
_CONFIG = """
ArgsEscaped AttachStderr AttachStdin AttachStdout Cmd Domainname Entrypoint Env ExposedPorts Healthcheck
Hostname Image Labels MacAddress NetworkDisabled OnBuild OpenStdin Shell StdinOnce StopSignal StopTimeout
Tty User Volumes WorkingDir
"""
CONFIG = frozenset(_CONFIG.split())  # what the container's own processes are told
MOUNT = frozenset({"Type", "Source", "Target", "ReadOnly", "Consistency", "TmpfsOptions", "VolumeOptions"})


class SpecificationError(ValueError):
    """What should be the engine's words is not; the message says where."""


@dataclass(frozen=True)
class Permits:
    """What the operator of this host lets containers have besides, by the engine's keys."""

    CapAdd: tuple[str, ...] = ()
    SecurityOpt: tuple[str, ...] = ()
    LogConfig: tuple[str, ...] = ()


NOTHING = Permits()


def permits() -> Permits:
    """As the proxy role wrote them; nothing where it has not. Raises ShapeError."""
    try:
        text = (paths.CONFIG / "permits.json").read_bytes()
    except FileNotFoundError:
        return NOTHING
    return shapes.parse(Permits, text)


@dataclass(frozen=True)
class Asked:
    """One HostConfig and what judges it. ``driver_of``: a volume's driver here, "" if it is not here."""

    host: JsonObject
    permits: Permits
    driver_of: DriverOf

    def texts(self, key: str) -> list[str]:
        """A list of strings, or null. Raises SpecificationError."""
        found = self.host.get(key)
        if found is None:
            return []
        if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
            raise SpecificationError(f"{key} is no list of words")
        return found

    def text(self, key: str) -> str:
        """A string, or null. Raises SpecificationError."""
        found = self.host.get(key)
        if found is not None and not isinstance(found, str):
            raise SpecificationError(f"{key} is no word")
        return found or ""


Rule = Callable[[Asked], Iterator[Finding]]


def findings(host: JsonObject, permits: Permits, driver_of: DriverOf) -> Iterator[Finding]:
    """What this HostConfig asks for that a container which moves may not have, each with its remedy.

    Raises SpecificationError when it is not the engine's.
    """
    asked = Asked(host, permits, driver_of)
    for rule in dict.fromkeys(RULES.values()):
        yield from rule(asked)
    yield from strange(host, HOST)


def strange(settings: JsonObject, known: Set[str]) -> Iterator[Finding]:
    """Settings that would be lost, since they are not among those that are ``known``."""
    for key in sorted(settings.keys() - known):
        if settings[key] not in (None, "", 0, [], {}):
            why = f"its setting {key[:40]!r} is not known here"
            yield why, "start it without, or provision the hosts anew"


def kept(settings: JsonObject, known: Set[str]) -> JsonObject:
    """What is ``known`` of these. The engine reads keys in whatever case: one that is passed over here as not
    known would still be read by it."""
    return {key: value for key, value in settings.items() if key in known}


def _privileges(asked: Asked) -> Iterator[Finding]:
    if asked.host.get("Privileged"):
        yield (
            "it is privileged",
            "start it without --privileged; give it the capabilities that it needs by --cap-add",
        )
    allowed = CAPABILITIES | {_capability(name) for name in asked.permits.CapAdd}
    for name in asked.texts("CapAdd"):
        if _capability(name) not in allowed:
            yield (
                f"it has the capability {_capability(name)[:40]}",
                "start it without that --cap-add, or permit it on the hosts: proxy__permits",
            )
    for option in asked.texts("SecurityOpt"):
        if not SECURITY.match(option) and option not in asked.permits.SecurityOpt:
            yield (
                f"its security option {option[:60]!r} is not Docker's default",
                "start it without that --security-opt, or permit it on the hosts: proxy__permits",
            )
    for key, needed in (("MaskedPaths", MASKED), ("ReadonlyPaths", READ_ONLY)):
        if asked.host.get(key) is not None and (open_ := needed - set(asked.texts(key))):
            yield (
                f"the host's {min(open_)} is open to it ({key})",
                "start it without --security-opt systempaths=unconfined",
            )


def _capability(name: str) -> str:
    """As Docker compares them."""
    return name.upper().removeprefix("CAP_")


def _namespaces(asked: Asked) -> Iterator[Finding]:
    modes = {"PidMode": "pid", "IpcMode": "ipc", "UTSMode": "uts", "UsernsMode": "userns"}
    for key, option in {**modes, "CgroupnsMode": "cgroupns", "Cgroup": "cgroup"}.items():
        mode = asked.text(key)
        if mode == "host":
            yield f"it shares the host's {option} namespace", f"start it without --{option}=host"
        elif mode.startswith("container:"):
            yield (
                f"it shares another container's {option} namespace",
                f"start it without --{option}=container:…",
            )
        elif mode == "shareable" and key == "IpcMode":
            yield (
                "its /dev/shm is the engine's (--ipc shareable), and its files would stay behind",
                'start it with --ipc private, or without "default-ipc-mode" in the engine\'s daemon.json',
            )
        elif mode not in ("", "private") and (key, mode) != ("IpcMode", "none"):
            yield f"its {option} namespace is {mode[:40]!r}", f"start it without --{option}"
    if parent := asked.text("CgroupParent"):
        yield f"its cgroup is below {parent[:60]!r}", "start it without --cgroup-parent"
    if (runtime := asked.text("Runtime")) not in RUNTIMES:
        yield f"its runtime is {runtime[:60]}", "start it with the default runtime, runc"
    if asked.text("Isolation") not in ("", "default"):
        yield "it has an isolation of its own", "start it without --isolation"
    # runc takes settings of systemd's and of CRIU's from them. One is ours.
    if _object(asked.host.get("Annotations"), "Annotations").keys() - {engine.IMAGE_NAME}:
        yield "it has annotations for the runtime", "start it without --annotation"


def _devices(asked: Asked) -> Iterator[Finding]:
    for device in _objects(asked, "Devices"):
        yield f"it holds the device {str(device.get('PathOnHost', '?'))[:60]}", "start it without --device"
    for rule in asked.texts("DeviceCgroupRules"):
        yield f"it may use devices by the rule {rule[:40]!r}", "start it without --device-cgroup-rule"
    if asked.host.get("DeviceRequests"):
        yield "it holds a GPU", "start it without --gpus"


def _sysctls(asked: Asked) -> Iterator[Finding]:
    for name in _object(asked.host.get("Sysctls"), "Sysctls"):
        if not SYSCTLS.match(name):
            yield f"its sysctl {name[:60]!r} is the host's", "start it without that --sysctl"


def _log(asked: Asked) -> Iterator[Finding]:
    chosen = _object(asked.host.get("LogConfig"), "LogConfig")
    driver = chosen.get("Type") or ""
    if not isinstance(driver, str) or chosen.keys() - {"Type", "Config"}:
        raise SpecificationError("LogConfig is not the engine's")
    if driver not in LOG_DRIVERS | set(asked.permits.LogConfig):
        yield (
            f"its log driver is {driver[:40]!r}",
            "start it with json-file, local, journald or none, or permit it on the hosts: proxy__permits",
        )


def _life(asked: Asked) -> Iterator[Finding]:
    if asked.host.get("AutoRemove"):
        yield "it is removed when it ends (--rm), which would be lost", "start it without --rm"
    if asked.texts("Links"):
        yield "it uses --link", "use a user-defined network instead"


def _volumes(asked: Asked) -> Iterator[Finding]:
    if asked.texts("VolumesFrom"):
        yield "it uses another container's volumes (--volumes-from)", "give it volumes of its own"
    for bind in asked.texts("Binds"):
        source, _, rest = bind.partition(":")
        yield from _volume(asked, source, rest.partition(":")[0], asked.text("VolumeDriver"))
    for mount in _objects(asked, "Mounts"):
        if unknown := mount.keys() - MOUNT - {"BindOptions"}:
            raise SpecificationError(f"a mount has {min(unknown)[:40]!r}")
        kind, where = mount.get("Type"), str(mount.get("Target", "?"))
        source = str(mount.get("Source") or "")
        if kind == "volume":
            options = _object(mount.get("VolumeOptions"), "VolumeOptions")
            driver = _object(options.get("DriverConfig"), "DriverConfig")
            if options.keys() - {"NoCopy", "Labels", "DriverConfig", "Subpath"} or driver.keys() - {
                "Name",
                "Options",
            }:
                raise SpecificationError("a mount has options that are not known")
            if source:
                yield from _volume(asked, source, where, str(driver.get("Name") or ""))
            elif driver.get("Name") not in (None, "", "local") or driver.get("Options"):
                yield f"{where[:60]} is a volume with driver options", "make that volume, with a name"
        elif kind == "bind":
            yield from _volume(asked, source or "/", where, "")
        elif kind != "tmpfs" or "VolumeOptions" in mount or "BindOptions" in mount or source:
            yield f"{where[:60]} is a mount of type {str(kind)[:20]!r}", "use --tmpfs, or a shared volume"


def _volume(asked: Asked, source: str, where: str, wanted: str) -> Iterator[Finding]:
    """``wanted``: the driver with which the engine would make it, if it is not here."""
    if source.startswith(("/", ".")) or not source:
        yield f"{where} is the host's {source[:60]}", "put the files into the image or on a volume"
    elif (asked.driver_of(source) or wanted or "local") == "local":
        yield (
            f"{where} is the local volume {source[:12]}, which does not come along",
            "have its source provisioned anew",
        )


def _objects(asked: Asked, key: str) -> list[JsonObject]:
    found = asked.host.get(key) or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise SpecificationError(f"{key} is no list of objects")
    return found


def _object(value: Any, name: str) -> JsonObject:
    if value is not None and not isinstance(value, dict):
        raise SpecificationError(f"{name} is no object")
    return value or {}


def _keys(rule: Rule, keys: str) -> Mapping[str, Rule]:
    return dict.fromkeys(keys.split(), rule)


RULES: Mapping[str, Rule] = {
    **_keys(_privileges, "Privileged CapAdd SecurityOpt MaskedPaths ReadonlyPaths"),
    **_keys(
        _namespaces, "PidMode IpcMode UTSMode UsernsMode CgroupnsMode Cgroup CgroupParent Runtime Isolation"
    ),
    **_keys(_namespaces, "Annotations"),
    **_keys(_devices, "Devices DeviceCgroupRules DeviceRequests"),
    **_keys(_sysctls, "Sysctls"),
    **_keys(_log, "LogConfig"),
    **_keys(_life, "AutoRemove Links"),
    **_keys(_volumes, "VolumesFrom Binds Mounts"),
}
HOST = HARMLESS | RULES.keys()


def travelling(names: Iterable[str], otherwise: DriverOf = lambda _: "") -> DriverOf:
    """For volumes that come along, or are the same on both hosts: other rules than the table's know them."""
    known = frozenset(names)
    return lambda name: "that of a volume which comes along" if name in known else otherwise(name)
