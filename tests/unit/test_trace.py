"""The trace file: complete events, a machine a process, a track a thread."""

from relocate_cli.plan import Relocation, Span
from relocate_cli.trace import document


def test_every_span_is_a_complete_event_on_its_machines_track() -> None:
    spans = (
        Span("source", "window", "dump", 1.5, 40.25),
        Span("source", "criu", "criu post-dump", 3.0, 30.0),
    )
    spans += (Span("host0", "waits", "freeze", 0.0, 45.0),)
    found = document(Relocation("id", "web", "host1", "host2", spans=spans))["traceEvents"]
    events = {event["name"]: event for event in found if event["ph"] == "X"}
    assert (events["dump"]["ts"], events["dump"]["dur"]) == (1500, 40250)
    assert events["dump"]["pid"] == events["criu post-dump"]["pid"] != events["freeze"]["pid"]
    assert len({event["tid"] for event in events.values()}) == 3
    named = {event["pid"]: event["args"]["name"] for event in found if event["name"] == "process_name"}
    assert named[events["dump"]["pid"]] == "source host1"
