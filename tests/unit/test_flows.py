"""Flows as conntrack lists them, and as it takes them."""

from pathlib import Path

import pytest
from relocate_proxy.kernel import flows

VIP = "203.0.113.65"
INBOUND = (
    "tcp      6 300 ESTABLISHED src=203.0.113.2 dst=203.0.113.65 sport=39096 dport=80"
    " src=172.17.2.2 dst=203.0.113.2 sport=8080 dport=39096 [ASSURED] mark=0 use=1"
)
OUTBOUND = (
    "tcp      6 431999 ESTABLISHED src=172.17.2.2 dst=203.0.113.2 sport=50000 dport=25"
    " src=203.0.113.2 dst=203.0.113.65 sport=25 dport=50000 [ASSURED] mark=0 use=1"
)
DATAGRAMS = (
    "udp      17 29 src=203.0.113.2 dst=203.0.113.65 sport=5353 dport=53 [UNREPLIED]"
    " src=172.17.2.2 dst=203.0.113.2 sport=53 dport=5353 mark=0 use=1"
)


def test_listing_is_read_and_other_protocols_are_passed_over() -> None:
    found = flows.parse_flows("\n".join([INBOUND, "icmp 1 29 src=1.1.1.1 dst=2.2.2.2 type=8", DATAGRAMS]))
    assert [(f.protocol, f.state, f.timeout, f.source_port) for f in found] == [
        ("tcp", "ESTABLISHED", 300, 39096),
        ("udp", "", 29, 5353),
    ]


def test_an_inbound_flow_goes_on_at_the_new_address() -> None:
    line = flows.insertions(flows.parse_flows(INBOUND), "172.17.2.2", "172.17.1.9", VIP)
    assert line == (
        "-I -p tcp -s 203.0.113.2 -d 203.0.113.65 --sport 39096 --dport 80 --dst-nat 172.17.1.9:8080"
        " --state ESTABLISHED -t 300 -u SEEN_REPLY,ASSURED\n"
    )


def test_an_outbound_flow_keeps_the_virtual_address_as_its_source() -> None:
    line = flows.insertions(flows.parse_flows(OUTBOUND), "172.17.2.2", "172.17.1.9", VIP)
    assert line == (
        "-I -p tcp -s 172.17.1.9 -d 203.0.113.2 --sport 50000 --dport 25 --src-nat 203.0.113.65:50000"
        " --state ESTABLISHED -t 431999 -u SEEN_REPLY,ASSURED\n"
    )


CRAFTED = {
    "host0's connection to the target's SSH": (
        "tcp 6 300 ESTABLISHED src=198.18.0.10 dst=198.18.0.12 sport=40000 dport=22"
        " src=172.17.2.2 dst=203.0.113.65 sport=8080 dport=40000"
    ),
    "another's VIP, to this container": (
        "tcp 6 300 ESTABLISHED src=203.0.113.2 dst=203.0.113.66 sport=40000 dport=80"
        " src=172.17.2.2 dst=203.0.113.65 sport=8080 dport=40000"
    ),
    "this VIP, to another's container": (
        "tcp 6 300 ESTABLISHED src=203.0.113.2 dst=203.0.113.65 sport=40000 dport=80"
        " src=172.17.2.3 dst=203.0.113.2 sport=8080 dport=40000"
    ),
    "this container under another's VIP": (
        "udp 17 29 src=172.17.2.2 dst=203.0.113.2 sport=5000 dport=53"
        " src=203.0.113.2 dst=203.0.113.66 sport=53 dport=5000"
    ),
    "another's container under this VIP": (
        "udp 17 29 src=172.17.2.3 dst=203.0.113.2 sport=5000 dport=53"
        " src=203.0.113.2 dst=203.0.113.65 sport=53 dport=5000"
    ),
}


@pytest.mark.parametrize("line", CRAFTED.values(), ids=CRAFTED.keys())
def test_a_flow_that_concerns_anybody_else_is_left_out(line: str) -> None:
    crafted = flows.parse_flows(line)
    assert len(crafted) == 1
    mine = flows.parse_flows("\n".join([INBOUND, OUTBOUND, DATAGRAMS]))
    assert flows.of_container(crafted + mine, "172.17.2.2", VIP) == mine


def test_a_flow_lives_no_longer_than_the_kernel_would_let_it() -> None:
    (flow,) = flows.parse_flows(INBOUND.replace("tcp      6 300", "tcp 6 2147483647"))
    assert " -t 432000 " in flows.insertions([flow], "172.17.2.2", "172.17.1.9", VIP)


def test_one_container_does_not_fill_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done: list[str] = []
    monkeypatch.setattr(flows, "run", lambda command, stdin="": done.append(stdin) or "")
    monkeypatch.setattr(flows, "MAXIMUM", tmp_path / "nf_conntrack_max")
    flows.MAXIMUM.write_text("4\n")
    mine = flows.parse_flows("\n".join([INBOUND, OUTBOUND]))
    flows.insert(mine, "172.17.2.2", "172.17.1.9", VIP)
    assert len(done) == 1 and done[0].count("\n") == 2
    with pytest.raises(flows.FlowsError, match="3 connections are too many"):
        flows.insert([*mine, mine[0]], "172.17.2.2", "172.17.1.9", VIP)
    assert len(done) == 1
