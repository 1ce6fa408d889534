"""Connections that CRIU would pass over are seen."""

import os
import socket
import time

import pytest
from relocate_proxy.kernel.sockets import SocketDiagnosis

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace is entered by root only")


@needs_root
def test_who_waits_to_be_accepted_and_what_was_closed_unread() -> None:
    diagnosis = SocketDiagnosis(os.getpid())
    waiting, closed = diagnosis.waiting(), diagnosis.closed()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]
        assert (diagnosis.waiting(), diagnosis.closed()) == (waiting + 3, closed)
        accepted = [listener.accept()[0] for _ in clients]
        assert diagnosis.waiting() == waiting
        accepted[0].setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                accepted[0].send(bytes(1 << 16))
        accepted[0].close()
        assert diagnosis.closed() == closed + 1
        clients[0].settimeout(5)
        while clients[0].recv(1 << 16):
            pass
        deadline = time.monotonic() + 5
        while diagnosis.closed() > closed and time.monotonic() < deadline:
            time.sleep(0.01)
        assert diagnosis.closed() == closed
        for each in (*clients, *accepted):
            each.close()
    diagnosis.close()


@needs_root
def test_no_process_is_one_line() -> None:
    with pytest.raises(OSError):
        SocketDiagnosis(2**22 + 1)
