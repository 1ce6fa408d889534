"""Addresses and flows on a container host: the VIP on ``lo``, the outbound map, and conntrack entries
that move along."""

import fcntl
import json
import re
import socket
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

TABLE = """
add table ip relocate
add map ip relocate vip { type ipv4_addr : ipv4_addr ; }
add set ip relocate member { type ipv4_addr ; }
add set ip relocate carried { type ipv4_addr ; }
add set ip relocate pair { type ipv4_addr . ipv4_addr ; }
add set ip relocate bridges { type ifname ; }
add chain ip relocate outbound { type nat hook postrouting priority 99 ; }
add chain ip relocate guard { type filter hook forward priority -1 ; }
add chain ip relocate own { type filter hook input priority -1 ; }
flush chain ip relocate outbound
flush chain ip relocate guard
flush chain ip relocate own
add rule ip relocate outbound oifname "docker0" return
add rule ip relocate outbound oifname "br-*" return
add rule ip relocate outbound oifname @bridges return
add rule ip relocate outbound snat to ip saddr map @vip
add rule ip relocate guard ip saddr @member ct state new tcp flags & (fin|syn|rst|ack) != syn drop
add rule ip relocate guard ct direction original ct original ip daddr @carried \
    ct original ip daddr . ip daddr != @pair drop
add rule ip relocate own ip daddr @carried iifname != { "lo", "docker0" } iifname != "br-*" \
    iifname != @bridges \
    meta l4proto != icmp drop
"""
SETS = ("member", "carried", "pair")
ESTABLISHED_SECONDS = 432000
LABEL = "lo:relocate"


SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def set_link(name: str, up: bool) -> None:
    """Plug or unplug an interface of this host (netdevice(7)), in microseconds where `ip` takes
    milliseconds.

    Raises OSError when there is no such interface.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", name.encode(), 0)
        (flags,) = struct.unpack_from("=H", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request), 16)
        flags = flags | IFF_UP if up else flags & ~IFF_UP
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", name.encode(), flags))


class NatError(Exception):
    """A tool of the kernel's network refused; the message is its own."""


def run(command: list[str], stdin: str = "") -> str:
    """Run one network tool. Raises NatError with its last line, of nft with that which says what is wrong."""
    ended = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if ended.returncode:
        words = ended.stderr.strip().splitlines() or [f"exit {ended.returncode}"]
        raise NatError(f"{command[0]}: {next((line for line in words if 'Error: ' in line), words[-1])}")
    return ended.stdout


@dataclass(frozen=True)
class Flow:
    """One conntrack entry: ports are those of the protocol, addresses are dotted quads."""

    protocol: str
    state: str
    timeout: int
    source: str
    destination: str
    source_port: int
    destination_port: int
    reply_source: str
    reply_destination: str
    reply_source_port: int
    reply_destination_port: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


LINE = re.compile(
    r"^(?P<protocol>tcp|udp)\s+\d+\s+(?P<timeout>\d+)\s+(?:(?P<state>[A-Z_0-9]+)\s+)?"
    r"src=(?P<source>\S+) dst=(?P<destination>\S+) sport=(?P<source_port>\d+) dport=(?P<destination_port>\d+)"
    r"(?:\s+\[\w+\])?\s+src=(?P<reply_source>\S+) dst=(?P<reply_destination>\S+)"
    r" sport=(?P<reply_source_port>\d+) dport=(?P<reply_destination_port>\d+)"
)
NUMBERS = ("timeout", "source_port", "destination_port", "reply_source_port", "reply_destination_port")


def parse_flows(listing: str) -> list[Flow]:
    """Read `conntrack -L`; lines of other protocols are passed over.

    >>> parse_flows("tcp 6 300 ESTABLISHED src=203.0.113.2 dst=203.0.113.64 sport=4000 dport=80 "
    ...             "src=172.17.1.2 dst=203.0.113.2 sport=8080 dport=4000 [ASSURED] mark=0
    use=1")[0].reply_source_port
    8080
    """
    flows = []
    for line in listing.splitlines():
        if match := LINE.match(line):
            fields: dict[str, Any] = match.groupdict(default="")
            for name in NUMBERS:
                fields[name] = int(fields[name])
            flows.append(Flow(**fields))
    return flows


def flows_of(address: str, vip: str) -> list[Flow]:
    """The flows of a local container that its VIP carries, inbound and outbound."""
    inbound = parse_flows(run(["conntrack", "-L", "-r", address]))
    outbound = parse_flows(run(["conntrack", "-L", "-s", address]))
    return [f for f in inbound if f.destination == vip] + [f for f in outbound if f.reply_destination == vip]


