"""Virtual addresses on a container host: each on ``lo``, the outbound map, and the guard: against packets of
unknown flows, and between containers and the fleet's storage (nft)."""

import ipaddress
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from relocate_proxy import paths
from relocate_proxy.kernel.shell import ToolError, run, succeeds

KEPT = paths.CONFIG / "kept.json"  # the role writes what is kept from containers
# ARP for a VIP is host0's to answer, not of the host that has it on lo, nor does the host speak ARP under it:
# neighbours would learn a way that is wrong after the next move (kernel.org: networking/ip-sysctl).
ARP_SETTINGS = {"arp_ignore": 1, "arp_announce": 2}
ARP_DIRECTORY = Path("/proc/sys/net/ipv4/conf/all")

TABLE = """
add table ip relocate
add map ip relocate vip { type ipv4_addr : ipv4_addr ; }
add set ip relocate member { type ipv4_addr ; }
add set ip relocate carried { type ipv4_addr ; }
add set ip relocate pair { type ipv4_addr . ipv4_addr ; }
add set ip relocate bridges { type ifname ; }
add set ip relocate storage { type ipv4_addr ; }
add set ip relocate kept { type inet_service ; }
add set ip relocate kept_here { type inet_service ; }
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
add rule ip relocate guard ip daddr @storage meta l4proto { tcp, udp } th dport @kept drop
add rule ip relocate guard ip saddr @member ct state new tcp flags & (fin|syn|rst|ack) != syn drop
add rule ip relocate guard ct direction original ct original ip daddr @carried \
    ct original ip daddr . ip daddr != @pair drop
add rule ip relocate own ip daddr @carried iifname != { "lo", "docker0" } iifname != "br-*" \
    iifname != @bridges \
    meta l4proto != icmp drop
add rule ip relocate own meta l4proto { tcp, udp } th dport @kept_here iifname "docker0" drop
add rule ip relocate own meta l4proto { tcp, udp } th dport @kept_here iifname "br-*" drop
add rule ip relocate own meta l4proto { tcp, udp } th dport @kept_here iifname @bridges drop
"""
SETS = ("member", "carried", "pair")
LABEL = "lo:relocate"


def guard() -> None:
    """Keep containers from the fleet's storage and image repository, and ARP for VIPs to host0, before the
    first container runs. Idempotent.

    To the storage a container is its host: Docker masquerades it, so only here can the two be told apart.
    """
    run(["nft", "-f", "-"], TABLE + _keeping())
    for name, least in ARP_SETTINGS.items():
        setting = ARP_DIRECTORY / name
        if int(setting.read_text()) < least:
            setting.write_text(f"{least}\n")


def _keeping() -> str:
    """What of the fleet's is kept from containers, by what the role wrote; nothing before it has."""
    try:
        kept: dict[str, Any] = json.loads(KEPT.read_text())
    except FileNotFoundError:
        return ""
    ports = ", ".join(str(int(port)) for port in kept["ports"])
    addresses = ", ".join(str(ipaddress.IPv4Address(address)) for address in kept["addresses"])
    script = "".join(f"flush set ip relocate {name}\n" for name in ("storage", "kept", "kept_here"))
    if ports and addresses:
        script += f"add element ip relocate storage {{ {addresses} }}\n"
        script += f"add element ip relocate kept {{ {ports} }}\n"
        if kept["here"]:
            script += f"add element ip relocate kept_here {{ {ports} }}\n"
    return script


def enrol(vips: dict[str, str], bridges: Iterable[str] = ()) -> None:
    """Serve exactly the containers of ``vips`` ({container address: VIP}): VIPs on lo, the outbound map,
    the guard.

    ``bridges``: those of the engine whose names are not like docker0 or br-ID. They must be named: the
    host's own way out may be a bridge too, so the kind of an interface says nothing.
    """
    script = TABLE + "flush map ip relocate vip\n" + "".join(f"flush set ip relocate {s}\n" for s in SETS)
    script += "flush set ip relocate bridges\n" + _keeping()
    script += "".join(f'add element ip relocate bridges {{ "{name}" }}\n' for name in sorted(bridges))
    run(["nft", "-f", "-"], script + "".join(_adding(address, vip) for address, vip in vips.items()))
    for vip in carried() - set(vips.values()):  # of containers that their tenants have removed
        run(["ip", "address", "delete", f"{vip}/32", "dev", "lo"])
    for vip in vips.values():
        carry(vip)


def know_bridge(name: str) -> None:
    """Count a bridge of the engine in that has come since `enrol`."""
    run(["nft", "-f", "-"], TABLE + f'add element ip relocate bridges {{ "{name}" }}\n')


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
    except ToolError:  # the address was a container's that its tenant has removed since the last survey
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
    succeeds(["ip", "address", "delete", f"{vip}/32", "dev", "lo"])


def _forget_element(name: str, element: str) -> None:
    """Take it out of the map or set, if it is there."""
    succeeds(["nft", "delete", "element", "ip", "relocate", name, f"{{ {element} }}"])
