"""Verdicts are the preflight's, on every service and on the whole."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from relocate_proxy.survey import preflight

from relocate_cli import constraints
from relocate_cli.compose import judge, needs, report
from relocate_cli.compose.judge import Service, Verdict
from relocate_cli.compose.rules import Rules

Write = Callable[..., Path]
Judge = Callable[[str], Verdict]


@pytest.fixture
def judged(write: Write) -> Judge:
    return lambda text: judge.judge(write(text), Rules())


def service(verdict: Verdict, name: str) -> Service:
    return next(each for each in verdict.services if each.name == name)


@pytest.fixture
def only_binds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preflight with one rule of its own."""

    def obstacles(inspect: dict[str, Any], around: Any) -> list[dict[str, str]]:
        binds = [each["Source"] for each in inspect["Mounts"] if each["Type"] == "bind"]
        return [{"reason": f"it has {each}", "hint": "leave it"} for each in binds]

    monkeypatch.setattr(preflight, "obstacles", obstacles)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("privileged: true", "it is privileged"),
        ("network_mode: host", "the host's network"),
        ("pid: host", "the host's pid namespace"),
        ("devices: ['/dev/kvm']", "the device /dev/kvm"),
        ("gpus: all", "a GPU"),
        ("runtime: kata", "its runtime is kata"),
        ("volumes: ['/var/run/docker.sock:/s']", "/s is the host's /var/run/docker.sock"),
        ("networks: [lan]", "shop_lan is macvlan"),
    ],
)
def test_an_obstacle_is_the_preflights(judged: Judge, content: str, reason: str) -> None:
    verdict = judged(
        f"services: {{a: {{image: x, {content}}}, b: {{image: y}}}}\nnetworks: {{lan: {{driver: macvlan}}}}"
    )
    found = service(verdict, "a").obstacles
    assert found
    assert all(reason in each.reason and each.hint for each in found)
    assert service(verdict, "b").movable
    assert not verdict.movable


def test_what_the_preflight_says_is_what_it_says_here(judged: Judge, only_binds: None) -> None:
    verdict = judged("services: {a: {image: x, privileged: true, volumes: ['/srv:/s', 'data:/d']}}")
    assert [each.reason for each in service(verdict, "a").obstacles] == ["it has /srv"]
    assert "volume shop_data" in service(verdict, "a").carried
    assert "files /srv" not in service(verdict, "a").carried


def test_what_goes_with_it_and_what_is_there_already(judged: Judge, only_binds: None) -> None:
    verdict = judged("""
        services:
          a:
            image: x
            ports: ["80:80", "81"]
            volumes: [data:/d, "/anonymous", there:/t, cloud:/c, {type: tmpfs, target: /tmp}]
        volumes: {there: {driver_opts: {type: nfs}}, cloud: {driver: rexray, name: far}}
    """)
    found = service(verdict, "a")
    assert found.movable
    assert verdict.movable
    assert [each for each in found.carried if "network" not in each] == [
        "volume shop_data",
        "volume at /anonymous",
    ]
    assert [each for each in found.needs if "network" not in each] == [
        "volume shop_there",
        "volume far",
        "port tcp/80 free",
    ]


