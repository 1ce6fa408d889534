"""What a container may ask of a host: each field of HostConfig that reaches beyond it, and no other."""

import json
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy import paths
from relocate_proxy.protocol.shapes import ShapeError
from relocate_proxy.survey import confinement
from relocate_proxy.survey.confinement import NOTHING, Permits, SpecificationError

HARMLESS: dict[str, Any] = {
    "Memory": 64 << 20, "CapAdd": ["CAP_CHOWN", "kill"], "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}}, "CgroupnsMode": "private",
    "IpcMode": "none", "Sysctls": {"net.core.somaxconn": "9", "kernel.shmmax": "1", "fs.mqueue.msg_max": "1"},
    "MaskedPaths": [*confinement.MASKED, "/proc/more"], "ReadonlyPaths": sorted(confinement.READ_ONLY),
    "Tmpfs": {"/run": "size=1m"},
    "Mounts": [{"Type": "tmpfs", "Target": "/t", "TmpfsOptions": {"SizeBytes": 1}}],
    "ConsoleSize": [0, 0], "Annotations": {"relocate.image": "debian:13"}, "OfALaterEngine": None,
    "Runtime": "runc", "Init": True,
}  # fmt: skip


def found(host: dict[str, Any], permits: Permits = NOTHING, **drivers: str) -> list[str]:
    return [reason for reason, _ in confinement.findings(host, permits, lambda name: drivers.get(name, ""))]


def test_what_stays_inside_the_container_is_let_be() -> None:
    assert found(HARMLESS) == []


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        ({"Privileged": True}, "privileged"),
        ({"CapAdd": ["ALL"]}, "capability ALL"),
        ({"CapAdd": ["chown", "cap_sys_admin"]}, "capability SYS_ADMIN"),
        ({"SecurityOpt": ["seccomp=unconfined"]}, "'seccomp=unconfined'"),
        ({"SecurityOpt": ['seccomp={"defaultAction":"SCMP_ACT_ALLOW"}']}, "seccomp="),
        ({"SecurityOpt": ["apparmor=unconfined"]}, "apparmor=unconfined"),
        ({"SecurityOpt": ["apparmor:unconfined"]}, "apparmor:unconfined"),
        ({"SecurityOpt": ["label=disable"]}, "label=disable"),
        ({"SecurityOpt": ["no-new-privileges\nx"]}, "no-new-privileges"),
        ({"MaskedPaths": []}, "/proc/acpi is open"),
        ({"ReadonlyPaths": ["/proc/bus"]}, "/proc/fs is open"),
        ({"PidMode": "host"}, "host's pid namespace"),
        ({"PidMode": "container:db"}, "another container's pid namespace"),
        ({"PidMode": "HOST"}, "pid namespace is 'HOST'"),
        ({"IpcMode": "host"}, "host's ipc namespace"),
        ({"UTSMode": "host"}, "host's uts namespace"),
        ({"UsernsMode": "host"}, "host's userns namespace"),
        ({"CgroupnsMode": "host"}, "host's cgroupns namespace"),
        ({"Cgroup": "container:db"}, "another container's cgroup"),
        ({"CgroupParent": "/system.slice"}, "below '/system.slice'"),
        ({"Runtime": "kata"}, "runtime is kata"),
        ({"Isolation": "process"}, "isolation"),
        ({"Annotations": {"org.criu.config": "/etc/passwd"}}, "annotations"),
        ({"Annotations": {"relocate.image": "app", "org.criu.config": "/etc/passwd"}}, "annotations"),
        ({"Devices": [{"PathOnHost": "/dev/sda"}]}, "device /dev/sda"),
        ({"DeviceCgroupRules": ["a *:* rwm"]}, "by the rule 'a *:* rwm'"),
        ({"DeviceRequests": [{"Count": -1}]}, "GPU"),
        ({"Sysctls": {"kernel.core_pattern": "|/bin/sh"}}, "'kernel.core_pattern' is the host's"),
        ({"Sysctls": {"net.ipv4.x\nkernel.core_pattern": "1"}}, "is the host's"),
        ({"LogConfig": {"Type": "fluentd", "Config": {"fluentd-address": "unix:///x"}}}, "fluentd"),
        ({"AutoRemove": True}, "--rm"),
        ({"Links": ["/db:/app/db"]}, "--link"),
        ({"VolumesFrom": ["db"]}, "--volumes-from"),
        ({"Binds": ["/:/host"]}, "/host is the host's /"),
        ({"Binds": ["data:/d"]}, "/d is the local volume data"),
        ({"Binds": ["data:/d"], "VolumeDriver": "local"}, "local volume"),
        ({"Mounts": [{"Type": "bind", "Source": "/etc", "Target": "/e"}]}, "/e is the host's /etc"),
        ({"Mounts": [{"Type": "volume", "Source": "data", "Target": "/d"}]}, "local volume"),
        ({"Mounts": [{"Type": "image", "Source": "app", "Target": "/i"}]}, "type 'image'"),
        ({"Mounts": [{"Type": "Bind", "Source": "/etc", "Target": "/e"}]}, "type 'Bind'"),
        ({"Mounts": [{"Type": "tmpfs", "Target": "/t", "Source": "/"}]}, "type 'tmpfs'"),
        ({"OfALaterEngine": {"HostRoot": True}}, "'OfALaterEngine' is not known"),
        ({"privileged": True}, "'privileged' is not known"),
    ],
)  # fmt: skip
def test_what_reaches_the_host_is_named(host: dict[str, Any], reason: str) -> None:
    (only,) = found(HARMLESS | host)
    assert reason in only


