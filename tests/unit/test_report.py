"""The time line of a window: what hosts say by their own clocks lies within what host0 saw."""

from relocate_proxy.protocol import Answer
from relocate_proxy.report import trace


def test_a_hosts_times_lie_in_the_middle_of_what_host0_waited_for() -> None:
    marks = {"send:freeze": 50.0, "source:dumped": 50.050, "send:restore": 50.051, "target:restored": 50.091}
    marks |= {"journal:commit": 50.092, "send:commit": 50.092, "route": 50.093, "target:running": 50.100}
    marks |= {"release": 50.101}
    dumped = {
        "laps": [{"name": "dump", "ms": 40.0}],
        "spans": [{"name": "criu post-dump", "at": 3.0, "ms": 30.0}],
    }
    restored = {"laps": [{"name": "layer", "ms": 6.0}, {"name": "restore", "ms": 30.0}], "spans": []}
    found = trace(marks, {Answer.DUMPED: dumped}, {Answer.RESTORED: restored, Answer.RUNNING: {}})
    when = {(span["party"], span["name"]): (span["track"], span["at"], span["ms"]) for span in found}
    assert when["source", "dump"] == ("window", 5.0, 40.0)
    assert when["source", "criu post-dump"] == ("criu", 8.0, 30.0)
    assert when["target", "layer"] == ("window", 53.0, 6.0)
    assert when["target", "restore"] == ("window", 59.0, 30.0)
    assert when["host0", "freeze"] == ("waits", 0.0, 50.0)
    assert when["host0", "release"] == ("waits", 100.0, 1.0)
