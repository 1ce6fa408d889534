"""Clients and hosts on one wire: host0 alone answers for a VIP, and for nothing else."""

import subprocess
from collections.abc import Iterator

import pytest
from harness import CONSOLE, ECHO, Lab
from segment import who_has
from talk import Conversation, EchoServer

from relocate_cli.testbed import bed
from relocate_cli.testbed.places import ONE_WIRE_CLIENT_ADDRESS, ONE_WIRE_POOL, Places, lan_address
from relocate_cli.testbed.root import Engine

STRANGER = "198.18.0.150"
FREE = str(ONE_WIRE_POOL.broadcast_address - 1)


@pytest.fixture(scope="module")
def one_wire(able: None) -> Iterator[Lab]:
    of = Places.of_user().named("wire")
    bed.down(of)
    try:
        lab = Lab(bed.up(2, Engine.DOCKER_26, of, one_wire=True))
        provisioned = lab.relocate("provision")
        assert provisioned.code == 0, provisioned.err
        lab.make_image("host1")
        yield lab
    finally:
        bed.down(of)


def test_host0_alone_answers_for_a_virtual_address_and_a_move_keeps_its_connections(one_wire: Lab) -> None:
    lab = one_wire
    vip = lab.run("web")
    assert vip in {str(each) for each in ONE_WIRE_POOL}
    (host0,) = who_has(lab.bed, str(lan_address(0).ip))
    assert who_has(lab.bed, vip) == {host0}
    assert (who_has(lab.bed, STRANGER), who_has(lab.bed, FREE)) == (set(), set())
    assert len(who_has(lab.bed, str(lan_address(2).ip))) == 1, "a host's own is its own to answer"

    conversation = Conversation(lab.connect("web", ECHO), every=0.01)
    assert conversation.flows()
    console, server = lab.console("web", CONSOLE), EchoServer(lab.bed)
    client = str(ONE_WIRE_CLIENT_ADDRESS.ip)
    console(f"peer = socket.create_connection(('{client}', {server.port})).makefile('rwb')")
    for source, target in (("host1", "host2"), ("host2", "host1")):
        lab.expect_moved("web", source, target)
        assert who_has(lab.bed, vip) == {host0}
        assert conversation.flows()
        assert console("peer.write(b'x\\n'); peer.flush(); answer = peer.readline().decode()") == "x\n"
        learnt = lab.bed.client_command("ip", "neighbour", "show", "to", vip)
        assert host0 in subprocess.check_output(learnt, text=True)
    tally = conversation.end()
    assert tally.clean, tally
    assert server.callers == [vip]
    server.close()
    assert lab.relocate("provision", "--json").document()["changed"] == []


def test_decommissioning_takes_the_filter_the_answers_and_the_guard_back(one_wire: Lab) -> None:
    """The last of this testbed."""
    lab = one_wire
    lab.clear()
    lab.run("web")
    lab.shell("host0", "nft add table ip operator; ip neighbour add proxy 198.18.0.151 dev lan0")
    ours = (
        "nft list tables; ip rule; ip neighbour show proxy; ip route show proto 186; ip address show dev lo"
    )
    before = {host: lab.shell(host, ours) for host in ("host0", "host1")}
    assert all(word in before["host0"] for word in ("relocate_gateway", "18600", lab.vips["web"]))
    assert all(word in before["host1"] for word in ("table ip relocate", lab.vips["web"]))
    for _ in range(2):
        ended = lab.relocate("decommission", "--yes")
        assert ended.code == 0, ended.err
    after = {host: lab.shell(host, ours) for host in ("host0", "host1")}
    assert "operator" in after["host0"] and "198.18.0.151" in after["host0"]
    for word in ("relocate", "18600", lab.vips["web"]):
        assert word not in after["host0"] + after["host1"]
    assert lab.shell("host1", "cat /proc/sys/net/ipv4/conf/all/arp_ignore") == "0\n"
    assert lab.running("host1") == ["web"]
