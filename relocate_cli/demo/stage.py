"""What the demo stands on: a testbed of its own, provisioned, with one tenant's container."""

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from relocate_cli.errors import ExitCode, RelocateError
from relocate_cli.testbed import bed, places
from relocate_cli.testbed.bed import Testbed
from relocate_cli.testbed.root import Engine

CONTAINER = "web"
PORT = 7000


@dataclass(frozen=True)
class Stage:
    """A testbed whose containers are moved by the command `relocate`, as a person types it.

    ``environment`` is the command's, beside what makes it work on this testbed.
    """

    testbed: Testbed
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self, *argv: str) -> tuple[int, dict[str, Any]]:
        """Run `relocate … --json`; its exit code and document. Raises RelocateError if it printed none."""
        environment: Mapping[str, str] = {
            **os.environ,
            # The demo's memory is not that of this machine's operator.
            "RELOCATE_STATE_DIR": str(self.testbed.places.state / "controller"),
            "RELOCATE_CONFIG": str(self.testbed.places.settings),
            **self.environment,
        }
        ended = subprocess.run(
            [sys.executable, "-m", "relocate_cli", *argv, "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            document: dict[str, Any] = json.loads(ended.stdout)
        except json.JSONDecodeError:
            line = (ended.stderr.strip().splitlines() or ["no answer"])[-1].removeprefix("relocate: ")
            raise RelocateError(f"relocate {argv[0]}: {line}", "it stops here") from None
        return ended.returncode, document

    def on(self, host: str, *argv: str, stdin: str = "") -> str:
        """Run a command on a host, as its operator would. Raises RelocateError with its last line."""
        ended = subprocess.run(
            self.testbed.ssh_command(host, *argv), input=stdin, capture_output=True, text=True, check=False
        )
        if ended.returncode:
            line = (ended.stderr.strip().splitlines() or ["failed"])[-1]
            raise RelocateError(f"{host}: {shlex.join(argv)[:60]}: {line}", "it stops here")
        return ended.stdout

    def connect(self, address: str, patience: float = 10.0, port: int = PORT) -> socket.socket:
        """The client's connection to the container, from the far side of host0; tries until it listens."""
        deadline = time.monotonic() + patience
        while True:
            try:
                with self.testbed.entered("client"):
                    connection = socket.create_connection((address, port), timeout=patience)
            except OSError as error:
                if time.monotonic() > deadline:
                    raise RelocateError(f"{address}:{port}: {error}", "it stops here") from None
                time.sleep(0.1)
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


def set_up(
    engines: Sequence[str], say: Callable[[str], None], *, hosts: int = 2, name: str = "demo"
) -> Stage:
    """Testbed and provisioning; ``say`` is told what is going on. Hosts take turns with several engines."""
    say("testbed")
    of = places.Places.of_user().named(name)
    stage = Stage(bed.up(hosts, [Engine(engine) for engine in engines], of))
    say("provision")
    code, _ = stage.command("provision")
    if code != ExitCode.DONE:
        raise RelocateError("the hosts could not be provisioned", "`relocate provision -v` says more")
    return stage


def push_image(stage: Stage, name: str, program: str) -> str:
    """An image of host1's Python and ``program``, made there and put into the repository; its reference."""
    image = f"{places.lan_address(0).ip}:5000/{name}:1"
    script = files("relocate_cli.demo").joinpath("image.sh").read_text()
    stage.on("host1", "sh", "-c", script, "image.sh", image, stdin=program)
    return image


def start_container(stage: Stage, say: Callable[[str], None]) -> str:
    """What a tenant does: make an image, push it, run it. Then one survey; gives the stable address."""
    say("image")
    program = files("relocate_cli.demo").joinpath("server.py").read_text()
    image = push_image(stage, "relocate-demo", program)
    for host in ("host1", "host2"):
        stage.on(host, "sh", "-c", f"docker rm --force {CONTAINER} >/dev/null 2>&1 || true")
    options = ["--publish", f"{PORT}:{PORT}", "--label", "relocate.enable=true"]
    stage.on("host1", "docker", "run", "--detach", "--name", CONTAINER, *options, image)
    say("survey")
    _, document = stage.command("survey")
    _, document = stage.command("status", "--kept")
    for entry in document["containers"]:
        if entry["container"] == CONTAINER and entry["vip"]:
            return str(entry["vip"])
    raise RelocateError(f"container {CONTAINER} got no address", "`relocate status` says more")
