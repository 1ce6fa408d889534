"""A network that docker compose made goes where its container goes, and is gone where nobody needs it."""

import json
from collections.abc import Iterator

import pytest
from harness import ECHO, IMAGE, JsonObject, Lab
from talk import Conversation

NETWORK = "shop_default"
LABELS = {
    "com.docker.compose.project": "shop",
    "com.docker.compose.network": "default",
    "com.docker.compose.config-hash": "5f3a",
}
MADE = "relocate.made"
TALK = """
for attempt in range(50):
    try: c = socket.create_connection(("db", 7000), 3); break
    except ConnectionRefusedError: time.sleep(0.1)
c.sendall(b"hello\\n"); answer = c.recv(9).decode()
"""
OF_NETWORK = '{{(index .NetworkSettings.Networks "shop_default").IPAddress}}'


@pytest.fixture
def shop(lab: Lab) -> Iterator[Lab]:
    """A network as docker compose makes it, on host1 alone, and a container in it."""
    _remove(lab)
    labels = [f"--label={key}={value}" for key, value in LABELS.items()]
    mtu = "--opt=com.docker.network.driver.mtu=1400"
    bridge = "--opt=com.docker.network.bridge.name=shop0"
    lab.docker("host1", "network", "create", *labels, mtu, bridge, NETWORK)
    lab.run("web", "host1", "--network", NETWORK, "--network-alias", "app")
    yield lab
    lab.clear()
    _remove(lab)


def _remove(lab: Lab) -> None:
    for host in lab.hosts:
        lab.shell(host, f"docker network rm {NETWORK} 2>/dev/null || true")


def network(lab: Lab, host: str) -> JsonObject:
    """What Docker says of it there; empty if it is not there."""
    listing = lab.docker(host, "network", "ls", "--quiet", "--filter", f"name=^{NETWORK}$").split()
    if not listing:
        return {}
    (found,) = json.loads(lab.docker(host, "network", "inspect", *listing))
    return dict(found)


def address(lab: Lab, host: str) -> str:
    return lab.docker(host, "inspect", "--format", OF_NETWORK, "web")


def move(lab: Lab, source: str, target: str) -> None:
    before = address(lab, source)
    report = lab.move("web", source, target)
    assert report["outcome"] == "moved", report["reason"]
    assert lab.where("web") == [target]
    assert report["old_ip"] == before
    assert report["new_ip"] == address(lab, target) != before


def test_a_composed_network_comes_along_and_goes_with_its_last_container(shop: Lab) -> None:
    lab, conversation = shop, Conversation(shop.connect("web", ECHO))
    assert conversation.flows()
    before = network(lab, "host1")
    move(lab, "host1", "host2")
    assert conversation.flows()
    made = network(lab, "host2")
    assert made["Labels"].items() >= LABELS.items() and MADE in made["Labels"]
    assert made["Options"] == before["Options"] and made["Driver"] == "bridge"
    assert made["IPAM"]["Config"] != before["IPAM"]["Config"]
    assert network(lab, "host1") == {**before, "Containers": {}}, "it is its tenant's, who made it"

    lab.bring_image("host2")
    lab.docker("host2", "run", "--detach", "--name", "db", "--network", NETWORK, IMAGE)
    console = lab.console("web")
    at = lab.docker("host2", "inspect", "--format", OF_NETWORK, "db")
    assert console("answer = socket.gethostbyname('db')") == at
    assert console("answer = socket.gethostbyname('app')") == address(lab, "host2")
    assert console(TALK) == "hello\n"

    console("c.close()")
    move(lab, "host2", "host1")
    assert conversation.flows()
    assert network(lab, "host2"), "db has it still"
    lab.docker("host2", "rm", "--force", "db")
    move(lab, "host1", "host2")
    move(lab, "host2", "host1")
    assert network(lab, "host2") == {}
    assert MADE not in network(lab, "host1")["Labels"]
    assert conversation.end().clean


def test_a_move_that_is_rolled_back_leaves_no_network(shop: Lab) -> None:
    lab, conversation = shop, Conversation(shop.connect("web", ECHO))

    console = lab.console("web")
    console("held = open('/data/kept')")

    def sabotage(plan: JsonObject) -> None:
        assert network(lab, "host2")
        record = json.loads(lab.ssh("host2", "cat", f"/var/lib/relocate/open/{plan['id']}.json"))
        lab.ssh("host2", "rm", f"{record['facts']['rootfs']}/data/kept")

    report = lab.move("web", between=sabotage)
    assert report["outcome"] == "rolled_back", report
    assert network(lab, "host2") == {}
    assert lab.where("web") == ["host1"] and network(lab, "host1")
    assert conversation.flows() and conversation.end().clean
    lab.await_no_leftovers()


TALK_TO_ITSELF = """
where = []
for name in ("app", "inner"):
    one = socket.create_connection((name, 7000), 3); where.append(one)
answer = [each.getpeername()[0] for each in where]
"""
SAY = """
answer = []
for each in where: each.sendall(b"hello\\n"); answer.append(each.recv(9).decode())
"""
BOTH = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"


def test_a_container_in_two_networks_keeps_its_connections_in_both(shop: Lab) -> None:
    """The first of the two has no way out, so the other is the one by which clients come."""
    lab = shop
    for host in lab.hosts:
        lab.shell(host, "docker network rm inner 2>/dev/null || true")
    lab.docker("host1", "rm", "--force", "web")
    lab.docker("host1", "network", "create", "--internal", "inner")
    lab.docker("host1", "network", "connect", "--alias", "inner", "inner", container(lab))
    vip = lab.publish("web", "host1")
    assert vip
    console, conversation = lab.console("web"), Conversation(lab.connect("web", ECHO))
    console(TALK_TO_ITSELF)
    console("bound = socket.socket(); bound.bind((where[1].getpeername()[0], 7999)); bound.listen()")
    for source, target in (("host1", "host2"), ("host2", "host1")):
        before = lab.docker(source, "inspect", "--format", BOTH, "web").split()
        report = lab.move("web", source, target)
        assert report["outcome"] == "moved", report["reason"]
        after = lab.docker(target, "inspect", "--format", BOTH, "web").split()
        assert len(after) == 2 and report["new_ip"] in after and report["old_ip"] in before
        assert conversation.flows()
        assert console(SAY) == ["hello\n", "hello\n"]
        assert sorted(console("answer = [each.getpeername()[0] for each in where]")) == sorted(after)
        assert console("answer = bound.getsockname()[0]") in after
        names = lab.docker(source, "network", "ls", "--format", "{{.Name}}").split()
        assert ({NETWORK, "inner"} <= {*names}) == (source == "host1")
    assert conversation.end().clean
    lab.await_no_leftovers()
    lab.docker("host1", "rm", "--force", "web")
    lab.docker("host1", "network", "rm", "inner")


def container(lab: Lab) -> str:
    """A tenant in the shop's network."""
    options = ("--network", NETWORK, "--network-alias", "app", "--publish=7000:7000", "--publish=7003:7003")
    return lab.docker(
        "host1", "run", "--detach", "--name", "web", "--label=relocate.enable=true", *options, IMAGE
    )
