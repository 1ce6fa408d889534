"""Rounds on a journal of their own; hosts and relocations are made up, time is moved by hand."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from relocate_cli import tick
from relocate_cli.errors import ExitCode, LockedError, UsageError
from relocate_cli.fleet import Fleet
from relocate_cli.journal import Due, Journal, Survey, lock
from relocate_cli.plan import Outcome, Plan, Relocation
from relocate_cli.settings import Clock, Policy, Settings

Make = Callable[..., Any]


class World:
    """A fleet that answers surveys, and relocations that end as told."""

    def __init__(self, journal: Journal, build: Make) -> None:
        self.journal = journal
        self.build = build
        self.surveys: tuple[Survey, ...] = ()
        self.outcomes: dict[str, Outcome] = {}
        self.settings = Settings()

    def fleet(self, *_: Any, **__: Any) -> Fleet:
        return self.build(*self.surveys, drained=tuple(self.journal.drained()))

    def carry_out(self, plan: Plan, **_: Any) -> tuple[Relocation, ...]:
        now = time.time()
        ended = tuple(
            Relocation(
                move.id,
                move.container,
                move.source,
                move.target,
                started=now,
                ended=now,
                outcome=self.outcomes.get(move.container, Outcome.MOVED),
            )
            for move in plan.moves
        )
        for entry in ended:
            self.journal.record(entry)
        return ended

    def strike(self, *names: str) -> None:
        """Let the time of these containers come."""
        known = {entry.container: entry for entry in self.journal.due()}
        late = [replace(known[name], at=time.time() - 60 + index) for index, name in enumerate(names)]
        self.journal.set_due(late)

    def round(self, *, check: bool = False) -> tick.Round:
        return tick.tick(self.settings, self.journal, rng=np.random.default_rng(1), check=check)


@pytest.fixture
def world(tmp_path: Path, build: Make, survey: Make, container: Make, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Containers a, b, c on h1, nothing on h2 and h3; their times are drawn."""
    with Journal(tmp_path) as journal:
        world = World(journal, build)
        for way in ("take", "refresh"):
            monkeypatch.setattr(tick.survey, way, world.fleet)
        monkeypatch.setattr(tick.relocation, "carry_out", world.carry_out)
        entries = [container(name, ports=[], started_at=time.time()) for name in "abc"]
        world.surveys = (survey("h1", *entries), survey("h2"), survey("h3"))
        first = world.round()
        assert first.due == () and first.exit_code == ExitCode.DONE
        yield world


def test_what_is_due_moves_and_its_clock_starts_again(world: World) -> None:
    world.strike("a", "b")
    found = world.round()
    assert found.due == ("a", "b")
    assert {(entry.container, entry.source) for entry in found.ended} == {("a", "h1"), ("b", "h1")}
    assert found.exit_code == ExitCode.DONE
    waits = {entry.container: (entry.at - time.time()) / 60 for entry in world.journal.due()}
    assert min(waits.values()) > 4 and found.next_at == min(entry.at for entry in world.journal.due())


def test_a_second_tick_has_nothing_to_do(world: World) -> None:
    world.strike("a")
    world.round()
    before = world.journal.due()
    assert world.round().due == ()
    assert world.journal.due() == before


def test_one_that_fails_does_not_stop_the_others_and_is_not_tried_every_minute(world: World) -> None:
    world.outcomes = {"a": Outcome.ROLLED_BACK}
    world.strike("a", "b")
    found = world.round()
    assert found.exit_code == ExitCode.ROLLED_BACK
    assert {str(entry.outcome) for entry in found.ended} == {"rolled_back", "moved"}
    assert world.round().due == ()


def test_a_container_of_unknown_end_waits_for_recover_and_the_others_move(world: World) -> None:
    world.journal.record(Relocation("open", "a", "h1", "h2", started=time.time()))
    world.strike("a", "b")
    found = world.round()
    assert [entry.container for entry in found.ended] == ["b"]
    assert "recover" in (found.staying or {})["a"]
    assert found.exit_code == ExitCode.NEEDS_RECOVER


def test_the_budget_takes_the_longest_waiting_first_and_the_rest_wait(world: World) -> None:
    world.settings = replace(world.settings, policy=Policy(max_moves_per_hour=2))
    world.strike("c", "a", "b")
    found = world.round()
    assert {entry.container for entry in found.ended} == {"c", "a"}
    assert found.staying == {"b": "the budget of this hour is spent"}
    assert found.exit_code == ExitCode.DONE
    assert world.round().due == ("b",)


def test_quiet_hours_hold(world: World) -> None:
    world.settings = replace(world.settings, policy=Policy(quiet_hours=("00:00-00:00",)))
    world.strike("a")
    found = world.round()
    assert found.ended == () and found.staying == {"a": "quiet hours"}
    assert found.exit_code == ExitCode.DONE


