from collections.abc import Callable
from typing import Any

import pytest

from relocate_cli.errors import RefusedError, UsageError

Make = Callable[..., Any]


def test_a_container_knows_its_host_and_its_vip(build: Make, survey: Make, container: Make) -> None:
    found = build(survey("h1", container("web")), survey("h2")).container("web")
    assert (found.host, found.vip, found.ports) == ("h1", "203.0.113.5", {"tcp/80"})


def test_the_inventory_overrides_and_adds_features(build: Make, survey: Make) -> None:
    variables = {"relocate_features": {"C": {"kernel": "mine", "rack": ["a", "b"]}}}
    host = build(survey("h1", variables=variables)).host("h1")
    assert host.features["C"] == {"kernel": "mine", "rack": {"a", "b"}}
    assert host.features["N"] == {"bridges": {"docker0"}}


@pytest.mark.parametrize(
    ("asked", "hint"), [("wbe", "did you mean web?"), ("zzz", "the containers are db, web")]
)
def test_an_unknown_container_is_answered_with_the_nearest(
    build: Make, survey: Make, container: Make, asked: str, hint: str
) -> None:
    with pytest.raises(UsageError) as refused:
        build(survey("h1", container("web"), container("db"))).container(asked)
    assert refused.value.hint == hint


def test_an_unknown_host_is_answered_with_the_nearest(build: Make, survey: Make) -> None:
    with pytest.raises(UsageError) as refused:
        build(survey("host1"), survey("host2")).host("hots2")
    assert refused.value.hint == "did you mean host2?"


def test_two_containers_of_one_name_are_not_guessed_between(
    build: Make, survey: Make, container: Make
) -> None:
    with pytest.raises(UsageError, match="on h1 and h2"):
        build(survey("h1", container("web")), survey("h2", container("web"))).container("web")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"labels": {}}, "no label"),
        (
            {"obstacles": [{"reason": "it uses the host's network", "hint": "publish ports"}]},
            "host's network",
        ),
    ],
)
def test_a_container_that_may_not_move_is_refused(
    build: Make, survey: Make, container: Make, change: dict[str, Any], said: str
) -> None:
    pool = build(survey("h1", container("web", **change)), survey("h2"))
    with pytest.raises(RefusedError, match=said) as refused:
        pool.move(pool.container("web"), pool.host("h2"), ttl=60)
    assert refused.value.hint


def test_a_move_has_both_ends_and_the_vip(build: Make, survey: Make, container: Make) -> None:
    pool = build(survey("h1", container("web")), survey("h2"))
    move = pool.move(pool.container("web"), pool.host("h2"), ttl=60)
    assert (move.container, move.source, move.target, move.vip) == ("web", "h1", "h2", "203.0.113.5")


def test_already_there_is_refused(build: Make, survey: Make, container: Make) -> None:
    pool = build(survey("h1", container("web")))
    with pytest.raises(RefusedError, match="it is already there"):
        pool.move(pool.container("web"), pool.host("h1"), ttl=60)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"age": 3600.0}, "60 minutes old"),
        ({"error": "ssh: no route to host"}, "no route"),
        ({"published_ports": ["tcp/80"]}, "port tcp/80 is taken"),
        ({"memory_free_bytes": 1 << 20}, "do not fit in 1 MiB"),
        ({"criu": {"arch": "aarch64"}}, "does not restore on aarch64"),
        ({"criu": {"cpu_flags": []}}, "lacks avx2"),
        ({"criu": {"check": "no mount_v2"}}, "no mount_v2"),
        ({"storage_free_bytes": 1 << 20}, "74 MiB do not fit in 1 MiB of shared storage"),
        ({"disk_free_bytes": 1 << 20}, "10 MiB do not fit in 1 MiB of disk"),
        ({"mtu": 1400}, "packets of 1400 bytes, that of h1 of 1500"),
        ({"clock": -60.0}, "60 s behind that of h1"),
        ({"criu": {"cgroup": 1}}, "no cgroup2"),
        (
            {"criu": {"version": "4.1.1", "kernel": "6.18.44-x"}},
            "cannot dump a TCP socket.*CRIU 4.2 or later",
        ),
        ({"criu": {"version": "3.17"}}, "too old.*CRIU 4 or later"),
    ],
)
def test_a_target_that_cannot_take_it_is_refused(
    build: Make, survey: Make, container: Make, change: dict[str, Any], said: str
) -> None:
    pool = build(survey("h1", container("web", layer_bytes=10 << 20)), survey("h2", **change))
    with pytest.raises(RefusedError, match=said):
        pool.move(pool.container("web"), pool.host("h2"), ttl=60)


@pytest.mark.parametrize(
    "criu", [{"check": "no mount_v2"}, {"cgroup": 1}, {"version": "4.1.1", "kernel": "6.16"}]
)
def test_nothing_leaves_a_host_that_cannot_dump(
    build: Make, survey: Make, container: Make, criu: dict[str, Any]
) -> None:
    pool = build(survey("h1", container("web"), criu=criu), survey("h2"))
    with pytest.raises(RefusedError, match="host h1"):
        pool.move(pool.container("web"), pool.host("h2"), ttl=60)


def test_a_drained_host_is_refused(build: Make, survey: Make, container: Make) -> None:
    pool = build(survey("h1", container("web")), survey("h2"), drained=("h2",))
    with pytest.raises(RefusedError, match="drained"):
        pool.move(pool.container("web"), pool.host("h2"), ttl=60)


def test_a_name_that_another_host_claims_stays_its_tenants(
    build: Make, survey: Make, container: Make
) -> None:
    """host0 has refused the other an address, which is its obstacle."""
    refused = [{"reason": "it has no virtual address: it runs on h1", "hint": "rename it"}]
    pool = build(
        survey("h1", container("web")), survey("h2", container("web", obstacles=refused)), survey("h3")
    )
    assert pool.container("web").host == "h1"
    assert pool.move(pool.container("web"), pool.host("h3"), ttl=60).source == "h1"
