"""What the target knows of the engine that is to own the copy."""

import subprocess
import sys

from relocate_proxy.host import target
from relocate_proxy.host.records import TargetFacts
from relocate_proxy.protocol.messages import RestartPolicy

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
