"""What the target knows of the engine that is to own the copy."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from relocate_proxy.host import target
from relocate_proxy.host.records import TargetFacts
from relocate_proxy.protocol.messages import Dumped, RestartPolicy, Restored, Vote
from test_storage import VOTE

CONTAINER = "c" * 64


def test_an_engine_that_came_anew_will_not_own_the_copy() -> None:
    asleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    waiter, daemon = subprocess.Popen([*asleep, CONTAINER]), subprocess.Popen(asleep)
    facts = TargetFacts(
        *("web", "203.0.113.64", CONTAINER, "m-1", RestartPolicy("no")),
        waiter=waiter.pid,
        engine=(daemon.pid,),
    )
    try:
        while not target._start_waits(facts):  # until it has its command line
            assert waiter.poll() is None
        assert target._engine_will_own(facts)
        daemon.kill()
        daemon.wait()
        assert target._start_waits(facts)
        assert not target._engine_will_own(facts)
    finally:
        for process in (waiter, daemon):
            process.kill()
            process.wait()


class StoredWindow(target.Window):
    """One that finds images of this digest, and keeps what it restores from."""

    def __init__(self, configuration: str, found: str) -> None:
        self.facts = TargetFacts(
            *("web", "203.0.113.64", CONTAINER, "m-1", RestartPolicy("no")),
            configuration=configuration,
            address="172.17.3.2",
        )
        self.area: Any = SimpleNamespace(images=None)
        self.found = found
        self.restored: list[Dumped] = []

    def restore(
        self, dumped: Dumped, seconds: float, verify: bool, instead: Mapping[str, str] | None = None
    ) -> Restored:
        self.restored.append(dumped)
        return Restored(self.facts.address, self.found if verify else "")


@pytest.mark.parametrize(
    ("voted", "configuration", "found", "verify", "refusal"),
    [
        (VOTE, VOTE.configuration, VOTE.images, True, ""),
        (VOTE, "9" * 64, VOTE.images, True, "spec.json"),
        (VOTE, "9" * 64, VOTE.images, False, "spec.json"),
        (VOTE, VOTE.configuration, "9" * 64, True, "not what was dumped"),
        (VOTE, VOTE.configuration, "9" * 64, False, ""),
        (replace(VOTE, images=""), VOTE.configuration, "", True, "not known"),
        (replace(VOTE, images=""), VOTE.configuration, "", False, ""),
    ],
)
def test_a_stored_container_is_what_host0_says_was_voted_for(
    voted: Vote, configuration: str, found: str, verify: bool, refusal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(target.images, "take_over", lambda *_: {})
    window = StoredWindow(configuration, found)
    if refusal:
        with pytest.raises(target.TargetError, match=refusal):
            window.restore_stored(voted, 1.0, verify)
    else:
        window.restore_stored(voted, 1.0, verify)
        assert window.restored == [replace(voted.dumped, new_ip="172.17.3.2")]
