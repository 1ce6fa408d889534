"""Flows as conntrack lists them, and as it takes them."""

from relocate_proxy.kernel import flows

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
    line = flows.insertions(flows.parse_flows(INBOUND), "172.17.2.2", "172.17.1.9")
    assert line == (
        "-I -p tcp -s 203.0.113.2 -d 203.0.113.65 --sport 39096 --dport 80 --dst-nat 172.17.1.9:8080"
        " --state ESTABLISHED -t 300 -u SEEN_REPLY,ASSURED\n"
    )


def test_an_outbound_flow_keeps_the_virtual_address_as_its_source() -> None:
    line = flows.insertions(flows.parse_flows(OUTBOUND), "172.17.2.2", "172.17.1.9")
    assert line == (
        "-I -p tcp -s 172.17.1.9 -d 203.0.113.2 --sport 50000 --dport 25 --src-nat 203.0.113.65:50000"
        " --state ESTABLISHED -t 431999 -u SEEN_REPLY,ASSURED\n"
    )