@pytest.mark.parametrize("key", sorted(confinement.RULES))
@pytest.mark.parametrize("value", [7, "odd", ["x", 1], [{"a": 1}], {"a": [1]}, True])
def test_no_rule_fails_on_what_is_not_the_engines(key: str, value: Any) -> None:
    """It is refused, or said to be malformed; a bare word where the engine has a word is let be."""
    try:
        assert found({key: value}) or isinstance(value, str | bool | list)
    except SpecificationError as error:
        assert str(error)


def test_the_operator_may_permit_more() -> None:
    permits = Permits(("CAP_NET_ADMIN",), ("seccomp=unconfined",), ("syslog",))
    wanted = {"CapAdd": ["NET_ADMIN"], "SecurityOpt": ["seccomp=unconfined"], "LogConfig": {"Type": "syslog"}}
    assert len(found(wanted)) == 3
    assert found(wanted, permits) == []


def test_shared_volumes_are_known_by_their_driver_here() -> None:
    mount = {"Type": "volume", "Source": "data", "Target": "/d"}
    for host in ({"Binds": ["data:/d:ro"]}, {"Mounts": [mount]}):
        assert found(host, data="nfs") == []
        assert found(host, data="local") != []
    assert found({"Binds": ["data:/d"], "VolumeDriver": "nfs"}) == []
    assert found({"Binds": ["data:/d"], "VolumeDriver": "nfs"}, data="local") != []
    assert found({"Mounts": [mount | {"VolumeOptions": {"DriverConfig": {"Name": "nfs"}}}]}) == []


def test_a_mount_has_no_second_source_in_other_letters() -> None:
    """The engine reads keys in whatever case."""
    for more in (
        {"source": "/"},
        {"VolumeOptions": {"driverconfig": {}}},
        {"VolumeOptions": {"DriverConfig": {"name": "local"}}},
    ):
        with pytest.raises(SpecificationError):
            found({"Mounts": [{"Type": "volume", "Source": "data", "Target": "/d"} | more]}, data="nfs")
    with pytest.raises(SpecificationError):
        found({"LogConfig": {"Type": "json-file", "type": "fluentd"}})


def test_only_what_the_table_knows_goes_on() -> None:
    said = {"Memory": 1, "memory": 0, "maskedpaths": [], "MaskedPaths": None}
    assert confinement.kept(said, confinement.HOST) == {"Memory": 1, "MaskedPaths": None}


def test_what_the_operator_has_not_written_is_not_permitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "CONFIG", tmp_path)
    assert confinement.permits() == NOTHING
    (tmp_path / "permits.json").write_text(json.dumps({"CapAdd": ["SYS_NICE"]}))
    assert confinement.permits() == Permits(CapAdd=("SYS_NICE",))
    (tmp_path / "permits.json").write_text(json.dumps({"CapAdd": "ALL"}))
    with pytest.raises(ShapeError):
        confinement.permits()
