"""The testbed of namespaced hosts as a whole: up, down, what is up."""

import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from relocate_cli.errors import RefusedError
from relocate_cli.testbed import access, inotify, network, places, preflight, root
from relocate_cli.testbed.cgroup import cgroup_of
from relocate_cli.testbed.machine import Machine
from relocate_cli.testbed.places import Places
from relocate_cli.testbed.rack import Rack, alone, tear_down
from relocate_cli.testbed.root import Engine, Recipe

BOOT_PATIENCE = 90.0


@dataclass(frozen=True)
class Testbed(Rack[Machine]):
    """A testbed of namespaced hosts that was brought up; ``engines`` has one for each machine. ``one_wire``:
    clients are on the hosts' wire."""

    engines: tuple[Engine, ...]
    one_wire: bool = False

    @property
    def engine(self) -> str:
        """What engines there are."""
        return ", ".join(dict.fromkeys(self.engines))

    def power_on(self, name: str, patience: float = BOOT_PATIENCE) -> None:
        machine = self.machine(name)
        machine.kill()
        network.unplug(self.places, name)
        network.plug_in(self.places, machine.number, self.one_wire)
        machine.boot()
        self.await_ssh([machine], patience)


def current(of: Places | None = None) -> Testbed:
    """The testbed that is up. Raises RefusedError when there is none."""
    of = of or Places.of_user()
    try:
        record = json.loads(of.record.read_text())
        engines = tuple(map(Engine, record["engines"]))
        machines = tuple(Machine(number, of, Path(tree)) for number, tree in enumerate(record["roots"]))
        return Testbed(machines, of, engines, record.get("one_wire", False))
    except (OSError, ValueError, KeyError):
        hint = (
            "what an interrupted one left goes with: relocate testbed down"
            if of.state.exists()
            else "relocate testbed up"
        )
        raise RefusedError("no testbed is up", hint) from None


def up(
    hosts: int, engine: Engine | Sequence[Engine], of: Places | None = None, one_wire: bool = False
) -> Testbed:
    """Bring up host0 and ``hosts`` container hosts, which take turns with several engines, and a client: on a
    wire of its own, or on the hosts'.

    A testbed of the same kind that is up and well is left as it is; otherwise what is there goes first.
    Raises RefusedError where the machine lacks something, LockedError while another run works on it.
    """
    of = of or Places.of_user()
    preflight.check(of)
    with alone(of):
        chosen = [engine] if isinstance(engine, Engine) else engine
        engines = (chosen[0], *islice(cycle(chosen), hosts))
        trees = {each.release: root.ensure(Recipe(each), of.roots) for each in dict.fromkeys(engines)}
        machines = (Machine(number, of, trees[each.release]) for number, each in enumerate(engines))
        wanted = Testbed(tuple(machines), of, engines, one_wire)
        if _is_up(wanted):
            return wanted
        tear_down(of)
        _set_up(wanted)
        roots = [str(machine.root) for machine in wanted.machines]
        of.record.write_text(json.dumps({"engines": engines, "roots": roots, "one_wire": one_wire}))
        return wanted


def down(of: Places | None = None) -> None:
    """Remove everything that ``up`` made, however far it came; the cached root stays."""
    of = of or Places.of_user()
    with alone(of):
        tear_down(of)


def purge(of: Places | None = None) -> None:
    """Remove the cached roots. Raises RefusedError while a process of any testbed uses one."""
    of = of or Places.of_user()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            facts = (process / "mountinfo").read_text() + (process / "cmdline").read_text(errors="replace")
            if f"{of.roots}/" in facts:
                raise RefusedError(f"a testbed uses {of.roots}", "take down every testbed that is up")
    if of.roots.exists():
        shutil.rmtree(of.roots)


def _is_up(wanted: Testbed) -> bool:
    with suppress(RefusedError):
        return current(wanted.places) == wanted and all(map(wanted.ssh_answers, wanted.machines))
    return False


def _set_up(bed: Testbed) -> None:
    of, machines = bed.places, bed.machines
    of.state.mkdir(parents=True, mode=0o700)
    of.storage.mkdir()
    public_key = access.make_key(of)
    names = {machine.name: str(places.lan_address(machine.number).ip) for machine in machines}
    for machine in machines:
        machine.prepare(names, public_key)
    daemons = [json.dumps(engine.daemon) for engine in bed.engines]
    access.write_access(of, machines, daemons=daemons, one_wire=bed.one_wire)
    _make_cgroup(of)
    inotify.make_room(len(machines))
    network.make_switch(of)
    for machine in machines:
        network.plug_in(of, machine.number, bed.one_wire)
        machine.boot()
    bed.await_ssh(machines, BOOT_PATIENCE)


def _make_cgroup(of: Places) -> None:
    """A cgroup for all hosts, with every controller that the machine can lend."""
    cgroup = cgroup_of(of)
    cgroup.mkdir()
    for directory in (cgroup.parent, cgroup):
        for controller in (directory / "cgroup.controllers").read_text().split():
            with suppress(OSError):
                (directory / "cgroup.subtree_control").write_text(f"+{controller}")
