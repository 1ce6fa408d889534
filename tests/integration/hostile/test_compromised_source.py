"""A source that somebody else has taken over: it writes what it likes between `offer` and `arm`, and states
the digest of that. The target judges for itself."""

import json
from typing import Any

import pytest
from harness import REPOSITORY, JsonObject, Lab

# What such a host would do as root: change the configuration, and its own record of the digest to match.
LIE = """
import hashlib, json, sys
identity, changes = json.load(sys.stdin)
place = f"/var/lib/relocate/storage/{identity}/spec.json"
said = json.load(open(place))
for key, change in changes.items():
    said[key] = {**said[key], **change} if isinstance(change, dict) else change
text = json.dumps(said).encode()
with open(place, "wb") as stream: stream.write(text)
record = f"/var/lib/relocate/open/{identity}.json"
known = json.load(open(record))
known["facts"]["configuration"] = hashlib.sha256(text).hexdigest()
with open(record, "w") as stream: json.dump(known, stream)
"""


def move_with_a_lie(lab: Lab, changes: JsonObject) -> JsonObject:
    """A whole move from host1 to host2 in which host1 lies; its report."""
    plan = lab.plan("web")
    document = {"repository": REPOSITORY, "moves": [plan]}

    def step(verb: str) -> dict[str, str]:
        answers = {host: lab.proxy(host, verb, document | {"host": host}) for host in lab.hosts}
        return {host: json.dumps(answer) for host, answer in answers.items()}

    offered = step("offer")
    lab.ssh("host1", "python3", "-c", LIE, stdin=json.dumps([plan["id"], changes]))
    report = lab.fire(plan, [offered, step("arm"), step("fill")])
    lab.settle(plan, report)
    return report


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"host_config": {"Privileged": True, "Binds": ["/:/host"]}}, "it is privileged"),
        (
            {"host_config": {"Binds": ["others:/x"]}},
            "/x is the local volume others, which does not come along",
        ),
        ({"config": {"hostconfig": {"privileged": True}}}, "its setting 'hostconfig' is not known here"),
        ({"name": "db"}, "it is of a container db, not of web"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_target_refuses_what_reaches_beyond_the_container(
    lab: Lab, changes: dict[str, Any], reason: str
) -> None:
    """One of each kind; each field is in tests/unit/test_admission.py and test_confinement.py."""
    lab.run("web")
    before = lab.console("web")("import os; answer = os.getpid()")
    report = move_with_a_lie(lab, changes)
    assert report["outcome"] == "rolled_back"
    assert report["reason"] == f"target host2: the configuration that it was sent is refused: {reason}"
    assert lab.where("web") == ["host1"] and lab.running("host2") == []
    assert lab.console("web")("import os; answer = os.getpid()") == before
    lab.await_no_leftovers()


def test_a_key_that_the_engine_would_read_in_other_letters_does_not_reach_it(lab: Lab) -> None:
    """An empty list of what is hidden from the container, behind the one that is judged."""
    lab.run("web")
    report = move_with_a_lie(lab, {"host_config": {"maskedpaths": [], "readonlypaths": []}})
    assert report["outcome"] == "moved", report["reason"]
    settings = json.loads(lab.docker("host2", "inspect", "web"))[0]["HostConfig"]
    assert "/proc/kcore" in settings["MaskedPaths"] and "/proc/sys" in settings["ReadonlyPaths"]
    lab.await_no_leftovers()
