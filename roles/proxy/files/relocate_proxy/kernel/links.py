"""Interfaces of this host: which one leads into a container, and how it is plugged and unplugged."""

import fcntl
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

from relocate_proxy.kernel import shell

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
RTM_NEWNSID, RTM_GETNSID, NLM_F_REQUEST = 88, 90, 1
NETNSA_NSID, NETNSA_FD = 1, 3
HEADER = struct.Struct("=IHHII")


class LinkError(Exception):
    """There is not exactly one link that leads from the bridge to the container."""


def of_container(sandbox: str, bridge: str) -> str:
    """Name of the host's end of the cable between ``bridge`` and a container's network namespace, which the
    engine has at ``sandbox``.

    Everything is read on the host's side. What a container says of its own interfaces (names, numbers, the
    number of their other end) is its tenant's to choose, if he has NET_ADMIN. Raises LinkError or OSError.
    """
    listing = json.loads(shell.run(["ip", "-json", "link", "show", "type", "veth", "master", bridge]) or "[]")
    found = leading_to(listing, bridge, namespace_of(sandbox))
    if len(found) != 1:
        raise LinkError(f"{len(found)} links lead from {bridge} to it")
    return found[0]


def leading_to(listing: list[dict[str, Any]], bridge: str, namespace: int) -> list[str]:
    """Names of the links on ``bridge`` whose other end is in ``namespace``, by `ip -json link show`."""
    return [
        str(link["ifname"])
        for link in listing
        if link.get("master") == bridge and namespace >= 0 and link.get("link_netnsid") == namespace
    ]


def namespace_of(path: str) -> int:
    """The number by which this host's links name a network namespace; -1 if none leads there. Raises OSError
    (rtnetlink(7), RTM_GETNSID)."""
    with (
        Path(path).open("rb") as namespace,
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel,
    ):
        attribute = struct.pack("=HHI", 8, NETNSA_FD, namespace.fileno())
        request = struct.pack("=B3x", socket.AF_UNSPEC) + attribute
        kernel.send(HEADER.pack(HEADER.size + len(request), RTM_GETNSID, NLM_F_REQUEST, 0, 0) + request)
        data = kernel.recv(4096)
    _, kind, *_ = HEADER.unpack_from(data)
    if kind != RTM_NEWNSID:
        (code,) = struct.unpack_from("=i", data, HEADER.size)
        raise OSError(-code, os.strerror(-code))
    at = HEADER.size + 4
    while at + 8 <= len(data):
        length, name, value = struct.unpack_from("=HHi", data, at)
        if name == NETNSA_NSID:
            return int(value)
        at += max(4, (length + 3) & ~3)
    return -1


def set_link(name: str, up: bool) -> None:
    """Plug or unplug an interface of this host (netdevice(7)), in microseconds where `ip` takes
    milliseconds.

    Raises OSError when there is no such interface.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", name.encode(), 0)
        (flags,) = struct.unpack_from("=H", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request), 16)
        flags = flags | IFF_UP if up else flags & ~IFF_UP
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), flags))
