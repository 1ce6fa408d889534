"""What public bug reports tell of: carried right, or refused by name before anything is armed."""

import json
import socket
import threading
import time

import pytest
from harness import CONSOLE, ECHO, JsonObject, Lab

QUEUE = """
import queue
backlog = socket.create_server(("0.0.0.0", {port}), backlog=16)
def attend():
    while True:
        c, _ = backlog.accept()
        c.sendall(b"x" * {size})
        c.close()
"""
TO_ITSELF = """
import os
me = socket.gethostbyname(socket.gethostname())
own = socket.create_server((me, 7100))
def answer():
    peer, _ = own.accept()
    while data := peer.recv(99): peer.sendall(data)
threading.Thread(target=answer, daemon=True).start()
stream = socket.create_connection((me, 7100)); stream.settimeout(5)
def turn():
    stream.sendall(b"ping"); return stream.recv(99).decode()
answer = turn()
"""


def refused(lab: Lab, *words: str) -> None:
    """The move of ``web`` is refused on the source, and the container is as it was."""
    report = lab.move("web")
    assert report["outcome"] == "rolled_back"
    for word in words:
        assert word in report["reason"], report["reason"]
    lab.await_no_leftovers()


def state(lab: Lab, host: str, name: str = "web") -> tuple[str, str]:
    """Status and restart policy of a container, or nothing."""
    template = "{{.State.Status}} {{.HostConfig.RestartPolicy.Name}}"
    status, _, policy = (
        lab.ssh(host, "docker", "inspect", "--format", template, name, check=False).strip().partition(" ")
    )
    return status, policy


def test_a_worker_that_docker_exec_started(lab: Lab) -> None:
    lab.run("web")
    lab.docker("host1", "exec", "--detach", "web", "sleep", "600")
    refused(lab, "sleep 600", "docker exec")


def test_a_sidecar_in_its_network(lab: Lab) -> None:
    lab.run("web")
    image = lab.docker("host1", "inspect", "--format", "{{.Config.Image}}", "web")
    lab.docker(
        "host1", "run", "--detach", "--name", "beside", "--network", "container:web", image, "sleep", "600"
    )
    refused(lab, "beside")


def test_shared_memory_that_others_may_join(lab: Lab) -> None:
    lab.run("web", "host1", "--ipc", "shareable")
    refused(lab, "shareable")


def test_a_port_that_docker_chose_is_the_same_elsewhere(lab: Lab) -> None:
    vip = lab.run("web", "host1", "--publish", str(ECHO), "--publish", f"{CONSOLE}:{CONSOLE}")
    chosen = lab.docker("host1", "port", "web", str(ECHO)).splitlines()[0].rpartition(":")[2]
    lab.expect_moved("web")
    assert lab.docker("host2", "port", "web", str(ECHO)).splitlines()[0].rpartition(":")[2] == chosen
    with lab.bed.entered("client"), socket.create_connection((vip, int(chosen)), timeout=10) as client:
        client.sendall(b"new\n")
        assert client.recv(99) == b"new\n"


def test_what_was_closed_but_not_read_arrives_whole(lab: Lab) -> None:
    size = 3 << 20
    vip = lab.run("web", "host1", "--publish", "7005:7005", "--publish", f"{CONSOLE}:{CONSOLE}")
    console = lab.console("web")
    console(QUEUE.format(port=7005, size=size) + "threading.Thread(target=attend, daemon=True).start()")
    with lab.bed.entered("client"):
        client = socket.create_connection((vip, 7005), timeout=60)
    read = 0

    def slowly() -> None:
        nonlocal read
        while data := client.recv(1 << 16):
            read += len(data)
            time.sleep(0.02)

    reader = threading.Thread(target=slowly)
    reader.start()
    time.sleep(0.2)
    report = lab.move("web")
    reader.join()
    assert read == size
    assert report["outcome"] == "moved" or "closed" in report["reason"], report
    lab.await_no_leftovers()


