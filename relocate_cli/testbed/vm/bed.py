"""The testbed of machines with their own kernel as a whole: up, down, what runs."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from relocate_cli.errors import RefusedError
from relocate_cli.render import note
from relocate_cli.testbed import access, places
from relocate_cli.testbed.places import Places
from relocate_cli.testbed.rack import Rack, alone, tear_down
from relocate_cli.testbed.root import Engine
from relocate_cli.testbed.vm import emulator, image
from relocate_cli.testbed.vm import network as wires
from relocate_cli.testbed.vm.emulator import Accelerator, Emulator
from relocate_cli.testbed.vm.guest import Guest
from relocate_cli.testbed.vm.image import Kernel

BOOT_PATIENCE = 600.0
# What the storage role makes here: host0 serves this directory to the others.
STORAGE = {"storage__kind": "nfs", "storage__path": "/srv/relocate"}
# In seconds, since emulated machines take their time: for Ansible to connect, and of a relocation's window.
PATIENCE = {"ansible_ssh_timeout": "120"}
DEADLINE = 240


@dataclass(frozen=True)
class Testbed(Rack[Guest]):
    """A testbed of QEMU machines that was brought up."""

    accelerator: Accelerator
    emulator: Emulator
    engine: Engine = Engine.DOCKER_26

    def power_on(self, name: str, patience: float = BOOT_PATIENCE) -> None:
        machine = self.machine(name)
        machine.kill()
        machine.boot(self.emulator, self.accelerator)
        self.await_ssh([machine], patience)


def places_of_user() -> Places:
    """Beside the namespaced testbed's state, in the same cache."""
    return Places.of_user().named("vm")


def current(of: Places | None = None) -> Testbed:
    """The testbed that is up. Raises RefusedError when there is none."""
    of = of or places_of_user()
    try:
        record = json.loads(of.record.read_text())
        machines = tuple(Guest(number, of, Kernel(kernel)) for number, kernel in enumerate(record["kernels"]))
        return Testbed(machines, of, Accelerator(record["accelerator"]), Emulator(Path(record["emulator"])))
    except (OSError, ValueError, KeyError):
        raise RefusedError("no testbed of machines is up", "relocate testbed up --kind vm") from None


def up(hosts: int, kernels: Mapping[str, Kernel] | None = None, of: Places | None = None) -> Testbed:
    """Bring up host0 and ``hosts`` container hosts; what an earlier testbed left behind goes first.

    ``kernels`` names machines that start on another kernel than Debian trixie's.
    """
    of = of or places_of_user()
    wanted = [(kernels or {}).get(f"host{number}", Kernel.NEW) for number in range(hosts + 1)]
    with alone(of):
        qemu = emulator.ensure(of.roots)
        disks = {kernel: image.ensure(kernel, of.roots) for kernel in sorted(set(wanted))}
        tear_down(of)
        accelerator = emulator.choose(qemu, image.kernel_of(wanted[0], of.roots))
        guests = tuple(Guest(number, of, kernel) for number, kernel in enumerate(wanted))
        bed = Testbed(guests, of, accelerator, qemu)
        _set_up(bed, disks)
        record = {"kernels": wanted, "accelerator": accelerator, "emulator": str(qemu.tree)}
        of.record.write_text(json.dumps(record))
    return bed


def down(of: Places | None = None) -> None:
    """Remove everything that ``up`` made, however far it came; the cached disks and QEMU stay."""
    of = of or places_of_user()
    with alone(of):
        tear_down(of)


def _set_up(bed: Testbed, disks: Mapping[Kernel, Path]) -> None:
    of, machines = bed.places, bed.machines
    of.state.mkdir(parents=True, mode=0o700)
    public_key = access.make_key(of)
    names = {machine.name: str(places.lan_address(machine.number).ip) for machine in machines}
    for machine in machines:
        machine.prepare(bed.emulator, disks[machine.kernel], names, public_key)
    access.write_access(of, machines, storage=STORAGE | PATIENCE)
    with of.settings.open("a") as settings:
        settings.write(f"\n[relocation]\ndeadline = {DEADLINE}\n")
    wires.lay(of, len(machines))
    started = time.monotonic()
    for machine in machines:
        machine.boot(bed.emulator, bed.accelerator)
    bed.await_ssh(machines, BOOT_PATIENCE)
    note(f"testbed: {len(machines)} machines booted in {time.monotonic() - started:.0f} s")
