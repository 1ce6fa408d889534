from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from relocate_cli import recovery
from relocate_cli.errors import RefusedError
from relocate_cli.fleet import Fleet
from relocate_cli.plan import Move, Outcome, Relocation
from relocate_cli.recovery import Findings

Make = Callable[..., Any]
OPENED = Relocation("r1", "web", "h1", "h2", "203.0.113.5", started=5.0)
STORED = {"id": "r1", "container": "web", "source": "h1", "target": "h2", "vip": "203.0.113.5"}


def said(outcome: str, needs_recover: bool = False) -> Findings:
    return Findings((), (), ({"relocation_id": "r1", "outcome": outcome, "needs_recover": needs_recover},))


@pytest.mark.parametrize("outcome", ["moved", "rolled_back"])
def test_what_host0_says_is_how_it_ended(build: Make, survey: Make, outcome: str) -> None:
    assert recovery.conclude(OPENED, said(outcome), build(survey("h1"))).outcome == outcome


def test_what_a_host_could_not_settle_stays_open_with_its_reason(build: Make, survey: Make) -> None:
    found = replace(said("moved"), unsettled={"r1": "h2: no engine"})
    ended = recovery.conclude(OPENED, found, build(survey("h1"), survey("h2")))
    assert (ended.outcome, ended.reason) == (Outcome.OPEN, "h2: no engine")
    assert not recovery.Recovery(found).complete


def test_what_still_waits_for_a_host_stays_open(build: Make, survey: Make, container: Make) -> None:
    known = build(survey("h1", container("web")), survey("h2"))
    assert recovery.conclude(OPENED, said("rolled_back", needs_recover=True), known) == OPENED


@pytest.mark.parametrize(
    ("host", "outcome"), [("h1", Outcome.ROLLED_BACK), ("h2", Outcome.MOVED), ("h3", Outcome.OPEN)]
)
def test_what_all_have_forgotten_is_concluded_from_where_the_container_is(
    build: Make, survey: Make, container: Make, host: str, outcome: Outcome
) -> None:
    hosts = [survey(name, *([container("web")] if name == host else [])) for name in ("h1", "h2", "h3")]
    assert recovery.conclude(OPENED, Findings((), (), ()), build(*hosts)).outcome is outcome


def test_what_is_only_an_image_has_failed_until_it_is_restored(build: Make, survey: Make) -> None:
    ended = recovery.conclude(OPENED, Findings((), (STORED,), ()), build(survey("h1"), survey("h2")))
    assert ended.outcome is Outcome.FAILED


def restored(known: Fleet, to: str | None = None, before: Fleet | None = None) -> Move:
    return recovery.restoring(known, STORED, to, 60, recovery.last_seen(STORED, known, before))


def test_an_image_is_restored_where_it_was_on_its_way_to(build: Make, survey: Make, container: Make) -> None:
    known = build(survey("h1"), survey("h2", container("a")), survey("h3"))
    move = restored(known)
    assert (move.source, move.target, move.recovers, move.vip) == ("h1", "h2", "r1", "203.0.113.5")
    assert move.id != "r1"  # hosts refuse an id that has ended, for ever


def test_a_dead_target_is_stood_in_for_by_the_least_loaded_host(
    build: Make, survey: Make, container: Make
) -> None:
    dead = survey("h2", error="no route")
    known = build(survey("h1"), dead, survey("h3", container("a")), survey("h4"))
    assert restored(known).target == "h4"
    assert restored(known, "h3").target == "h3"
    with pytest.raises(RefusedError, match="only an image now: h2: no route"):
        restored(build(survey("h1"), dead))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"criu": {"arch": "aarch64"}}, "x86_64 does not restore on aarch64"),
        ({"criu": {"cpu_flags": []}}, "its CPU lacks avx2"),
        ({"published_ports": ["tcp/80"]}, "port tcp/80 is taken"),
        ({"memory_free_bytes": 1 << 20}, "64 MiB of memory do not fit in 1 MiB"),
    ],
)
def test_an_image_goes_only_where_a_move_could_go(
    build: Make, survey: Make, container: Make, change: dict[str, Any], why: str
) -> None:
    """What is known of its container is what the last survey of a host that is silent now has said."""
    silent = survey("h1", container("web"), error="no route")
    known = build(silent, survey("h2", **change), survey("h3", container("a", ports=[])))
    assert restored(known).target == "h3"
    with pytest.raises(RefusedError, match=f"h2: {why}"):
        restored(known, "h2")


def test_tenants_do_not_meet_by_a_recovery_either(build: Make, survey: Make, container: Make) -> None:
    red, blue = ({"relocate.enable": "true", "relocate.group": group} for group in ("red", "blue"))
    rival = container("db", ports=[], labels=blue)
    before = build(survey("h1", container("web", labels=red)), survey("h2", rival), survey("h3"))
    known = build(survey("h1"), survey("h2", rival), survey("h3"))  # h1 has booted since, without it
    assert restored(known, before=before).target == "h3"
    with pytest.raises(RefusedError, match="tenant group blue is there"):
        restored(known, "h2", before)


def test_of_what_nobody_has_seen_only_hosts_are_compared_and_that_is_said(
    build: Make, survey: Make, container: Make
) -> None:
    known = build(survey("h1"), survey("h2", criu={"arch": "aarch64"}), survey("h3"))
    assert restored(known).target == "h3"
    with pytest.raises(RefusedError) as refused:
        restored(build(survey("h1"), survey("h2", criu={"arch": "aarch64"})))
    assert "no survey" in refused.value.hint and "ports, memory and group" in refused.value.hint


def test_a_source_that_left_the_inventory_forbids_nothing(build: Make, survey: Make) -> None:
    assert restored(build(survey("h2"), survey("h3"))).target == "h2"


def test_two_images_do_not_take_one_port(build: Make, survey: Make, container: Make) -> None:
    entries = [{**STORED, "id": f"r{n}", "container": name} for n, name in enumerate(("a", "b", "c"))]
    silent = survey("h1", *(container(name) for name in ("a", "b", "c")), error="no route")
    moves, refused = recovery.placed(build(silent, survey("h2"), survey("h3")), entries, None, 60, None)
    assert [(move.container, move.target) for move in moves] == [("a", "h2"), ("b", "h3")]
    assert [(error.message.split(",")[0], "tcp/80" in error.message) for error in refused] == [
        ("no host can take c", True)
    ]


def test_an_image_that_no_host_takes_is_not_recovered(build: Make, survey: Make) -> None:
    nobody = RefusedError("no host can take web", "bring one up")
    assert not recovery.Recovery(Findings((), (STORED,), ()), refused=(nobody,)).complete
