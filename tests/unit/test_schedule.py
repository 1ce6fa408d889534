import math
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from relocate_cli import schedule
from relocate_cli.errors import UsageError
from relocate_cli.journal import Due
from relocate_cli.plan import Outcome, Relocation
from relocate_cli.schedule import Changes
from relocate_cli.settings import Clock

Make = Callable[..., Any]
CLOCK = Clock()  # truncated, λ=10, T=.05, a tick is a minute: 6 to 14 minutes
NOW = 1_000_000.0


@pytest.fixture
def renew(build: Make, survey: Make, container: Make) -> Callable[..., Changes]:
    """Renew the times of containers on one host; keywords are the containers' changes."""

    def make(
        known: list[Due], containers: dict[str, Any], *, now: float = NOW, clock: Clock = CLOCK, **host: Any
    ) -> Any:
        entries = [
            container(name, **({"started_at": now - 60} | changes)) for name, changes in containers.items()
        ]
        fleet = build(survey("h1", *entries, **host), survey("h2"))
        return schedule.renew(known, fleet, clock, now, np.random.default_rng(1))

    return make


def test_a_new_container_is_due_a_gap_after_its_start(renew: Make) -> None:
    (due,) = renew([], {"web": {}}).drawn
    assert due.since == NOW - 60
    assert (due.at - due.since) / 60 in range(6, 15)
    assert due.policy == "truncated λ=10 T=0.05 tick=60s"


def test_nothing_is_drawn_twice(renew: Make) -> None:
    drawn = renew([], {"web": {}, "db": {}}).drawn
    assert renew(list(drawn), {"web": {}, "db": {}}) == Changes((), (), {})


def test_a_container_that_is_found_late_does_not_move_at_once(renew: Make) -> None:
    drawn = renew([], {f"c{i}": {"started_at": NOW - 86_400.5} for i in range(50)}).drawn
    waits = [(due.at - NOW) / 60 for due in drawn]
    assert min(waits) > 0 and max(waits) <= 14
    assert len(set(waits)) > 5, "they do not move as a herd either"


def test_a_restart_starts_the_clock_again_and_a_relocation_is_none(renew: Make) -> None:
    (due,) = renew([], {"web": {"started_at": NOW - 300}}).drawn
    later = NOW + 120
    restarted = renew([due], {"web": {"started_at": NOW + 100}}, now=later).drawn
    assert [entry.since for entry in restarted] == [NOW + 100]
    # After a relocation the engine's start is some seconds before the end that the journal has.
    moved = Due("web", later + 500, NOW + 110, NOW + 110, due.policy)
    assert not renew([moved], {"web": {"started_at": NOW + 107}}, now=later).drawn


def test_a_host_whose_clock_is_ahead_does_not_put_its_containers_off_for_ever(renew: Make) -> None:
    ahead = {"web": {"started_at": NOW + 3600}}
    (due,) = renew([], ahead).drawn
    assert NOW < due.at <= NOW + 14 * 60
    for minute in range(1, 15):
        assert not renew([due], ahead, now=NOW + 60 * minute).drawn


def test_what_is_gone_is_forgotten_unless_its_host_does_not_answer(renew: Make) -> None:
    known = [Due("old", NOW + 60, NOW, NOW, "truncated λ=10 T=0.05 tick=60s")]
    assert renew(known, {}).forgotten == ("old",)
    assert renew(known, {}, error="no route").forgotten == ()


def test_a_renamed_container_is_a_new_one_and_the_old_one_is_gone(renew: Make) -> None:
    known = list(renew([], {"web": {}}).drawn)
    changes = renew(known, {"www": {}})
    assert changes.forgotten == ("web",)
    assert [due.container for due in changes.drawn] == ["www"]


def test_who_takes_no_part_any_more_is_forgotten(renew: Make) -> None:
    known = list(renew([], {"web": {}}).drawn)
    assert renew(known, {"web": {"labels": {}}}).forgotten == ("web",)


