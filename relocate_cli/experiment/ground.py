"""What an experiment puts on the testbed: targets, attackers, hosts that differ; and reads back from it."""

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from typing import TypeVar

from relocate_cli.demo.stage import PORT, Stage
from relocate_cli.errors import RelocateError

T = TypeVar("T")
R = TypeVar("R")
_SERVICES = 4  # kinds of host: each service is on half of them


def program(name: str) -> str:
    """The source of a program that runs in containers."""
    return files("relocate_cli.experiment").joinpath(name).read_text(encoding="utf-8")


@dataclass(frozen=True)
class Placed:
    """Where things begin: a host for each target, and the captured hosts, an attacker on each."""

    targets: Mapping[str, str]
    attackers: Mapping[str, str]

    def port(self, target: str) -> int:
        """The target's published port; on each host no other target's."""
        return PORT + list(self.targets).index(target)


class Ground:
    """The testbed's hosts, as tenants and their operator use them."""

    def __init__(self, stage: Stage, image: str) -> None:
        self._stage, self._image = stage, image
        self.hosts = tuple(machine.name for machine in stage.testbed.machines if machine.number)

    def of(self, stage: Stage) -> "Ground":
        """The same hosts, with the command as ``stage`` has it."""
        return Ground(stage, self._image)

    def differ(self) -> None:
        """Give hosts unlike services and networks, so that Δ between them means something."""

        def one(number: int) -> None:
            host = self.hosts[number]
            for bit in range(_SERVICES):
                if number >> bit & 1:
                    unit = f"flavour{bit}"
                    self._sh(
                        host, f"systemctl is-active -q {unit} || systemd-run -q --unit={unit} sleep infinity"
                    )
            if number % 3 == 2:
                self._sh(host, "docker network inspect odd >/dev/null 2>&1 || docker network create odd")

        self._each(one, range(len(self.hosts)))

    def clear(self) -> None:
        """No container is left."""
        self._each(
            lambda host: self._sh(host, "docker ps -aq | xargs -r docker rm --force >/dev/null"), self.hosts
        )

    def pull(self) -> None:
        """Every host has the image, so that no move waits for it and no turn begins with it."""
        self._each(lambda host: self._stage.on(host, "docker", "pull", "--quiet", self._image), self.hosts)

    def start(self, placed: Placed) -> None:
        """The targets, as their tenants start them."""

        def one(target: str) -> None:
            self._run(
                placed.targets[target],
                target,
                *("--publish", f"{placed.port(target)}:{PORT}", "--env", f"TARGET={target}"),
                *("--label", "relocate.enable=true", self._image),
            )

        self._each(one, placed.targets)

    def attack(self, placed: Placed, look: float) -> None:
        """The attackers: another tenant's containers, which take no part in anything."""
        source = program("attacker.py")

        def one(attacker: str) -> None:
            argv = ("/usr/bin/python3", "-c", source, f"{look:g}")
            self._run(placed.attackers[attacker], attacker, self._image, *argv)

        self._each(one, placed.attackers)

    def logs(self, placed: Placed) -> dict[str, str]:
        """What each attacker wrote."""
        names = list(placed.attackers)
        found = self._each(lambda name: self._stage.on(placed.attackers[name], "docker", "logs", name), names)
        return dict(zip(names, found, strict=True))

    def restart(self, host: str, target: str) -> None:
        """Self-cleaning in place."""
        self._stage.on(host, "docker", "restart", "--time", "1", target)

    def running(self, placed: Placed) -> dict[str, list[str]]:
        """On which hosts each target runs, as Docker says: one, or it was lost or doubled."""
        found = self._each(
            lambda host: self._stage.on(host, "docker", "ps", "--format", "{{.Names}}").split(), self.hosts
        )
        return {
            target: [host for host, names in zip(self.hosts, found, strict=True) if target in names]
            for target in placed.targets
        }

    def versions(self) -> dict[str, str]:
        """Of what runs here, by host where they differ."""
        engine = "docker version --format '{{.Server.Version}}'"
        script = f"{engine}; criu --version | sed -n 's/^Version: //p'; uname -r"
        found = self._each(lambda host: self._sh(host, script).split("\n"), self.hosts)
        names = ("Docker", "CRIU", "Linux")
        return {
            name: ", ".join(sorted({lines[place] for lines in found if len(lines) > place}))
            for place, name in enumerate(names)
        }

    def vips(self, placed: Placed) -> dict[str, str]:
        """The stable address of each target. Raises RelocateError if one has none."""
        _, document = self._stage.command("status", "--kept")
        found = {entry["container"]: str(entry["vip"]) for entry in document["containers"] if entry["vip"]}
        for target in placed.targets:
            if target not in found:
                why = next(
                    (
                        json.dumps(entry["obstacles"])
                        for entry in document["containers"]
                        if entry["container"] == target
                    ),
                    "the survey did not find it",
                )
                raise RelocateError(f"container {target} got no address: {why}"[:300], "it stops here")
        return {target: found[target] for target in placed.targets}

    def _run(self, host: str, name: str, *argv: str) -> None:
        self._stage.on(host, "docker", "run", "--detach", "--name", name, *argv)

    def _sh(self, host: str, script: str) -> str:
        return self._stage.on(host, "sh", "-c", script)

    @staticmethod
    def _each(deed: Callable[[T], R], things: Iterable[T]) -> list[R]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(deed, things))
