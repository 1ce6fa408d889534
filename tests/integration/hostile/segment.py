"""A machine on a wire that speaks ARP as it likes: it asks who has an address, or says that it has all."""

import fcntl
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv4Network

from relocate_cli.testbed.bed import Testbed

ARP, REQUEST, REPLY = 0x0806, 1, 2
SIOCGIFADDR = 0x8915
BROADCAST = b"\xff" * 6
PATIENCE = 0.6


def _wire(bed: Testbed, machine: str, interface: str) -> socket.socket:
    with bed.entered(machine):
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP))
        wire.bind((interface, ARP))
    wire.settimeout(0.1)
    return wire


def _packet(kind: int, hardware: bytes, own: bytes, to: bytes, address: bytes) -> bytes:
    ethernet = (BROADCAST if kind == REQUEST else to) + hardware + struct.pack("!H", ARP)
    return ethernet + struct.pack(
        "!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, kind, hardware, own, to if kind == REPLY else bytes(6), address
    )


def who_has(bed: Testbed, address: str, interface: str = "wan0", machine: str = "client") -> set[str]:
    """The hardware addresses that answer for an address."""
    found = set()
    with _wire(bed, machine, interface) as wire:
        hardware = wire.getsockname()[4]
        with bed.entered(machine), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            name = struct.pack("16sH14x", interface.encode(), socket.AF_INET)
            own = fcntl.ioctl(any_socket, SIOCGIFADDR, name)[20:24]
        asked = IPv4Address(address).packed
        wire.send(_packet(REQUEST, hardware, own, BROADCAST, asked))
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                heard = wire.recv(128)
            except TimeoutError:
                continue
            if heard[20:22] == struct.pack("!H", REPLY) and heard[28:32] == asked:
                found.add(heard[22:28].hex(":"))
    return found


@contextmanager
def liar(bed: Testbed, pool: IPv4Network) -> Iterator[None]:
    """Somebody beside the client who answers for every address of ``pool``, each under another name."""
    ended = threading.Event()
    wire = _wire(bed, "client", "wan0")

    def lie() -> None:
        while not ended.is_set():
            try:
                heard = wire.recv(128)
            except TimeoutError:
                continue
            address = heard[38:42]
            if heard[20:22] == struct.pack("!H", REQUEST) and IPv4Address(address) in pool:
                wire.send(_packet(REPLY, b"\x02\x66" + address, address, heard[6:12], heard[28:32]))

    thread = threading.Thread(target=lie, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        wire.close()
