"""What hosts say of themselves: whatever it is, it concerns that host alone, and is bounded."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relocate_cli import hearing, placement, render
from relocate_cli.fleet import Fleet
from relocate_cli.journal import Survey
from relocate_cli.said import SENTENCE, WORD, WORDS
from relocate_cli.settings import Settings

Make = Callable[..., Any]
BARE = {"taken_at": 1.0, "capacity": {}, "criu": {}, "features": {}, "containers": []}


def heard(document: Any) -> Fleet:
    """A fleet of three: what one of them said, and two as they should be."""
    honest = {
        **BARE,
        "features": {"C": {"kernel": "6.12", "packages": ["a=1", "b=2"]}, "N": {"mtu": 1500}},
        "capacity": {"memory_bytes": 1 << 30, "memory_free_bytes": 1 << 30, "published_ports": ["tcp/80"]},
    }
    web = {"name": "web", "id": "1", "image": "app", "labels": {"relocate.enable": "true"}, "started_at": 1.0}
    web |= {"ip": "172.17.0.2", "ports": ["tcp/80"], "memory_bytes": 1, "obstacles": []}
    other = {**honest, "features": {"C": {"kernel": "6.1", "packages": ["a=1"]}, "N": {"mtu": 9000}}}
    surveys = [Survey("h1", 1.0, {**honest, "containers": [web]}, {}), Survey("h2", 1.0, other, {})]
    return hearing.build([*surveys, Survey("odd", 1.0, document, {})], {"web": "203.0.113.5"})


def deltas(pool: Fleet) -> Any:
    return placement.differences(pool, Settings()).total[:2, :2].tolist()


@pytest.mark.parametrize(
    ("part", "what"),
    [
        ({"containers": [{"name": "web"}]}, "has no id"),
        ({"containers": {}}, "containers is not a list of objects"),
        ({"containers": ["web"]}, "containers.0. is no object"),
        ({"capacity": {"memory_bytes": "much"}}, "memory_bytes is not a number: 'much'"),
        ({"capacity": {"memory_bytes": -1}}, "memory_bytes is not zero or more"),
        ({"capacity": {"memory_bytes": 10**4000}}, "memory_bytes is not a number"),
        ({"capacity": {"cpus": float("nan")}}, "cpus is not a number"),
        ({"capacity": {"cpus": True}}, "cpus is not a number"),
        ({"capacity": {"published_ports": ["tcp/80; reboot"]}}, "published_ports is not a list of words"),
        ({"capacity": {"published_ports": "tcp/80"}}, "published_ports is not a list of words"),
        ({"criu": {"kernel": None}}, "kernel is not a word"),
        ({"criu": []}, "criu is no object"),
        ({"features": {"C": {"kernel": {"a": 1}}}}, "kernel is not a number"),
        ({"features": {"N": ["x"]}}, "features.N is no object"),
    ],
)
def test_what_is_malformed_is_that_hosts_error(part: dict[str, Any], what: str) -> None:
    pool = heard(BARE | part)
    odd = pool.host("odd")
    assert "not understood" in odd.error and odd.containers == ()
    assert re.search(what, odd.error), odd.error
    assert pool.host("h1").error == "" and pool.container("web").host == "h1"


def test_a_document_of_another_version_is_named(survey: Make) -> None:
    broken: Survey = replace(survey("h1"), document={"containers": [{"name": "web"}]})
    (host,) = hearing.build([broken], {}).hosts
    assert "relocate provision" in host.error


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
PATHS = [
    *[("features",), ("capacity",), ("criu",), ("containers",), ("features", "C"), ("clock_seconds",)],
    *[("features", "N", "mtu"), ("capacity", "mtu"), ("capacity", "networks"), ("criu", "cpu_flags")],
    *[("containers", "labels"), ("containers", "name"), ("features", "C", "packages")],
]


@given(st.lists(st.tuples(st.sampled_from(PATHS), JUNK), min_size=1, max_size=3))
def test_whatever_a_host_says_the_others_stay_what_they_are(lies: list[tuple[tuple[str, ...], Any]]) -> None:
    truth = heard(BARE)
    document: dict[str, Any] = json.loads(json.dumps(BARE))
    for path, value in lies:
        place: Any = document
        for step in path[:-1]:
            place = place.get(step) if isinstance(place, dict) else None
            place = place[0] if isinstance(place, list) and place else place
        if isinstance(place, dict):
            place[path[-1]] = value
    pool = heard(document)
    assert pool.hosts[:2] == truth.hosts[:2]
    assert pool.container("web").host == "h1" or "web" in pool.host("odd").names
    placement.prospects(pool, pool.host("h1").containers[0], Settings())
    render.hosts_table(pool, 60.0)
    render.containers_table(pool, {})


@pytest.mark.parametrize(
    "features",
    [
        {"C": {"packages": "all of them", "kernel": ["6.12"]}},
        {"C": {"packages": 7.0, "kernel": 6.12}, "N": {"mtu": ["x"]}},
        {"C": {f"made-up-{number}": "x" for number in range(5000)}},
    ],
)
def test_no_host_changes_how_different_two_others_look(features: dict[str, Any]) -> None:
    assert deltas(heard(BARE | {"features": features})) == deltas(heard(BARE))


def test_features_are_bounded() -> None:
    many = [f"package-{number}" for number in range(WORDS + 10)]
    features = {"C": {"packages": [*many, "x" * 10_000], "kernel": "y" * 10_000}}
    features["S"] = {f"made-up-{number}": "x" for number in range(5000)}
    found = heard(BARE | {"features": features}).host("odd").features
    assert len(found["C"]["packages"]) == WORDS  # type: ignore[arg-type]
    assert len(found["C"]["kernel"]) == WORD  # type: ignore[arg-type]
    assert len(found["S"]) == hearing.MOST_FEATURES


def test_a_tenants_words_move_no_cursor_and_are_not_without_end() -> None:
    entry = {"name": "web", "id": "1", "image": "\x1b[2J", "started_at": 1.0, "ip": "", "ports": []}
    entry |= {"memory_bytes": 1, "labels": {"relocate.group": "\x1b[2J\n"}}
    entry["obstacles"] = [{"reason": "\x1b]0;" + "x" * 5000, "hint": "h\n"}]
    (found,) = heard(BARE | {"containers": [entry]}).host("odd").containers
    reason = found.obstacles[0].reason
    assert all(text.isprintable() for text in (found.image, found.group, reason, found.obstacles[0].hint))
    assert len(reason) == SENTENCE
