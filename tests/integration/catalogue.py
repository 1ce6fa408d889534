"""The applications that move under load: web servers, a store, a data base, runtimes, a shell."""

import hashlib
import http.client
import subprocess
from collections.abc import Callable

from applications import PACE, Application, Client, Clients, Running, in_tree
from talk import PATIENCE

# HTTP


class Http:
    """One keep-alive connection to a server."""

    def __init__(self, running: Running) -> None:
        self.connection = http.client.HTTPConnection(running.vip, running.port, timeout=PATIENCE)
        self.connection.auto_open = 0  # a connection that ended is a failure, not a reason for a new one
        self.connection.sock = running.connect()

    def get(self, path: str) -> bytes:
        """The body. Raises AssertionError if the server says anything but 200."""
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        body = answer.read()
        assert answer.status == 200, f"{path}: {answer.status} {answer.reason}"
        return body


def _numbers(running: Running) -> Callable[[int], None]:
    """Requests to a server that answers the path with it."""
    server = Http(running)

    def ask(number: int) -> None:
        body = server.get(f"/{number}")
        assert body == b"%d" % number, f"{body[:40]!r} instead of {number}"

    return ask


def _events(running: Running) -> Callable[[int], None]:
    """Server-sent events, numbered from 0."""
    connection = running.connect()
    connection.sendall(b"GET /events HTTP/1.1\r\nHost: relocate\r\n\r\n")
    stream = connection.makefile("rb")

    def hear(number: int) -> None:
        while not (line := stream.readline()).startswith(b"data:"):
            assert line, "the stream ended"
        assert line == b"data: %d\n" % number, f"{line!r} instead of event {number}"

    return hear


# nginx

NGINX = """
head -c 262144 /dev/urandom >/var/www/html/page; head -c 33554432 /dev/urandom >/var/www/html/long
cat >/etc/nginx/nginx.conf <<END
user www-data; worker_processes 2; daemon off; error_log stderr;
events { worker_connections 512; }
http {
    sendfile on; keepalive_requests 1000000;
    server { listen 8080; root /var/www/html; location /long { limit_rate 3m; } }
}
END
exec nginx
"""


def _nginx_load(running: Running) -> Clients:
    page, long = (running.inside(f"sha256sum /var/www/html/{name}").split()[0] for name in ("page", "long"))

    def file(name: str, wanted: str) -> Callable[[int], None]:
        server = Http(running)

        def get(_: int) -> None:
            assert hashlib.sha256(server.get(f"/{name}")).hexdigest() == wanted, f"{name} is not what it was"

        return get

    probe = Http(running)
    return Clients(
        Client(lambda _: probe.get("/index.nginx-debian.html")),
        *(Client(file("page", page), 0.02) for _ in range(4)),
        *(Client(file("long", long), 0.1) for _ in range(2)),
    )


# redis

REDIS = """
exec setpriv --reuid=redis --regid=redis --init-groups redis-server \\
    --dir /var/lib/redis --bind 0.0.0.0 --protected-mode no --appendonly yes
"""


def _redis_load(running: Running) -> Clients:
    connection = running.connect()
    stream = connection.makefile("rwb", buffering=0)

    def count(number: int) -> None:
        stream.write(b"INCR counter\r\n")
        answer = stream.readline()
        assert answer == b":%d\r\n" % (number + 1), answer

    host = ("-h", running.vip)
    load = ("-c", "20", "-l", "-q", "-t", "set,get,incr,lpush,lpop")
    return Clients(Client(count), running.program("redis-benchmark", *host, *load))


def _redis_judge(running: Running) -> list[str]:
    """What the append-only file gives back is what was answered."""
    counter = running.inside("redis-cli get counter")
    (host,) = running.lab.where(running.name)
    running.lab.docker(host, "restart", "--time", "30", running.name)
    after = running.inside("until redis-cli ping | grep -q PONG; do sleep 0.1; done; redis-cli get counter")
    return [] if counter == after else [f"the counter was {counter}; from the append-only file came {after}"]


# PostgreSQL

POSTGRESQL = """
bin=$(echo /usr/lib/postgresql/*/bin); data=/var/lib/postgresql/data
if [ ! -e $data ]; then
    su postgres -c "$bin/initdb --no-sync --auth=trust $data"
    echo 'host all all all trust' >>$data/pg_hba.conf
fi
mkdir -p /run/postgresql; chown postgres /run/postgresql; cd /
exec setpriv --reuid=postgres --regid=postgres --init-groups $bin/postgres -D $data -c listen_addresses='*'
"""


def _postgresql_load(running: Running) -> Clients:
    access = ("--host", running.vip, "--username", "postgres")
    running.connect().close()
    made = in_tree(
        running.lab, running.tree, "pgbench", *access, "--initialize", "--quiet", "--scale=2", "postgres"
    )
    subprocess.run(made, check=True, capture_output=True)
    load = ("--client=4", "--time=100000", "--no-vacuum", "postgres")
    return Clients(Client(_postgresql_query(running)), running.program("pgbench", *access, *load))