@pytest.mark.parametrize("why", ["", "it has no such network"])
def test_networks_are_needed_or_made_as_targets_are_chosen(
    judged: Judge, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    monkeypatch.setattr(constraints, "why_not", lambda *_: why)
    needs._networks_are_made.cache_clear()
    found = service(judged("services: {a: {image: x}}"), "a")
    needs._networks_are_made.cache_clear()
    assert (found.needs if why else found.carried) == ("network shop_default",)
    assert (found.carried if why else found.needs) == ()


def test_networks_of_today(judged: Judge) -> None:
    found = service(judged("services: {a: {image: x}, b: {image: y, network_mode: bridge}}"), "a")
    assert [*found.needs, *found.carried] == ["network shop_default"]


def test_siblings_are_seen(judged: Judge) -> None:
    verdict = judged("services: {a: {image: x}, b: {image: y, network_mode: 'service:a'}}")
    said = [each.reason for each in service(verdict, "a").obstacles]
    assert said == ["container shop-b-1 shares its network namespace"]


@pytest.mark.parametrize(
    ("many", "others"), [("scale: 3", 1), ("deploy: {replicas: 2}", 1), ("scale: 1", 0), ("scale: many", 0)]
)
def test_replicas_are_each_others_surroundings(
    judged: Judge, monkeypatch: pytest.MonkeyPatch, many: str, others: int
) -> None:
    seen = []

    def obstacles(inspect: dict[str, Any], around: Any) -> list[dict[str, str]]:
        seen.append(sum(each["Id"] != inspect["Id"] for each in around.neighbours))
        return []

    monkeypatch.setattr(preflight, "obstacles", obstacles)
    judged(f"services: {{a: {{image: x, {many}}}}}")
    assert seen == [others]


def test_volumes_of_no_name_are_nobody_elses(judged: Judge) -> None:
    verdict = judged("services: {a: {image: x, volumes: [/d]}, b: {image: y, volumes: [/d]}}")
    assert [
        each.reason for found in verdict.services for each in found.obstacles if "too" in each.reason
    ] == []


def test_a_volume_of_two_services_is_in_the_way_of_both(judged: Judge) -> None:
    text = "services: {a: {image: x, volumes: ['d1:/d']}, b: {image: y, volumes: ['d1:/d']}}"
    for found, other in zip(judged(text).services, ("b", "a"), strict=True):
        assert f"container shop-{other}-1 has its volume shop_d1 too" in [
            each.reason for each in found.obstacles
        ]


def test_a_network_that_cannot_be_made_elsewhere(judged: Judge) -> None:
    option = "com.docker.network.bridge.host_binding_ipv4"
    verdict = judged(
        f"services: {{a: {{image: x}}}}\nnetworks: {{default: {{driver_opts: {{{option}: 10.0.0.1}}}}}}"
    )
    assert [option in each.reason for each in service(verdict, "a").obstacles] == [True]


def test_a_missing_label_is_said_and_no_obstacle(judged: Judge) -> None:
    verdict = judged("""
        services:
          a: {image: x, labels: ["relocate.enable=true"], network_mode: bridge}
          b: {image: y, labels: {relocate.enable: false}, network_mode: bridge}
          c: {image: z, network_mode: bridge}
    """)
    assert verdict.movable
    assert verdict.unlabelled == ("b", "c")
    assert "missing: b, c" in report.tables([verdict])


def test_a_service_that_is_wrong_concerns_itself(judged: Judge) -> None:
    verdict = judged("services: {a: {image: x, ports: {b: c}}, b: {image: y, network_mode: bridge}}")
    assert [each.reason for each in service(verdict, "a").obstacles] == ["its ports is no list"]
    assert service(verdict, "b").movable


def test_a_file_that_is_wrong_is_one_obstacle(judged: Judge) -> None:
    verdict = judged("services:\n")
    assert [each.reason for each in verdict.obstacles] == ["it has no services"]
    assert not verdict.movable


def test_what_has_no_container_is_no_service(judged: Judge) -> None:
    verdict = judged("services: {a: {image: x}, m: {provider: {type: model}}}")
    assert [each.name for each in verdict.services] == ["a"]


def test_no_text_of_a_file_steers_the_terminal(judged: Judge) -> None:
    told = report.tables([judged('services: {"a\\e[2J\\nb": {image: x, volumes: ["/s\\e[1m:/d"]}}')])
    assert "\x1b" not in told
    assert "a?[2J?b" in told


WORDS = ["", "a", "80", "./x:/y", "a:/b", "host", "service:a", "$X", "${X:-", "\x00", "~", "/"]
LEAVES = st.none() | st.booleans() | st.sampled_from(WORDS)
KEYS = """
a cap_add config configs deploy device_cgroup_rules devices driver driver_opts extends external file gpus
host_ip ipam ipv4_address labels links logging name network_mode networks path pid ports published
reservations resources secrets security_opt service source sysctls target tty type volumes volumes_from
"""
WORD_KEYS = st.sampled_from(KEYS.split())
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORD_KEYS, inner, max_size=4),
    max_leaves=12,
)
SERVICES = st.dictionaries(st.sampled_from(["a", "b"]), st.dictionaries(WORD_KEYS, TREES, max_size=4) | TREES)
TOPS = st.fixed_dictionaries(
    {"services": SERVICES | TREES},
    optional=dict.fromkeys(("networks", "volumes", "secrets", "configs", "include", "name"), TREES),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=TOPS)
def test_no_document_ends_the_run(write: Write, tree: dict[str, Any]) -> None:
    verdict = judge.judge(write(json.dumps(tree)), Rules())
    assert verdict.movable == (not verdict.obstacles and all(not each.obstacles for each in verdict.services))
    assert report.tables([verdict])
    json.dumps(report.document([verdict]))
