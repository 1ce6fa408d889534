"""An application from Debian's package in a container, and clients that would notice a wrong byte.

An image is a Debian tree with the package, built once and cached; the same tree has the application's own
client programs (redis-benchmark, pgbench), which run in it on the client's side of the gateway. The
applications themselves are in catalogue.py.
"""

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from harness import Lab
from talk import PATIENCE

from relocate_cli.testbed import root
from relocate_cli.testbed.root import Engine, Recipe

PACE = 0.002
BASE = ["procps", "iproute2"]
# What programs need is mounted in a namespace that ends with the program; of devices, none of the machine's.
ENTER = """
mount -t proc proc "$0/proc"; mount -t tmpfs tmpfs "$0/tmp"; mount -t tmpfs tmpfs "$0/dev"
for node in null:3 zero:5 random:8 urandom:9; do
    mknod -m 666 "$0/dev/${node%:*}" c 1 "${node#*:}"
done
exec chroot "$0" "$@"
"""


@dataclass(frozen=True)
class ImageRecipe(Recipe):
    """The tree of one application's image."""

    name: str = ""
    wanted: tuple[str, ...] = ()

    @property
    def suites(self) -> tuple[str, ...]:
        return ("trixie",)

    def preferences(self) -> str:
        return ""

    def packages(self) -> list[str]:
        return [*BASE, *self.wanted]

    def hooks(self) -> list[str]:
        return ['rm -f "$1/etc/resolv.conf" "$1/etc/hostname" "$1"/etc/ssh/ssh_host_*']

    @property
    def key(self) -> str:
        return f"image-{self.name}-{self.digest()}"


class Client:
    """A client that asks ``pace`` seconds after each answer; ``ask`` is one request with its answer checked,
    and raises when that is wrong."""

    def __init__(self, ask: Callable[[int], object], pace: float = PACE) -> None:
        self.ask = ask
        self.pace = pace
        self.answers: list[float] = []
        self.failures: list[str] = []
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.ending.wait(self.pace):
            try:
                self.ask(len(self.answers))
            except Exception as error:
                self.failures.append(f"request {len(self.answers)}: {type(error).__name__}: {error}")
                return
            self.answers.append(time.monotonic())

    def longest_gap_since(self, moment: float) -> float:
        """The longest time between consecutive answers, the later one after ``moment``, in seconds."""
        return max((b - a for a, b in pairwise(self.answers) if b > moment), default=0.0)

    def flows(self, answers: int = 20) -> bool:
        """Whether ``answers`` more come, now."""
        wanted, deadline = len(self.answers) + answers, time.monotonic() + PATIENCE
        while len(self.answers) < wanted and time.monotonic() < deadline and not self.failures:
            time.sleep(0.01)
        return len(self.answers) >= wanted

    def end(self) -> None:
        """Wait for the last answer."""
        self.thread.join(2 * PATIENCE)
        if self.thread.is_alive():
            self.failures.append(f"request {len(self.answers)}: no answer")


class Program:
    """A client program of the application's own; it must run until it is ended, and complain of nothing."""

    def __init__(self, lab: Lab, tree: Path, *argv: str) -> None:
        self.name = argv[0]
        self.process = subprocess.Popen(
            in_tree(lab, tree, *argv), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.failures: list[str] = []

    def end(self) -> None:
        """Kill it, unless it has ended."""
        ended = self.process.poll()
        self.process.kill()
        _, complaint = self.process.communicate()
        if ended is not None or complaint.strip():
            self.failures.append(f"{self.name}: exit {ended} {complaint.strip()[-300:]}")


def in_tree(lab: Lab, tree: Path, *argv: str) -> list[str]:
    """The command that runs a program of ``tree`` on the client's side; it ends with this process."""
    return lab.bed.client_command(
        "setpriv", "--pdeathsig=KILL", "unshare", "--mount", "sh", "-c", ENTER, str(tree), *argv
    )


class Clients:
    """All clients of an application; the first, the ``probe``, is the one whose gap counts."""

    def __init__(self, probe: Client, *others: Client | Program) -> None:
        self.probe = probe
        self.all = (probe, *others)

    @property
    def answers(self) -> int:
        """Requests that were answered, and rightly."""
        return sum(len(client.answers) for client in self.all if isinstance(client, Client))

    def flow(self) -> bool:
        """Whether the probe is answered, now, and nobody has complained."""
        return self.probe.flows() and not any(client.failures for client in self.all)

    def end(self) -> list[str]:
        """End them; what they had to complain of."""
        for client in self.all:
            if isinstance(client, Client):
                client.ending.set()
        for client in self.all:
            client.end()
        return [failure for client in self.all for failure in client.failures]


@dataclass(frozen=True)
class Running:
    """An application in its container, and what its clients need."""

    lab: Lab
    name: str
    port: int
    tree: Path
    vip: str

    def connect(self) -> socket.socket:
        """A client's connection; tries until the application listens."""
        return self.lab.connect(self.name, self.port)

    def program(self, *argv: str) -> Program:
        return Program(self.lab, self.tree, *argv)

    def inside(self, script: str) -> str:
        """Run a line of shell in the container."""
        (host,) = self.lab.where(self.name)
        return self.lab.docker(host, "exec", self.name, "sh", "-c", script)


@dataclass(frozen=True)
class Application:
    """``script`` starts it, ``load`` its clients; when they have ended, ``judge`` says what is wrong with the
    data. The version that counts is that of the first of ``packages``."""

    name: str
    packages: tuple[str, ...]
    script: str
    port: int
    load: Callable[[Running], Clients]
    judge: Callable[[Running], list[str]] = lambda running: []

    def recipe(self) -> ImageRecipe:
        return ImageRecipe(Engine.DOCKER_26, self.name, self.packages)

    def image(self) -> str:
        return f"application-{self.recipe().key}"

    def start(self, lab: Lab, host: str = "host1") -> Running:
        """Build the image where it is missing, and run it."""
        tree = root.ensure(self.recipe(), lab.bed.places.roots)
        if not lab.docker(host, "images", "--quiet", self.image()):
            load = ["ssh", "-F", str(lab.bed.places.ssh_config), host, f"docker import - {self.image()}"]
            with subprocess.Popen(["tar", "-C", str(tree), "-cf", "-", "."], stdout=subprocess.PIPE) as tar:
                subprocess.run(load, stdin=tar.stdout, stdout=subprocess.DEVNULL, check=True)
        options = ["--label", "relocate.enable=true", f"--publish={self.port}:{self.port}"]
        lab.docker(
            host, "run", "--detach", "--name", self.name, *options, self.image(), "sh", "-ec", self.script
        )
        return Running(lab, self.name, self.port, tree, lab.publish(self.name, host))
