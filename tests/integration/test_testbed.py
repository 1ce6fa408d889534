"""The testbed itself: what it leaves on the machine (nothing), what breaks it and what mends it."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import RELOCATE

from relocate_cli.errors import LockedError, RefusedError
from relocate_cli.testbed import bed, places
from relocate_cli.testbed.cgroup import cgroup_of
from relocate_cli.testbed.inotify import LIMIT
from relocate_cli.testbed.locks import held
from relocate_cli.testbed.places import Places
from relocate_cli.testbed.root import Engine


@pytest.fixture
def of(able: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    """A testbed of the test's own, not up."""
    monkeypatch.setenv("RELOCATE_TESTBED_DIR", str(tmp_path))
    of = Places.of_user()
    yield of
    bed.down(of)


def traces(of: Places) -> dict[str, object]:
    """What of this testbed can be seen on the machine, and what of the machine it could have changed."""
    mine = (str(of.state), of.label)
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return {
        "mounts": [line for line in mounts if any(word in line for word in mine)],
        "namespaces": sorted(path.name for path in places.NETNS_DIR.glob(f"{of.label}-*")),
        "cgroup": cgroup_of(of).exists(),
        "processes": [
            command
            for process in Path("/proc").glob("[0-9]*/cmdline")
            if any(word in (command := read_or_empty(process)) for word in mine)
        ],
        "state": of.state.exists(),
        "sockets": of.sockets.exists(),
        "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "devices": {
            name: device(name)
            for name in ("null", "zero", "full", "random", "tty", "console", "kmsg", "ptmx")
        },
        "rules": ruleset(),
        "hostname": os.uname().nodename,
        "settings": {
            name: Path("/proc/sys", name).read_text()
            for name in (
                "net/ipv4/ip_forward",
                "kernel/core_pattern",
                "kernel/panic",
                "fs/file-max",
                "fs/nr_open",
            )
        },
    }


def read_or_empty(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def device(name: str) -> tuple[int, int, int, int] | None:
    path = Path("/dev", name)
    if not path.exists():
        return None
    status = path.stat()
    return status.st_mode, status.st_uid, status.st_gid, status.st_rdev


def ruleset() -> str | None:
    """The machine's own packet filter; None where it has no tool that would show it."""
    tool = shutil.which("iptables-save")
    return subprocess.run([tool], capture_output=True, text=True, check=False).stdout if tool else None


def eventually(holds: Callable[[], bool], patience: float = 30.0) -> bool:
    deadline = time.monotonic() + patience
    while not (met := holds()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return met


def test_down_leaves_nothing_behind(of: Places) -> None:
    before = traces(of)
    testbed = bed.up(1, Engine.DOCKER_26, of)
    during = traces(of)
    # A tenant's bridge and NAT, a tenant's process: the things that could leak.
    started = testbed.run("host1", "systemctl", "start", "docker")
    assert started.returncode == 0, started.stderr
    assert "DOCKER" in testbed.run("host1", "iptables", "-t", "nat", "-S").stdout
    assert during["cgroup"] and during["processes"] and len(during["namespaces"]) == 4
    assert {name: during[name] for name in ("interfaces", "devices", "rules", "hostname", "settings")} == {
        name: before[name] for name in ("interfaces", "devices", "rules", "hostname", "settings")
    }
    assert during["mounts"] == [] or all("/run/netns" in line for line in during["mounts"])
    testbed.down()
    assert traces(of) == before
    with pytest.raises(RefusedError):
        bed.current(of)


@pytest.mark.parametrize("stage", ["state", "cgroup", "namespaces", "mounts", "processes"])
def test_down_leaves_nothing_behind_after_up_was_killed(of: Places, stage: str) -> None:
    before = traces(of)
    upping = subprocess.Popen([RELOCATE, "testbed", "up", "--hosts", "1"])
    try:
        assert eventually(lambda: bool(traces(of)[stage]))
    finally:
        upping.send_signal(signal.SIGKILL)
        upping.wait()
    with pytest.raises(RefusedError, match="no testbed is up"):
        bed.current(of)
    bed.down(of)
    assert traces(of) == before


def test_up_again_after_up_was_killed(of: Places) -> None:
    upping = subprocess.Popen([RELOCATE, "testbed", "up", "--hosts", "1"])
    try:
        assert eventually(lambda: len(traces(of)["namespaces"]) == 4)
    finally:
        upping.send_signal(signal.SIGKILL)
        upping.wait()
    testbed = bed.up(1, Engine.DOCKER_26, of)
    assert all(row["ssh"] for row in testbed.status())


def test_hosts_lose_power_and_their_cables_and_come_back(of: Places) -> None:
    testbed = bed.up(1, Engine.DOCKER_26, of)
    pids = {row["name"]: row["pid"] for row in testbed.status()}
    assert bed.up(1, Engine.DOCKER_26, of) == testbed
    assert {row["name"]: row["pid"] for row in testbed.status()} == pids, (
        "a testbed that is well was booted again"
    )

    reach = ("sh", "-c", "ping -c 1 -W 1 198.18.0.11 >/dev/null")
    assert testbed.run("host0", *reach).returncode == 0
    testbed.run(
        "host1", "sh", "-c", "touch /etc/on-disk /run/in-memory; echo 1 > /proc/sys/net/ipv4/ip_forward"
    )
    testbed.power_off("host1")
    (row,) = (row for row in testbed.status() if row["name"] == "host1")
    assert (row["pid"], row["ssh"]) == (None, False)
    testbed.power_on("host1")
    listed = testbed.run(
        "host1", "sh", "-c", "ls -d /etc/on-disk /run/in-memory; cat /proc/sys/net/ipv4/ip_forward"
    )
    assert listed.stdout.split() == ["/etc/on-disk", "0"]
    assert testbed.run("host0", *reach).returncode == 0, "host0 looks for another network card"

    testbed.cut("host1")
    assert testbed.run("host0", *reach).returncode != 0
    testbed.join("host1")
    assert eventually(lambda: testbed.run("host0", *reach).returncode == 0)


def test_a_host_cannot_change_the_machine(of: Places) -> None:
    testbed = bed.up(1, Engine.DOCKER_26, of)
    own = LIMIT.read_text()
    script = """
        echo 7 > /proc/sys/fs/inotify/max_user_instances
        echo 1 > /proc/sys/kernel/panic
        chmod 600 /dev/null; hostname elsewhere; hostname"""
    refused = testbed.run("host1", "sh", "-c", script)
    assert refused.stderr.count("Read-only file system") == 2
    assert refused.stdout == "elsewhere\n"
    assert LIMIT.read_text() == own
    assert os.uname().nodename != "elsewhere"
    assert Path("/dev/null").stat().st_mode & 0o777 == 0o666


def test_a_second_run_on_the_same_testbed_is_turned_away(of: Places) -> None:
    of.cache.mkdir(parents=True, exist_ok=True)
    with held(of.lock, "this test"), pytest.raises(LockedError):
        bed.down(of)
