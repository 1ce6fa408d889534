"""Who is on a network with host0 or a host, or inside a container, and tries what is not for him."""

import json
import shlex
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from harness import CONSOLE, ECHO, Lab
from segment import liar, who_has
from talk import Conversation, EchoServer
from test_security import reaches

from relocate_cli.testbed.places import CLIENT_ADDRESS, VIP_POOL, lan_address

HOST0, HOST1 = str(lan_address(0).ip), str(lan_address(1).ip)
HOST0_OUTSIDE = "203.0.113.1"
NFS, REGISTRY, OTHER = 2049, 5000, 2050
CLIENT = str(CLIENT_ADDRESS.ip)
CONSOLE_PORT = f"--publish={CONSOLE}:{CONSOLE}"


def pings(lab: Lab, address: str) -> bool:
    """Whether a client's echo request is answered within a second."""
    with lab.bed.entered("client"):
        probe = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    body = struct.pack("!BBHHH", 8, 0, 0xF7FF - 0x77, 0x77, 0)  # a checksum over these alone
    with probe:
        probe.settimeout(1.0)
        probe.sendto(body, (address, 0))
        try:
            return probe.recv(1500)[20:22] == b"\0\0"
        except TimeoutError:
            return False


@contextmanager
def listener(lab: Lab, host: str, port: int) -> Iterator[None]:
    """Somebody listens at a port of all of a host's addresses, and takes every connection."""
    code = (
        "import socket, sys\n"
        f"with socket.create_server(('', {port}), backlog=64) as server:\n"
        "    while True: server.accept()[0].close()"
    )
    unit = f"hostile-{port}"
    lab.shell(host, f"systemd-run --quiet --collect --unit={unit} python3 -c {shlex.quote(code)}")
    try:
        deadline = time.monotonic() + 5
        while f":{port} " not in lab.shell(host, "ss -ltn") and time.monotonic() < deadline:
            time.sleep(0.1)
        yield
    finally:
        lab.shell(host, f"systemctl stop {unit}")


def hosts_get_out(lab: Lab) -> bool:
    """Whether a host's own connection and datagram to beyond host0 are answered."""
    server = EchoServer(lab.bed)
    try:
        code = (
            f"import socket\nwith socket.create_connection(('{CLIENT}', {server.port}), timeout=3) as c:\n"
            "    c.sendall(b'x\\n'); print(c.recv(9))"
        )
        return "x" in lab.ssh("host1", "python3", "-c", code, check=False)
    finally:
        server.close()


def test_clients_reach_virtual_addresses_and_nothing_of_the_hosts(lab: Lab) -> None:
    lab.run("web")
    lab.connect("web", ECHO).close()

    def breaches() -> list[str]:
        found = [f"{HOST1}:{port}" for port in (22, ECHO) if reaches(lab, HOST1, port)]
        return found + [f"ping {address}" for address in (HOST1, "172.17.1.2") if pings(lab, address)]

    assert pings(lab, HOST0_OUTSIDE)
    assert breaches() == []
    assert hosts_get_out(lab)
    assert reaches(lab, lab.vips["web"], ECHO)
    lab.shell("host0", "nft add table ip operator; nft delete table ip relocate_gateway")
    try:
        assert {f"{HOST1}:22", f"ping {HOST1}"} <= set(breaches()), "it is open without our rules"
    finally:
        lab.shell("host0", "systemctl restart relocate-gateway")
    assert breaches() == []
    assert "table ip operator" in lab.shell("host0", "nft list tables")
    lab.bed.power_off("host0")
    lab.bed.power_on("host0")
    deadline = time.monotonic() + 30
    while not reaches(lab, lab.vips["web"], ECHO) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert reaches(lab, lab.vips["web"], ECHO), "the address is answered for again"
    assert breaches() == []
    assert hosts_get_out(lab)


def test_a_datagram_is_forwarded_to_a_host_only_in_answer_to_its_own(lab: Lab) -> None:
    code = (
        "import socket, sys\nwith socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:\n"
        "    s.bind(('', 4000)); s.settimeout(3)\n"
        f"    if sys.argv[1] == 'ask': s.sendto(b'ask', ('{CLIENT}', 5000))\n"
        "    print('bound', flush=True)\n"
        "    try: print(s.recv(99))\n"
        "    except TimeoutError: print('nothing')"
    )
    for asks in ("wait", "ask"):
        with lab.bed.entered("client"):
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with client:
            client.bind(("", 5000))
            client.settimeout(5)
            config = str(lab.bed.places.ssh_config)
            command = ["ssh", "-F", config, "host1", shlex.join(["python3", "-c", code, asks])]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:
                assert host.stdout is not None and host.stdout.readline() == "bound\n"
                if asks == "ask":
                    assert client.recv(9) == b"ask"
                client.sendto(b"from outside", (HOST1, 4000))
                heard = host.stdout.read()
        assert ("from outside" in heard) == (asks == "ask"), heard


