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
