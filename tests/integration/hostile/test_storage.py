"""Somebody who can write to the shared storage: a host that is no longer ours, or another."""

import json
import time

import pytest
from harness import ECHO, JsonObject, Lab
from talk import Conversation

STORAGE = "/var/lib/relocate/storage"
FLAGS = {"nodev", "nosuid", "noexec", "nosymfollow"}
VICTIM = "/root/victim"
MACHINES = ("host0", "host1", "host2")


def test_what_lies_on_the_storage_is_no_program_no_device_and_no_way_out_on_any_machine(lab: Lab) -> None:
    script = f"cp /usr/bin/busybox {STORAGE}/tool; chmod 4755 {STORAGE}/tool; mknod {STORAGE}/null c 1 3"
    lab.shell("host1", f"{script}; ln -s /etc/hostname {STORAGE}/link")
    try:
        for host in MACHINES:
            found = lab.shell(host, f"findmnt --noheadings --output OPTIONS --target {STORAGE}")
            assert set(found.strip().split(",")) >= FLAGS, host
            for act in (f"{STORAGE}/tool true", f"cat {STORAGE}/link", f"echo >{STORAGE}/null"):
                said = lab.shell(host, f"({act}) 2>&1; echo $?", check=False).split()
                assert said[-1] != "0", (host, act)
    finally:
        lab.shell("host1", f"rm {STORAGE}/tool {STORAGE}/null {STORAGE}/link")


def test_where_links_are_followed_nothing_is_armed(lab: Lab) -> None:
    lab.run("web")
    lab.shell("host2", f"mount -o remount,bind,symfollow {STORAGE}")
    try:
        report = lab.move("web")
    finally:
        lab.shell("host2", f"mount -o remount,bind,nodev,nosuid,noexec,nosymfollow {STORAGE}")
    assert report["outcome"] == "rolled_back"
    assert report["reason"].startswith("target host2: links on the shared storage are followed")
    lab.expect_moved("web")
    lab.await_no_leftovers()


# By CRIU, by runc and by us; in the place of a file that is written, of one that is read, and of a directory.
LINKS = {
    "a log of CRIU's": f"ln -sf {VICTIM} work-dump/dump.log",
    "an image": f"ln -sf {VICTIM} images/pages-1.img",
    "what runc reads": f"ln -sf {VICTIM} images/descriptors.json",
    "what we write": f"ln -sf {VICTIM} vote.json.partial; ln -sf {VICTIM} flows.json.partial",
    "all images": "mv images images.away; ln -s /root images",
    "all of it": "cd ..; mv {id} {id}.away; ln -s /root {id}",
}


@pytest.mark.parametrize("place", LINKS)
def test_a_link_leads_nobody_to_another_file(lab: Lab, place: str) -> None:
    lab.run("web")
    conversation = Conversation(lab.connect("web", ECHO))
    assert conversation.flows()
    for host in MACHINES:
        lab.shell(host, f"echo mine >{VICTIM}")
    before = {host: lab.shell(host, "ls -A /root; cat /root/victim") for host in MACHINES}

    def plant(plan: JsonObject) -> None:
        lab.shell("host0", f"cd {STORAGE}/{plan['id']} && {LINKS[place].format_map(plan)}")

    try:
        report = lab.move("web", between=plant, deadline=5)
        assert report["outcome"] in ("moved", "rolled_back"), report
        assert {host: lab.shell(host, "ls -A /root; cat /root/victim") for host in MACHINES} == before
        kept = lab.shell("host0", f"grep -rls mine /var/log/relocate/{report['relocation_id']}; true")
        assert kept == "", "host0 keeps no file that a link led to"
        assert conversation.flows()
    finally:
        for host in MACHINES:
            lab.shell(host, f"rm -f {VICTIM}")
        lab.shell("host0", f"cd {STORAGE} && rm -rf -- test-*")
    assert len(lab.where("web")) == 1


def stored(lab: Lab) -> JsonObject:
    """A relocation after which only the images are left: its target hangs, its source's container dies."""
    kill = """
        import pathlib, time
        at = pathlib.Path('/run/relocate/decided/{id}')
        while not at.exists() or at.read_text() != 'voted': time.sleep(0.01)
        time.sleep(0.5)
        pathlib.Path('{cgroup}/cgroup.kill').write_text('1')
    """
    plan = lab.plan("web", deadline=4)
    armed = lab.arm(plan)
    facts = json.loads(lab.ssh("host1", "cat", f"/var/lib/relocate/open/{plan['id']}.json"))["facts"]
    lab.shell("host2", "pkill -STOP -x criu")
    script = "\n".join(line.strip() for line in kill.format(**plan, cgroup=facts["cgroup"]).splitlines())
    lab.ssh("host1", "systemd-run", "--quiet", "--collect", "python3", "-c", script)
    report = lab.fire(plan, armed)
    assert (report["outcome"], report["needs_recover"]) == ("failed", True), report
    assert lab.where("web") == []
    return plan


def restore(lab: Lab, plan: JsonObject) -> JsonObject:
    """What `relocate recover` does about it; the report."""
    again = lab.plan("web", recovers=plan["id"], deadline=10)
    report = lab.fire(again, lab.arm(again))
    lab.settle(again, report)
    return report


def test_what_is_only_on_the_storage_comes_back_as_it_was_or_not_at_all(lab: Lab) -> None:
    lab.run("web")
    console = lab.console("web")
    console("remembered = 4711")
    plan = stored(lab)
    place = f"{STORAGE}/{plan['id']}"
    lab.shell("host0", f"cp -a {place} /root/kept")
    rewrite = (
        'import hashlib, json; d = json.load(open("spec.json")); d["config"]["Cmd"] = ["/bin/evil"];'
        't = json.dumps(d); open("spec.json", "w").write(t); v = json.load(open("vote.json"));'
        'v["vote"]["configuration"] = hashlib.sha256(t.encode()).hexdigest();'
        'open("vote.json", "w").write(json.dumps(v))'
    )
    another = "spec.json on the shared storage is not what the container was moved with"
    attacks = {
        f"cd {place} && python3 -c '{rewrite}'": another,
        f"echo >>{place}/images/descriptors.json": "the stored images are not what was dumped",
        f"echo '{{\"flows\": []}}' >{place}/flows.json": "flows.json was changed on the shared storage",
        f"echo >>{place}/layer-0.json": "the stored images are not what was dumped",
    }
    try:
        for attack, reason in attacks.items():
            lab.shell("host0", attack)
            report = restore(lab, plan)
            assert report["outcome"] == "failed" and reason in report["reason"], report
            assert lab.where("web") == []
            lab.shell("host0", f"rm -rf {place}; cp -a /root/kept {place}")
        lab.shell("host0", f"rm {place}/vote.json")  # it is the source's own note, and nobody else's word
        report = restore(lab, plan)
        assert report["outcome"] == "moved", report["reason"]
        assert console("answer = remembered") == 4711
    finally:
        lab.shell("host0", "rm -rf /root/kept")
    deadline = time.monotonic() + 5
    while lab.where("web") != ["host2"] and time.monotonic() < deadline:
        time.sleep(0.2)
    assert lab.where("web") == ["host2"]
    lab.await_no_leftovers()
