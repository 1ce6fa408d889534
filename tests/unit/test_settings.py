from pathlib import Path

import pytest

from relocate_cli import settings
from relocate_cli.errors import UsageError


def load(
    tmp_path: Path, project: str = "", system: str = "", env: dict[str, str] | None = None, **flags: object
):
    (tmp_path / "relocate.toml").write_text(project)
    (tmp_path / "system.toml").write_text(system)
    return settings.load(
        flags,
        config=tmp_path / "relocate.toml",
        environment={"XDG_CONFIG_HOME": str(tmp_path / "none"), **(env or {})},
        system_file=tmp_path / "system.toml",
    )


def test_a_flag_beats_the_environment_beats_the_project_beats_the_system(tmp_path: Path) -> None:
    system = "[clock]\nrate = 1.0\nthreshold = 0.2\ntick = '1h'\n[policy]\nmax_parallel = 9\n"
    project = "[clock]\nrate = 2.0\nthreshold = 0.3\ntick = '2h'\n"
    env = {"RELOCATE_CLOCK_RATE": "3", "RELOCATE_CLOCK_THRESHOLD": "0.4"}
    got = load(tmp_path, project, system, env, **{"clock.rate": 4.0})
    assert (got.clock.rate, got.clock.threshold, got.clock.tick, got.policy.max_parallel) == (
        4.0,
        0.4,
        7200.0,
        9,
    )
    assert got.origins["clock.rate"] == "flag"
    assert got.origins["clock.threshold"] == "RELOCATE_CLOCK_THRESHOLD"
    assert got.origins["clock.tick"] == str(tmp_path / "relocate.toml")
    assert got.origins["policy.max_parallel"] == str(tmp_path / "system.toml")
    assert got.origins["clock.kind"] == "default"


def test_every_default_is_a_value_that_its_own_key_accepts() -> None:
    for key in settings.schema():
        assert key.read(key.default) == key.default


def test_paths_of_a_file_are_beside_that_file(tmp_path: Path) -> None:
    got = load(tmp_path, 'inventory = ["inventory", "h1,h2,"]\nstate_dir = "state"\n')
    assert got.inventory == (str(tmp_path / "inventory"), "h1,h2,")
    assert got.state == tmp_path / "state"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[clock]\nrat = 1", "clock.rat"),
        ("nonsense = 1", "nonsense"),
        ("[clok]\nrate = 1", "clok"),
        ("[clock]\nkind = 'sundial'", "clock.kind"),
        ("[clock]\nrate = -1", "clock.rate"),
        ("[clock]\ntick = 'soon'", "clock.tick"),
        ("[storage]\nkeep = 'maybe'", "storage.keep"),
        ("[policy]\nquiet_hours = ['25:00-26:00']", "policy.quiet_hours"),
        ("[policy]\nmax_parallel = -1", "policy.max_parallel"),
        ("[heterogeneity]\nweights = {C = 0, N = 0, S = 0}", "heterogeneity.weights"),
        ("[heterogeneity]\nweights = {X = 1}", "heterogeneity.weights"),
        ("inventory = 3", "inventory"),
        ("[clock", "relocate.toml"),
    ],
)
def test_a_wrong_file_is_refused_by_a_line_that_names_the_key(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UsageError) as refused:
        load(tmp_path, text)
    assert said in refused.value.message
    assert refused.value.hint


def test_an_unknown_key_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        load(tmp_path, "[clock]\ntreshold = 1")
    assert refused.value.hint == "did you mean clock.threshold?"


def test_weights_may_come_from_the_environment(tmp_path: Path) -> None:
    got = load(tmp_path, env={"RELOCATE_HETEROGENEITY_WEIGHTS": "C=2,S=0.5"})
    assert got.heterogeneity.weights == settings.Weights(C=2.0, N=1.0, S=0.5)


def test_a_missing_config_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        settings.load(config=tmp_path / "absent.toml", environment={})
