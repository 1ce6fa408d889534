"""A container moves: its connections in both directions, its address, and what it is afterwards."""

import contextlib
import hashlib
import itertools
import json
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from harness import CONSOLE, DOWNLOAD, ECHO, PUSH, Lab
from talk import PATIENCE, Conversation, Download, EchoServer

sys.path.insert(0, str(Path(__file__).with_name("tenant")))
from server import blocks

DIAL = """
def talk():
    with socket.create_connection(("203.0.113.2", {port})) as c, c.makefile("rb") as lines:
        c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(10**9):
            c.sendall(b"%d\\n" % number)
            heard.append(int(lines.readline()))
            if ending: return
            time.sleep(0.003)
heard, ending = [], []
caller = threading.Thread(target=talk); caller.start()
"""


def test_a_client_loses_no_message_there_and_back(lab: Lab) -> None:
    lab.run("web")
    conversation = Conversation(lab.connect("web", ECHO))
    assert conversation.flows()
    lab.expect_moved("web", "host1", "host2")
    assert conversation.flows()
    lab.expect_moved("web", "host2", "host1")
    assert conversation.flows()
    result = conversation.end()
    assert result.clean, result
    assert result.sent > 500
    lab.await_no_leftovers()


def test_the_new_address_is_of_the_targets_network(lab: Lab) -> None:
    lab.run("web")
    report = lab.expect_moved("web")
    assert report["old_ip"].startswith("172.17.1.")
    assert report["new_ip"].startswith("172.17.2.")
    inside = lab.docker("host2", "exec", "web", "ip", "-4", "addr", "show", "dev", "eth0")
    assert f"inet {report['new_ip']}/" in inside


def test_a_connection_that_the_container_opened_goes_on(lab: Lab) -> None:
    vip = lab.run("web")
    server = EchoServer(lab.bed)
    console = lab.console("web")
    console(DIAL.format(port=server.port))
    for source, target in (("host1", "host2"), ("host2", "host1")):
        before = console("answer = len(heard)")
        lab.expect_moved("web", source, target)
        time.sleep(0.2)
        assert console("answer = len(heard)") > before + 20
    console("ending.append(True); caller.join()")
    heard = console("answer = heard")
    assert heard == list(range(len(heard)))
    assert server.callers == [vip]
    server.close()


def test_new_connections_of_a_moved_container_come_from_its_vip(lab: Lab) -> None:
    vip = lab.run("web")
    lab.expect_moved("web")
    server = EchoServer(lab.bed)
    lab.console("web")(f"c = socket.create_connection(('203.0.113.2', {server.port})); c.close()")
    deadline = time.monotonic() + PATIENCE
    while not server.callers and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.callers == [vip]
    server.close()


def test_what_the_server_pushes_arrives(lab: Lab) -> None:
    lab.run("web")
    pushed = Conversation(lab.connect("web", PUSH), send=False)
    assert pushed.flows()
    lab.expect_moved("web")
    assert pushed.flows()
    result = pushed.end()
    assert result.clean, result


def test_a_download_in_progress_is_whole(lab: Lab) -> None:
    lab.run("web")
    size = 128 << 20
    moved = threading.Event()
    download = Download(lab.connect("web", DOWNLOAD), size, hurry=moved)
    lab.expect_moved("web")
    assert not download.complete, "the download was over before the move: it shows nothing"
    moved.set()
    expected = hashlib.sha256()
    for block in blocks(size):
        expected.update(block)
    assert download.digest() == expected.hexdigest()


def test_an_idle_connection_and_the_processes_memory_are_kept(lab: Lab) -> None:
    lab.run("web")
    console = lab.console("web")
    console("token = __import__('os').urandom(1 << 20); started = time.monotonic()")
    digest = console("answer = __import__('hashlib').sha256(token).hexdigest()")
    lab.expect_moved("web")
    assert console("answer = __import__('hashlib').sha256(token).hexdigest()") == digest
    assert 0 < console("answer = time.monotonic() - started") < 120


def test_a_udp_flow_finds_the_new_host(lab: Lab) -> None:
    vip = lab.run("web")
    with lab.bed.entered("client"):
        flow = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    flow.connect((vip, ECHO))
    flow.settimeout(0.3)

    def answered_by() -> str:
        for number in itertools.count():
            assert number < 20, "no answer to 20 datagrams"
            flow.send(b"%d" % number)
            try:
                return flow.recv(2048).split()[1].decode()
            except TimeoutError:
                continue
        raise AssertionError

    assert answered_by().startswith("172.17.1.")
    report = lab.expect_moved("web")
    assert answered_by() == report["new_ip"]
    flow.close()


def test_a_published_port_may_differ_from_the_containers(lab: Lab) -> None:
    lab.run("web", "host1", "--publish=80:7000", f"--publish={CONSOLE}:{CONSOLE}")
    conversation = Conversation(lab.connect("web", 80))
    lab.expect_moved("web")
    assert conversation.flows()
    assert conversation.end().clean
    fresh = lab.connect("web", 80)
    fresh.sendall(b"anybody\n")
    assert fresh.recv(100) == b"anybody\n"
    fresh.close()


CONFIGURED = (
    *("--env", "GREETING=good day", "--label", "owner=somebody", "--hostname", "tenant-1"),
    *("--restart", "unless-stopped", "--health-cmd", "true", "--health-interval", "1s"),
    *("--ulimit", "nofile=900:1000", "--workdir", "/data", "--stop-timeout", "1", "--cap-drop", "NET_RAW"),
    *("--security-opt", "no-new-privileges", "--oom-score-adj", "100"),
)


