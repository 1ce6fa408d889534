from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from relocate_cli import placement
from relocate_cli.fleet import Fleet, Host
from relocate_cli.settings import Selection, Settings

Make = Callable[..., Any]


def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def unlike(name: str) -> dict[str, Any]:
    return {"relocate_features": {"C": {"kernel": name}}}


def test_every_host_is_told_with_its_chance_or_why_not(build: Make, survey: Make, container: Make) -> None:
    fleet = build(
        survey("h1", container("web"), variables=unlike("1")),
        survey("h2", variables=unlike("2")),
        survey("h3", variables=unlike("1")),
        survey("h4", container("db"), variables=unlike("4")),
        survey("h5", error="no route"),
        drained=("h2",),
    )
    found = {entry.host: entry for entry in placement.prospects(fleet, fleet.container("web"), Settings())}
    assert {host: entry.why for host, entry in found.items()} == {
        "h1": "it is already there",
        "h2": "it is drained",
        "h3": "",
        "h4": "port tcp/80 is taken",
        "h5": "no route",
    }
    assert found["h3"].probability == 1 and found["h3"].delta == 0
    assert found["h2"].groups == {"C": 1.0, "N": 0.0, "S": 0.0}


def test_the_more_different_host_is_likelier(build: Make, survey: Make, container: Make) -> None:
    fleet = build(
        survey("h1", container("web"), variables=unlike("1")),
        survey("h2", variables=unlike("1")),
        survey("h3", variables=unlike("3")),
    )
    first, second, _ = placement.prospects(fleet, fleet.container("web"), Settings())
    assert (first.host, second.host) == ("h3", "h2")
    assert first.unbounded / second.unbounded == pytest.approx(np.exp((1 / 3) / 0.1), rel=1e-3)
    assert first.held and first.probability == pytest.approx(0.7) and not second.held
    unbounded = replace(Settings(), selection=replace(Settings().selection, max_share=1.0))
    (first, *_) = placement.prospects(fleet, fleet.container("web"), unbounded)
    assert not first.held and first.probability == first.unbounded > 0.9


@pytest.mark.parametrize(
    ("source", "target", "why"),
    [
        ({"features": ["lazy_pages"]}, {}, "its kernel or CRIU lacks lazy_pages"),
        ({}, {"cpu_flags": []}, "its CPU lacks avx2"),
        ({}, {"arch": "aarch64"}, "x86_64 does not restore on aarch64"),
    ],
)
def test_what_restore_needs(
    build: Make, survey: Make, container: Make, source: dict[str, Any], target: dict[str, Any], why: str
) -> None:
    fleet = build(survey("h1", container("web"), criu=source), survey("h2", criu=target))
    found = placement.place(fleet, [fleet.container("web")], Settings(), rng())
    assert found.moves == () and found.staying == {"web": f"no host can take it: h2: {why}"}


def test_a_container_with_an_obstacle_stays_and_others_go(build: Make, survey: Make, container: Make) -> None:
    stuck = container("db", ports=[], obstacles=[{"reason": "it uses the host's network", "hint": ""}])
    fleet = build(survey("h1", container("web"), stuck), survey("h2"))
    found = placement.place(fleet, fleet.containers, Settings(), rng())
    assert [move.container for move in found.moves] == ["web"]
    assert "host's network" in found.staying["db"]


def test_memory_ports_and_tenants_hold_between_those_that_move_together(
    build: Make, survey: Make, container: Make
) -> None:
    fleet = build(
        survey("h1", container("a"), container("b")),
        survey("h2", container("c"), container("d")),
        survey("h3"),
    )
    found = placement.place(fleet, fleet.containers, Settings(), rng())
    assert [move.target for move in found.moves] == ["h3"], "all publish port 80"
    assert all("taken by containers that move with it" in why for why in found.staying.values())


sizes = st.integers(1, 700)
groups = st.sampled_from(["", "red", "blue"])
tenants = st.lists(st.tuples(st.integers(0, 3), sizes, groups, st.integers(80, 83)), min_size=1, max_size=9)


@given(tenants, st.sampled_from(["softmax", "equaliser", "argmax", "random"]), st.integers(0, 99))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_no_placement_breaks_a_constraint(
    build: Make,
    survey: Make,
    container: Make,
    wanted: list[tuple[int, int, str, int]],
    choice: str,
    seed: int,
) -> None:
    hosts: list[list[dict[str, Any]]] = [[], [], [], []]
    for number, (host, size, group, port) in enumerate(wanted):
        labels = {"relocate.enable": "true", "relocate.group": group}
        hosts[host].append(
            container(f"c{number}", memory_bytes=size << 20, ports=[f"tcp/{port}"], labels=labels)
        )
    fleet = build(
        *(
            survey(f"h{i}", *entries, memory_free_bytes=1 << 30, variables=unlike(str(i)))
            for i, entries in enumerate(hosts)
        )
    )
    chosen = Settings(selection=Selection(choice=choice))
    found = placement.place(fleet, fleet.containers, chosen, np.random.default_rng(seed))
    assert {move.container for move in found.moves} | set(found.staying) == {e.name for e in fleet.containers}
    for host in fleet.hosts:
        arriving = [fleet.container(move.container) for move in found.moves if move.target == host.name]
        assert all(entry.host != host.name for entry in arriving)
        assert sum(entry.memory_bytes for entry in arriving) <= host.capacity.memory_free_bytes
        ports = [port for entry in arriving for port in entry.ports]
        assert len(set(ports)) == len(ports) and not host.capacity.published_ports & set(ports)
        for entry in arriving:
            others = {other.group for other in [*arriving, *host.containers] if other.group}
            assert not entry.group or others == {entry.group}


def test_many_containers_and_hosts_cost_their_product(
    build: Make, survey: Make, container: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    found = Fleet.host

    def host(fleet: Fleet, name: str) -> Host:
        looks.append(name)
        return found(fleet, name)

    fleet = build(
        *(
            survey(f"h{i:02}", *(container(f"c{i}-{n}", ports=[f"tcp/{i}{n}"]) for n in range(3)))
            for i in range(20)
        )
    )
    monkeypatch.setattr(Fleet, "host", host)
    assert len(placement.place(fleet, fleet.containers, Settings(), rng()).moves) == 60
    assert len(looks) <= 3 * 60