def test_the_storage_and_the_repository_are_the_hosts_alone(lab: Lab) -> None:
    """A container is its host to them, a client is on another wire."""
    lab.docker("host1", "network", "create", "shop")
    try:
        lab.run("web", "host1", CONSOLE_PORT)
        lab.run("db", "host1", f"--publish=7103:{CONSOLE}", "--network=shop")
        with listener(lab, "host0", NFS), listener(lab, "host0", OTHER):
            for name, port in (("web", CONSOLE), ("db", 7103)):
                places = [(a, p) for a in (HOST0, HOST0_OUTSIDE) for p in (NFS, REGISTRY, OTHER)]
                seen = lab.console(name, port)(
                    f"answer = []\nfor place in {places}:\n"
                    " s = socket.socket(); s.settimeout(1)\n"
                    " answer.append(s.connect_ex(place) == 0); s.close()"
                )
                open_to_it = [place for place, is_open in zip(places, seen, strict=True) if is_open]
                assert open_to_it == [(HOST0, OTHER), (HOST0_OUTSIDE, OTHER)], name
            open_to_clients = [(a, p) for a, p in places if reaches(lab, a, p)]
            assert [port for _, port in open_to_clients] == [OTHER, OTHER]
            for port in (NFS, REGISTRY):
                code = f"import socket; socket.create_connection(('{HOST0}', {port}), timeout=3)"
                lab.ssh("host1", "python3", "-c", code)
    finally:
        lab.docker("host1", "rm", "--force", "db")
        lab.docker("host1", "network", "rm", "shop")


def test_host0_answers_for_the_addresses_that_exist(lab: Lab) -> None:
    vip = lab.run("web")
    free = [str(each) for each in VIP_POOL.hosts() if str(each) not in lab.vips.values()][-1]
    assert who_has(lab.bed, vip) == who_has(lab.bed, HOST0_OUTSIDE) != set()
    strangers = ("203.0.113.33", HOST1, "172.17.1.2", free)
    assert [address for address in strangers if who_has(lab.bed, address)] == []


def test_who_answers_for_the_whole_pool_does_not_take_it_away(lab: Lab) -> None:
    lab.shell("host0", "ip neighbour flush dev wan0")
    name = f"fresh-{time.time_ns()}"
    with liar(lab.bed, VIP_POOL):
        assert who_has(lab.bed, "203.0.113.100", machine="host0"), "it does not lie: this test could not fail"
        started = time.monotonic()
        vip = lab.run(name)
        assert time.monotonic() - started < 20
    assert vip in {str(each) for each in VIP_POOL}
    lab.shell("host0", "ip neighbour flush dev wan0")


def test_a_tenant_with_net_admin_has_nobody_elses_link_cut(lab: Lab) -> None:
    lab.run("victim", "host1", f"--publish=7100:{ECHO}")
    lab.run("evil", "host1", CONSOLE_PORT, "--cap-add=NET_ADMIN")
    conversation = Conversation(lab.connect("victim", 7100), every=0.01)
    assert conversation.flows()

    def link(name: str) -> dict[str, int]:
        pid = lab.docker("host1", "inspect", "--format", "{{.State.Pid}}", name)
        inside = lab.shell("host1", f"nsenter --target {pid} --net ip -json link show dev eth0")
        (found,) = json.loads(inside)
        return {"pid": int(pid), "peer": found["link_index"]}

    evil, victim = link("evil"), link("victim")
    # The way out stays; what calls itself eth0 says that its other end has the number of the victim's.
    lab.shell(
        "host1",
        f"enter='nsenter --net=/proc/{evil['pid']}/ns/net'\n"
        "$enter unshare --net sleep 60 >/dev/null 2>&1 &\n"
        f"while [ $(readlink /proc/$!/ns/net) = $(readlink /proc/{evil['pid']}/ns/net) ] ||"
        " [ $(readlink /proc/$!/ns/net) = $(readlink /proc/self/ns/net) ]; do sleep 0.1; done\n"
        "set -e\n"
        "$enter ip link set dev eth0 down\n$enter ip link set dev eth0 name away\n"
        f"nsenter --net=/proc/$!/ns/net ip link add x index {victim['peer']} type veth"
        f" peer name eth0 netns {evil['pid']}\n"
        "$enter ip link set dev away up",
    )
    fake = link("evil")
    assert fake["peer"] == victim["peer"] != evil["peer"], "it is not what it was to be"
    report = lab.move("evil")
    assert report["outcome"] in ("moved", "rolled_back"), report
    assert conversation.flows(), "the victim's link is cut"
    tally = conversation.end()
    assert tally.clean and tally.longest_gap < 1.0, tally


