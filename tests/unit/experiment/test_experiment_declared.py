"""Nothing is booted for parameters that make no sense."""

from dataclasses import replace
from typing import Any

import pytest

from relocate_cli.errors import UsageError
from relocate_cli.experiment.declared import Declared, policies
from relocate_cli.settings import load


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("policies", ("magic",)),
        ("policies", ("high",)),
        ("hosts", 1),
        ("targets", 0),
        ("attackers", 0),
        ("attackers", 5),
        ("attack_length", 0.0),
        ("attack_length", float("nan")),
        ("tick", -1.0),
        ("turn", 10.0),
        ("look", 60.0),
        ("horizon", 1.0),
        ("seed", -1),
        ("engines", ("27",)),
        ("rate", 0.0),
        ("threshold", 0.9),
    ],
)
def test_the_first_parameter_that_makes_no_sense_is_named(name: str, value: Any) -> None:
    with pytest.raises(UsageError) as refused:
        replace(Declared("time"), **{name: value}).checked()
    assert "\n" not in refused.value.message


def test_defaults_make_sense_and_are_told() -> None:
    for kind in ("time", "space"):
        declared = Declared(kind).checked()  # type: ignore[arg-type]
        assert declared.attack == 70.0 and declared.window == 14.0
        assert "seed" in declared.told()


def test_each_policy_is_one_that_relocate_toml_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("time", "space"):
        declared = Declared(kind)  # type: ignore[arg-type]
        for policy in declared.chosen:
            given = policy.settings(declared)
            settings = load({}, environment=given)
            assert settings.clock.tick == 10.0 and settings.clock.rate == 10.0
            assert settings.selection.choice == policy.choice
            assert settings.clock.kind == ("static" if policy.restart else policy.clock)


def test_policies_are_played_once_in_the_order_asked_for() -> None:
    asked = Declared("time", policies=("truncated", "static", "truncated"))
    assert [policy.name for policy in asked.chosen] == ["truncated", "static"]
    assert [policy.name for policy in Declared("time").chosen] == list(policies("time"))
