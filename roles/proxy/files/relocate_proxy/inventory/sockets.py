"""One socket, through a duplicate of its descriptor: state, addresses, queues, options; and mending it."""

import fcntl
import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

from relocate_proxy.inventory import calls, multicast, options
from relocate_proxy.inventory.document import Value
from relocate_proxy.inventory.multicast import Groups

TCP, TCP_INFO, STATE_CLOSE, STATE_LISTEN = 6, 11, 7, 10
INTERNET = (int(socket.AF_INET), int(socket.AF_INET6))
F_GETFL, F_GETOWN = fcntl.F_GETFL, fcntl.F_GETOWN
MOST_WAITING = struct.Struct("=28xI")  # in tcp_info of a listener: its backlog
F_SETSIG, F_GETSIG = 10, 11
JOINED = (int(socket.SOCK_STREAM), int(socket.SOCK_SEQPACKET))
LISTENS = (socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
SIOCINQ, SIOCOUTQ = 0x541B, 0x5411
OWN = "own"  # in place of the container's first address, which is another on each host; then own1, …
STATE, BACKLOG, UID, FLAGS = "state", "backlog", "user", "status flags"
SIGIO_OWNER, SIGIO_SIGNAL = "SIGIO owner", "SIGIO signal"
OF_ALL = (STATE, BACKLOG, UID, FLAGS, SIGIO_OWNER, SIGIO_SIGNAL)


Raw = int | bytes | None
Own = Mapping[str, str]  # address: the word that stands for it
Profile = tuple[int, int, int, bool]  # family, type, protocol, whether it is connected


class Found(NamedTuple):
    """A socket as it is; ``values`` are those of the labels of ``profile``, as the kernel gives them."""

    profile: Profile
    values: tuple[Raw, ...]
    name: str
    peer: str
    received: int
    unsent: int
    memberships: list[tuple[str, str]]


def named(addresses: Sequence[str]) -> Own:
    """The word for each of a container's addresses."""
    return {address: f"{OWN}{number or ''}" for number, address in enumerate(addresses) if address}


def read(descriptor: int, own: Own, pids: dict[int, int], groups: Groups) -> Found:
    """Takes the descriptor over and closes it. ``own``: the container's addresses; ``pids``: the pids of its
    processes as they are in it, by what they are here; ``groups``: of its namespace.

    There may be thousands, and the copy's are read while its clients wait: SocketType is Python's socket
    without what makes it pleasant.
    """
    found = socket.SocketType(fileno=descriptor)
    try:
        family, type_, protocol = found.family, found.type & 0xF, found.proto
        stream = protocol == TCP and family in INTERNET
        state, backlog = _state(found) if stream else (0, None)
        connected = stream and state not in (STATE_CLOSE, STATE_LISTEN)
        profile = family, type_, protocol, connected
        owner = fcntl.fcntl(descriptor, F_GETOWN)
        values: list[Raw] = [state, backlog, os.fstat(descriptor).st_uid]
        values += (
            fcntl.fcntl(descriptor, F_GETFL),
            pids.get(owner, owner),
            fcntl.fcntl(descriptor, F_GETSIG),
        )
        getsockopt = found.getsockopt
        for level, name, length in _requests(profile):
            try:
                values.append(getsockopt(level, name, length) if length else getsockopt(level, name))
            except OSError:
                values.append(None)
        return Found(
            profile,
            tuple(values),
            _address(found, found.getsockname, own),
            _address(found, found.getpeername, own),
            _queue(descriptor, SIOCINQ) if state != STATE_LISTEN else 0,
            _queue(descriptor, SIOCOUTQ) if connected else 0,
            multicast.read(descriptor, groups)
            if groups.wanted and family == INTERNET[0] and not stream
            else [],
        )
    finally:
        found.close()


@cache
def _requests(profile: Profile) -> list[tuple[int, int, int]]:
    return [(option.level, option.name, option.bytes_) for option in options.usable(*profile)]


@cache
def labels(profile: Profile) -> tuple[str, ...]:
    """What the values of a socket of this profile are."""
    return (*OF_ALL, *(option.label for option in options.usable(*profile)))


def values(found: Found, own: Own) -> tuple[Value, ...]:
    """Its values as a document has them."""
    plain: list[Value] = [each.hex() if isinstance(each, bytes) else each for each in found.values]
    if own and "IP_MULTICAST_IF" in (names := labels(found.profile)):
        at = names.index("IP_MULTICAST_IF")
        interfaces = {socket.inet_aton(address).hex(): word for address, word in own.items()}
        plain[at] = interfaces.get(str(plain[at]), plain[at])  # named by the container's address
    if "SO_LINGER" in (names := labels(found.profile)):
        at = names.index("SO_LINGER")
        if str(plain[at]).startswith("00000000"):
            plain[at] = "0" * 16  # how long it would, if it did
    return tuple(plain)


def _state(found: socket.SocketType) -> tuple[int, int | None]:
    info = found.getsockopt(TCP, TCP_INFO, 32)
    return info[0], MOST_WAITING.unpack(info)[0] if info[0] == STATE_LISTEN else None


def _address(found: socket.SocketType, ask: Callable[[], Any], own: Own) -> str:
    try:
        address = ask()
    except OSError:
        return ""
    if found.family == socket.AF_UNIX and found.type & 0xF in JOINED and not found.getsockopt(*LISTENS):
        return ""  # CRIU joins the two ends without the name by which they met
    if found.family in INTERNET:
        host, port = address[:2]
        return f"{own.get(host.removeprefix('::ffff:'), host)}:{port}"
    if isinstance(address, bytes):
        return "@" + address.hex()
    if found.family == socket.AF_PACKET:
        return f"{address[0]}:{address[1]}"
    return str(address)


def _queue(descriptor: int, request: int) -> int:
    try:
        return int(struct.unpack("=i", fcntl.ioctl(descriptor, request, bytes(4)))[0])
    except OSError:
        return 0


def mend(found: socket.socket, label: str, value: str | int, pids: dict[int, int], own: Own) -> None:
    """Put one value right. ``pids``: as for `read`, the other way round.

    Raises OSError or ValueError when the kernel refuses.
    """
    descriptor = found.fileno()
    match label, value:
        case "user", int():
            os.fchown(descriptor, value, -1)
        case "status flags", int():
            fcntl.fcntl(descriptor, fcntl.F_SETFL, value)
        case "SIGIO owner", int():
            fcntl.fcntl(descriptor, fcntl.F_SETOWN, pids.get(value, value))
        case "SIGIO signal", int():
            fcntl.fcntl(descriptor, F_SETSIG, value)
        case "backlog", int():
            calls.listen(descriptor, value)
        case "IP_MULTICAST_IF", word if word in own.values():
            address = next(address for address, each in own.items() if each == word)
            options.write(found, options.BY_LABEL[label], socket.inet_aton(address).hex())
        case _:
            options.write(found, options.BY_LABEL[label], value)
