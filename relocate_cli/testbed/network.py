"""The testbed's two networks, in namespaces only: nothing of them shows among the machine's own interfaces.

``lan`` is one bridge, with all hosts' ``lan0`` and the controller's address. ``wan`` is one cable from host0
to the client; with one wire for all, that cable ends at the bridge too.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from relocate_cli.errors import RelocateError
from relocate_cli.testbed import children, places
from relocate_cli.testbed.places import Places


def ip(netns: str, *batch: str) -> None:
    """Run lines of ``ip`` commands in one process, inside a network namespace (no name: on the machine)."""
    command = ["ip", *(["-n", netns] if netns else []), "-batch", "-"]
    ended = children.run(command, input="\n".join(batch) + "\n", capture_output=True, text=True, check=False)
    if ended.returncode:
        cause = ended.stderr.strip().splitlines()
        raise RelocateError(f"cannot set up the testbed's network: {cause[0] if cause else 'ip failed'}")


def _new_namespace(of: Places, name: str) -> str:
    netns = of.netns(name)
    ip("", f"netns add {netns}")
    ip(netns, "link set lo up")
    return netns


def make_switch(of: Places) -> None:
    """The bridge between the hosts, and the client's namespace, not yet connected."""
    ip(
        _new_namespace(of, "lan"),
        "link add lan0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        f"addr add {places.CONTROLLER_ADDRESS} dev lan0",
        "link set lan0 up",
    )
    _new_namespace(of, "client")


def _lan_mac(number: int) -> str:
    """The same whenever host ``number`` is switched on, as of a real network card: what the others' ARP
    tables say of it would be wrong for up to a minute otherwise."""
    return f"02:00:c6:12:00:{places.lan_address(number).packed[-1]:02x}"


def plug_in(of: Places, number: int, one_wire: bool = False) -> None:
    """The namespace of host ``number`` with its cables and addresses; host0 also gets the client's."""
    netns = _new_namespace(of, f"host{number}")
    ip(
        of.netns("lan"),
        f"link add port{number} type veth peer name lan0 address {_lan_mac(number)} netns {netns}",
        f"link set port{number} master lan0 up",
    )
    batch = [f"addr add {places.lan_address(number)} dev lan0", "link set lan0 up"]
    if number:
        ip(netns, *batch, f"route add default via {places.lan_address(0).ip}")
        return
    if one_wire:
        ip(netns, *batch)
        ip(
            of.netns("client"),
            f"link add wan0 type veth peer name client netns {of.netns('lan')}",
            f"addr add {places.ONE_WIRE_CLIENT_ADDRESS} dev wan0",
            "link set wan0 up",
        )
        ip(of.netns("lan"), "link set client master lan0 up")
        return
    ip(
        of.netns("client"),
        f"link add wan0 type veth peer name wan0 address 02:00:cb:00:71:01 netns {netns}",
        f"addr add {places.CLIENT_ADDRESS} dev wan0",
        "link set wan0 up",
        f"route add default via {places.GATEWAY_WAN_ADDRESS.ip}",
    )
    ip(netns, *batch, f"addr add {places.GATEWAY_WAN_ADDRESS} dev wan0", "link set wan0 up")


def unplug(of: Places, name: str) -> None:
    """Remove a namespace and its cables: the cables first, since the kernel removes a namespace at leisure
    and until then their other ends would be in the way of new ones."""
    for place, interface in _far_ends(name):
        if of.namespace(place).exists():
            with suppress(RelocateError):  # an interrupted `up` had not laid this one
                ip(of.netns(place), f"link delete {interface}")
    if of.namespace(name).exists():
        ip("", f"netns delete {of.netns(name)}")


def _far_ends(name: str) -> list[tuple[str, str]]:
    if not name.startswith("host"):
        return []
    cable = ("lan", name.replace("host", "port"))
    return [cable, ("client", "wan0")] if name == "host0" else [cable]


def set_link(of: Places, number: int, up: bool) -> None:
    """Cut or restore the cable between host ``number`` and the switch; its interface loses the carrier."""
    ip(of.netns("lan"), f"link set port{number} {'up' if up else 'down'}")


def namespaces(of: Places) -> list[str]:
    """The testbed's namespaces that exist, without its label."""
    return sorted(path.name.removeprefix(of.netns("")) for path in places.NETNS_DIR.glob(of.netns("*")))


@contextmanager
def entered(of: Places, name: str) -> Iterator[None]:
    """Sockets that this thread makes inside the block belong to a namespace of the testbed."""
    with in_namespace(of.namespace(name)):
        yield


@contextmanager
def in_namespace(path: Path) -> Iterator[None]:
    """The same for any network namespace."""
    with path.open("rb") as there, Path("/proc/thread-self/ns/net").open("rb") as back:
        _setns(there.fileno())
        try:
            yield
        finally:
            _setns(back.fileno())


def _setns(descriptor: int) -> None:
    clone_newnet = 0x40000000
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, clone_newnet):  # os.setns needs Python 3.12
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
