"""Flows of a container's connections as conntrack has them: they move along."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from relocate_proxy.kernel.shell import ToolError, run, succeeds
from relocate_proxy.protocol import shapes


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
        except ToolError:
            forget_flows(new)  # an agent before this one had begun
            run(["conntrack", "-R", "-"], insertions(flows, old, new))


def forget_flows(address: str) -> None:
    """Delete the conntrack entries of a container that is not here, or no more."""
    for side in ("--orig-src", "--reply-src"):
        succeeds(["conntrack", "-D", side, address])  # it says when there was none