def test_nothing_feasible_is_refused_with_why(world: World) -> None:
    world.journal.drain("h2")
    world.journal.drain("h3")
    world.strike("a")
    found = world.round()
    assert found.exit_code == ExitCode.REFUSED
    assert (found.staying or {})["a"] == "no host can take it: h2: it is drained; h3: it is drained"


def test_an_obstacle_is_said_once_a_gap_and_not_every_minute(
    world: World, survey: Make, container: Make
) -> None:
    stuck = container("a", ports=[], obstacles=[{"reason": "it uses a device", "hint": "do without"}])
    world.surveys = (survey("h1", stuck), survey("h2"))
    world.strike("a")
    found = world.round()
    assert found.exit_code == ExitCode.REFUSED and "it uses a device" in (found.staying or {})["a"]
    assert world.round().due == ()


def test_check_changes_nothing(world: World) -> None:
    world.strike("a")
    found = world.round(check=True)
    assert [move.container for move in found.planned] == ["a"] and found.ended == ()
    assert world.round(check=True).due == ("a",)


def test_one_that_vanished_is_forgotten(world: World, survey: Make) -> None:
    world.strike("a", "b", "c")
    world.surveys = tuple(survey(name) for name in ("h1", "h2", "h3"))
    assert world.round().due == ()
    assert world.journal.due() == ()


def test_one_on_a_host_that_is_silent_keeps_its_time_and_waits(world: World) -> None:
    world.strike("a")
    world.surveys = (replace(world.surveys[0], error="no route"), *world.surveys[1:])
    found = world.round()
    assert found.ended == () and found.staying == {"a": "host h1: no route"}
    assert {entry.container for entry in world.journal.due()} == set("abc")


def test_one_that_was_removed_while_a_host_is_silent_stops_nobody(
    world: World, survey: Make, container: Make
) -> None:
    left = [container(name, ports=[], started_at=time.time()) for name in "bc"]
    world.surveys = (survey("h1", *left), survey("h2"), survey("h3", error="no route"))
    world.strike("a", "b")
    found = world.round()
    assert [entry.container for entry in found.ended] == ["b"]
    assert found.staying == {"a": "no host that answers has it; silent: h3"}
    assert {entry.container for entry in world.journal.due()} == set("abc")


def test_a_host_is_emptied_of_one_whose_labels_make_no_clock(
    world: World, survey: Make, container: Make
) -> None:
    labels = {"relocate.enable": "true", "relocate.rate": "often"}
    world.surveys = (survey("h1", container("a", labels=labels)), survey("h2"))
    found = tick.drain(world.settings, world.journal, "h1", rng=np.random.default_rng(1))
    assert [entry.container for entry in found.ended] == ["a"]


def test_two_of_one_name_are_not_guessed_between(world: World, survey: Make, container: Make) -> None:
    world.strike("a")
    world.surveys = (world.surveys[0], survey("h2", container("a", started_at=time.time())), survey("h3"))
    found = world.round()
    assert found.ended == () and "there are 2 containers a" in (found.staying or {})["a"]


def test_a_useless_clock_is_refused_before_anybody_is_asked(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tick.survey, "take", lambda *_, **__: pytest.fail("a host was asked"))
    world.settings = replace(world.settings, clock=Clock(rate=60, threshold=0.2))
    with pytest.raises(UsageError, match="never fires"):
        world.round()


def test_drain_empties_the_host_and_nothing_comes_back(world: World) -> None:
    found = tick.drain(world.settings, world.journal, "h1", rng=np.random.default_rng(1))
    assert {entry.container for entry in found.ended} == set("abc")
    assert {entry.target for entry in found.ended} <= {"h2", "h3"}
    assert world.journal.drained() == {"h1"}


def test_drain_of_a_host_that_there_is_not_changes_nothing(world: World) -> None:
    with pytest.raises(UsageError, match="no host h9"):
        tick.drain(world.settings, world.journal, "h9", rng=np.random.default_rng(1))
    assert world.journal.drained() == frozenset()


def test_draws_cannot_be_foreseen_unless_seeded() -> None:
    assert tick.generator(1).random() == tick.generator(1).random()
    assert tick.generator().random() != tick.generator().random()


def test_a_tick_during_a_tick_is_locked_out(tmp_path: Path) -> None:
    from relocate_cli.cli.tick import tick as verb

    config = tmp_path / "relocate.toml"
    config.write_text(f'state_dir = "{tmp_path}/state"\n')
    with lock(tmp_path / "state"), pytest.raises(LockedError) as locked:
        verb(config=config)
    assert locked.value.exit_code == ExitCode.LOCKED


def test_static_times_survive_the_journal(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.set_due([Due("a", float("inf"), 0.0, 0.0, "static")])
        assert journal.due()[0].at == float("inf")
