"""relocate testbed: hosts that are namespaces of this machine, or QEMU machines, reached as real ones are."""

import os
import sys
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from relocate_cli import render
from relocate_cli.cli.options import Json
from relocate_cli.testbed.places import MAX_HOSTS
from relocate_cli.testbed.root import Engine

if TYPE_CHECKING:
    from relocate_cli.testbed import bed
    from relocate_cli.testbed.vm import bed as machines


class Kind(StrEnum):
    """What the hosts are."""

    NAMESPACES = "namespaces"
    VM = "vm"


class Power(StrEnum):
    """A host's switch."""

    ON = "on"
    OFF = "off"


app = typer.Typer(no_args_is_help=True, help="Test hosts on this machine.")
WhichKind = Annotated[Kind | None, typer.Option("--kind", help="Which testbed, if both are up.")]


def _current(kind: Kind | None) -> "bed.Testbed | machines.Testbed":
    """The testbed that is up. Raises RefusedError when there is none of that kind."""
    from relocate_cli.errors import RefusedError
    from relocate_cli.testbed import bed
    from relocate_cli.testbed.vm import bed as machines

    if kind is Kind.VM:
        return machines.current()
    try:
        return bed.current()
    except RefusedError as none:
        if kind is None:
            with suppress(RefusedError):
                return machines.current()
        raise none


@app.command()
def up(
    hosts: Annotated[
        int, typer.Option("--hosts", min=1, max=MAX_HOSTS, help="Container hosts beside host0.")
    ] = 2,
    engine: Annotated[
        list[Engine] | None,
        typer.Option(help="Docker on the hosts, which take turns with several (default 26)."),
    ] = None,
    kind: Annotated[
        Kind, typer.Option(help="Namespaces of this machine, or machines with a kernel of their own.")
    ] = Kind.NAMESPACES,
    one_wire: Annotated[
        bool, typer.Option("--one-wire", help="Clients on the hosts' wire; otherwise on one of their own.")
    ] = False,
) -> None:
    """Build the hosts' root if it is not cached, boot the hosts, write an inventory."""
    from relocate_cli.errors import UsageError
    from relocate_cli.testbed import bed
    from relocate_cli.testbed.vm import bed as machines

    engines = engine or [Engine.DOCKER_26]
    if kind is Kind.VM and engines != [Engine.DOCKER_26]:
        raise UsageError("machines of --kind vm have Docker 26", "leave --engine out")
    if kind is Kind.VM and one_wire:
        raise UsageError("machines of --kind vm have a wire for clients", "leave --one-wire out")
    testbed = machines.up(hosts) if kind is Kind.VM else bed.up(hosts, engines, one_wire=one_wire)
    render.note(f"testbed: {len(testbed.machines)} hosts are up; now: relocate provision")
    print(f"export RELOCATE_CONFIG={testbed.places.settings}")


@app.command()
def status(as_json: Json = False, kind: WhichKind = None) -> None:
    """Show the hosts, and whether each runs and answers."""
    testbed = _current(kind)
    rows = testbed.status()
    if as_json:
        document = {"engine": testbed.engine, "inventory": str(testbed.places.inventory), "hosts": rows}
        render.emit_json("testbed", document)
        return
    for row in rows:
        state = "off" if row["pid"] is None else "up" if row["ssh"] else "no SSH"
        print(f"{row['name']:8} {row['role']:8} {row['address']:14} {state}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def shell(
    context: typer.Context,
    host: Annotated[str, typer.Argument(help="host0, host1, … or client.")],
    kind: WhichKind = None,
) -> None:
    """Run a command, or a shell, on a host (over SSH) or as the client."""
    testbed = _current(kind)
    shell_of_user = [os.environ.get("SHELL", "/bin/sh")]
    if host == "client":
        command = testbed.client_command(*(context.args or shell_of_user))
    else:
        command = [*testbed.ssh_command(host), *context.args]
    sys.stdout.flush()
    os.execvp(command[0], command)


@app.command(hidden=True)
def power(host: str, state: Power, kind: WhichKind = None) -> None:
    """Pull a host's plug, or boot it again from its disk."""
    testbed = _current(kind)
    testbed.power_on(host) if state is Power.ON else testbed.power_off(host)


@app.command()
def down(
    purge: Annotated[bool, typer.Option("--purge", help="Remove the cached roots too.")] = False,
    kind: WhichKind = None,
) -> None:
    """Remove the hosts and all that they need on this machine; what is cached stays."""
    from relocate_cli.errors import RefusedError
    from relocate_cli.testbed import bed
    from relocate_cli.testbed.vm import bed as machines

    if kind is Kind.VM:
        machines.down()
    else:
        bed.down()
        with suppress(RefusedError):
            machines.current()
            render.note("testbed: machines are up too; they go with: relocate testbed down --kind vm")
    if purge:
        bed.purge()
