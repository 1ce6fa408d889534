"""What the container's namespaces hold beside its processes: mounts, addresses and routes,
System V objects, the host name.

Addresses that the engine chose are named by what they are (own, gateway, network), so that those of two hosts
compare, and a route that the tenant made can be made again with the other host's.
"""

import ipaddress
import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from relocate_proxy.inventory import calls
from relocate_proxy.inventory.document import Fact
from relocate_proxy.kernel import shell

MOUNT, ROUTE, ADDRESS = "mount", "route", "address"
SYSTEM_V, HOST_NAME = "System V object", "host name"
RTM_GETADDR, RTM_GETROUTE = 22, 26
NLMSG_ERROR, NLMSG_DONE, DUMP = 2, 3, 0x301
HEADER = struct.Struct("=IHHII")
# Counts of attachments, times and pids change while nothing of the objects does.
COLUMNS = {
    "shm": ("key", "shmid", "perms", "size", "uid", "gid", "cuid", "cgid"),
    "sem": ("key", "semid", "perms", "nsems", "uid", "gid", "cuid", "cgid"),
    "msg": ("key", "msqid", "perms", "cbytes", "qnum", "uid", "gid", "cuid", "cgid"),
}
ROUTES = {6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"}  # rtnetlink(7): rtm_type


def mounts(text: str) -> Iterator[Fact]:
    """The lines of mountinfo, but for numbers, for where on the host they come from, and for when the time of
    access is written: CRIU gives a masked file's mount the kernel's default for that (mount(8), relatime)."""
    seen: dict[str, int] = {}
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        words = left.split()
        point, flags = words[4], words[5].replace(",relatime", "")
        seen[point] = seen.get(point, 0) + 1
        of = point if seen[point] == 1 else f"{point} ({seen[point]})"
        yield Fact(MOUNT, of, f"{right.split()[0]} {flags}")


def inside(pid: int, own: Mapping[str, str]) -> list[Fact]:
    """Of the network, IPC and UTS namespaces of a process. ``own``: the word for each of its addresses.
    Raises OSError."""
    found: list[Fact] = []
    errors: list[Exception] = []

    def enter() -> None:  # a thread of its own, which ends there
        try:
            calls.enter(pid, "net", "ipc", "uts")
            found.append(Fact(HOST_NAME, "container", socket.gethostname()))
            for name, columns in COLUMNS.items():
                found.extend(_system_v(name, columns))
            found.extend(_network(own))
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return found


def _system_v(name: str, columns: tuple[str, ...]) -> Iterator[Fact]:
    head, *rows = Path(f"/proc/sysvipc/{name}").read_text().splitlines()
    for row in rows:
        entry = dict(zip(head.split(), row.split(), strict=True))
        value = " ".join(f"{column} {entry[column]}" for column in columns if column in entry)
        yield Fact(SYSTEM_V, f"{name} {entry[columns[1]]}", value)


def _network(own: Mapping[str, str]) -> Iterator[Fact]:
    devices = dict(socket.if_nameindex())
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as route:
        addresses = [
            _address(message) for message in _dump(route, RTM_GETADDR, bytes([socket.AF_INET]) + bytes(7))
        ]
        routes = list(_dump(route, RTM_GETROUTE, bytes([socket.AF_INET]) + bytes(11)))
    found = [each for message in routes if (each := _route(message, devices))]
    words: dict[str, str] = {}
    for address, length, _ in addresses:
        if word := own.get(address):
            network = ipaddress.IPv4Interface(f"{address}/{length}").network
            words |= {address: f"({word})", str(network): f"({word}-network)"}
            gateways = [each.get("via", "") for each in found if each["dst"] == "default"]
            words |= {via: "(gateway)" for via in gateways if via and ipaddress.IPv4Address(via) in network}
    for address, length, index in addresses:
        yield Fact(ADDRESS, f"{words.get(address, address)}/{length} {devices.get(index)}", "there")
    for each in found:
        text = " ".join(f"{key} {words.get(value, value)}" for key, value in each.items() if key != "proto")
        yield Fact(ROUTE, text.removeprefix("dst "), "there")


def _dump(route: socket.socket, kind: int, request: bytes) -> Iterator[bytes]:
    route.send(HEADER.pack(HEADER.size + len(request), kind, DUMP, 0, 0) + request)
    while True:
        data, at = route.recv(1 << 18), 0
        while at + HEADER.size <= len(data):
            length, type_, *_ = HEADER.unpack_from(data, at)
            if type_ == NLMSG_DONE:
                return
            if type_ == NLMSG_ERROR:
                raise OSError("rtnetlink does not answer")
            yield data[at + HEADER.size : at + length]
            at += (length + 3) & ~3


def _attributes(data: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            break
        found[kind] = data[at + 4 : at + length]
        at += (length + 3) & ~3
    return found


def _address(message: bytes) -> tuple[str, int, int]:
    """Of an ifaddrmsg: address, prefix length, interface."""
    _, length, _, _, index = struct.unpack_from("=BBBBI", message)
    found = _attributes(message[8:])
    return socket.inet_ntoa(found.get(2) or found[1]), length, index


def _route(message: bytes, devices: dict[int, str]) -> dict[str, str]:
    """Of an rtmsg, as `ip route add` takes it; empty for what the kernel makes of addresses itself."""
    _, length, _, tos, table, protocol, _, type_, _ = struct.unpack_from("=BBBBBBBBI", message)
    found = _attributes(message[12:])
    if protocol == 2:
        return {}
    entry = {"dst": f"{socket.inet_ntoa(found[1])}/{length}" if 1 in found else "default"}
    if type_ != 1:
        entry = {"dst": f"{ROUTES.get(type_, f'type-{type_}')} {entry['dst']}"}
    if 5 in found:
        entry["via"] = socket.inet_ntoa(found[5])
    if 4 in found:
        index = int.from_bytes(found[4], "little")
        entry["dev"] = devices.get(index, str(index))
    if 7 in found:
        entry["src"] = socket.inet_ntoa(found[7])
    if 6 in found:
        entry["metric"] = str(int.from_bytes(found[6], "little"))
    table = int.from_bytes(found[15], "little") if 15 in found else table
    if table != 254:
        entry["table"] = str(table)
    if tos:
        entry["tos"] = str(tos)
    entry["proto"] = str(protocol)
    return entry


def mend(pid: int, own: Mapping[str, str], kind: str, of: str) -> None:
    """Make an address or a route of the tenant's again. Raises ToolError or ValueError."""
    words = _words(pid, own)
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip"]
    arguments = [words.get(word, word) for word in of.split()]
    if any(word.startswith(("(", "type-")) for word in arguments):
        raise ValueError("it depends on an address that this host's network has not")
    if kind == ADDRESS:
        shell.run([*command, "address", "add", arguments[0], "dev", arguments[1]])
    else:
        shell.run([*command, "route", "add", *arguments])


def _words(pid: int, own: Mapping[str, str]) -> dict[str, str]:
    """What the words for the engine's addresses mean on this host."""
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-json", "-4"]
    words = {f"({word})": address for address, word in own.items()}
    for link in json.loads(shell.run([*command, "address"])):
        for entry in link["addr_info"]:
            if word := own.get(entry["local"]):
                network = ipaddress.IPv4Interface(f"{entry['local']}/{entry['prefixlen']}").network
                words[f"({word}-network)"] = str(network)
    for entry in json.loads(shell.run([*command, "route"])):
        if entry["dst"] == "default" and "gateway" in entry:
            words["(gateway)"] = entry["gateway"]
    return words
