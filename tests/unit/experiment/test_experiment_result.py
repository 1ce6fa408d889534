"""What the document says of turns whose outcome is known."""

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from relocate_cli.clock import make_clock
from relocate_cli.experiment import result
from relocate_cli.experiment.beside import MEASURES, Facts, expect
from relocate_cli.experiment.clients import Counts
from relocate_cli.experiment.declared import Declared, policies
from relocate_cli.experiment.ground import Placed
from relocate_cli.experiment.result import Result
from relocate_cli.experiment.sights import Look
from relocate_cli.experiment.turn import Played

Make = Callable[..., Result]
Play = Callable[..., Played]


def test_the_attackers_log_decides_not_the_journal(found: Make, played: Play) -> None:
    silent = found(played(looks={"attacker1": ()})).verdicts[0]
    assert silent.moved == 1 and silent.shares["resisted"].value is None
    assert silent.shares["survives"].value == 1.0
    seen = found().verdicts[0]
    assert [sight.seconds for sight in seen.seen] == [39.0]
    assert seen.shares["resisted_if_aligned"].value == 0.0, "39 s are more than 4 ticks of 5 s"


def test_the_document_is_json_and_says_what_was_declared(found: Make) -> None:
    document = json.loads(json.dumps(result.document(found())))
    assert document["declared_here"]["attack_length"] == 4.0
    (policy,) = document["policies"]
    assert policy["relocations"] == {"moved": 1, "rolled_back": 1}
    assert policy["gap_ms"]["max"] == 90.0 and policy["late_seconds"]["max"] == 3.0
    assert policy["moves"][0]["begin"] == 40.0 and policy["sights"][0]["end"] == 39.0
    assert document["judge"] == "the attackers' own logs"


def test_matched_and_never_reproduced(found: Make) -> None:
    for kind in ("time", "space"):
        declared = Declared(kind, attack_length=4.0, tick=5.0, horizon=10.0)
        said = result.text(found(declared=declared))
        assert "matched under these declared parameters" in said and "reproduced" not in said


def test_what_lies_apart_is_said(found: Make) -> None:
    assert any("lie apart: resisted" in note for note in result.notes(found(exact=0.98)))
    near = found(exact=0.5)
    assert near.verdicts[0].agrees("resisted") is True
    assert not any("lie apart: resisted," in note for note in result.notes(near))


def test_clean_is_nothing_lost_but_by_a_restart(found: Make, played: Play) -> None:
    assert found().clean
    broken = Counts(sent=9, broken=1)
    assert not found(played(counts=broken)).clean
    assert found(played("restart", counts=broken)).clean
    assert not found(played(running={"target1": [], "target2": ["host1"]})).clean


def test_a_target_that_is_lost_is_named(found: Make, played: Play) -> None:
    lost = found(played(running={"target1": [], "target2": ["host1", "host2"]}))
    assert lost.verdicts[0].strays == {"target1": [], "target2": ["host1", "host2"]}
    assert any("target1 runs on no host" in note for note in result.notes(lost))


def test_survival_is_compared_with_static_in_the_same_places(found: Make, played: Play) -> None:
    both = found(played("static", away=101, moves=()), played())
    still, moving = both.verdicts
    assert still.shares["survives"].value == 0.5
    assert both.gain(still) == 0.0
    assert both.gain(moving) == 0.5, "three of four windows"


@pytest.mark.parametrize("kind", ["threshold", "exponential"])
def test_a_made_world_whose_moves_are_late_agrees_with_the_simulation_as_played(kind: str) -> None:
    """Targets hop between four hosts by the clock and three seconds more; two of them watch."""
    declared = Declared("time", targets=40, turn=3000.0, seed=3)
    hosts, rng, looks = ("host1", "host2", "host3", "host4"), np.random.default_rng(5), {}
    policy, clock = policies("time")[kind], make_clock(kind, declared.rate, declared.threshold)
    stays: list[tuple[str, str, float, float]] = []
    for number in range(1, declared.targets + 1):
        host, now = hosts[rng.integers(4)], 0.0
        while now < declared.turn:
            end = now + float(clock.sample(rng)) * declared.tick + 3.0
            stays.append((f"target{number}", host, now, end))
            host, now = rng.choice([other for other in hosts if other != host]), end
    for attacker, host in (("attacker1", "host1"), ("attacker2", "host3")):
        found: list[set[tuple[str, str]]] = [set() for _ in range(int(declared.turn) + 1)]
        for target, where, begin, end in stays:
            if where == host:
                for second in range(math.ceil(begin), min(math.floor(end), int(declared.turn)) + 1):
                    found[second].add((f"{target}/a", "172.17.1.2"))
        looks[attacker] = tuple(Look(float(at), frozenset(seen)) for at, seen in enumerate(found))
    placed = Placed(dict.fromkeys([f"target{n}" for n in range(1, 41)], "host1"), {"attacker1": "host1"})
    turn = Played(policy, 0.0, declared.turn, placed, looks, (), Counts(), (), (), {})
    flat = Facts([[0.0 if a == b else 0.5 for a in range(4)] for b in range(4)], (0, 2))
    verdict = result.verdict(declared, turn, expect(declared, policy, flat, [3.0]))
    assert len(verdict.seen) > 300
    assert [name for name in MEASURES if not verdict.agrees(name)] == []
    live, expected = verdict.shares["resisted"], verdict.beside.played["resisted"]
    assert live.value == pytest.approx(expected.value, abs=0.04)
    assert live.high - live.low < 0.15
