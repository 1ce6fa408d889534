"""When and where, as people and programs see it, against hosts that answer from memory."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from relocate_cli.journal import Due, Journal

Run = Callable[..., Any]


def strike(place: Path, *names: str) -> None:
    """Let the time of these containers come."""
    with Journal(place / "state") as journal:
        known = {entry.container: entry for entry in journal.due()}
        now = time.time()
        journal.set_due([Due(name, now - 1, known[name].since, now, known[name].policy) for name in names])


def test_survey_keeps_what_hosts_are_and_says_what_they_are_worth(relocate: Run, hosts: Any) -> None:
    document = relocate("survey", "--json").document
    assert document["schema"] == "relocate/survey/v1"
    first, second = document["hosts"]
    assert first["features"] == {"C": {"kernel": "6.12"}, "N": {"bridges": ["docker0"]}, "S": {"ssh": "10.0"}}
    assert [entry["name"] for entry in first["containers"]] == ["web"] and second["containers"] == []
    assert document["effective_hosts"] == pytest.approx(1)
    seen = relocate("survey")
    assert "h2" in seen.out and "worth 1.0" in seen.err


def test_a_silent_host_is_named_and_the_exit_code_says_so(relocate: Run, hosts: Any, survey: Run) -> None:
    hosts.has(hosts.surveys["h1"], survey("h2", error="no route"))
    seen = relocate("survey", "--json")
    assert seen.code == 3
    assert [entry["stale"] for entry in seen.document["hosts"]] == [None, "no route"]


def test_target_tells_chances_that_sum_to_one(relocate: Run, hosts: Any, survey: Run, container: Run) -> None:
    odd = {"relocate_features": {"C": {"kernel": "other"}}}
    hosts.has(
        survey("h1", container("web")),
        survey("h2"),
        survey("h3", variables=odd),
        survey("h4", container("db")),
    )
    document = relocate("target", "web", "--json").document
    found = {entry["host"]: entry for entry in document["hosts"]}
    assert document["source"] == "h1" and document["measure"] == "gower" and document["choice"] == "softmax"
    assert sum(entry["probability"] for entry in found.values()) == pytest.approx(1)
    assert not found["h4"]["feasible"] and "tcp/80" in found["h4"]["why_not"]
    assert found["h2"]["groups"] == {"C": 0, "N": 0, "S": 0}
    assert "it is already there" in relocate("target", "web").out


def test_target_looks_again_for_a_container_that_it_does_not_know(
    relocate: Run, hosts: Any, survey: Run, container: Run
) -> None:
    relocate("survey")
    hosts.has(survey("h1", container("web"), container("new", ports=[])), survey("h2"))
    assert relocate("target", "new").code == 0
    assert relocate("target", "mew").code == 2


def test_a_tick_asks_for_what_changes_seldom_only_when_it_is_old_or_missing(
    relocate: Run, hosts: Any, survey: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        assert relocate("tick").code == 0
    assert hosts.light == [False, True, True]
    hosts.has(*hosts.surveys.values(), survey("h3"))
    assert relocate("tick").code == 0
    assert hosts.light[3:] == [True, False], "of the new host nothing was known"
    monkeypatch.setenv("RELOCATE_FACTS_TTL", "1ms")
    relocate("tick")
    assert hosts.light[5:] == [False]


def test_schedule_shows_when_and_by_which_policy_and_draws_once(relocate: Run, hosts: Any) -> None:
    (web,) = relocate("schedule", "--json").document["containers"]
    assert web["policy"] == "truncated λ=10 T=0.05 tick=60s" and web["host"] == "h1"
    assert 0 < web["due_at"] - time.time() <= 14 * 60
    (again,) = relocate("schedule", "--json").document["containers"]
    assert again["due_at"] == web["due_at"]
    assert "truncated" in relocate("schedule").out


def test_schedule_puts_off_what_falls_into_quiet_hours(
    relocate: Run, hosts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RELOCATE_POLICY_QUIET_HOURS", "00:00-00:00")
    (web,) = relocate("schedule", "--json").document["containers"]
    assert web["moves_from"] is None and web["due_at"] is not None
    assert "never" in relocate("schedule").out


def test_tick_moves_what_is_due_and_writes_it_down(relocate: Run, hosts: Any, tmp_path: Path) -> None:
    assert relocate("tick", "--json").document["due"] == []
    strike(tmp_path, "web")
    document = relocate("tick", "--json", "--seed", "1").document
    assert document["schema"] == "relocate/tick/v1" and document["moved"] == 1
    (entry,) = document["relocations"]
    assert (entry["container"], entry["source"], entry["target"]) == ("web", "h1", "h2")
    assert document["next_at"] > time.time()
    (kept,) = relocate("history", "--json").document["relocations"]
    assert kept == entry


def test_a_seed_is_warned_of(relocate: Run, hosts: Any) -> None:
    assert "tests" in relocate("tick", "--seed", "1").err
    assert "warning" not in relocate("tick").err


def test_tick_that_is_only_checked_moves_nothing(relocate: Run, hosts: Any, tmp_path: Path) -> None:
    relocate("tick")
    strike(tmp_path, "web")
    assert "h1 → h2 (not done)" in relocate("tick", "--check").out
    assert hosts.relocated == []


@pytest.mark.parametrize(("outcome", "code"), [("moved", 0), ("rolled_back", 1), ("failed", 4), (None, 4)])
def test_the_exit_code_of_a_tick_is_what_came_of_it(
    relocate: Run, hosts: Any, tmp_path: Path, outcome: str | None, code: int
) -> None:
    relocate("tick")
    strike(tmp_path, "web")
    hosts.outcome = outcome
    assert relocate("tick").code == code


def test_drain_moves_everything_away_and_undrain_takes_the_host_back(relocate: Run, hosts: Any) -> None:
    document = relocate("drain", "h1", "--json").document
    assert [(entry["container"], entry["target"]) for entry in document["relocations"]] == [("web", "h2")]
    (first, _) = relocate("survey", "--json").document["hosts"]
    assert first["drained"]
    assert relocate("drain", "h1", "--undrain").code == 0
    (first, _) = relocate("survey", "--json").document["hosts"]
    assert not first["drained"]


def test_drain_of_an_unknown_host_is_a_usage_error(relocate: Run, hosts: Any) -> None:
    relocate("survey")
    assert relocate("drain", "h9").code == 2
    assert relocate("drain", "h9", "--undrain").code == 2


def test_a_light_survey_forgets_neither_features_nor_what_criu_needs(
    relocate: Run, hosts: Any, survey: Run, container: Run
) -> None:
    hosts.has(survey("h1", container("web")), survey("h2", criu={"cpu_flags": []}))
    relocate("survey")
    for entry in hosts.surveys.values():
        del entry.document["features"], entry.document["criu"]
    assert "lacks avx2" in relocate("move", "web", "--to", "h2").err
    assert "lacks avx2" in relocate("target", "web").out


def test_target_says_when_the_bound_holds_a_host(
    relocate: Run, hosts: Any, survey: Run, container: Run
) -> None:
    """h3 says that it is like no other."""
    hosts.has(survey("h1", container("web")), survey("h2"), survey("h3"), survey("h4"))
    said = {"C": {"kernel": "made up"}, "N": {"bridges": ["x"]}, "S": {"ssh": "0"}}
    hosts.surveys["h3"].document["features"].update(said)
    ended = relocate("target", "web")
    assert "h3 would be chosen with 100.0%" in ended.err and "max_share = 0.7 holds it" in ended.err
    told = {entry["host"]: entry for entry in relocate("target", "web", "--json").document["hosts"]}
    assert told["h3"]["probability"] == pytest.approx(0.7)
    assert told["h3"]["probability_unbounded"] > 0.99
