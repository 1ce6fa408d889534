"""What one kernel shared by all hosts cannot show, as one operator's day: each test goes on from the last."""

import hashlib
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import harness
import pytest
import talk
from conftest import phase
from harness import DOWNLOAD, ECHO, Lab
from talk import Conversation, Download

SIZE = 8 << 20
EVERY = 0.05
DEADLINE = 20.0


def digest(size: int) -> str:
    """What a download of ``size`` bytes must be, by the tenant's own rule."""
    whole = hashlib.sha256()
    for number in range(size // (1 << 16)):
        whole.update(hashlib.sha256(str(number).encode()).digest() * ((1 << 16) // 32))
    return whole.hexdigest()


def kernel(lab: Lab, host: str) -> str:
    return lab.ssh(host, "uname", "-r").strip()


def move(lab: Lab, name: str, target: str) -> harness.JsonObject:
    """`relocate move`, and what it must have done."""
    (source,) = lab.where(name)
    before = lab.address(source, name)
    with phase(f"move {source} ({kernel(lab, source)}) to {target} ({kernel(lab, target)})"):
        ended = lab.relocate("move", name, "--to", target, "--json")
    assert ended.code == 0, ended.out + ended.err
    moved = ended.document()
    assert lab.where(name) == [target]
    assert moved["new_ip"] == lab.address(target, name) != before == moved["old_ip"]
    return moved


@pytest.fixture(scope="module")
def conversation(lab: Lab) -> Conversation:
    """One connection that stays open from before the first move until after the last."""
    lab.clear()
    lab.run("web", "host2")
    return Conversation(lab.connect("web", ECHO), every=EVERY, patience=talk.PATIENCE)


def test_each_machine_has_a_kernel_of_its_own(lab: Lab) -> None:
    boots = {lab.ssh(host, "cat", "/proc/sys/kernel/random/boot_id") for host in ("host0", "host1", "host2")}
    assert len(boots) == 3
    assert kernel(lab, "host2").startswith("6.1.")
    assert not kernel(lab, "host1").startswith("6.1.")


def test_provisioning_again_changes_nothing(lab: Lab) -> None:
    with phase("provision again"):
        again = lab.relocate("provision", "--json")
    assert again.code == 0, again.err
    assert again.document()["changed"] == []


def test_images_travel_over_nfs(lab: Lab) -> None:
    for host in lab.hosts:
        mount = lab.ssh(
            host, "findmnt", "--noheadings", "--output", "FSTYPE,OPTIONS", "/var/lib/relocate/storage"
        )
        assert mount.split()[0] == "nfs4"
        wanted = {"hard", "nodev", "nosuid", "noexec", "nosymfollow"}
        assert wanted <= set(mount.split()[1].split(","))
    exported = lab.ssh("host0", "exportfs", "-s")
    assert "sync" in exported
    assert "*" not in exported.split()[1]


def test_a_container_goes_to_a_newer_kernel_and_back(lab: Lab, conversation: Conversation) -> None:
    hurry = threading.Event()
    download = Download(lab.connect("web", DOWNLOAD), SIZE, hurry)
    move(lab, "web", "host1")
    assert conversation.flows()
    move(lab, "web", "host2")
    assert conversation.flows()
    hurry.set()
    assert download.digest() == digest(SIZE)
    lab.await_no_leftovers(60)


def test_what_only_the_newer_kernel_restores_is_refused_the_older_one(lab: Lab) -> None:
    """Born under 6.12, its getrandom(2) has memory that 6.1 has not (MAP_DROPPABLE)."""
    lab.run("young", "host1", f"--publish=7100:{ECHO}")
    refused = lab.relocate("move", "young", "--to", "host2")
    assert refused.code == 3 and "MAP_DROPPABLE" in refused.err, refused
    assert lab.where("young") == ["host1"]
    lab.docker("host1", "rm", "--force", "young")


def test_the_mount_survives_the_servers_reboot(lab: Lab) -> None:
    secret = str(random.getrandbits(64))
    with phase("reboot the storage server"):
        lab.bed.power_off("host0")
        lab.bed.power_on("host0")
        lab.shell("host1", f"echo {secret} >/var/lib/relocate/storage/probe")
    assert lab.ssh("host2", "cat", "/var/lib/relocate/storage/probe").strip() == secret
    lab.ssh("host1", "rm", "/var/lib/relocate/storage/probe")


def test_a_storage_that_stalls_holds_a_move_up_and_undoes_it(lab: Lab, conversation: Conversation) -> None:
    """CRIU lets go of the processes that it dumps when what it writes is written, and not before."""
    plan = lab.plan("web", "host2", "host1", deadline=DEADLINE)
    armed = lab.arm(plan)
    rule = "OUTPUT --protocol tcp --dport 2049 --jump DROP"
    lab.shell("host2", f"iptables --insert {rule}")
    with phase("a move while the source's storage stalls"), ThreadPoolExecutor(1) as pool:
        firing = pool.submit(lab.fire, plan, armed)
        try:
            time.sleep(2 * DEADLINE)
            assert not firing.done()
        finally:
            lab.shell("host2", f"iptables --delete {rule}")
        report = firing.result()
    assert report["outcome"] == "rolled_back", report
    lab.settle(plan, report)
    assert conversation.flows()
    assert lab.where("web") == ["host2"]
    lab.await_no_leftovers(60)


def test_a_kernel_is_replaced_under_a_container_that_lives_on(lab: Lab, conversation: Conversation) -> None:
    arguments = ("kernel", "--package", "linux-image-cloud-amd64", "--minimum", "6.12")
    foreseen = lab.relocate(*arguments, "--check")
    assert (foreseen.code, foreseen.out) == (0, "host2 would get another kernel\n"), foreseen.err
    with phase("replace host2's kernel: drain, install, reboot, criu check"):
        ended = lab.relocate(*arguments)
    assert (ended.code, ended.out) == (0, "host2 got another kernel\n"), ended.err
    assert kernel(lab, "host2") == kernel(lab, "host1")
    assert lab.where("web") == ["host1"]
    move(lab, "web", "host2")
    assert conversation.flows()
    again = lab.relocate(*arguments)
    assert (again.code, again.out) == (0, "every kernel will do\n"), again.err


def test_no_message_of_the_day_was_lost(lab: Lab, conversation: Conversation) -> None:
    tally = conversation.end()
    assert tally.clean, tally
