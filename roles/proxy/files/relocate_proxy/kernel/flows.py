"""Flows of a container's connections as conntrack has them: they move along."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from relocate_proxy.kernel.shell import ToolError, run, succeeds
from relocate_proxy.protocol import shapes

LONGEST_SECONDS = 432_000  # of an established connection, by the kernel's own default
MAXIMUM = Path("/proc/sys/net/netfilter/nf_conntrack_max")


@dataclass(frozen=True)
class Flow:
    """One conntrack entry: ports are those of the protocol, addresses are dotted quads."""

    protocol: Annotated[str, shapes.matches("tcp|udp")]
    state: Annotated[str, shapes.matches("[A-Z][A-Z0-9_]{0,31}|")]
    timeout: Annotated[int, shapes.within(0, 2**31 - 1)]
    source: shapes.Address
    destination: shapes.Address
    source_port: shapes.Port
    destination_port: shapes.Port
    reply_source: shapes.Address
    reply_destination: shapes.Address
    reply_source_port: shapes.Port
    reply_destination_port: shapes.Port


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
    return [f for f in inbound if _arrives(f, address, vip)] + [
        f for f in outbound if _leaves(f, address, vip)
    ]


class FlowsError(Exception):
    """There are more flows than one container may have here."""


def of_container(flows: Iterable[Flow], old: str, vip: str) -> list[Flow]:
    """Those that concern nothing but the container that was at ``old``: clients' flows to its VIP that end at
    it, and its own that the VIP stands for.

    What is entered of others would take somebody else's connections to the container, or let it speak under
    another's address.
    """
    return [flow for flow in flows if _arrives(flow, old, vip) or _leaves(flow, old, vip)]


def _arrives(flow: Flow, old: str, vip: str) -> bool:
    return (flow.destination, flow.reply_source) == (vip, old)


def _leaves(flow: Flow, old: str, vip: str) -> bool:
    return (flow.source, flow.reply_destination) == (old, vip)


def insertions(flows: Iterable[Flow], old: str, new: str, vip: str) -> str:
    """Lines for `conntrack -R -` that let the flows of the container that was at ``old`` go on at ``new``."""
    return "".join(_insertion(flow, _arrives(flow, old, vip), new, vip) + "\n" for flow in flows)


def _insertion(flow: Flow, arrives: bool, new: str, vip: str) -> str:
    nat = (
        f"--dst-nat {new}:{flow.reply_source_port}"
        if arrives
        else f"--src-nat {vip}:{flow.reply_destination_port}"
    )
    state = f" --state {flow.state}" if flow.protocol == "tcp" else ""
    source, destination = (flow.source, vip) if arrives else (new, flow.destination)
    return (
        f"-I -p {flow.protocol} -s {source} -d {destination}"
        f" --sport {flow.source_port} --dport {flow.destination_port}"
        f" {nat}{state} -t {min(flow.timeout, LONGEST_SECONDS)} -u SEEN_REPLY,ASSURED"
    )


def insert(flows: Iterable[Flow], old: str, new: str, vip: str) -> None:
    """Enter a container's flows, and no others, into this host's conntrack table for its new address.

    Raises FlowsError for more than half of what the table holds: the other containers need room, too.
    """
    mine = of_container(flows, old, vip)
    if len(mine) > _maximum() // 2:
        raise FlowsError(f"{len(mine)} connections are too many for this host: raise nf_conntrack_max")
    if mine:
        lines = insertions(mine, old, new, vip)
        try:
            run(["conntrack", "-R", "-"], lines)
        except ToolError:
            forget_flows(new)  # an agent before this one had begun
            run(["conntrack", "-R", "-"], lines)


def _maximum() -> int:
    """How many entries the kernel's table takes; a namespace that cannot see it has Debian's default."""
    try:
        return int(MAXIMUM.read_text())
    except (OSError, ValueError):
        return 1 << 16


def forget_flows(address: str) -> None:
    """Delete the conntrack entries of a container that is not here, or no more."""
    for side in ("--orig-src", "--reply-src"):
        succeeds(["conntrack", "-D", side, address])  # it says when there was none