def test_connections_that_nobody_has_accepted_stay_and_the_reason_is_named(lab: Lab) -> None:
    vip = lab.run("web", "host1", "--publish", "7005:7005", "--publish", f"{CONSOLE}:{CONSOLE}")
    console = lab.console("web")
    console(QUEUE.format(port=7005, size=9))
    with lab.bed.entered("client"):
        clients = [socket.create_connection((vip, 7005), timeout=20) for _ in range(5)]
    refused(lab, "5 connections", "accepted")
    console("threading.Thread(target=attend, daemon=True).start()")
    assert [client.recv(99) for client in clients] == [b"x" * 9] * 5
    lab.expect_moved("web")


def test_a_connection_to_its_own_address_goes_on(lab: Lab) -> None:
    lab.run("web")
    console = lab.console("web")
    assert console(TO_ITSELF) == "ping"
    for source, target in (("host1", "host2"), ("host2", "host1")):
        lab.expect_moved("web", source, target)
        assert console("answer = turn()") == "ping"


WISHES: dict[str, tuple[str, str, tuple[str, str]]] = {
    "stop": ("unless-stopped", "docker stop -t 1 web", ("exited", "unless-stopped")),
    "kill": ("always", "docker kill web", ("exited", "always")),
    "remove": ("always", "docker rm -f web", ("", "")),
    "update": ("no", "docker update --restart always web", ("running", "always")),
    "pause": ("always", "docker pause web", ("paused", "always")),
    "restart": ("always", "docker restart -t 1 web", ("running", "always")),
}


@pytest.mark.parametrize("wish", WISHES)
def test_what_a_tenant_wants_while_his_container_is_armed_is_what_he_gets(lab: Lab, wish: str) -> None:
    policy, command, wanted = WISHES[wish]
    lab.run("web", "host1", "--restart", policy)

    def act(plan: JsonObject) -> None:
        lab.shell("host1", command)

    report = lab.move("web", between=act)
    moved = report["outcome"] == "moved"
    assert moved == (wish == "update"), report
    assert state(lab, "host2" if moved else "host1") == wanted
    assert state(lab, "host1" if moved else "host2") == ("", "")
    if wish == "pause":
        lab.docker("host1", "unpause", "web")
    lab.await_no_leftovers()
    if wanted[0] in ("running", "paused"):
        here, there = ("host2", "host1") if moved else ("host1", "host2")
        lab.publish("web", here)
        lab.expect_moved("web", here, there)


def test_a_crash_while_armed_is_the_engines_to_mend(lab: Lab) -> None:
    lab.run("web", "host1", "--restart", "on-failure:5")

    def crash(plan: JsonObject) -> None:
        lab.shell("host1", "kill -9 $(docker inspect -f '{{.State.Pid}}' web)")

    assert lab.move("web", between=crash)["outcome"] == "rolled_back"
    deadline = time.monotonic() + 10
    while state(lab, "host1")[0] != "running" and time.monotonic() < deadline:
        time.sleep(0.2)
    assert state(lab, "host1") == ("running", "on-failure")
    lab.await_no_leftovers()


def test_a_container_that_was_renamed_is_one_container(lab: Lab) -> None:
    lab.run("web")

    def rename(plan: JsonObject) -> None:
        lab.docker("host1", "rename", "web", "shop")

    report = lab.move("web", between=rename)
    assert report["outcome"] == "rolled_back" and "shop" in report["reason"]
    assert lab.where("shop") == ["host1"] and lab.where("web") == []
    lab.await_no_leftovers()


def test_each_step_is_in_the_journal_of_every_host(lab: Lab) -> None:
    lab.run("web")
    report = lab.expect_moved("web")
    for host, word in (("host0", "restoring"), ("host1", "dumped"), ("host2", "restored")):
        lines = lab.ssh(host, "journalctl", f"RELOCATION={report['relocation_id']}", "--output=json")
        said = [json.loads(line)["MESSAGE"] for line in lines.splitlines()]
        assert any(word in line for line in said), said
