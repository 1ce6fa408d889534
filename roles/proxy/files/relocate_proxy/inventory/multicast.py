"""Memberships of multicast groups (RFC 3376), which belong to sockets: the kernel tells which groups a
namespace is in (/proc/net/igmp), and a socket whether it is one that wants a group (MCAST_MSFILTER)."""

import ctypes
import os
import socket
import struct
from dataclasses import dataclass

from relocate_proxy.inventory.calls import LIBC

MEMBERSHIP = "multicast membership"
ALL_HOSTS = "224.0.0.1"  # of which every host is a member (RFC 1112)
MCAST_JOIN_GROUP, MCAST_MSFILTER = 42, 48
ADDRESS = struct.Struct("=H2x4s120x")  # sockaddr_storage
REQUEST = struct.Struct("=I4x128s")  # group_req, and how a group_filter begins
MOST_SOURCES = 32


@dataclass(frozen=True)
class Groups:
    """Devices of a namespace with their numbers, and which groups somebody wants on them."""

    devices: dict[str, int]
    wanted: tuple[tuple[str, str], ...]  # device, group


def groups(igmp: str) -> Groups:
    """Of the lines of /proc/net/igmp."""
    devices: dict[str, int] = {}
    wanted: list[tuple[str, str]] = []
    device = ""
    for line in igmp.splitlines()[1:]:
        words = line.split()
        if not line.startswith("\t"):
            device = words[1]
            devices[device] = int(words[0])
        elif (group := socket.inet_ntoa(bytes.fromhex(words[0])[::-1])) != ALL_HOSTS:
            wanted.append((device, group))
    return Groups(devices, tuple(wanted))


def read(descriptor: int, of: Groups) -> list[tuple[str, str]]:
    """Each group that a socket wants, as ``eth0 239.1.2.3``, with the sources from which it does or does not
    (hexadecimal: mode, number, addresses)."""
    found = []
    for device, group in of.wanted:
        begin = _begin(of.devices[device], group)
        buffer = ctypes.create_string_buffer(begin + bytes(8 + 128 * MOST_SOURCES))
        struct.pack_into("=I", buffer, 140, MOST_SOURCES)
        length = ctypes.c_int(len(buffer) - 1)
        if LIBC.getsockopt(descriptor, socket.IPPROTO_IP, MCAST_MSFILTER, buffer, ctypes.byref(length)) == 0:
            (count,) = struct.unpack_from("=I", buffer, 140)
            end = 144 + 128 * min(count, MOST_SOURCES)
            found.append((f"{device} {group}", buffer.raw[136:end].hex().rstrip("0")))
    return found


def join(descriptor: int, of: Groups, which: str, value: str) -> None:
    """Make a socket a member again. Raises OSError, or KeyError without that device."""
    device, group = which.split()
    begin = _begin(of.devices[device], group)
    _set(descriptor, MCAST_JOIN_GROUP, begin)
    sources = bytes.fromhex(value + "0" * (-len(value) % 2)).ljust(8, b"\0")
    (count,) = struct.unpack_from("=I", sources, 4)
    if count:
        _set(descriptor, MCAST_MSFILTER, begin + sources.ljust(8 + 128 * count, b"\0"))


def _begin(index: int, group: str) -> bytes:
    return REQUEST.pack(index, ADDRESS.pack(socket.AF_INET, socket.inet_aton(group)))


def _set(descriptor: int, name: int, value: bytes) -> None:
    if LIBC.setsockopt(descriptor, socket.IPPROTO_IP, name, value, len(value)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
