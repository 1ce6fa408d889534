"""Interfaces of this host, plugged and unplugged."""

import fcntl
import socket
import struct

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


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