def _postgresql_query(running: Running) -> Callable[[int], None]:
    """Asks for a number and gets it (PostgreSQL's protocol 3.0, simple query)."""
    connection = running.connect()
    stream = connection.makefile("rwb")

    def send(kind: bytes, text: bytes) -> None:
        stream.write(kind + (len(text) + 4).to_bytes(4, "big") + text)
        stream.flush()

    def until_ready() -> list[bytes]:
        found = []
        while head := stream.read(5):
            body = stream.read(int.from_bytes(head[1:], "big") - 4)
            assert head[:1] != b"E", body
            if head[:1] == b"D":
                found.append(body[6:])
            if head[:1] == b"Z":
                return found
        raise ConnectionError("the server hung up")

    send(b"", (196608).to_bytes(4, "big") + b"user\0postgres\0\0")
    until_ready()

    def ask(number: int) -> None:
        send(b"Q", b"SELECT %d\0" % number)
        answer = until_ready()
        assert answer == [b"%d" % number], answer

    return ask


def _postgresql_judge(running: Running) -> list[str]:
    """Of each transaction all four rows are there, or none."""
    sums = "SELECT (SELECT sum({0}balance) FROM pgbench_{1})"
    tables = (("a", "accounts"), ("b", "branches"), ("t", "tellers"))
    found = [running.inside(f"psql -U postgres -Atc '{sums.format(*table)}'") for table in tables]
    found.append(running.inside("psql -U postgres -Atc 'SELECT sum(delta) FROM pgbench_history'"))
    return [] if len(set(found)) == 1 and found[0] else [f"the sums differ: {found}"]


# Servers in Python, JavaScript and Java: each answers GET /n with n, and /events with numbered events

GUNICORN = """
mkdir -p /app; cd /app; cat >app.py <<END
import itertools, time

def events():
    for number in itertools.count():
        yield b"data: %d\\n\\n" % number
        time.sleep(0.005)

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/events":
        start_response("200 OK", [("Content-Type", "text/event-stream")])
        return events()
    body = path[1:].encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
END
exec gunicorn --bind=0.0.0.0:8000 --workers=2 --worker-class=gthread --threads=8 --keep-alive=60 app
"""

NODE = """
cat >/app.js <<END
require("http").createServer((request, answer) => {
    if (request.url !== "/events") return answer.end(request.url.slice(1));
    answer.writeHead(200, {"Content-Type": "text/event-stream"});
    let number = 0;
    const timer = setInterval(() => answer.write("data: " + number++ + "\\n\\n"), 5);
    request.on("close", () => clearInterval(timer));
}).listen(8000);
END
exec node /app.js
"""

JAVA = """
cat >/App.java <<END
import com.sun.net.httpserver.*;
import java.net.InetSocketAddress;
import java.util.concurrent.Executors;

public class App {
    public static void main(String[] arguments) throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(8000), 64);
        server.createContext("/", exchange -> {
            byte[] body = exchange.getRequestURI().getPath().substring(1).getBytes();
            exchange.sendResponseHeaders(200, body.length);
            try (var out = exchange.getResponseBody()) { out.write(body); }
        });
        server.createContext("/events", exchange -> {
            exchange.sendResponseHeaders(200, 0);
            try (var out = exchange.getResponseBody()) {
                for (int number = 0; ; number++) {
                    out.write(("data: " + number + "\\n\\n").getBytes()); out.flush(); Thread.sleep(5);
                }
            } catch (InterruptedException end) { }
        });
        server.setExecutor(Executors.newCachedThreadPool());
        server.start();
    }
}
END
exec java -Xmx96m -Dsun.net.httpserver.nodelay=true /App.java
"""


def _web_load(running: Running) -> Clients:
    numbers = [Client(_numbers(running), pace) for pace in (PACE, 0.01, 0.01)]
    return Clients(*numbers, Client(_events(running), 0.0))


# OpenSSH

SSHD = """
mkdir -p /run/sshd; ssh-keygen -q -A; passwd -d root
exec /usr/sbin/sshd -D -e -p 2222 -o PermitRootLogin=yes -o PermitEmptyPasswords=yes -o UsePAM=no
"""


def _ssh_load(running: Running) -> Clients:
    running.connect().close()
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=QUIET", "BatchMode=yes"]
    command = ["ssh", "-F", "none", "-tt", "-p", str(running.port), *(f"-o{option}" for option in options)]
    command.append(f"root@{running.vip}")
    session = subprocess.Popen(
        running.lab.bed.client_command(*command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    assert session.stdin and session.stdout
    lines, out = session.stdin, session.stdout
    lines.write(b"stty -echo; PS1=; tty; while read n; do echo answer $((n + 1)); done\n")

    def ask(number: int) -> None:
        lines.write(b"%d\n" % number)
        while not (line := out.readline()).startswith(b"answer"):
            assert line, "the session ended"
        assert line.split() == [b"answer", b"%d" % (number + 1)], line

    return Clients(Client(ask))


APPLICATIONS = {
    application.name: application
    for application in (
        Application("nginx", ("nginx-light",), NGINX, 8080, _nginx_load),
        Application("redis", ("redis-server", "redis-tools"), REDIS, 6379, _redis_load, _redis_judge),
        Application("postgresql", ("postgresql-17",), POSTGRESQL, 5432, _postgresql_load, _postgresql_judge),
        Application("gunicorn", ("gunicorn",), GUNICORN, 8000, _web_load),
        Application("node", ("nodejs",), NODE, 8000, _web_load),
        Application("java", ("openjdk-21-jre-headless",), JAVA, 8000, _web_load),
        Application("openssh", ("openssh-server",), SSHD, 2222, _ssh_load),
    )
}