def test_a_source_cannot_have_other_connections_led_to_its_container(lab: Lab) -> None:
    lab.run("web")
    vip, new = lab.vips["web"], "172.17.2.77"
    crafted = (
        f"tcp 6 300 ESTABLISHED src={HOST0} dst=198.18.0.12 sport=41000 dport=22"
        f" src=172.17.1.2 dst={vip} sport=22 dport=41000"
    )
    honest = (
        f"tcp 6 300 ESTABLISHED src={CLIENT} dst={vip} sport=41001 dport=7000"
        f" src=172.17.1.2 dst={CLIENT} sport=7000 dport=41001"
    )
    code = (
        "import sys; sys.path.insert(0, '/usr/lib/relocate')\n"
        "from relocate_proxy.kernel import flows\n"
        f"found = flows.parse_flows({crafted!r} + chr(10) + {honest!r})\n"
        f"flows.insert(found, '172.17.1.2', {new!r}, {vip!r})"
    )
    lab.ssh("host2", "python3", "-c", code)
    try:
        table = lab.shell("host2", f"conntrack -L -r {new} 2>/dev/null")
        assert "sport=41001" in table and "sport=41000" not in table, table
    finally:
        lab.shell("host2", f"conntrack -D -r {new} >/dev/null 2>&1; true")


CALL = (
    "import socket\n"
    "with socket.create_connection(({client!r}, {port}), timeout=5) as c: c.sendall(b'x\\n'); c.recv(9)"
)


@pytest.mark.parametrize("end", ["rm --force", "kill"])
def test_an_address_that_is_used_again_has_not_its_predecessors_virtual_one(lab: Lab, end: str) -> None:
    server = EchoServer(lab.bed)
    try:
        for _ in range(3):
            vip = lab.run("web", "host1", CONSOLE_PORT)
            had = lab.address("host1", "web")
            lab.console("web")(CALL.format(client=CLIENT, port=server.port) + "\nanswer = 0")
            assert server.callers[-1] == vip
            # At once, and without a survey between.
            image = lab.docker("host1", "inspect", "--format", "{{.Config.Image}}", "web")
            run = f"docker run --detach --name heir --publish=7050:{ECHO} {image} && docker start heir"
            lab.shell("host1", f"docker {end} web && {run}")
            assert lab.address("host1", "heir") == had, "it is another address: this test could not fail"
            call = CALL.format(client=CLIENT, port=server.port)
            lab.docker("host1", "exec", "heir", "python3", "-c", call)
            assert server.callers[-1] == HOST1
            assert not reaches(lab, vip, 7050)
            lab.docker("host1", "rm", "--force", "heir")
            lab.shell("host1", "docker rm --force web 2>/dev/null || true")
    finally:
        server.close()


def test_a_container_that_is_started_again_has_its_virtual_address_without_a_survey(lab: Lab) -> None:
    vip = lab.run("web", "host1", CONSOLE_PORT)
    lab.docker("host1", "stop", "--time=0", "web")
    assert vip not in lab.shell("host1", "nft list map ip relocate vip")
    lab.docker("host1", "start", "web")
    server = EchoServer(lab.bed)
    try:
        deadline = time.monotonic() + 10
        while vip not in lab.shell("host1", "nft list map ip relocate vip") and time.monotonic() < deadline:
            time.sleep(0.2)
        lab.console("web")(CALL.format(client=CLIENT, port=server.port) + "\nanswer = 0")
        assert server.callers == [vip]
    finally:
        server.close()
    lab.expect_moved("web")


def test_an_unlabelled_namesake_never_speaks_under_the_virtual_address(lab: Lab) -> None:
    vip = lab.run("web", "host1", CONSOLE_PORT)
    lab.make_image("host2", "namesake:1")
    lab.docker("host2", "run", "--detach", "--name=web", "namesake:1")
    server = EchoServer(lab.bed)
    try:
        lab.publish("web", "host1")
        lab.ssh("host2", "relocate-proxy", "enrol", "--again")
        lab.docker("host2", "restart", "--time=0", "web")
        lab.ssh("host2", "relocate-proxy", "enrol", "--again")
        call = CALL.format(client=CLIENT, port=server.port)
        lab.docker("host2", "exec", "web", "python3", "-c", call)
        assert server.callers == [str(lan_address(2).ip)]
        assert vip not in lab.shell("host2", "ip address show dev lo; nft list table ip relocate")
    finally:
        server.close()
