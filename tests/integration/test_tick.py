"""The fleet moves by itself: short clocks, `relocate tick` as cron would run it, three hosts that differ."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import ECHO, Ended, JsonObject, Lab
from talk import Conversation

from relocate_cli.errors import ExitCode, RelocateError
from relocate_cli.testbed import bed
from relocate_cli.testbed.places import Places
from relocate_cli.testbed.root import Engine

KEEP = os.environ.get("RELOCATE_TEST_KEEP", "") not in ("", "0")
HOSTS = 3
TENANTS = ("alpha", "beta")


@pytest.fixture(scope="module")
def trio() -> Iterator[Lab]:
    """A testbed of its own with three hosts that differ: one has another network, one another service."""
    if os.geteuid():
        pytest.skip("the testbed boots machines in namespaces: needs root")
    places = Places.of_user().named("tick")
    try:
        yield _three(places)
    finally:
        if not KEEP:
            bed.down(places)


def _three(places: Places) -> Lab:
    try:
        lab = Lab(bed.current(places))
        assert KEEP
    except (RelocateError, AssertionError):
        lab = Lab(bed.up(HOSTS, Engine("26"), places))
        provisioned = lab.relocate("provision", config=lab.settings(places.state, tick="1m"))
        assert provisioned.code == 0, provisioned.err
    for host in lab.hosts:
        lab.make_image(host)
    lab.shell("host2", "docker network inspect odd >/dev/null 2>&1 || docker network create odd")
    lab.shell("host3", "systemctl is-active odd || systemd-run --unit=odd sleep infinity", check=False)
    return lab


@pytest.fixture
def fleet(trio: Lab, tmp_path: Path) -> Iterator["Fleet"]:
    """Two tenants on host1, which do not publish the same ports, and an empty journal."""
    trio.clear()
    for number, name in enumerate(TENANTS):
        trio.run(name, "host1", f"--publish={ECHO + 10 * number}:{ECHO}")
    yield Fleet(trio, trio.settings(tmp_path, tick="500ms"))
    trio.clear()


class Fleet:
    """The testbed, and a project with a short clock."""

    def __init__(self, lab: Lab, config: Path) -> None:
        self.lab = lab
        self.config = config

    def relocate(self, *argv: str, expect: int = ExitCode.DONE) -> JsonObject:
        """Run a verb with --json; its document."""
        ended = self.run(*argv, "--json")
        assert ended.code == expect, ended.err
        return ended.document()

    def run(self, *argv: str) -> Ended:
        return self.lab.relocate(*argv, config=self.config)

    def talk(self) -> dict[str, Conversation]:
        """A client's connection to each tenant, through its VIP."""
        ports = {name: ECHO + 10 * number for number, name in enumerate(TENANTS)}
        return {name: Conversation(self.lab.connect(name, port)) for name, port in ports.items()}


def test_ticks_move_what_is_due_and_the_journal_agrees_with_docker(fleet: Fleet) -> None:
    talks = fleet.talk()
    hosts = {host["host"]: host for host in fleet.relocate("survey")["hosts"]}
    features = [str(host["features"]) for host in hosts.values()]
    assert len(set(features)) == HOSTS, "the hosts' facts differ"
    place = dict.fromkeys(TENANTS, "host1")
    seen: list[JsonObject] = []
    for _ in range(6):
        expected = {entry["container"] for entry in fleet.relocate("schedule")["containers"]}
        assert expected == set(TENANTS)
        done = fleet.relocate("tick")
        assert set(done["due"]) == {entry["container"] for entry in done["relocations"]}
        for entry in done["relocations"]:
            name = entry["container"]
            assert entry["outcome"] == "moved", entry["reason"]
            assert entry["source"] == place[name] != entry["target"]
            assert fleet.lab.where(name) == [entry["target"]]
            assert entry["new_ip"] == fleet.lab.address(entry["target"], name)
            place[name] = entry["target"]
            assert talks[name].flows()
        seen += done["relocations"]
        if all(sum(entry["container"] == name for entry in seen) >= 2 for name in TENANTS):
            break
    else:
        pytest.fail(f"clocks of 3 to 7 seconds made {len(seen)} relocations in six ticks")
    history = fleet.relocate("history", "--last", "99")["relocations"]
    assert [entry["relocation_id"] for entry in history] == [entry["relocation_id"] for entry in seen]
    for name, talk in talks.items():
        last = next(entry for entry in reversed(history) if entry["container"] == name)
        assert fleet.lab.where(name) == [last["target"]]
        result = talk.end()
        assert result.clean, result
    fleet.lab.await_no_leftovers()


def test_a_drained_host_is_emptied_and_nothing_moves_there_until_it_is_taken_back(fleet: Fleet) -> None:
    drained = fleet.relocate("drain", "host1")
    assert {entry["container"] for entry in drained["relocations"]} == set(TENANTS)
    assert fleet.lab.running("host1") == []
    chances = {entry["host"]: entry for entry in fleet.relocate("target", TENANTS[0])["hosts"]}
    assert chances["host1"]["probability"] == 0 and "drained" in chances["host1"]["why_not"]
    assert sum(entry["probability"] for entry in chances.values()) == pytest.approx(1)
    fleet.relocate("drain", "host1", "--undrain")
    again = {entry["host"]: entry for entry in fleet.relocate("target", TENANTS[0])["hosts"]}
    assert again["host1"]["probability"] > 0


def test_a_tick_during_a_tick_finds_it_locked_and_a_renamed_container_goes_on(fleet: Fleet) -> None:
    first: list[Ended] = []
    running = threading.Thread(target=lambda: first.append(fleet.run("tick", "--json")))
    running.start()
    codes = set()
    while running.is_alive():
        codes.add(fleet.run("tick", "--quiet").code)
    running.join()
    assert ExitCode.LOCKED in codes | {first[0].code}, "whoever came second"
    assert codes | {first[0].code} <= {ExitCode.DONE, ExitCode.LOCKED}, first[0].err

    host = fleet.lab.where("alpha")[0]
    fleet.lab.docker(host, "rename", "alpha", "gamma")
    fleet.lab.docker(fleet.lab.where("beta")[0], "rm", "--force", "beta")
    fleet.relocate("survey")
    assert [entry["container"] for entry in fleet.relocate("schedule")["containers"]] == ["gamma"]
