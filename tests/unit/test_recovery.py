from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from relocate_cli import recovery
from relocate_cli.errors import RefusedError
from relocate_cli.plan import Outcome, Relocation
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


def test_an_image_is_restored_where_it_was_on_its_way_to(build: Make, survey: Make, container: Make) -> None:
    known = build(survey("h1"), survey("h2", container("a")), survey("h3"))
    move = recovery.restoring(known, STORED, None, ttl=60)
    assert (move.source, move.target, move.recovers, move.vip) == ("h1", "h2", "r1", "203.0.113.5")
    assert move.id != "r1"  # hosts refuse an id that has ended, for ever


def test_a_dead_target_is_stood_in_for_by_the_least_loaded_host(
    build: Make, survey: Make, container: Make
) -> None:
    dead = survey("h2", error="no route")
    known = build(survey("h1"), dead, survey("h3", container("a")), survey("h4"))
    assert recovery.restoring(known, STORED, None, ttl=60).target == "h4"
    assert recovery.restoring(known, STORED, "h3", ttl=60).target == "h3"
    with pytest.raises(RefusedError, match="only an image"):
        recovery.restoring(build(survey("h1"), dead), STORED, None, ttl=60)
