"""The parts of the testbed that decide something without a namespace."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from pytest import MonkeyPatch

from relocate_cli import settings
from relocate_cli.errors import ExitCode, LockedError, RefusedError, RelocateError
from relocate_cli.testbed import access, inotify, preflight, root
from relocate_cli.testbed.cgroup import cgroup_mount
from relocate_cli.testbed.locks import held
from relocate_cli.testbed.places import LAN, VIP_POOL, WAN, Places, lan_address
from relocate_cli.testbed.rack import alone
from relocate_cli.testbed.root import Engine, Recipe


@dataclass(frozen=True)
class Guest:
    number: int

    @property
    def name(self) -> str:
        return f"host{self.number}"

    def host_key(self) -> str:
        return f"ssh-ed25519 KEY{self.number}"


@pytest.fixture
def of(tmp_path: Path) -> Places:
    return Places(tmp_path / "cache", tmp_path / "state")


# Places


def test_two_testbeds_share_no_name(tmp_path: Path) -> None:
    one, other = (Places(tmp_path, tmp_path / name) for name in ("one", "other"))
    assert one.label != other.label
    assert not {one.netns("lan"), one.cgroup_name, one.sockets, one.lock} & {
        other.netns("lan"),
        other.cgroup_name,
        other.sockets,
        other.lock,
    }


def test_the_names_of_one_testbed_are_no_prefix_of_anothers(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RELOCATE_TESTBED_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    of_user = Places.of_user()
    assert of_user.label == "relocate"
    assert not of_user.named("tests").netns("host1").startswith(of_user.netns(""))


def test_the_directory_of_a_testbed_can_be_chosen(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("RELOCATE_TESTBED_DIR", str(tmp_path / "bed"))
    assert Places.of_user() == Places(tmp_path / "cache/relocate", tmp_path / "bed/state")


def test_addresses_are_in_their_networks_and_vips_are_nobodys() -> None:
    addresses = [lan_address(number) for number in range(100)]
    assert len(set(addresses)) == 100
    assert all(address.ip in LAN for address in addresses)
    assert VIP_POOL.subnet_of(WAN)


# The root and its cache


def fake_build(content: str = "whole") -> Callable[..., None]:
    def build(recipe: Recipe, target: Path, log: Path, lock: int | None = None) -> None:
        (target / "usr/bin").mkdir(parents=True)
        (target / "usr/bin/criu").write_text(content)
        (target / "bin").symlink_to("usr/bin")

    return build


def test_another_engine_or_recipe_is_another_root(monkeypatch: MonkeyPatch) -> None:
    keys = {Recipe(engine).key for engine in Engine}
    assert len(keys) == 2
    monkeypatch.setattr(root, "PACKAGES", (*root.PACKAGES, "hello"))
    assert not keys & {Recipe(engine).key for engine in Engine}


def test_the_root_is_built_once(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    monkeypatch.setattr(root, "build", fake_build())
    tree = root.ensure(Recipe(Engine.DOCKER_26), tmp_path)
    monkeypatch.setattr(root, "build", lambda *_: pytest.fail("built a second time"))
    assert root.ensure(Recipe(Engine.DOCKER_26), tmp_path) == tree


def truncate(tree: Path) -> None:
    (tree / "usr/bin/criu").write_text("who")


def touch(tree: Path) -> None:
    os.utime(tree / "usr/bin/criu", ns=(1, 1))


def remove(tree: Path) -> None:
    (tree / "usr/bin/criu").unlink()


def redirect(tree: Path) -> None:
    (tree / "bin").unlink()


def add(tree: Path) -> None:
    (tree / "more").write_text("")


def forget_stamp(tree: Path) -> None:
    tree.with_name(f"{tree.name}.json").unlink()


def spoil_stamp(tree: Path) -> None:
    tree.with_name(f"{tree.name}.json").write_text('{"files":')


@pytest.mark.parametrize(
    "damage", [truncate, touch, remove, redirect, add, forget_stamp, spoil_stamp, shutil.rmtree]
)
def test_a_damaged_root_is_built_again(
    damage: Callable[[Path], None], tmp_path: Path, monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setattr(root, "build", fake_build())
    damage(root.ensure(Recipe(Engine.DOCKER_26), tmp_path))
    monkeypatch.setattr(root, "build", fake_build("new"))
    tree = root.ensure(Recipe(Engine.DOCKER_26), tmp_path)
    assert (tree / "usr/bin/criu").read_text() == "new"
    assert sorted(path.name for path in tree.iterdir()) == ["bin", "usr"]


def test_a_build_that_was_interrupted_leaves_no_root(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    def interrupted(recipe: Recipe, target: Path, log: Path, lock: int | None = None) -> None:
        fake_build("half")(recipe, target, log)
        raise KeyboardInterrupt

    monkeypatch.setattr(root, "build", interrupted)
    with pytest.raises(KeyboardInterrupt):
        root.ensure(Recipe(Engine.DOCKER_26), tmp_path)
    monkeypatch.setattr(root, "build", fake_build())
    tree = root.ensure(Recipe(Engine.DOCKER_26), tmp_path)
    assert (tree / "usr/bin/criu").read_text() == "whole"


def test_a_build_that_fails_names_the_cause(tmp_path: Path, monkeypatch: MonkeyPatch) -> None:
    tool = tmp_path / "mmdebstrap"
    tool.write_text(
        "#!/bin/sh\necho 'I: ok'\necho 'E: no such mirror' >&2\necho 'E: setup failed' >&2\nexit 25\n"
    )
    tool.chmod(0o755)
    real_run = subprocess.run

    def run(command: list[str], **options: object) -> object:
        return real_run([str(tool)] if "mmdebstrap" in command else command, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(RelocateError, match="E: no such mirror") as raised:
        root.build(Recipe(Engine.DOCKER_26), tmp_path / "tree", tmp_path / "log")
    assert str(tmp_path / "log") in raised.value.hint


# Access


def test_the_inventory_is_what_playbooks_expect(of: Places, monkeypatch: MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Places, "sockets", tmp_path / "sockets")
    of.ssh_config.parent.mkdir(parents=True)
    access.write_access(of, [Guest(number) for number in range(3)])
    inventory = yaml.safe_load(of.inventory.read_text())["all"]
    groups = {name: list(group["hosts"]) for name, group in inventory["children"].items()}
    assert groups == {
        "relocate_gateway": ["host0"],
        "relocate_storage": ["host0"],
        "relocate_hosts": ["host1", "host2"],
    }
    hosts = inventory["hosts"]
    assert len({host["engine__bip"] for host in hosts.values()}) == 3, (
        "a container's new address could be its old one"
    )
    assert inventory["vars"]["ansible_ssh_args"] == f"-F {of.ssh_config}"
    assert hosts["host2"]["ansible_host"] == "198.18.0.12"
    assert settings.load(config=of.settings).state == of.state / "journal", "never the machine's own"


def test_ssh_trusts_the_hosts_own_keys_only(of: Places, monkeypatch: MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Places, "sockets", tmp_path / "sockets")
    of.ssh_config.parent.mkdir(parents=True)
    access.write_access(of, [Guest(0), Guest(1)])
    known = of.ssh_config.with_name("known_hosts").read_text().splitlines()
    assert known == ["host0,198.18.0.10 ssh-ed25519 KEY0", "host1,198.18.0.11 ssh-ed25519 KEY1"]
    command = ["ssh", "-G", "-F", str(of.ssh_config), "host1"]
    if shutil.which("ssh"):
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert {"hostname 198.18.0.11", "user root", "stricthostkeychecking true"} <= set(shown)


# What the machine must have and what it gets back


def test_cgroup_v2_is_found_wherever_it_is_mounted(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text("proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n")
    assert cgroup_mount(mounts) == Path("/sys/fs/cgroup/unified")
    mounts.write_text("cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n")
    assert cgroup_mount(mounts) is None


def no_root(patch: MonkeyPatch) -> None:
    patch.setattr(os, "geteuid", lambda: 1000)


def no_linux(patch: MonkeyPatch) -> None:
    patch.setattr(sys, "platform", "darwin")


def no_mmdebstrap(patch: MonkeyPatch) -> None:
    patch.setattr(shutil, "which", lambda tool: None if tool == "mmdebstrap" else f"/usr/bin/{tool}")


def no_cgroup(patch: MonkeyPatch) -> None:
    patch.setattr(preflight, "cgroup_mount", lambda: None)


def no_keys(patch: MonkeyPatch) -> None:
    patch.setattr(preflight, "KEYRING", Path("/nonexistent"))


def no_room(patch: MonkeyPatch) -> None:
    patch.setattr(preflight, "FREE_BYTES", 1 << 60)


@pytest.mark.parametrize(
    ("lack", "line", "way_out"),
    [
        (no_root, "needs root", "sudo"),
        (no_linux, "this is darwin", "Linux machine"),
        (no_mmdebstrap, "mmdebstrap is missing", "apt-get install mmdebstrap"),
        (no_cgroup, "cgroup v2 is not mounted", "mount -t cgroup2"),
        (no_keys, "archive keys are missing", "apt-get install debian-archive-keyring"),
        (no_room, "GiB free", "RELOCATE_TESTBED_DIR"),
    ],
)
def test_what_is_missing_is_named_with_the_way_to_get_it(
    lack: Callable[[MonkeyPatch], None],
    line: str,
    way_out: str,
    of: Places,
    monkeypatch: MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(shutil, "which", lambda tool: f"/usr/bin/{tool}")
    monkeypatch.setattr(preflight, "KEYRING", Path("/"))
    monkeypatch.setattr(preflight, "cgroup_mount", lambda: Path("/"))
    monkeypatch.setattr(preflight, "_has_file_system", lambda name: True)
    monkeypatch.setattr(preflight, "_unfit_network", lambda: iter(()))
    monkeypatch.setattr(preflight, "UNFIT_FILE_SYSTEMS", set())
    preflight.check(of)
    lack(monkeypatch)
    with pytest.raises(RefusedError, match=line) as raised:
        preflight.check(of)
    assert way_out in raised.value.hint
    assert raised.value.exit_code is ExitCode.REFUSED
    assert not of.state.exists()


def test_the_last_testbed_puts_the_inotify_limit_back(tmp_path: Path) -> None:
    limit, before, cgroups = tmp_path / "limit", tmp_path / "before", tmp_path / "cgroups"
    limit.write_text("128\n")
    for name, hosts in (("relocate-testbed", 31), ("relocatea1b2c3-testbed", 11)):
        (cgroups / name).mkdir(parents=True)
        was = int(limit.read_text())
        inotify.make_room(hosts, limit, before)
        assert int(limit.read_text()) >= was + 7 * hosts
    (cgroups / "relocate-testbed").rmdir()
    inotify.restore(cgroups, limit, before)
    assert int(limit.read_text()) > 128
    (cgroups / "relocatea1b2c3-testbed").rmdir()
    inotify.restore(cgroups, limit, before)
    assert limit.read_text() == "128\n"
    inotify.restore(cgroups, limit, before)


def test_a_limit_that_is_high_enough_stays(tmp_path: Path) -> None:
    limit, before = tmp_path / "limit", tmp_path / "before"
    limit.write_text("8192\n")
    inotify.make_room(31, limit, before)
    assert limit.read_text() == "8192\n"
    assert not before.exists()


@pytest.mark.parametrize("maker", ["access.make_key(of)", "Machine(1, of, of.cache).prepare({}, '')"])
def test_a_command_of_a_killed_run_is_gone_when_the_next_has_the_lock(of: Places, maker: str) -> None:
    tools = of.cache / "tools"
    tools.mkdir(parents=True)
    (tools / "ssh-keygen").write_text(
        f"#!/bin/sh\necho $$ > {tools}/begun\nmv {tools}/begun {tools}/pid\nexec sleep 60\n"
    )
    (tools / "ssh-keygen").chmod(0o755)
    program = f"""
from pathlib import Path
from relocate_cli.testbed import access
from relocate_cli.testbed.machine import Machine
from relocate_cli.testbed.places import Places
from relocate_cli.testbed.rack import alone
of = Places(Path({str(of.cache)!r}), Path({str(of.state)!r}))
with alone(of):
    {maker}
"""
    killed = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}"},
    )
    while not (tools / "pid").exists():
        assert killed.poll() is None
        time.sleep(0.001)
    killed.kill()
    killed.wait()
    with alone(of):
        status = Path("/proc", (tools / "pid").read_text().strip(), "cmdline")
        assert not status.exists() or not status.read_bytes()


def test_a_lock_is_for_one_and_ends_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held(path, "first"), pytest.raises(LockedError, match="busy here"), held(path, "busy here"):
        pytest.fail("held twice")
    with held(path, "first"):
        pass
