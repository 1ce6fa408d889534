"""The smaller verbs, against hosts that answer from memory."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from relocate_cli import cli, render
from relocate_cli.journal import Journal
from relocate_cli.plan import Inventory, Noted, Outcome, Relocation
from relocate_cli.report import summarise

Run = Callable[..., Any]


def test_help_names_every_verb_and_imports_nothing_heavy() -> None:
    probe = (
        "import sys; from relocate_cli import cli\n"
        "cli.build([])\n"
        "heavy = ('numpy', 'scipy', 'ansible', 'ansible_runner', 'rich.table')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_every_verb_exists(relocate: Run) -> None:
    out = relocate("--help").out
    assert [verb for verb in cli.VERBS if f" {verb} " not in out] == []


def test_status_shows_where_everything_is(relocate: Run, hosts: Any) -> None:
    document = relocate("status", "--json").document
    assert [(entry["host"], entry["containers"]) for entry in document["hosts"]] == [("h1", 1), ("h2", 0)]
    (web,) = document["containers"]
    assert (web["container"], web["host"], web["vip"], web["ports"]) == (
        "web",
        "h1",
        "203.0.113.5",
        ["tcp/80"],
    )
    text = relocate("status").out
    assert "203.0.113.5" in text
    assert "h1" in text


def test_kept_facts_are_shown_without_asking_anyone(relocate: Run, hosts: Any) -> None:
    assert relocate("status", "--kept").code == 3
    relocate("survey")
    assert relocate("status", "--kept").code == 0
    assert hosts.runs == ["survey"]


def test_history_of_one_container_and_of_a_span(relocate: Run, hosts: Any) -> None:
    relocate("move", "web")
    assert "172.17.0.9" in relocate("history", "web").out
    assert relocate("history", "db", "--json").document["relocations"] == []
    assert len(relocate("history", "--since", "1h", "--json").document["relocations"]) == 1
    assert relocate("history", "--since", "soon").code == 2


def test_report_adds_up(relocate: Run, hosts: Any) -> None:
    relocate("move", "web")
    hosts.outcome, hosts.reason = "rolled_back", "no space"
    relocate("move", "web")
    document = relocate("report", "--json").document
    assert document["outcomes"] == {"open": 0, "moved": 1, "rolled_back": 1, "failed": 0}
    assert document["window_ms"] == {"min": 61.0, "median": 61.0, "p95": 61.0, "max": 61.0}
    assert document["containers"] == [{"container": "web", "moves": 1}]
    assert document["reasons"] == [{"reason": "no space", "times": 1}]
    assert document["inventory"] == {"compared": 0, "mended": [], "harmless": []}
    assert "no space" in relocate("report").out


def test_report_sums_up_what_was_mended() -> None:
    found = [
        Inventory(9, (Noted("user", 2), Noted("I/O priority", 1))),
        Inventory(9, (Noted("user", 1),)),
        None,
    ]
    moves = [
        Relocation(str(n), "web", "h1", "h2", outcome=Outcome.MOVED, inventory=i) for n, i in enumerate(found)
    ]
    summary = summarise(moves)
    assert (summary.compared, summary.mended, summary.harmless) == (2, {"user": 2, "I/O priority": 1}, {})


def test_a_report_is_one_page_that_does_not_tell_who_moves_next(
    relocate: Run, hosts: Any, tmp_path: Path
) -> None:
    relocate("move", "web")
    relocate("tick")
    place = tmp_path / "report.html"
    assert relocate("report", "--html", str(place)).code == 0
    page = place.read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>") and page.endswith("</html>\n")
    assert "web" in page and "<svg" in page
    assert place.stat().st_mode & 0o777 == 0o600
    with Journal(tmp_path / "state") as journal:
        (due,) = journal.due()
    assert due.at > time.time()
    assert str(int(due.at)) not in page
    assert render.when(due.at) not in page
    printed = relocate("report", "--html", "-", "--since", "1h")
    assert printed.code == 0
    assert printed.out.startswith("<!DOCTYPE html>")


def test_a_page_that_cannot_be_written_is_a_usage_error_of_one_line(
    relocate: Run, hosts: Any, tmp_path: Path
) -> None:
    for place in ("nowhere/report.html", "."):
        ended = relocate("report", "--html", str(tmp_path / place))
        assert ended.code == 2
        assert "name a file in a directory that you can write to" in ended.err
    assert relocate("report", "--html", "-", "--json").code == 2


def test_a_report_names_who_is_overdue(relocate: Run, hosts: Any, tmp_path: Path) -> None:
    relocate("survey")
    relocate("schedule")
    with Journal(tmp_path / "state") as journal:
        (due,) = journal.due()
        journal.set_due([replace(due, at=due.drawn - 5000, since=due.drawn - 5000, drawn=due.drawn - 5000)])
    assert "No gap of their clock is as long" in relocate("report", "--html", "-").out


def test_metrics_replace_a_file_whole(relocate: Run, hosts: Any, tmp_path: Path) -> None:
    relocate("move", "web")
    target = tmp_path / "relocate.prom"
    target.write_text("old")
    assert relocate("metrics", "-o", str(target)).code == 0
    lines = target.read_text().splitlines()
    assert 'relocate_relocations_total{outcome="moved"} 1' in lines
    assert 'relocate_window_seconds_bucket{le="0.05"} 0' in lines
    assert 'relocate_window_seconds_bucket{le="0.1"} 1' in lines
    assert 'relocate_host_containers{host="h2"} 1' in lines
    assert not list(tmp_path.glob(".relocate.prom*"))
    assert relocate("metrics", "-o", "/nowhere/at/all.prom").code == 2


def test_metrics_tell_the_schedule_only_if_asked(relocate: Run, hosts: Any) -> None:
    relocate("tick")
    assert "relocate_next_relocation" not in relocate("metrics").out
    assert (
        'relocate_next_relocation_timestamp_seconds{container="web"}' in relocate("metrics", "--schedule").out
    )


def test_nobody_else_reads_when_a_container_moves_next(
    relocate: Run, hosts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def mode(path: Path) -> int:
        return path.stat().st_mode & 0o777

    before = os.umask(0o022)
    try:
        relocate("tick")
        told, secret = tmp_path / "relocate.prom", tmp_path / "schedule.prom"
        assert relocate("metrics", "-o", str(told)).code == 0
        assert relocate("metrics", "--schedule", "-o", str(secret)).code == 0
        modes = [mode(told), mode(secret)]
        secret.chmod(0o644)
        relocate("metrics", "--schedule", "-o", str(secret))
        modes.append(mode(secret))
    finally:
        os.umask(before)
    assert modes == [0o644, 0o600, 0o640]  # the operator chose a group for the last
    state = tmp_path / "state"
    assert mode(state) == 0o700
    assert {path.name for path in state.iterdir()} >= {"journal.sqlite", "lock"}
    assert {mode(path) for path in state.iterdir()} == {0o600}


def test_config_show_names_the_origin_of_each_value(
    relocate: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "relocate.toml").write_text("[clock]\nrate = 3\n")
    monkeypatch.setenv("RELOCATE_CLOCK_TICK", "2m")
    rows = {entry["key"]: entry for entry in relocate("config", "show", "--json").document["settings"]}
    assert (rows["clock.rate"]["value"], rows["clock.rate"]["origin"]) == (3.0, "relocate.toml")
    assert (rows["clock.tick"]["value"], rows["clock.tick"]["origin"]) == (120.0, "RELOCATE_CLOCK_TICK")
    assert rows["clock.kind"]["origin"] == "default"
    assert "RELOCATE_CLOCK_TICK" in relocate("config", "show").out


def test_a_starter_project_passes_its_own_check(
    relocate: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert relocate("init", "fleet").code == 0
    monkeypatch.chdir(tmp_path / "fleet")
    document = relocate("check", "--json").document
    assert (document["hosts"], document["gateway"]) == (["host1", "host2"], "host0")
    assert relocate("init", ".").code == 3


def test_every_line_of_the_starter_is_valid_when_uncommented(relocate: Run, tmp_path: Path) -> None:
    relocate("init", "fleet")
    file = tmp_path / "fleet/relocate.toml"
    lines = [line.removeprefix("# ") if " = " in line else line for line in file.read_text().splitlines()[3:]]
    file.write_text("\n".join(lines))
    relocate("config", "show", "-c", str(file), "--json")
    shown = relocate("config", "show", "-c", str(file), "--json").document["settings"]
    assert {entry["origin"] for entry in shown} <= {str(file), "RELOCATE_STATE_DIR"}


def test_check_says_what_stands_in_a_containers_way(
    relocate: Run, hosts: Any, survey: Run, container: Run
) -> None:
    assert relocate("check", "web").code == 0
    stuck = container("web", obstacles=[{"reason": "it uses the host's network", "hint": "publish ports"}])
    hosts.has(survey("h1", stuck), survey("h2"))
    ended = relocate("check", "web", "--json")
    assert ended.code == 3
    assert ended.document["obstacles"] == [{"reason": "it uses the host's network", "hint": "publish ports"}]


def test_check_names_the_network_that_is_another_and_who_stays_behind(
    relocate: Run, hosts: Any, survey: Run, container: Run
) -> None:
    web, db = container("web", networks=["shop"]), container("db", ports=[], networks=["shop"])
    cron = container("cron", ports=[], networks=["bridge"])
    hosts.has(
        survey("h1", web, db, cron),
        survey("h2", no_bridges={"shop": "overlay"}),
        survey("h3"),
    )
    ended = relocate("check", "web", "--json")
    assert ended.code == 0
    assert {entry["host"]: entry["why_not"] for entry in ended.document["hosts"]} == {
        "h2": "its network shop is overlay, not a bridge: rename one of the two",
        "h3": None,
    }
    (note,) = ended.document["notes"]
    assert note.startswith("network shop: db stays on h1")
    hosts.has(survey("h1", container("web"), container("cron", ports=[])), survey("h2"))
    assert relocate("check", "web", "--json").document["notes"] == []


def test_recover_restores_what_fits_and_says_why_not_the_rest(
    relocate: Run, hosts: Any, survey: Run, container: Run
) -> None:
    stored = [
        {"id": f"old{n}", "container": name, "source": "h1", "target": "h2", "vip": ""}
        for n, name in enumerate(("a", "b"))
    ]
    hosts.recovery = {"stored": stored}
    hosts.has(survey("h1", container("a"), container("b", ports=["tcp/81"])), survey("h2"))
    relocate("survey")
    hosts.has(survey("h1"), survey("h2", published_ports=["tcp/80"]))
    ended = relocate("recover", "--json")
    assert ended.code == 4
    assert [move["container"] for move in hosts.relocated] == ["b"]
    (refused,) = ended.document["refused"]
    assert "no host can take a" in refused["reason"] and "port tcp/80 is taken" in refused["reason"]


@pytest.mark.parametrize("name", ["--help", "web; reboot", "$(id)", "{{ 1 }}", "../web", "a\nb", ""])
@pytest.mark.parametrize("verb", ["check", "move", "target"])
def test_a_name_that_no_container_has_is_only_that(relocate: Run, hosts: Any, verb: str, name: str) -> None:
    ended = relocate(verb, "--", name)
    assert ended.code == 2 and "there is no container" in ended.err
    assert hosts.relocated == []


def test_check_of_the_fleet_names_every_trouble_at_once(
    relocate: Run, hosts: Any, survey: Run, container: Run
) -> None:
    assert relocate("check").code == 0  # nobody was surveyed yet, and nobody is asked
    assert hosts.runs == []
    relocate("survey")
    ended = relocate("check", "--json")
    assert (ended.code, ended.document["troubles"], ended.document["no_way"]) == (0, [], [])
    stuck = container("web", obstacles=[{"reason": "it has a terminal", "hint": "start it without -t"}])
    hosts.has(
        survey("h1", stuck, container("other", labels={})),
        survey("h2", mtu=1400),
        survey("h3", criu={"check": "no ptrace"}),
        survey("h4", error="no route to host"),
    )
    ended = relocate("check", "--json")
    assert ended.code == 3
    assert {entry["of"]: entry["reason"] for entry in ended.document["troubles"]} == {
        "h3": "criu check: no ptrace",
        "h4": "no route to host",
        "web on h1": "it has a terminal",
    }
    assert {(entry["source"], entry["target"]) for entry in ended.document["no_way"]} >= {("h1", "h2")}


def test_provision_counts_what_changed_and_names_who_is_away(relocate: Run, hosts: Any, survey: Run) -> None:
    assert "2 things changed" in relocate("provision").out
    hosts.has(survey("h1"), survey("h2", error="no route to host"))
    ended = relocate("provision", "--json")
    assert ended.code == 3
    assert {entry["host"]: entry["error"] for entry in ended.document["hosts"]}["h2"] == "no route to host"


def test_recover_with_nothing_open_says_so(relocate: Run, hosts: Any) -> None:
    ended = relocate("recover")
    assert (ended.code, ended.out) == (0, "nothing was open\n")


def test_recover_restores_an_image_and_check_only_tells(relocate: Run, hosts: Any) -> None:
    stored = {"id": "old1", "container": "db", "source": "h1", "target": "h2", "vip": "203.0.113.9"}
    hosts.recovery = {"stored": [stored]}
    told = relocate("recover", "--check")
    assert (told.code, hosts.relocated) == (4, [])
    assert told.out == "db: only an image is left: it is restored on h2, or else where it fits\n"
    assert relocate("recover").code == 0
    assert [(move["recovers"], move["target"]) for move in hosts.relocated] == [("old1", "h2")]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["nosuch"], "No such command 'nosuch' (see `relocate --help`)"),
        (["move"], "Missing argument 'container' (see `relocate move --help`)"),
        (["tick", "--nope"], "No such option: --nope (see `relocate tick --help`)"),
        (["testbed", "up", "--hosts", "x"], "Invalid value for '--hosts': "),
    ],
)
def test_a_mistyped_command_gets_one_line(relocate: Run, argv: list[str], line: str) -> None:
    ended = relocate(*argv)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"relocate: {line}")
    assert ended.err.count("\n") == 1


def test_ctrl_c_gets_a_line_too(relocate: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("relocate_cli.settings.load", interrupted)
    ended = relocate("tick")
    assert (ended.code, ended.out) == (130, "")
    assert ended.err == "relocate: interrupted (`relocate recover --check` says what is open)\n"


@pytest.mark.parametrize(
    "said",
    [{}, {"taken_at": "now"}, {"taken_at": 1.0, "containers": [{}]}, {"taken_at": 1.0, "features": 7}],
)
def test_a_host_that_answers_nonsense_is_named_and_the_others_are_surveyed(
    relocate: Run, hosts: Any, survey: Run, container: Run, said: dict[str, Any]
) -> None:
    hosts.has(survey("h1", container("web")), replace(survey("h2"), document=said), survey("h3"))
    ended = relocate("survey")
    assert ended.code == 3 and "h2" in ended.out and "not understood" in ended.out
    assert relocate("move", "web", "--to", "h3").code == 0
    assert relocate("move", "web", "--to", "h2").code == 3
