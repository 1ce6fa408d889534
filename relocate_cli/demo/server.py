"""The container of the demo: sends every line back with how many lines it has seen."""

import socket
import threading


def attend(connection: socket.socket) -> None:
    """Serve one client to the end of its connection."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    seen = 0
    with connection, connection.makefile("rwb", buffering=0) as stream:
        for line in stream:
            seen += 1
            stream.write(b"%s %d\n" % (line.strip(), seen))


if __name__ == "__main__":
    with socket.create_server(("0.0.0.0", 7000), backlog=16) as listener:
        print("ready", flush=True)
        while True:
            threading.Thread(target=attend, args=(listener.accept()[0],), daemon=True).start()
