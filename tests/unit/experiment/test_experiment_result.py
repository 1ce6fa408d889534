"""What the document says of turns whose outcome is known."""

import json
from collections.abc import Callable

from relocate_cli.experiment import result
from relocate_cli.experiment.clients import Counts
from relocate_cli.experiment.declared import Declared
from relocate_cli.experiment.result import Result
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
