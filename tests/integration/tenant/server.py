"""A tenant who knows nothing of relocations: echo, push, download, UDP, and a console for the tests.

TCP 7000 sends every line back. 7001 pushes numbered lines, one each 2 ms. 7002 sends as many pseudo-random
bytes as the first line says. 7003 runs a line of Python (a JSON string) and sends ``answer`` back as JSON.
UDP 7000 answers with the datagram and this container's address.
"""

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import BinaryIO

PUSH_SECONDS = 0.002
BLOCK = 1 << 16


def blocks(size: int) -> Iterator[bytes]:
    """``size`` bytes, whole blocks of a hash chain: the same each time, and no two blocks alike."""
    for number in range(size // BLOCK):
        yield hashlib.sha256(str(number).encode()).digest() * (BLOCK // 32)


def echo(stream: BinaryIO) -> None:
    for line in stream:
        stream.write(line)


def push(stream: BinaryIO) -> None:
    number = 0
    while True:
        stream.write(b"%d\n" % number)
        number += 1
        time.sleep(PUSH_SECONDS)


def download(stream: BinaryIO) -> None:
    for block in blocks(int(stream.readline())):
        while block:
            block = block[stream.write(block) :]


def console(stream: BinaryIO) -> None:
    state: dict[str, object] = {"time": time, "socket": socket, "threading": threading}
    for line in stream:
        state["answer"] = None
        try:
            exec(json.loads(line), state)
            stream.write(json.dumps({"answer": state["answer"]}).encode() + b"\n")
        except Exception as error:
            stream.write(json.dumps({"error": repr(error)}).encode() + b"\n")


def own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("203.0.113.2", 9))
        return str(probe.getsockname()[0])


def udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.bind(("0.0.0.0", 7000))
        while True:
            data, peer = here.recvfrom(2048)
            here.sendto(data + b" " + own_address().encode(), peer)


def serve(port: int, service: Callable[[BinaryIO], None]) -> None:
    with socket.create_server(("0.0.0.0", port), backlog=64) as listener:
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=attend, args=(connection, service), daemon=True).start()


def attend(connection: socket.socket, service: Callable[[BinaryIO], None]) -> None:
    try:
        with connection, connection.makefile("rwb", buffering=0) as stream:
            service(stream)
    except OSError:
        pass


if __name__ == "__main__":
    for port, service in ((7000, echo), (7001, push), (7002, download)):
        threading.Thread(target=serve, args=(port, service), daemon=True).start()
    threading.Thread(target=udp, daemon=True).start()
    print("first line of the log", flush=True)
    serve(7003, console)
