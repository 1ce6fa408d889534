"""Volumes go with their container: every byte and name of them, or nothing of them at all."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from harness import ECHO, IMAGE, JsonObject, Lab
from talk import Conversation
from test_writable_layer import AFTER_ARM, BEFORE_ARM, differences, tree_of

MADE = "relocate.made"
# Two ways to write: by name, and into a mapping, of which the kernel notes when only now and then.
SCRIBBLE = """
import mmap, os, struct
with open("/data/mapped", "wb") as stream: stream.truncate(1 << 16)
wrong = []
def scribble():
    with open("/data/mapped", "r+b") as stream: mapping = mmap.mmap(stream.fileno(), 0)
    for number in range(10**9):
        if done: return
        if number and struct.unpack_from("Q", mapping, 4096)[0] != number - 1: wrong.append(number)
        struct.pack_into("Q", mapping, 4096, number)
        with open("/data/numbers", "a") as stream: stream.write(f"{number}\\n")
        with open("/data/latest", "w") as stream: stream.write(f"{number}\\n")
        time.sleep(0.002)
done = []
scribbler = threading.Thread(target=scribble); scribbler.start()
"""


@pytest.fixture
def no_volumes(lab: Lab) -> Lab:
    """Neither host has a volume."""
    for host in lab.hosts:
        lab.shell(host, "docker volume ls --quiet | xargs --no-run-if-empty docker volume rm >/dev/null")
    return lab


def volumes(lab: Lab, host: str) -> list[str]:
    return lab.docker(host, "volume", "ls", "--quiet").split()


def volume(lab: Lab, host: str, name: str) -> dict[str, Any]:
    (found,) = json.loads(lab.docker(host, "volume", "inspect", name))
    return dict(found)


def test_whatever_a_volume_holds_comes_along_there_and_back(no_volumes: Lab) -> None:
    lab = no_volumes
    lab.docker("host1", "volume", "create", "--label", "com.docker.compose.volume=data", "data")
    lab.run("web", "host1", "--volume", "data:/data", "--volume", "/spool", "--volume", "/scratch")
    console, conversation = lab.console("web"), Conversation(lab.connect("web", ECHO))
    console(BEFORE_ARM)
    console("os.chmod('/data', 0o2750); os.chown('/data', 999, 998); open('/spool/mail', 'w').write('1')")
    last = []

    def between(plan: JsonObject) -> None:
        console(AFTER_ARM)
        console("write('/spool/mail', '2'); os.chown('/scratch', 5, 6); os.utime('/scratch', (1e9, 1e9))")
        time.sleep(1.1)
        last.append(tree_of(lab, "host1", "web"))

    for source, target in (("host1", "host2"), ("host2", "host1")):
        report = lab.move("web", source, target, between=between if not last else None)
        assert report["outcome"] == "moved", report["reason"]
        assert differences(last[0], tree_of(lab, target, "web")) == []
        assert console("answer = os.stat('/scratch').st_mtime == 1e9")
        assert console("answer = os.stat('/data/sparse').st_blocks") < 1000, "the hole was filled in"
        assert volumes(lab, source) == [], "yesterday's data are gone"
        assert len(volumes(lab, target)) == 3
        labels = volume(lab, target, "data")["Labels"]
        assert labels.keys() == {"com.docker.compose.volume", MADE}
    assert conversation.end().clean
    lab.docker("host1", "rm", "--force", "--volumes", "web")
    assert volumes(lab, "host1") == ["data"], "the others had no name, and still have none"


def test_a_volume_that_is_written_without_pause_misses_nothing(no_volumes: Lab) -> None:
    lab = no_volumes
    lab.run("web", "host1", "--volume", "data:/data")
    console = lab.console("web")
    console(SCRIBBLE)
    for source, target in (("host1", "host2"), ("host2", "host1"), ("host1", "host2")):
        report = lab.move("web", source, target, between=lambda _: time.sleep(0.5))
        assert report["outcome"] == "moved", report["reason"]
        time.sleep(0.3)
    console("done.append(True); scribbler.join()")
    assert console("answer = wrong") == []
    numbers = lab.docker("host2", "exec", "web", "cat", "/data/numbers").split()
    assert numbers == [str(number) for number in range(len(numbers))]
    assert lab.docker("host2", "exec", "web", "cat", "/data/latest") == numbers[-1]
    assert len(numbers) > 300


def test_a_move_that_is_rolled_back_leaves_all_as_it_was(no_volumes: Lab) -> None:
    lab = no_volumes
    lab.run("web", "host1", "--volume", "data:/data", "--volume", "/spool")
    console, conversation = lab.console("web"), Conversation(lab.connect("web", ECHO))
    console("held = open('/data/kept'); open('/spool/mail', 'w').write('1')")
    before, known = tree_of(lab, "host1", "web"), volumes(lab, "host1")

    def sabotage(plan: JsonObject) -> None:
        assert "data" in volumes(lab, "host2") and len(volumes(lab, "host2")) == 2
        lab.ssh("host2", "rm", f"{volume(lab, 'host2', 'data')['Mountpoint']}/kept")

    report = lab.move("web", between=sabotage)
    assert report["outcome"] == "rolled_back" and "data/kept" in report["reason"], report
    assert volumes(lab, "host2") == []
    assert volumes(lab, "host1") == known
    assert differences(before, tree_of(lab, "host1", "web")) == []
    assert console("answer = held.read()") == "of the image\n"
    assert conversation.flows() and conversation.end().clean
    lab.await_no_leftovers()


def test_a_volume_of_two_containers_keeps_both(no_volumes: Lab) -> None:
    lab = no_volumes
    lab.run("web", "host1", "--volume", "data:/data")
    lab.docker("host1", "run", "--name", "backup", "--volume", "data:/data", IMAGE, "true")  # it has ended
    ended = lab.relocate("move", "web", "--to", "host2")
    assert ended.code == 3 and "container backup has its volume data too" in ended.err, ended.err
    answers = lab.arm(lab.plan("web"))
    assert "container backup has its volume data too" in answers[0]["host1"]
    assert volumes(lab, "host2") == []
    lab.await_no_leftovers()


def test_who_comes_to_a_volume_while_it_is_copied_keeps_it(no_volumes: Lab) -> None:
    lab = no_volumes
    lab.run("web", "host1", "--volume", "data:/data")
    late = ("run", "--name", "backup", "--volume", "data:/data", IMAGE, "true")
    report = lab.move("web", between=lambda _: lab.docker("host1", *late) and None)
    assert report["outcome"] == "rolled_back"
    assert "container backup has its volume data since" in report["reason"], report
    assert lab.where("web") == ["host1"] and volumes(lab, "host2") == []
    lab.await_no_leftovers()


def test_a_volume_of_another_on_the_target_is_not_touched(no_volumes: Lab) -> None:
    lab = no_volumes
    lab.run("web", "host1", "--volume", "data:/data")
    lab.bring_image("host2")
    lab.docker("host2", "run", "--rm", "--volume", "data:/data", IMAGE, "touch", "/data/precious")
    ended = lab.relocate("move", "web", "--to", "host2")
    assert ended.code == 3 and "it has a volume data already" in ended.err, ended.err
    report = lab.move("web")  # as if the survey had been too early to tell
    assert "a volume data is on the target already" in report["reason"], report
    place = Path(volume(lab, "host2", "data")["Mountpoint"], "precious")
    assert lab.shell("host2", f"ls {place}").strip() == str(place)
    lab.await_no_leftovers()
