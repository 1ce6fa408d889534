"""Options of sockets that a program can set and read (socket(7), ip(7), ipv6(7), tcp(7), udp(7)), in the
order in which they are put back: IP_TOS changes SO_PRIORITY, SO_RCVLOWAT enlarges SO_RCVBUF, the size of a
buffer locks it.

Left out is what cannot be read without changing it (SO_ERROR, TCP_SAVED_SYN), what the kernel changes by
itself (TCP_QUICKACK, SO_INCOMING_CPU, TCP_MAXSEG and TCP_WINDOW_CLAMP of a connection), and what CRIU has not
put back yet when the copy is looked at (SO_REUSEADDR of a connection).
"""

import errno
import socket
from dataclasses import dataclass
from functools import cache

SOL_SOCKET, IP, TCP, UDP, IPV6 = 1, 0, 6, 17, 41
FATAL = frozenset({"IPV6_V6ONLY", "SO_ACCEPTCONN"})  # not to be set on a socket that is bound


@dataclass(frozen=True)
class Option:
    """``bytes_``: 0 for a number. ``forced``: by which root sets half of what is read."""

    label: str
    level: int
    name: int
    bytes_: int = 0
    forced: int = 0


def _options(level: int, table: str) -> tuple[Option, ...]:
    found = []
    for word in table.split():
        label, name, *more = word.split(":")
        found.append(Option(label, level, int(name), *map(int, more)))
    return tuple(found)


GENERAL = _options(
    SOL_SOCKET,
    """SO_ACCEPTCONN:30 SO_DONTROUTE:5 SO_BROADCAST:6 SO_KEEPALIVE:9 SO_OOBINLINE:10 SO_NO_CHECK:11
    SO_LINGER:13:8 SO_PASSCRED:16 SO_RCVTIMEO:20:16 SO_SNDTIMEO:21:16 SO_BINDTODEVICE:25:16 SO_TIMESTAMP:29
    SO_TIMESTAMPNS:35 SO_TIMESTAMPING:37:8 SO_PASSSEC:34 SO_MARK:36 SO_RXQ_OVFL:40 SO_PEEK_OFF:42
    SO_BUSY_POLL:46 SO_MAX_PACING_RATE:47:8 SO_ZEROCOPY:60 SO_PREFER_BUSY_POLL:69 SO_TXREHASH:74""",
)
REUSE = _options(SOL_SOCKET, "SO_REUSEADDR:2 SO_REUSEPORT:15")
BUFFERS = _options(
    SOL_SOCKET, "SO_PRIORITY:12 SO_RCVLOWAT:18 SO_SNDBUF:7:0:32 SO_RCVBUF:8:0:33 SO_BUF_LOCK:72"
)
IPV4 = _options(
    IP,
    """IP_TOS:1 IP_TTL:2 IP_OPTIONS:4:40 IP_RECVOPTS:6 IP_RETOPTS:7 IP_PKTINFO:8 IP_MTU_DISCOVER:10
    IP_RECVERR:11 IP_RECVTTL:12 IP_RECVTOS:13 IP_FREEBIND:15 IP_TRANSPARENT:19 IP_MINTTL:21
    IP_BIND_ADDRESS_NO_PORT:24 IP_MULTICAST_IF:32:4 IP_MULTICAST_TTL:33 IP_MULTICAST_LOOP:34
    IP_MULTICAST_ALL:49 IP_UNICAST_IF:50 IP_LOCAL_PORT_RANGE:51""",
)
IPV6_ = _options(
    IPV6,
    """IPV6_V6ONLY:26 IPV6_UNICAST_HOPS:16 IPV6_MULTICAST_IF:17 IPV6_MULTICAST_HOPS:18
    IPV6_MULTICAST_LOOP:19 IPV6_MTU_DISCOVER:23 IPV6_RECVERR:25 IPV6_MULTICAST_ALL:29
    IPV6_RECVPKTINFO:49 IPV6_RECVHOPLIMIT:51 IPV6_DONTFRAG:62 IPV6_RECVTCLASS:66 IPV6_TCLASS:67
    IPV6_AUTOFLOWLABEL:70 IPV6_MINHOPCOUNT:73 IPV6_FREEBIND:78""",
)
STREAM = _options(
    TCP,
    """TCP_CONGESTION:13:16 TCP_NODELAY:1 TCP_CORK:3 TCP_KEEPIDLE:4 TCP_KEEPINTVL:5 TCP_KEEPCNT:6
    TCP_SYNCNT:7 TCP_LINGER2:8 TCP_DEFER_ACCEPT:9 TCP_THIN_LINEAR_TIMEOUTS:16 TCP_USER_TIMEOUT:18
    TCP_FASTOPEN:23 TCP_NOTSENT_LOWAT:25 TCP_SAVE_SYN:27 TCP_FASTOPEN_CONNECT:30 TCP_INQ:36
    TCP_TX_DELAY:37""",
)
LISTENER = _options(TCP, "TCP_MAXSEG:2 TCP_WINDOW_CLAMP:10")
DATAGRAM = _options(UDP, "UDP_CORK:1 UDP_ENCAP:100 UDP_NO_CHECK6_TX:101 UDP_NO_CHECK6_RX:102 UDP_GRO:104")
NETLINK = _options(270, "NETLINK_PKTINFO:3 NETLINK_BROADCAST_ERROR:4 NETLINK_NO_ENOBUFS:5 NETLINK_CAP_ACK:10")
ALL = (*GENERAL, *REUSE, *IPV4, *IPV6_, *STREAM, *LISTENER, *DATAGRAM, *NETLINK, *BUFFERS)
BOTH = {"IP_TOS", "IP_TTL", "IP_LOCAL_PORT_RANGE"}  # of IPv4 packets that an IPv6 socket sends
# What does nothing on a connection, of which there may be thousands.
IDLE_ON_CONNECTION = frozenset(
    [
        "SO_ACCEPTCONN",
        "SO_BROADCAST",
        "SO_NO_CHECK",
        "SO_RXQ_OVFL",
        "SO_PASSCRED",
        "SO_PASSSEC",
        "IP_RECVOPTS",
        "IP_RETOPTS",
        "IP_PKTINFO",
        "IP_RECVTTL",
        "IP_RECVTOS",
        "IP_BIND_ADDRESS_NO_PORT",
        "IP_LOCAL_PORT_RANGE",
        "IP_MULTICAST_IF",
        "IP_MULTICAST_TTL",
        "IP_MULTICAST_LOOP",
        "IP_MULTICAST_ALL",
        "IP_UNICAST_IF",
        "IPV6_MULTICAST_IF",
        "IPV6_MULTICAST_HOPS",
        "IPV6_MULTICAST_LOOP",
        "IPV6_MULTICAST_ALL",
        "IPV6_V6ONLY",
        "TCP_DEFER_ACCEPT",
        "TCP_FASTOPEN",
        "TCP_SAVE_SYN",
        "TCP_FASTOPEN_CONNECT",
    ]
)
BY_LABEL: dict[str, Option] = {option.label: option for option in ALL}
ORDER: dict[str, int] = {label: place for place, label in enumerate(BY_LABEL)}


