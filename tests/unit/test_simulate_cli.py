"""`relocate simulate` as a user and a script see it."""

import csv
import json

import pytest
from typer.testing import CliRunner

from relocate_cli import cli
from relocate_cli.cli import simulate
from relocate_cli.errors import RelocateError, UsageError
from relocate_cli.journal import Journal
from relocate_cli.plan import Outcome, Relocation
from relocate_cli.simulate.plots import COLOURS


def run(*words: str):
    result = CliRunner().invoke(simulate.app, list(words))
    if isinstance(result.exception, RelocateError):
        raise result.exception
    assert result.exception is None, result.output
    return result


def document(*words: str):
    return json.loads(run(*words, "--json").stdout)


FIGURE_4 = ["time", "--clock", "exponential", "--mean-gap", "0.49", "--attack", "constant"]
FIGURE_4 += ["--attack-length", "1", "--start", "captured"]


def test_figure_4_for_scripts():
    found = document(*FIGURE_4, "--trials", "200000", "--seed", "3")
    assert found["schema"] == "relocate/simulate-time/v1"
    assert found["resisted"] == pytest.approx(0.870, abs=0.004)
    assert found["closed_form"] == pytest.approx(0.8701, abs=1e-4)
    low, high = found["ci95"]
    assert low < found["resisted"] < high and high - low < 0.004
    assert found["declared_here"]["hosts"] == 30
    names = [line["name"] for line in found["policies"]]
    assert names[0] == "static" and "restart (SCIT)" in names and "truncated" in names
    static = found["policies"][0]
    assert static["resisted"] == static["resisted_if_aligned"] == 0.0
    assert static["survives_closed_form"] == pytest.approx(2 / 3)


def test_the_default_matches_figure_4_and_says_that_it_only_matches():
    result = run("time", "--seed", "4")
    assert "threshold" in result.stdout and "(exact 0.8750)" in result.stdout
    assert "Declared here" in result.stdout and "not reproduced" in result.stdout
    assert "How sensitive this is" in result.stdout


def test_the_headline_is_the_regime_asked_for():
    words = [*FIGURE_4[:-2], "--seed", "3", "--trials", "20000"]
    aligned = document(*words, "--phase", "aligned", "--clock", "periodic")
    assert aligned["resisted"] == aligned["closed_form"] == 1.0
    random = document(*words, "--start", "random")
    exponential = next(line for line in random["policies"] if line["name"] == "exponential")
    assert random["resisted"] == exponential["survives"]


def test_figure_5_for_scripts():
    found = document("space", "--trials", "40000", "--seed", "3")
    survival = found["survival"]
    assert survival["static"] < survival["low"] < survival["random"] < survival["high"]
    assert found["relative_improvement"] == pytest.approx(survival["high"] / survival["static"] - 1)
    assert found["relative_improvement"] == pytest.approx(0.29, abs=0.03)
    assert found["falls_below_static_at"] == pytest.approx(46, abs=3)
    assert {line["name"] for line in found["sensitivity"]} >= {"attackers 3", "horizon 50"}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_seed_repeats_a_run_bit_for_bit(workers):
    words = ["space", "--trials", "3000", "--seed", "5"]
    assert run(*words, "--workers", workers).stdout == run(*words, "--workers", "1").stdout


def test_without_a_seed_runs_differ_and_say_their_seed():
    words = ["sweep", "--vary", "clock=exponential", "--trials", "1000"]
    assert document(*words)["seed"] != document(*words)["seed"]


def test_out_writes_data_and_plots(tmp_path):
    pytest.importorskip("matplotlib")
    words = ["time", "--trials", "2000", "--seed", "1", "--out", str(tmp_path / "new"), "--json"]
    result = run(*words)
    files = {path.name: path for path in (tmp_path / "new").iterdir()}
    plots = {"time.png", "time.svg", "time-phase.png", "time-phase.svg"}
    assert set(files) == plots | {"time.json", "time.csv"}
    assert json.loads(files["time.json"].read_text())["resisted"] == json.loads(result.stdout)["resisted"]
    rows = list(csv.DictReader(files["time.csv"].open()))
    assert rows[0]["name"] == "static" and float(rows[1]["resisted_ci95_low"]) > 0.8
    picture = files["time-phase.svg"].read_text()
    assert "mean attack length A (constant), ticks" in picture and COLOURS[0].lower() in picture
    assert files["time.png"].read_bytes()[:4] == b"\x89PNG"


