"""A move is what it says: what the kernel shows of the copy is what it showed of the container."""

import json

from harness import JsonObject, Lab

HOLD = """
import sys
sys.path.insert(0, "/app")
import kinds
held = kinds.Held()
answer = held.look()
"""
LOST_BY_CRIU = {"CPU affinity", "I/O priority", "timer slack", "TCP_USER_TIMEOUT", "TCP_CONGESTION", "user"}


def kinds_of(noted: list[JsonObject]) -> set[str]:
    return {entry["kind"] for entry in noted}


def test_a_program_that_holds_everything_finds_it_as_it_was(lab: Lab) -> None:
    lab.run("web")
    console = lab.console("web")
    before = console(HOLD)
    for source, target in (("host1", "host2"), ("host2", "host1")):
        inventory = lab.expect_moved("web", source, target)["inventory"]
        print(json.dumps(inventory))
        after = console("answer = held.look()")
        assert {k: (v, after.get(k)) for k, v in before.items() if after.get(k) != v} == {}
        assert inventory["compared"] > 300
        assert kinds_of(inventory["mended"]) >= LOST_BY_CRIU
        assert not inventory["harmless"]


def test_sockets_only_or_nothing(lab: Lab) -> None:
    lab.run("web")
    console = lab.console("web")
    console(HOLD)
    inventory = lab.expect_moved("web", inventory="sockets")["inventory"]
    assert kinds_of(inventory["mended"]) >= {"TCP_USER_TIMEOUT"}
    assert not kinds_of(inventory["mended"]) & {"CPU affinity"}
    assert lab.expect_moved("web", "host2", "host1", inventory="off")["inventory"] is None