def read(source: socket.socket, option: Option) -> str | int:
    """The value: a number, or bytes in hexadecimal. Raises OSError where there is no such option."""
    if option.bytes_:
        return source.getsockopt(option.level, option.name, option.bytes_).hex()
    return source.getsockopt(option.level, option.name)


def write(target: socket.socket, option: Option, value: str | int) -> None:
    """Raises OSError or ValueError when the kernel does not take it."""
    if isinstance(value, str):
        target.setsockopt(option.level, option.name, bytes.fromhex(value))
    elif option.forced:
        target.setsockopt(option.level, option.forced, value // 2)  # the kernel doubles it (socket(7))
    else:
        target.setsockopt(option.level, option.name, value)


def table(family: int, type_: int, protocol: int, connected: bool) -> tuple[Option, ...]:
    """Those that a socket of this kind has."""
    found = GENERAL
    if not (protocol == TCP and connected):
        found += REUSE
    if family in (socket.AF_INET, socket.AF_INET6):
        found += IPV4 if family == socket.AF_INET else IPV6_ + tuple(o for o in IPV4 if o.label in BOTH)
        if protocol == TCP:
            found += STREAM if connected else STREAM + LISTENER
        elif protocol == UDP:
            found += DATAGRAM
    elif family == socket.AF_NETLINK:
        found += NETLINK
    if protocol == TCP and connected:
        return tuple(option for option in found + BUFFERS if option.label not in IDLE_ON_CONNECTION)
    return found + BUFFERS


@cache
def usable(family: int, type_: int, protocol: int, connected: bool) -> tuple[Option, ...]:
    """Those of ``table`` that this kernel has, as a socket of our own says."""
    options = table(family, type_, protocol, connected)
    try:
        own = socket.socket(family, type_, protocol)
    except OSError:
        return options
    with own:
        return tuple(option for option in options if _has(own, option))


def _has(own: socket.socket, option: Option) -> bool:
    try:
        read(own, option)
    except OSError as error:
        return error.errno not in (errno.ENOPROTOOPT, errno.EOPNOTSUPP)
    return True