def test_the_same_run_writes_the_same_plots(tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("a", "b"):
        run("space", "--trials", "1000", "--seed", "1", "--out", str(tmp_path / name))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_out_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"^out: "):
        run("time", "--trials", "100", "--out", str(tmp_path / "file"))


BAD = {
    "time --rate -1": "rate",
    "time --attackers 31": "attackers",
    "time --attackers 0": "attackers",
    "time --hosts 1": "hosts",
    "time --horizon 6": "horizon",
    "time --capacity 1 --targets 25": "capacity",
    "time --trials 0": "trials",
    "time --carry 1.5": "carry",
    "time --search-rate=-1": "search-rate",
    "time --start nowhere": "start",
    "time --phase full": "phase",
    "time --mean-gap=-1": "mean-gap",
    "time --gap-ms quick": "gap-ms",
    "time --tick soon": "tick",
    "time --attack zeta": "attack",
    "time --threshold 0.2": "threshold",
    "plan --risk 2": "risk",
    "sweep --vary hosts": "vary",
    "nomad --model cr": "model",
    "nomad --epochs 0": "epochs",
    "fleet --synthetic --hosts 5 --targets 60 --capacity 3": "capacity",
    "fleet --synthetic --kinds 0": "kinds",
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input_is_one_line_that_names_the_parameter(words, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["relocate", "simulate", *words.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    lines = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 2
    assert len(lines) == 1 and BAD[words] in lines[0]


@pytest.mark.parametrize("content", ["", "# nothing\n", "inf\n"])
def test_a_file_without_lengths_that_end(tmp_path, content):
    file = tmp_path / "lengths"
    file.write_text(content)
    with pytest.raises(UsageError, match=r"^(attack-file|horizon): "):
        run("time", "--attack-file", str(file))


def test_attacks_that_may_never_end_need_a_horizon(tmp_path):
    file = tmp_path / "lengths"
    file.write_text("7 inf\n")
    found = document(
        "time", "--attack-file", str(file), "--horizon", "70", "--trials", "20000", "--seed", "2"
    )
    static = found["policies"][0]
    assert static["resisted_closed_form"] == 0.5
    assert static["resisted"] == pytest.approx(0.5, abs=0.02)


def test_a_fleet_that_was_never_surveyed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELOCATE_STATE_DIR", str(tmp_path / "state"))
    (tmp_path / "hosts").write_text("[relocate_hosts]\na\n")
    with pytest.raises(RelocateError, match="no fleet was surveyed yet"):
        run("fleet", "-i", str(tmp_path / "hosts"))
    with pytest.raises(UsageError, match=r"^gap-ms: the journal has no relocation"):
        run("time", "--gap-ms", "measured")


def test_the_surveyed_fleet_and_the_measured_gap(tmp_path, monkeypatch, survey, container):
    inventory = tmp_path / "hosts"
    inventory.write_text("[relocate_hosts]\na\nb\nc\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELOCATE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("RELOCATE_INVENTORY", str(inventory))
    known = [survey("a", container("web"), container("db", ports=["tcp/81"])), survey("b"), survey("c")]
    with Journal(tmp_path / "state") as journal:
        journal.keep_surveys(str(inventory), known, {"web": "203.0.113.5"})
        for number, window in enumerate((40.0, 70.0, 90.0)):
            moved = Relocation(str(number), "web", "a", "b", outcome=Outcome.MOVED, window_ms=window)
            journal.record(moved)
    found = document("fleet", "-i", str(inventory), "--gap-ms", "measured", "--trials", "5", "--seed", "1")
    assert (found["hosts"], found["containers"]) == (3, 2)
    assert found["declared_here"]["gap of a move"] == "70 ms"
    assert found["declared_here"]["attackers"] == 1
    assert found["survival"]["random"] > 0