def insertions(flows: Iterable[Flow], old: str, new: str) -> str:
    """Lines for `conntrack -R -` that let ``flows`` of a container at ``old`` go on at ``new``."""
    return "".join(_insertion(flow, old, new) + "\n" for flow in flows)


def _insertion(flow: Flow, old: str, new: str) -> str:
    inbound = flow.reply_source == old
    nat = (
        f"--dst-nat {new}:{flow.reply_source_port}"
        if inbound
        else f"--src-nat {flow.reply_destination}:{flow.reply_destination_port}"
    )
    state = f" --state {flow.state}" if flow.protocol == "tcp" else ""
    return (
        f"-I -p {flow.protocol} -s {flow.source if inbound else new} -d {flow.destination}"
        f" --sport {flow.source_port} --dport {flow.destination_port}"
        f" {nat}{state} -t {flow.timeout} -u SEEN_REPLY,ASSURED"
    )


def insert(flows: list[Flow], old: str, new: str) -> None:
    """Enter ``flows`` into this host's conntrack table for the container's new address."""
    if flows:
        try:
            run(["conntrack", "-R", "-"], insertions(flows, old, new))
        except NatError:
            forget_flows(new)  # an agent before this one had begun
            run(["conntrack", "-R", "-"], insertions(flows, old, new))


def enrol(vips: dict[str, str], bridges: Iterable[str] = ()) -> None:
    """Serve exactly the containers of ``vips`` ({container address: VIP}): VIPs on lo, the outbound map,
    the guard.

    ``bridges``: those of the engine whose names are not like docker0 or br-ID. They must be named: the
    host's own way out may be a bridge too, so the kind of an interface says nothing.
    """
    script = TABLE + "flush map ip relocate vip\n" + "".join(f"flush set ip relocate {s}\n" for s in SETS)
    script += "flush set ip relocate bridges\n"
    script += "".join(f'add element ip relocate bridges {{ "{name}" }}\n' for name in sorted(bridges))
    run(["nft", "-f", "-"], script + "".join(_adding(address, vip) for address, vip in vips.items()))
    for vip in carried() - set(vips.values()):  # of containers that their tenants have removed
        run(["ip", "address", "delete", f"{vip}/32", "dev", "lo"])
    for vip in vips.values():
        carry(vip)


def carry(vip: str) -> None:
    """Have a VIP on ``lo``, labelled as ours."""
    run(["ip", "address", "replace", f"{vip}/32", "dev", "lo", "label", LABEL])


def carried() -> set[str]:
    """The VIPs that are on ``lo``."""
    listing = json.loads(run(["ip", "-json", "address", "show", "dev", "lo", "label", LABEL]))
    found = (address for link in listing for address in link.get("addr_info", ()))
    return {address["local"] for address in found if "local" in address}  # the others come as {}


def _elements(address: str, vip: str) -> dict[str, str]:
    """What the map and each set of our table hold for one container."""
    return {"vip": f"{address} : {vip}", "member": address, "carried": vip, "pair": f"{vip} . {address}"}


def _adding(address: str, vip: str) -> str:
    """Each declared where it is used, as nft wants it."""
    elements = _elements(address, vip).items()
    return "".join(f"add element ip relocate {name} {{ {element} }}\n" for name, element in elements)


def expect(address: str, vip: str) -> None:
    """Before a container comes to ``address``: its way out, and the guard against packets of unknown flows.

    CRIU has a restored socket send at once what it had not sent; it must not meet the client under another
    name before its flow is entered: the client's reset would end the connection.
    """
    script = TABLE + _adding(address, vip)
    try:
        run(["nft", "-f", "-"], script)
    except NatError:  # the address was a container's that its tenant has removed since the last survey
        _forget_element("vip", address)
        run(["nft", "-f", "-"], script)


def adopt(address: str, vip: str) -> None:
    """Take one container in."""
    expect(address, vip)
    carry(vip)


def disown(address: str, vip: str) -> None:
    """Let one container go; harmless if it is not here."""
    for name, element in (_elements(address, vip) | {"vip": address}).items():
        _forget_element(name, element)
    subprocess.run(["ip", "address", "delete", f"{vip}/32", "dev", "lo"], capture_output=True, check=False)


def _forget_element(name: str, element: str) -> None:
    """Take it out of the map or set, if it is there."""
    remove = ["nft", "delete", "element", "ip", "relocate", name, f"{{ {element} }}"]
    subprocess.run(remove, capture_output=True, check=False)


def forget_flows(address: str) -> None:
    """Delete the conntrack entries of a container that is not here, or no more."""
    for side in ("--orig-src", "--reply-src"):
        subprocess.run(["conntrack", "-D", side, address], capture_output=True, check=False)
