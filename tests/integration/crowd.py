"""Many clients of one container, all on one connection each, which stays."""

import resource
import select
import time
from concurrent.futures import ThreadPoolExecutor

from harness import ECHO, Lab

# The tenant has a thread for each connection; this one waits for all of them in one: python3 -c SERVER
SERVER = """
import select, socket
listener = socket.create_server(("0.0.0.0", 7000), backlog=4096)
poll, clients = select.epoll(), {}
poll.register(listener, select.EPOLLIN)
while True:
    for number, _ in poll.poll():
        if number == listener.fileno():
            client, _ = listener.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            clients[client.fileno()] = client
            poll.register(client, select.EPOLLIN)
        else:
            data = clients[number].recv(65536)
            if data:
                clients[number].sendall(data)
            else:
                del clients[number]
"""


class Crowd:
    """``size`` connections to one container, each asked a number whenever all are."""

    def __init__(self, lab: Lab, name: str, size: int) -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        with ThreadPoolExecutor(16) as pool:
            self.connections = list(pool.map(lambda _: lab.connect(name, ECHO), range(size)))
        self.numbers = {connection.fileno(): 0 for connection in self.connections}
        self.failures: list[str] = []

    def ask_all(self) -> None:
        """A number to each connection, which must come back over it. Notes those where it does not."""
        waiting = {connection.fileno(): connection for connection in self.connections}
        poll = select.epoll()
        for number, connection in waiting.items():
            self.numbers[number] += 1
            connection.sendall(b"%d\n" % self.numbers[number])
            poll.register(number, select.EPOLLIN)
        deadline = time.monotonic() + 30
        while waiting and time.monotonic() < deadline:
            for number, _ in poll.poll(1):
                poll.unregister(number)
                connection = waiting.pop(number)
                try:
                    heard = connection.recv(100)
                except OSError as error:
                    heard = str(error).encode()
                if heard != b"%d\n" % self.numbers[number]:
                    self.failures.append(f"connection {number}: {heard!r}")
        self.failures += [f"connection {number}: no answer" for number in waiting]

    def close(self) -> None:
        for connection in self.connections:
            connection.close()
