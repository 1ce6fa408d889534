"""What every testbed does alike, whatever its machines are: reach them, cut them off, wait for them."""

import shlex
import shutil
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from relocate_cli.errors import RefusedError, RelocateError
from relocate_cli.testbed import access, inotify, network, places
from relocate_cli.testbed.cgroup import cgroup_of, end_cgroup
from relocate_cli.testbed.locks import held
from relocate_cli.testbed.places import Places


@dataclass(frozen=True)
class Station(ABC):
    """One machine of a rack: a directory of its own and a cgroup that holds all its processes.

    ``number`` 0 is the gateway.
    """

    number: int
    places: Places

    @property
    def name(self) -> str:
        return f"host{self.number}"

    @property
    def directory(self) -> Path:
        return self.places.host(self.name)

    @property
    def cgroup(self) -> Path:
        return cgroup_of(self.places) / self.name

    def kill(self) -> None:
        """Pull the plug: every process of the machine ends at once; its disk stays."""
        end_cgroup(self.cgroup)

    @abstractmethod
    def pid(self) -> int | None:
        """The pid that stands for the machine, or None when it is off."""

    @abstractmethod
    def ended(self) -> bool:
        """Whether it is certain that the machine will not come up any more."""

    @abstractmethod
    def last_words(self) -> str:
        """The last line of what it wrote while booting."""

    @property
    @abstractmethod
    def log(self) -> str:
        """Where to read on, for a hint."""


M = TypeVar("M", bound=Station)


@dataclass(frozen=True)
class Rack(ABC, Generic[M]):
    """Machines on one switch, as the testbed's record on disk has them."""

    machines: tuple[M, ...]
    places: Places

    def machine(self, name: str) -> M:
        for machine in self.machines:
            if machine.name == name:
                return machine
        known = ", ".join(machine.name for machine in self.machines)
        raise RefusedError(f"the testbed has no {name!r}", f"it has {known}")

    def ssh_command(self, name: str, *argv: str) -> list[str]:
        """The command that runs ``argv`` on a host over SSH; without one, a shell."""
        remote = [shlex.join(argv)] if argv else []
        return ["ssh", "-F", str(self.places.ssh_config), self.machine(name).name, *remote]

    def run(self, name: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run ``argv`` on a host over SSH and wait; look at ``returncode``."""
        return subprocess.run(self.ssh_command(name, *argv), capture_output=True, text=True, check=False)

    def client_command(self, *argv: str) -> list[str]:
        """The command that runs ``argv`` as the client, on the far side of the gateway."""
        return ["nsenter", f"--net={self.places.namespace('client')}", *argv]

    def entered(self, name: str) -> AbstractContextManager[None]:
        """Sockets made in the block by this thread are the switch's (``lan``), the ``client``'s or, where
        hosts are namespaces, a host's."""
        return network.entered(self.places, name)

    def power_off(self, name: str) -> None:
        """Pull the plug of a host; its disk stays."""
        self.machine(name).kill()

    @abstractmethod
    def power_on(self, name: str) -> None:
        """Boot a host again from its disk and wait until SSH answers."""

    def cut(self, name: str) -> None:
        """Pull the cable between a host and the others."""
        network.set_link(self.places, self.machine(name).number, up=False)

    def join(self, name: str) -> None:
        """Put the cable back."""
        network.set_link(self.places, self.machine(name).number, up=True)

    def status(self) -> list[dict[str, Any]]:
        """One row a host: name, role, address, pid (None: off) and whether its SSH answers."""
        return [
            {
                "name": machine.name,
                "role": "host" if machine.number else "gateway",
                "address": str(places.lan_address(machine.number).ip),
                "pid": machine.pid(),
                "ssh": self.ssh_answers(machine),
            }
            for machine in self.machines
        ]

    def ssh_answers(self, machine: M) -> bool:
        """Whether the host's sshd greets, seen from the controller's place on the switch."""
        address = (str(places.lan_address(machine.number).ip), 22)
        with (
            suppress(OSError),
            network.entered(self.places, "lan"),
            socket.create_connection(address, timeout=5) as connection,
        ):
            return connection.recv(4) == b"SSH-"
        return False

    def await_ssh(self, machines: Sequence[M], patience: float) -> None:
        """Wait until SSH answers on all ``machines``. Raises RelocateError with a late one's last words."""
        deadline = time.monotonic() + patience
        waiting = list(machines)
        while waiting := [machine for machine in waiting if not self.ssh_answers(machine)]:
            late = next((machine for machine in waiting if machine.ended()), waiting[0])
            if late.ended() or time.monotonic() > deadline:
                why = "ended" if late.ended() else f"did not come up in {patience:.0f} s"
                words = late.last_words()
                raise RelocateError(f"{late.name} {why}" + (f": {words}" if words else ""), f"see {late.log}")
            time.sleep(0.05)

    def down(self) -> None:
        """Remove everything that bringing it up made, however far it came."""
        with alone(self.places):
            tear_down(self.places)


@contextmanager
def alone(of: Places) -> Iterator[None]:
    """Nobody else brings this testbed up or down in the block. Raises LockedError while somebody does."""
    of.cache.mkdir(parents=True, exist_ok=True)
    with held(of.lock, f"another run works on the testbed in {of.state}"):
        yield


def tear_down(of: Places) -> None:
    """Remove all of a testbed, whatever its machines are; what is cached stays."""
    access.close_connections(of)
    end_cgroup(cgroup_of(of))
    for name in network.namespaces(of):
        network.unplug(of, name)
    inotify.restore(cgroup_of(of).parent)
    if of.state.exists():
        shutil.rmtree(of.state)
