"""`relocate move` from Enter to prompt, as docs/operators.md promises it to people and to programs."""

from harness import ECHO, Lab
from talk import Conversation


def test_move_moves_says_so_and_remembers(lab: Lab) -> None:
    vip = lab.run("web")
    conversation = Conversation(lab.connect("web", ECHO))
    old_ip = lab.address("host1", "web")
    ended = lab.relocate("move", "web", "--json")  # no --to: host2 is the only other one
    assert ended.code == 0, ended.err
    document = ended.document()
    new_ip = lab.address("host2", "web")
    expected = {
        "schema": "relocate/move/v1",
        "container": "web",
        "source": "host1",
        "target": "host2",
        "old_ip": old_ip,
        "new_ip": new_ip,
        "vip": vip,
        "outcome": "moved",
        "reason": "",
        "gap_ms": None,
    }
    assert {key: document.get(key) for key in expected} == expected
    assert {"dump", "restore"} <= {phase["name"] for phase in document["phases"]}
    assert 0 < sum(phase["ms"] for phase in document["phases"]) <= document["window_ms"] * 1.2

    ended = lab.relocate("move", "web", "--to", "host1")
    assert ended.code == 0, ended.err
    (line,) = ended.out.splitlines()
    assert "host2 → host1" in line and f"{new_ip} → " in line and "ms" in line
    assert conversation.flows()
    assert conversation.end().clean

    history = lab.relocate("history", "--json").document()
    ids = [entry["relocation_id"] for entry in history["relocations"]]
    assert document["relocation_id"] in ids
    status = lab.relocate("status", "--json").document()
    (web,) = [entry for entry in status["containers"] if entry["container"] == "web"]
    assert (web["host"], web["vip"]) == ("host1", vip)