def configuration(document: dict[str, object]) -> dict[str, object]:
    """Of `docker inspect`, what the tenant wrote; ids, times and addresses are the host's."""
    config = dict(document["Config"])  # type: ignore[call-overload]
    host_config = dict(document["HostConfig"])  # type: ignore[call-overload]
    # The image comes without its tenant's name for it: an annotation has that.
    annotations = host_config.pop("Annotations", None) or {}
    config["Image"] = annotations.pop("relocate.image", config["Image"])
    host_config["Annotations"] = annotations
    return {"name": document["Name"], "args": document["Args"], "config": config, "host": host_config}


def test_a_moved_container_is_an_ordinary_one(lab: Lab) -> None:
    lab.run("web", "host1", *(f"--publish={p}:{p}" for p in (ECHO, CONSOLE)), *CONFIGURED)
    console = lab.console("web")
    console("print('said before', flush=True)")
    before = json.loads(lab.docker("host1", "inspect", "web"))[0]
    lab.expect_moved("web")
    console("print('said after', flush=True)")
    after = json.loads(lab.docker("host2", "inspect", "web"))[0]
    assert configuration(after) == configuration(before)
    assert after["NetworkSettings"]["Ports"] == before["NetworkSettings"]["Ports"]
    assert lab.docker("host2", "logs", "web").splitlines() == [
        "first line of the log",
        "said before",
        "said after",
    ]
    assert lab.docker("host1", "ps", "--all", "--quiet") == ""
    assert (
        lab.docker("host2", "exec", "web", "sh", "-c", "echo $GREETING from $(hostname)")
        == "good day from tenant-1"
    )
    assert "server.py" in lab.docker("host2", "top", "web")
    assert console("answer = __import__('resource').getrlimit(__import__('resource').RLIMIT_NOFILE)") == [
        900,
        1000,
    ]
    await_health(lab, "host2", "web")
    lab.docker("host2", "restart", "--time", "1", "web")
    assert lab.connect("web", ECHO).getpeername()[0] == lab.vips["web"]
    lab.docker("host2", "stop", "--time", "1", "web")
    assert lab.where("web") == []
    assert "Exited" in lab.docker("host2", "ps", "--all", "--format", "{{.Status}}")
    lab.docker("host2", "start", "web")
    assert lab.where("web") == ["host2"]


def await_health(lab: Lab, host: str, name: str) -> None:
    """Two checks that ran after the move: docker exec works in the restored namespaces."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        health = json.loads(lab.docker(host, "inspect", "--format", "{{json .State.Health}}", name))
        if health["Status"] == "healthy" and health["Log"]:
            return
        time.sleep(0.3)
    pytest.fail(f"never healthy: {health}")


def test_limits_that_the_hosts_can_set_are_kept(lab: Lab) -> None:
    controllers = lab.shell("host1", "cat /sys/fs/cgroup/cgroup.controllers").split()
    if "pids" not in controllers:
        pytest.skip(
            f"the hosts' cgroups have {controllers or 'no controllers'}: Docker can set no limit there"
        )
    lab.run("web", "host1", "--publish=7003:7003", "--pids-limit", "64")
    lab.expect_moved("web")
    limit = lab.shell("host2", "cat /sys/fs/cgroup/system.slice/docker-*.scope/pids.max").strip()
    assert limit == "64"


def test_a_restart_policy_never_yields_two_copies(lab: Lab) -> None:
    lab.run("web", "host1", "--restart", "always")
    seen: list[list[str]] = []
    ending = threading.Event()

    def watch() -> None:
        while not ending.is_set():
            seen.append(lab.where("web"))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        lab.expect_moved("web")
    finally:
        ending.set()
        watcher.join()
    assert lab.where("web") == ["host2"]
    assert lab.docker("host2", "inspect", "--format", "{{.HostConfig.RestartPolicy.Name}}", "web") == "always"
    pid = lab.docker("host2", "inspect", "--format", "{{.State.Pid}}", "web")
    lab.shell("host2", f"kill -9 {pid}")
    assert answers_again(lab, "web")
    assert seen


def answers_again(lab: Lab, name: str) -> bool:
    """Whether a tenant that was killed serves again; what its old process still took does not count."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), lab.connect(name, ECHO) as fresh:
            fresh.sendall(b"again\n")
            if fresh.recv(100) == b"again\n":
                return True
    return False


def test_an_address_that_a_removed_container_had_is_free(lab: Lab) -> None:
    lab.run("web")
    lab.expect_moved("web", "host1", "host2")
    lab.run("gone", "host1", f"--publish=7100:{ECHO}")
    had = lab.address("host1", "gone")
    lab.docker("host1", "rm", "--force", "gone")  # by its tenant: host1 maps the address to its VIP still
    report = lab.expect_moved("web", "host2", "host1")
    assert report["new_ip"] == had, "Docker gave it another: this proves nothing"
    lab.await_no_leftovers()


def test_two_containers_on_one_host_do_not_disturb_each_other(lab: Lab) -> None:
    lab.run("web")
    lab.run("other", "host1", "--publish=8000:7000", "--publish=8003:7003")
    stays = Conversation(lab.connect("other", 8000))
    moves = Conversation(lab.connect("web", ECHO))
    lab.expect_moved("web")
    assert stays.flows() and moves.flows()
    assert lab.where("other") == ["host1"]
    assert stays.end().clean
    assert moves.end().clean
