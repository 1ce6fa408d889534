"""Who may do what: host0's key, the shared storage, and what of a tenant's secrets is left anywhere."""

import contextlib
import json
import shlex
import socket
import threading
from pathlib import Path

import pytest
from harness import CONSOLE, ECHO, Lab

KEY = (
    "ssh -i /etc/relocate/ssh/id_ed25519 -o UserKnownHostsFile=/etc/relocate/ssh/known_hosts -o BatchMode=yes"
)
FILES = KEY.removeprefix("ssh ")
HOST = "198.18.0.11"
# What the listener at a port of host0 says, and SOCKS 5 for "connect to 127.0.0.1, port 22".
CLEAN = "; kill $! 2>/dev/null"
TALK = "timeout 3 busybox nc 127.0.0.1"
SOCKS = r"\5\1\0\5\1\0\1\177\0\0\1\0\26"
SECRET = "correct-horse-battery-staple"


@pytest.mark.parametrize(
    "attempt",
    [
        f"{KEY} root@{HOST} 'id; echo got in' < /dev/null",
        f"{KEY} root@{HOST} relocate-proxy survey < /dev/null",
        f"echo 'echo got in' | {KEY} root@{HOST} sh -s",
        f"{KEY} -tt root@{HOST} < /dev/null",
        f"{KEY} -W 127.0.0.1:22 root@{HOST} < /dev/null",
        f"{KEY} -o ExitOnForwardFailure=yes -R 9999:127.0.0.1:22 root@{HOST} true < /dev/null; ss -ltn",
        f"{KEY} -N -L 9998:127.0.0.1:22 root@{HOST} & sleep 1; {TALK} 9998",
        f"{KEY} -N -D 9997 root@{HOST} & sleep 1; printf '{SOCKS}' | {TALK} 9997",
        f"eval $(ssh-agent); {KEY} -A root@{HOST} < /dev/null; kill $SSH_AGENT_PID",
        f"echo get /etc/shadow /tmp/stolen | sftp -b - {FILES} root@{HOST}; cat /tmp/stolen",
        f"scp {FILES} root@{HOST}:/etc/shadow /tmp/stolen; cat /tmp/stolen",
        f"scp {FILES} /etc/hostname root@{HOST}:/tmp/planted",
    ],
    ids=[
        "shell",
        "another verb",
        "script",
        "terminal",
        "forward to",
        "forward from",
        "forward a port",
        "forward all ports",
        "forward the agent",
        "sftp",
        "read a file",
        "write a file",
    ],
)
def test_the_key_of_host0_opens_the_agent_and_nothing_else(lab: Lab, attempt: str) -> None:
    heard = lab.shell("host0", f"timeout 15 sh -c {shlex.quote(attempt + CLEAN)} 2>&1", check=False)
    for breach in ("uid=", "got in", "root:", "SSH-2.0", ":9999", "taken_at"):
        assert breach not in heard
    assert lab.shell("host1", "ls /tmp/planted 2>&1 || true").startswith("ls:")
    assert lab.shell("host1", "find /tmp -maxdepth 2 -name 'agent.*'") == ""


def test_the_key_is_good_from_host0_alone(lab: Lab) -> None:
    lab.shell("host0", "install -m 600 /etc/relocate/ssh/id_ed25519 /var/lib/relocate/storage/key")
    try:
        stolen = "ssh -i /var/lib/relocate/storage/key -o BatchMode=yes -o StrictHostKeyChecking=no"
        heard = lab.shell("host2", f"{stolen} root@{HOST} true < /dev/null 2>&1", check=False)
    finally:
        lab.shell("host0", "rm /var/lib/relocate/storage/key")
    assert "hello" not in heard
    assert "Permission denied" in heard


