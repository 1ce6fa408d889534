"""The time line of a window: what hosts say by their own clocks lies within what host0 saw."""

from relocate_proxy.host0.report import trace
from relocate_proxy.protocol.messages import Dumped, Lap, RestartPolicy, Restored, Resumed, Span


def test_a_hosts_times_lie_in_the_middle_of_what_host0_waited_for() -> None:
    marks = {"send:freeze": 50.0, "source:dumped": 50.050, "send:restore": 50.051, "target:restored": 50.091}
    marks |= {"journal:commit": 50.092, "send:commit": 50.092, "route": 50.093, "target:resumed": 50.100}
    marks |= {"release": 50.101}
    dumped = Dumped(
        *("172.17.1.2", "172.17.2.2", "", RestartPolicy("no")),
        laps=(Lap("dump", 40.0),),
        spans=(Span("criu post-dump", 3.0, 30.0),),
    )
    restored = Restored("172.17.2.2", "", (Lap("layer", 6.0), Lap("restore", 30.0)))
    found = trace(marks, dumped, restored, Resumed())
    when = {(span["party"], span["name"]): (span["track"], span["at"], span["ms"]) for span in found}
    assert when["source", "dump"] == ("window", 5.0, 40.0)
    assert when["source", "criu post-dump"] == ("criu", 8.0, 30.0)
    assert when["target", "layer"] == ("window", 53.0, 6.0)
    assert when["target", "restore"] == ("window", 59.0, 30.0)
    assert when["host0", "freeze"] == ("waits", 0.0, 50.0)
    assert when["host0", "release"] == ("waits", 100.0, 1.0)
