"""The guests' wires: the networks and addresses of the namespaced testbed, with a tap for each machine.

The namespace ``lan`` holds two bridges: ``lan0`` with the controller's address and every machine's tap, and
``wan0`` with host0's second tap and a cable to the namespace ``client``. QEMU runs inside ``lan``, so nothing
shows among the interfaces of the machine that it runs on.
"""

from relocate_cli.testbed import places
from relocate_cli.testbed.network import ip
from relocate_cli.testbed.places import Places

WAN_TAP = "portwan"


def tap_of(number: int) -> str:
    """The tap that is the cable of guest ``number``."""
    return f"port{number}"


def lay(of: Places, guests: int) -> None:
    """Make both networks, with a tap for each of ``guests`` machines (host0 is one of them)."""
    lan, client = of.netns("lan"), of.netns("client")
    taps = [(tap_of(number), "lan0") for number in range(guests)] + [(WAN_TAP, "wan0")]
    ip("", f"netns add {lan}", f"netns add {client}")
    ip(
        lan,
        "link set lo up",
        "link add lan0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        "link add wan0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        f"addr add {places.CONTROLLER_ADDRESS} dev lan0",
        "link set lan0 up",
        "link set wan0 up",
        f"link add cable type veth peer name wan0 netns {client}",
        "link set cable master wan0 up",
        *(f"tuntap add dev {tap} mode tap" for tap, _ in taps),
        *(f"link set {tap} master {bridge} up" for tap, bridge in taps),
    )
    ip(
        client,
        "link set lo up",
        f"addr add {places.CLIENT_ADDRESS} dev wan0",
        "link set wan0 up",
        f"route add default via {places.GATEWAY_WAN_ADDRESS.ip}",
    )


def guest_script(number: int) -> str:
    """What a guest runs at boot to have its addresses: ``lan0`` for all, ``wan0`` for the gateway."""
    lines = ["link set lo up", "link set eth0 name lan0", f"addr add {places.lan_address(number)} dev lan0"]
    lines += ["link set lan0 up"]
    if number:
        lines += [f"route add default via {places.lan_address(0).ip}"]
    else:
        lines += ["link set eth1 name wan0", f"addr add {places.GATEWAY_WAN_ADDRESS} dev wan0"]
        lines += ["link set wan0 up"]
    return "".join(f"ip {line}\n" for line in lines)