def test_a_tenants_secret_is_left_nowhere(lab: Lab) -> None:
    lab.run("web", "host1", f"--env=PASSWORD={SECRET}")
    seen = []

    def look(plan: dict[str, object]) -> None:
        listing = lab.shell("host0", f"stat -c '%a %U' /var/lib/relocate/storage/{plan['id']}")
        processes = "".join(lab.shell(host, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '") for host in lab.hosts)
        seen.extend([listing.strip(), SECRET in processes])

    lab.expect_moved("web", between=look)
    assert seen == ["700 root", False]
    places = "/var/lib/relocate /var/log /run/relocate /etc/relocate /run/systemd/transient"
    search = f"grep -rls {SECRET} {places}; true"
    for host in ("host0", *lab.hosts):
        assert lab.shell(host, search) == ""
        assert SECRET not in lab.shell(host, "journalctl --no-pager --quiet")
    assert SECRET in lab.docker("host2", "exec", "web", "env")


def test_an_address_that_is_not_its_own_to_ask_for_is_refused_and_stops_nobody(lab: Lab) -> None:
    lab.run("web")
    wishes = {"odd": "1.2.3.4; reboot", "thief": lab.vips["web"], "web": None, "late": None}
    labels = {
        name: {"relocate.enable": "true"} | ({"relocate.vip": vip} if vip else {})
        for name, vip in wishes.items()
    }
    listed = [{"name": name, "labels": labels[name]} for name in wishes]
    hosts = {host: json.dumps({"containers": listed if host == "host1" else []}) for host in lab.hosts}
    answer = lab.proxy("host0", "publish", {"hosts": hosts})
    assert answer["vips"].keys() == {"web", "late"} and answer["vips"]["web"] == lab.vips["web"]
    assert {entry["name"]: entry["reason"].split(", ")[-1] for entry in answer["refused"]} == {
        "odd": "is not an IPv4 address",
        "thief": "belongs to web",
    }


def test_the_digests_of_the_images_can_be_turned_off(lab: Lab) -> None:
    """That they refuse a changed image is in test_rollback.py."""
    lab.run("web")
    checked = lab.expect_moved("web", "host1", "host2")
    unchecked = lab.expect_moved("web", "host2", "host1", verify=False)
    taken = [[span["name"] for span in report["trace"]] for report in (checked, unchecked)]
    assert ["digests" in " ".join(names) for names in taken] == [True, False], taken
    lab.await_no_leftovers()


def test_a_whole_move_shows_a_tenants_secret_to_nobody(lab: Lab) -> None:
    """The hosts are machines in namespaces: the process list here has all of theirs."""
    lab.run("web", "host1", f"--env=PASSWORD={SECRET}")
    seen: set[str] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            for process in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    seen.update(word for word in (SECRET, "all may see this") if word in line)

    watcher = threading.Thread(target=watch)
    watcher.start()
    lab.shell("host1", "sleep 0.5; : all may see this")
    ended = lab.relocate("move", "web", "--to", "host2", "--json", "-vvv")
    over.set()
    watcher.join()
    assert ended.code == 0, ended.err
    assert seen == {"all may see this"}
    assert SECRET not in ended.out + ended.err
    assert SECRET not in lab.relocate("history", "--json").out + lab.relocate("survey", "--json").out
    kept = [path for path in lab.state.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert kept == []
    assert SECRET in lab.docker("host2", "exec", "web", "env")


def reaches(lab: Lab, address: str, port: int) -> bool:
    """Whether a client gets through within a second."""
    with lab.bed.entered("client"):
        client = socket.socket()
    client.settimeout(1.0)
    with client:
        return client.connect_ex((address, port)) == 0


def test_an_address_leads_to_its_own_containers_ports_and_to_nothing_else(lab: Lab) -> None:
    lab.run("web", "host1", f"--publish=7000:{ECHO}", f"--publish=7003:{CONSOLE}")
    lab.run("db", "host1", f"--publish=7100:{ECHO}")
    lab.run("far", "host2", f"--publish=7200:{ECHO}")
    lab.dial(lab.vips["db"], 7100).close()
    console = lab.console("web")
    for move in (None, ("host1", "host2")):
        if move:
            lab.expect_moved("web", *move)
        assert reaches(lab, lab.vips["web"], 7000)
        assert [port for port in (7100, 7200, 22) if reaches(lab, lab.vips["web"], port)] == []
    neighbours = [(lab.vips["far"], 7200), (lab.vips["db"], 7100)]
    seen = console(
        f"answer = []\nfor peer in {neighbours}:"
        " answer.append(socket.create_connection(tuple(peer), timeout=5).getsockname()[0])"
    )
    assert len(seen) == 2
