"""A service as the engine would tell it of its container."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relocate_cli.compose import translate
from relocate_cli.compose.document import ComposeError
from relocate_cli.compose.read import Project

Read = Callable[[str], Project]


def inspected(project: Read, service: str, rest: str = "") -> dict[str, Any]:
    """The document of a service ``a`` with this content."""
    return translate.document(
        project(f"services: {{a: {{image: x, {service}}}, b: {{image: y}}}}\n{rest}"), "a"
    )


@pytest.mark.parametrize(
    ("service", "key", "value"),
    [
        ("privileged: true", "Privileged", True),
        ("privileged: 'false'", "Privileged", False),
        ("pid: host", "PidMode", "host"),
        ("ipc: shareable", "IpcMode", "shareable"),
        ("ipc: 'container:x'", "IpcMode", "container:x"),
        ("uts: host", "UTSMode", "host"),
        ("userns_mode: host", "UsernsMode", "host"),
        ("cgroup: host", "CgroupnsMode", "host"),
        ("cgroup_parent: m", "CgroupParent", "m"),
        ("runtime: kata", "Runtime", "kata"),
        ("cap_add: [NET_ADMIN]", "CapAdd", ["NET_ADMIN"]),
        ("security_opt: ['seccomp:unconfined']", "SecurityOpt", ["seccomp:unconfined"]),
        ("security_opt: ['systempaths=unconfined']", "MaskedPaths", []),
        ("sysctls: ['net.x=1']", "Sysctls", {"net.x": "1"}),
        ("sysctls: {net.x: 1}", "Sysctls", {"net.x": "1"}),
        ("annotations: {a: b}", "Annotations", {"a": "b"}),
        ("logging: {driver: fluentd}", "LogConfig", {"Type": "fluentd", "Config": {}}),
        ("devices: ['/dev/kvm']", "Devices", [{"PathOnHost": "/dev/kvm", "PathInContainer": "/dev/kvm"}]),
        (
            "devices: [{source: /dev/a, target: /dev/b}]",
            "Devices",
            [{"PathOnHost": "/dev/a", "PathInContainer": "/dev/b"}],
        ),
        ("device_cgroup_rules: ['c 1:3 r']", "DeviceCgroupRules", ["c 1:3 r"]),
        ("gpus: all", "DeviceRequests", [{"Driver": ""}]),
        ("gpus: [{driver: nvidia, count: 1}]", "DeviceRequests", [{"Driver": "nvidia"}]),
        (
            "deploy: {resources: {reservations: {devices: [{driver: nvidia, capabilities: [gpu]}]}}}",
            "DeviceRequests",
            [{"Driver": "nvidia"}],
        ),
        ("links: [b]", "Links", ["b"]),
        ("volumes_from: ['container:x:ro']", "VolumesFrom", ["x"]),
        ("network_mode: host", "NetworkMode", "host"),
        ("network_mode: 'container:x'", "NetworkMode", "container:x"),
        ("tty: false", "NetworkMode", "shop_default"),
    ],
)
def test_what_is_asked_of_the_host(project: Read, service: str, key: str, value: Any) -> None:
    assert inspected(project, service)["HostConfig"][key] == value


def test_a_service_without_anything_asks_for_nothing(project: Read) -> None:
    document = inspected(project, "restart: always")
    asked = {key: value for key, value in document["HostConfig"].items() if value}
    assert asked == {"LogConfig": {"Type": "", "Config": {}}, "NetworkMode": "shop_default"}
    assert document["Mounts"] == []
    assert document["Name"] == "/shop-a-1"


@pytest.mark.parametrize(
    ("port", "key", "address", "published"),
    [
        ("'80'", "80/tcp", "", ""),
        ("80", "80/tcp", "", ""),
        ("'8080:80/udp'", "80/udp", "", "8080"),
        ("22:22", "22/tcp", "", "22"),
        ("'127.0.0.1:8080:80'", "80/tcp", "127.0.0.1", "8080"),
        ("'127.0.0.1::80'", "80/tcp", "127.0.0.1", ""),
        ("'[::1]:8080:80'", "80/tcp", "::1", "8080"),
        ("'3000-3005:3000-3005'", "3000-3005/tcp", "", "3000-3005"),
        ("{target: 80, published: 8080, host_ip: 10.0.0.1, protocol: udp}", "80/udp", "10.0.0.1", "8080"),
        ("{target: 80}", "80/tcp", "", ""),
    ],
)
def test_ports_in_every_syntax(project: Read, port: str, key: str, address: str, published: str) -> None:
    bindings = inspected(project, f"ports: [{port}]")["HostConfig"]["PortBindings"]
    assert bindings == {key: [{"HostIp": address, "HostPort": published}]}


@pytest.mark.parametrize(
    ("service", "rest", "mount"),
    [
        ("volumes: ['data:/d']", "volumes: {data: }", ("volume", "shop_data", "/d", True)),
        ("volumes: ['data:/d:ro']", "volumes: {data: {name: n}}", ("volume", "n", "/d", False)),
        ("volumes: ['data:/d']", "volumes: {data: {external: true}}", ("volume", "data", "/d", True)),
        ("volumes: ['data:/d']", "volumes: {data: {external: {name: e}}}", ("volume", "e", "/d", True)),
        ("volumes: ['/d']", "", ("volume", "of a at /d", "/d", True)),
        ("volumes: [{type: volume, target: /d}]", "", ("volume", "of a at /d", "/d", True)),
        ("volumes: ['/srv:/d']", "", ("bind", "/srv", "/d", True)),
        ("volumes: ['./x:/d:ro,z']", "", ("bind", "HERE/x", "/d", False)),
        ("volumes: ['../x:/d']", "", ("bind", "HERE/../x", "/d", True)),
        (
            "volumes: [{type: bind, source: x, target: /d, read_only: true}]",
            "",
            ("bind", "HERE/x", "/d", False),
        ),
        ("volumes: ['C:\\x:/d']", "", ("bind", "C:\\x", "/d", True)),
        ("volumes: [{type: tmpfs, target: /d}]", "", ("tmpfs", "", "/d", True)),
        ("configs: [c]", "configs: {c: {file: ./c}}", ("bind", "HERE/c", "/c", False)),
        (
            "secrets: [{source: s, target: t}]",
            "secrets: {s: {file: s}}",
            ("bind", "HERE/s", "/run/secrets/t", False),
        ),
        ("use_api_socket: true", "", ("bind", "/var/run/docker.sock", "/var/run/docker.sock", True)),
    ],
)
def test_mounts_in_every_syntax(
    project: Read, tmp_path: Path, service: str, rest: str, mount: tuple[str, str, str, bool]
) -> None:
    (found,) = inspected(project, service, rest)["Mounts"]
    kind, source, target, writable = mount
    where = found.get("Name") if kind == "volume" else found["Source"]
    expected = source.replace("HERE/..", str(tmp_path)).replace("HERE", str(tmp_path / "shop"))
    assert (found["Type"], where, found["Destination"], found["RW"]) == (kind, expected, target, writable)


@pytest.mark.parametrize("section", ["configs", "secrets"])
@pytest.mark.parametrize("content", ["environment: X", "content: words", "external: true"])
def test_files_that_are_copied_into_the_container_are_no_mounts(
    project: Read, section: str, content: str
) -> None:
    assert inspected(project, f"{section}: [c]", f"{section}: {{c: {{{content}}}}}")["Mounts"] == []


def test_volumes_of_another_service(project: Read) -> None:
    found = project("services: {a: {volumes_from: [b]}, b: {volumes: ['data:/d'], volumes_from: [a]}}")
    assert [each["Name"] for each in translate.document(found, "a")["Mounts"]] == ["shop_data"]


@pytest.mark.parametrize(
    ("service", "rest", "names"),
    [
        ("tty: true", "", ["shop_default"]),
        ("tty: true", "networks: {default: {name: mine}}", ["mine"]),
        ("networks: [front, back]", "networks: {front: {external: true}}", ["shop_back", "front"]),
        ("networks: {front: {aliases: [x]}}", "", ["shop_front"]),
        ("networks: {b: , a: , c: {priority: 10}}", "", ["shop_c", "shop_a", "shop_b"]),
        ("network_mode: none", "", ["none"]),
        ("network_mode: host", "", ["host"]),
        ("network_mode: bridge", "", ["bridge"]),
        ("network_mode: 'service:b'", "", []),
    ],
)
def test_networks_in_every_syntax(project: Read, service: str, rest: str, names: list[str]) -> None:
    assert list(inspected(project, service, rest)["NetworkSettings"]["Networks"]) == names


def test_a_fixed_address(project: Read) -> None:
    networks = inspected(project, "networks: {n: {ipv4_address: 10.0.0.2}}")["NetworkSettings"]["Networks"]
    assert networks["shop_n"]["IPAMConfig"] == {"IPv4Address": "10.0.0.2"}


def test_who_joins_a_service_names_its_container(project: Read) -> None:
    found = project("services: {a: {network_mode: 'service:b', pid: 'service:b'}, b: {container_name: bee}}")
    joining, joined = translate.document(found, "a"), translate.document(found, "b")
    assert (
        joining["HostConfig"]["NetworkMode"]
        == joining["HostConfig"]["PidMode"]
        == f"container:{joined['Id']}"
    )
    assert joined["Name"] == "/bee"


def test_networks_as_the_engine_tells_them(project: Read) -> None:
    text = """
        services: {a: {image: x}}
        networks:
          lan:
            {driver: ipvlan, internal: true, ipam: {config: [{subnet: 10.0.0.0/24}]}, driver_opts: {p: e}}
          out: {external: true, name: host}
    """
    told = {each["Name"]: each for each in translate.network_documents(project(text))}
    assert told["shop_lan"]["Driver"] == "ipvlan"
    assert told["shop_lan"]["IPAM"] == {"Config": [{"Subnet": "10.0.0.0/24"}]}
    assert told["shop_lan"]["Options"] == {"p": "e"}
    assert told["shop_lan"]["Internal"]
    assert told["shop_default"]["Driver"] == "bridge"
    assert told["host"]["Driver"] == "host"


@pytest.mark.parametrize(
    "service",
    [
        "ports: {a: b}", "ports: ['::::']", "volumes: [[x]]", "volumes: [':/x']", "cap_add: {a: b}",
        "cap_add: [[x]]", "networks: x", "labels: x", "pid: [host]", "sysctls: {a: [b]}", "deploy: x",
        "networks: {a: {priority: x}}",
    ],
)  # fmt: skip
def test_what_compose_would_refuse_is_one_line(project: Read, service: str) -> None:
    with pytest.raises(ComposeError) as raised:
        inspected(project, service)
    assert "\n" not in raised.value.message
    assert raised.value.hint
