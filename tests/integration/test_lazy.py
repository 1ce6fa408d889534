"""Memory that follows its container: the pages stay on the source until they are asked for."""

from pathlib import Path

import pytest
from harness import ECHO, JsonObject, Lab
from talk import Console, Conversation

LAZY = "--label=relocate.lazy=true"
MIB = 48
FILL = f"import os, hashlib; memory = os.urandom({MIB} << 20); answer = hashlib.sha256(memory).hexdigest()"
DIGEST = "answer = hashlib.sha256(memory).hexdigest()"


@pytest.fixture
def tenant(lab: Lab) -> tuple[Conversation, Console, str]:
    """A container whose owner wants it lazy, a client that talks to it, its memory's digest."""
    lab.run("web", "host1", LAZY)
    console = lab.console("web")
    return Conversation(lab.connect("web", ECHO)), console, console(FILL)


def tables(lab: Lab) -> str:
    """Rules that a page server left."""
    return "".join(lab.shell(host, "nft list tables | grep pages || true") for host in lab.hosts)


def test_memory_is_whole_after_it_has_followed(lab: Lab, tenant: tuple[Conversation, Console, str]) -> None:
    conversation, console, digest = tenant
    for source, target in (("host1", "host2"), ("host2", "host1")):
        plan = lab.plan("web", source, target)
        report = lab.fire(plan, lab.arm(plan))
        images = Path(lab.bed.places.storage, plan["id"], "images")
        assert report["outcome"] == "moved", report["reason"]
        assert sum(image.stat().st_size for image in images.glob("pages-*.img")) < (MIB << 20) / 4
        assert console(DIGEST) == digest
        lab.settle(plan, report)
        assert lab.where("web") == [target]
    assert tables(lab) == ""
    assert conversation.flows()
    assert conversation.end().clean
    lab.await_no_leftovers()


def test_without_a_way_to_the_pages_it_stays(lab: Lab, tenant: tuple[Conversation, Console, str]) -> None:
    conversation, console, digest = tenant
    rule = "INPUT -s 198.18.0.12 -p tcp -j REJECT --reject-with tcp-reset"

    def cut(_: JsonObject) -> None:
        lab.shell("host1", f"iptables -I {rule}")

    try:
        report = lab.move("web", between=cut)
    finally:
        lab.shell("host1", f"iptables -D {rule}")
    assert report["outcome"] == "rolled_back", report
    assert lab.where("web") == ["host1"]
    assert console(DIGEST) == digest
    assert conversation.flows()
    assert conversation.end().clean
    assert tables(lab) == ""
    lab.await_no_leftovers()
