"""Virtual addresses on a container host: each on ``lo``, the outbound map, and the guard against packets of
unknown flows (nft)."""

import json
from collections.abc import Iterable

from relocate_proxy.kernel.shell import ToolError, run, succeeds

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
LABEL = "lo:relocate"


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
