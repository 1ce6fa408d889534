"""ProxyCommand of the testbed's SSH configuration: connects in this network namespace for ssh."""

import socket
import sys

with (
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10) as connection,
    socket.socket(fileno=1) as ssh,
):
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    socket.send_fds(ssh, [b"\0"], [connection.fileno()])
