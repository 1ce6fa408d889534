"""The terminal between containerd's and a restored container's."""

import fcntl
import os
import signal
import socket
import struct
import termios
import time
import tty
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from relocate_proxy.criu.terminal import Terminal

SECONDS = 5.0


@dataclass
class Line:
    """``outer``: containerd's master; ``inner``: the container's end; ``carrier``: who is in between."""

    outer: int
    inner: int
    carrier: int

    def read(self, end: int, size: int) -> bytes:
        os.set_blocking(end, False)
        found, deadline = b"", time.monotonic() + SECONDS
        while len(found) < size and time.monotonic() < deadline:
            try:
                found += os.read(end, size)
            except BlockingIOError:
                time.sleep(0.005)
        return found


def listening(path: Path) -> socket.socket:
    here = socket.socket(socket.AF_UNIX)
    here.bind(str(path))
    here.listen()
    return here


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    containerd = listening(tmp_path / "containerd")
    carrier = os.fork()
    if carrier == 0:
        try:
            os.setsid()
            Terminal(tmp_path / "containerd", tmp_path / "place").relay()
        finally:
            os._exit(0)
    connection, _ = containerd.accept()
    name, (outer,), _, _ = socket.recv_fds(connection, 4096, 1)
    assert name  # go-runc takes no empty one
    master, inner = os.openpty()
    tty.setraw(inner)
    with socket.socket(socket.AF_UNIX) as runc:
        runc.connect(str(tmp_path / "place"))
        socket.send_fds(runc, [b"x"], [master])
    os.close(master)
    yield Line(outer, inner, carrier)
    for descriptor in (outer, inner):
        try:
            os.close(descriptor)
        except OSError:
            continue  # the test has closed it
    os.kill(carrier, signal.SIGKILL)
    os.waitpid(carrier, 0)


def test_what_one_end_writes_the_other_reads_as_it_is(line: Line) -> None:
    os.write(line.inner, b"a\nb\x04\x00\r")
    assert line.read(line.outer, 7) == b"a\nb\x04\x00\r"
    os.write(line.outer, b"\x03typed\n")
    assert line.read(line.inner, 7) == b"\x03typed\n"


def test_a_window_keeps_its_size(line: Line) -> None:
    os.write(line.inner, b"x")
    assert line.read(line.outer, 1) == b"x", "it carries now"
    fcntl.ioctl(line.outer, termios.TIOCSWINSZ, struct.pack("4H", 30, 90, 0, 0))
    deadline = time.monotonic() + SECONDS
    while (size := struct.unpack("4H", fcntl.ioctl(line.inner, termios.TIOCGWINSZ, bytes(8)))[:2]) != (
        30,
        90,
    ):
        assert time.monotonic() < deadline, size
        time.sleep(0.01)


def test_the_end_of_the_container_ends_it_after_its_last_words(line: Line) -> None:
    os.write(line.inner, b"last words")
    os.close(line.inner)
    assert line.read(line.outer, 10) == b"last words"
    deadline = time.monotonic() + SECONDS
    while (ended := os.waitid(os.P_PID, line.carrier, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert ended.si_status == 0