def test_labels_win_and_a_change_of_policy_draws_again(renew: Make) -> None:
    (due,) = renew([], {"web": {}}).drawn
    labels = {"relocate.enable": "true", "relocate.rate": "4", "relocate.threshold": "0.1"}
    (changed,) = renew([due], {"web": {"labels": labels}}).drawn
    assert changed.policy == "truncated λ=4 T=0.1 tick=60s (label)"
    assert (changed.at - changed.since) / 60 in range(2, 7)


@pytest.mark.parametrize("label", [{"relocate.rate": "often"}, {"relocate.threshold": "0.9"}])
def test_labels_that_make_no_clock_stop_their_container_only(renew: Make, label: dict[str, str]) -> None:
    changes = renew([], {"bad": {"labels": {"relocate.enable": "true", **label}}, "web": {}})
    assert [due.container for due in changes.drawn] == ["web"]
    assert list(changes.errors) == ["bad"]


def test_a_time_that_was_set_back_is_drawn_again(renew: Make) -> None:
    future = NOW + 10 * 365 * 86_400
    (due,) = renew([], {"web": {}}, now=future).drawn
    (again,) = renew([due], {"web": {"started_at": NOW - 60}}).drawn
    assert NOW < again.at <= NOW + 14 * 60


def test_a_controller_that_slept_for_a_day_finds_each_container_due_once(renew: Make) -> None:
    known = list(renew([], {"web": {}, "db": {}}).drawn)
    morning = NOW + 86_400
    assert not renew(
        known, {"web": {"started_at": NOW - 60}, "db": {"started_at": NOW - 60}}, now=morning
    ).drawn
    assert {entry.container for entry in schedule.due(known, morning)} == {"web", "db"}


def test_a_static_clock_is_never_due(renew: Make) -> None:
    (due,) = renew([], {"web": {}}, clock=Clock(kind="static")).drawn
    assert due.at == math.inf


@given(
    elapsed=st.floats(0, 1e9),
    seed=st.integers(0, 99),
    kind=st.sampled_from(["truncated", "exponential", "periodic"]),
)
def test_the_next_time_is_after_now_and_within_a_gap(elapsed: float, seed: int, kind: str) -> None:
    chosen = schedule.policy(Clock(kind=kind))
    due = schedule.draw("web", chosen, NOW - elapsed, NOW, np.random.default_rng(seed))
    assert NOW < due.at <= NOW + chosen.clock.max_gap * chosen.tick


def test_a_late_find_waits_as_long_as_renewal_theory_says() -> None:
    """The residual of a stationary renewal process has density P(gap > t)/E[gap]."""
    chosen = schedule.policy(Clock(tick=1.0))
    rng = np.random.default_rng(3)
    waits = [schedule.draw("web", chosen, NOW - 5000 - rng.random(), NOW, rng).at - NOW for _ in range(3000)]

    def residual(t: Any) -> Any:
        grid = np.arange(0, 15)
        whole = np.concatenate(([0.0], np.cumsum(1 - chosen.clock.cdf(grid)))) / chosen.clock.mean
        return np.interp(t, np.arange(16), whole)

    assert stats.kstest(waits, residual).pvalue > 1e-3


@pytest.mark.parametrize("outcome", [Outcome.MOVED, Outcome.ROLLED_BACK])
def test_a_relocation_starts_the_clock_again(
    build: Make, survey: Make, container: Make, outcome: Outcome
) -> None:
    fleet = build(survey("h1", container("web")), survey("h2"))
    ended = Relocation("1", "web", "h1", "h2", started=NOW - 5, ended=NOW, outcome=outcome)
    (due,) = schedule.after([ended], fleet, CLOCK, NOW + 1, np.random.default_rng(1))
    assert due.since == NOW and (due.at - NOW) / 60 in range(6, 15)


@pytest.mark.parametrize("outcome", [Outcome.OPEN, Outcome.FAILED])
def test_what_needs_recovery_has_no_next_time(
    build: Make, survey: Make, container: Make, outcome: Outcome
) -> None:
    fleet = build(survey("h1", container("web")))
    ended = Relocation("1", "web", "h1", "h2", outcome=outcome)
    assert schedule.after([ended], fleet, CLOCK, NOW, np.random.default_rng(1)) == ()


