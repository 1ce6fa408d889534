"""The terminal of a container that comes here.

containerd wants a terminal's master when it creates a container (go-runc: ConsoleSocket), and CRIU makes the
container's own terminal only when it restores it. So containerd gets another, and what comes out of the one
goes into the other, for as long as the container lives.
"""

import contextlib
import fcntl
import os
import signal
import socket
import struct
import termios
import threading
import tty
from pathlib import Path
from typing import Any

BLOCK_BYTES = 1 << 16
WINDOW = struct.Struct("4H")  # struct winsize


class Terminal:
    """``inner``, the container's, and ``outer``, containerd's."""

    def __init__(self, console: Path, place: Path) -> None:
        """Give containerd a master at its socket ``console``, and wait at ``place`` for runc's.

        Raises OSError.
        """
        self.place = place
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(place))
        self.listener.listen()
        master, self.outer = os.openpty()
        tty.setraw(self.outer)
        with socket.socket(socket.AF_UNIX) as containerd:
            containerd.connect(str(console))
            socket.send_fds(containerd, [b"/dev/ptmx"], [master])
        os.close(master)

    def relay(self) -> None:
        """Carry until the container has ended, or containerd's end is closed. For a process of its own, the
        leader of a session without a terminal, after `runc restore`."""
        connection, _ = self.listener.accept()
        _, (inner,), _, _ = socket.recv_fds(connection, 4096, 1)
        connection.close()
        self.listener.close()
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        fcntl.ioctl(self.outer, termios.TIOCSCTTY, 0)  # so that it hears of a window's new size
        signal.signal(signal.SIGWINCH, lambda *_: self._resize(inner))
        threading.Thread(target=_carry, args=(self.outer, inner), daemon=True).start()
        _carry(inner, self.outer)

    def _resize(self, inner: int) -> None:
        with contextlib.suppress(OSError):  # it has ended
            size: Any = fcntl.ioctl(self.outer, termios.TIOCGWINSZ, bytes(WINDOW.size))
            fcntl.ioctl(inner, termios.TIOCSWINSZ, size)


def _carry(source: int, sink: int) -> None:
    """Until either end is closed, which a terminal says by an error (EIO)."""
    with contextlib.suppress(OSError):
        while data := os.read(source, BLOCK_BYTES):
            while data:
                data = data[os.write(sink, data) :]
