"""A target: sends every line back with how many lines it has seen; whoever asks who it is, is told.

Its name is in TARGET; the number beside it is another one whenever the process is another one.
"""

import contextlib
import os
import secrets
import socket
import threading

PROCESS = secrets.token_hex(4)


def attend(connection: socket.socket) -> None:
    """Serve one client to the end of its connection."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    seen = 0
    with connection, connection.makefile("rwb", buffering=0) as stream:
        for line in stream:
            if line == b"who\n":
                stream.write(f"{os.environ['TARGET']} {PROCESS}\n".encode())
            else:
                seen += 1
                stream.write(b"%s %d\n" % (line.strip(), seen))


def serve(connection: socket.socket) -> None:
    """The same; a neighbour who hangs up concerns himself alone."""
    with contextlib.suppress(OSError):
        attend(connection)


if __name__ == "__main__":
    with socket.create_server(("0.0.0.0", 7000), backlog=64) as listener:
        print("ready", flush=True)
        while True:
            threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