def test_due_are_those_whose_time_has_come_the_longest_waiting_first() -> None:
    entries = [Due(name, NOW + at, 0, 0, "") for name, at in (("a", -5), ("b", 1), ("c", -9), ("d", 0))]
    assert [entry.container for entry in schedule.due(entries, NOW)] == ["c", "a", "d"]


def test_the_budget_counts_the_last_hour() -> None:
    recent = [Relocation("x", "web", "a", "b", started=NOW - ago) for ago in (10, 3500, 3700)]
    assert schedule.budget(3, recent, NOW) == 1
    assert schedule.budget(1, recent, NOW) == 0
    assert schedule.budget(0, recent, NOW) is None


@pytest.mark.parametrize(
    ("spans", "at", "until"),
    [
        ([], "12:00", "12:00"),
        (["22:00-06:00"], "21:59", "21:59"),
        (["22:00-06:00"], "22:00", "+06:00"),
        (["22:00-06:00"], "05:59", "06:00"),
        (["01:00-02:00", "02:00-03:30"], "01:30", "03:30"),
        (["22:00-00:00", "00:00-04:00"], "23:00", "+04:00"),
        (["00:00-00:00"], "12:00", None),
        (["12:00-00:00", "00:00-12:00"], "12:00", None),
    ],
)
def test_quiet_hours(spans: list[str], at: str, until: str | None) -> None:
    day = datetime(2026, 5, 1)
    moment = datetime.combine(day, datetime.strptime(at, "%H:%M").time())
    found = schedule.allowed_from(spans, moment)
    assert schedule.quiet(spans, moment) == (until != at)
    if until is None:
        assert found is None
    else:
        wanted = datetime.combine(day, datetime.strptime(until.lstrip("+"), "%H:%M").time())
        assert found == wanted + timedelta(days=until.startswith("+"))


times = st.times().map(lambda time: time.strftime("%H:%M"))
spans = st.lists(st.tuples(times, times).map("-".join), max_size=4)


@given(spans, st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)))
def test_the_first_moment_that_is_allowed_is_not_quiet_and_the_one_before_is(
    quiet: list[str], moment: datetime
) -> None:
    found = schedule.allowed_from(quiet, moment)
    if found is None:
        assert all(schedule.quiet(quiet, moment + timedelta(minutes=step)) for step in range(1440))
    else:
        assert found >= moment and not schedule.quiet(quiet, found)
        assert found == moment or schedule.quiet(quiet, found - timedelta(seconds=1))


def test_a_configured_pair_that_makes_no_clock_is_refused() -> None:
    with pytest.raises(UsageError, match="never fires"):
        schedule.policy(Clock(rate=60, threshold=0.1))


def test_overdue_is_who_waits_for_longer_than_its_clock_has_gaps(
    build: Make, survey: Make, container: Make
) -> None:
    labels = {"relocate.enable": "true"}
    fleet = build(
        survey(
            "h1",
            container("web"),
            container(
                "slow", labels=labels | {schedule.RATE_LABEL: "1000", schedule.THRESHOLD_LABEL: "0.001"}
            ),
            container("wrong", labels=labels | {schedule.RATE_LABEL: "often"}),
            container("other", labels={}),
        )
    )
    gaps = schedule.longest(fleet, Clock())
    assert set(gaps) == {"web", "slow"}
    assert gaps["web"] == 14 * 60
    late = 10_000.0 + 14 * 60 + schedule.SLACK
    entries = [Due(name, 10_100.0, 9_000.0, 10_000.0, "") for name in ("web", "slow", "gone")]
    assert schedule.overdue(entries, gaps, late) == ()
    assert [entry.container for entry in schedule.overdue(entries, gaps, late + 1)] == ["web"]


@pytest.mark.parametrize("kind", ["exponential", "static"])
def test_a_clock_without_a_longest_gap_has_nobody_overdue(
    kind: str, build: Make, survey: Make, container: Make
) -> None:
    assert schedule.longest(build(survey("h1", container("web"))), Clock(kind=kind)) == {}
