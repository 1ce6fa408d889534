import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relocate_cli.errors import UsageError
from relocate_cli.heterogeneity import GROUPS, differences, effective_hosts

texts = st.sampled_from(["6.1", "6.9", "6.12", "debian", "alpine"])
numbers = st.floats(-1e6, 1e6, width=32) | st.integers(0, 9)
sets = st.frozensets(st.sampled_from("abcdefgh"), max_size=6)
# One kind of value for one name, as the survey has it; any may be missing.
group = st.fixed_dictionaries(
    {},
    optional={"kernel": texts, "distro": texts, "cpus": numbers, "mtu": numbers, "ports": sets, "pkg": sets},
)
host = st.fixed_dictionaries(dict.fromkeys(GROUPS, group))
pools = st.lists(host, min_size=1, max_size=7)


def gower(a: dict[str, Any], b: dict[str, Any], pool: list[dict[str, Any]]) -> float:
    """Gower's distance of two hosts in one group, slowly and from the definition."""
    parts = []
    for name in set(a) | set(b):
        if name not in a or name not in b:
            parts.append(1.0)
        elif isinstance(a[name], frozenset):
            whole = a[name] | b[name]
            parts.append(1 - len(a[name] & b[name]) / len(whole) if whole else 0.0)
        elif isinstance(a[name], str):
            parts.append(float(a[name] != b[name]))
        else:
            known = [entry[name] for entry in pool if name in entry]
            span = max(known) - min(known)
            parts.append(abs(a[name] - b[name]) / span if span else 0.0)
    return sum(parts) / len(parts) if parts else 0.0


@given(pools)
def test_gower_is_its_definition(pool: list[dict[str, Any]]) -> None:
    found = differences(pool)
    for name in GROUPS:
        groups = [entry[name] for entry in pool]
        slow = [[gower(a, b, groups) for b in groups] for a in groups]
        assert found.groups[name] == pytest.approx(np.array(slow), abs=1e-5)


@given(pools, st.sampled_from(["gower", "entropy"]))
def test_distances_are_symmetric_within_one_and_zero_to_oneself(
    pool: list[dict[str, Any]], measure: str
) -> None:
    total = differences(pool, measure=measure).total
    assert total == pytest.approx(total.T)
    assert total.min() >= -1e-6 and total.max() <= 1 + 1e-6
    assert np.diag(total) == pytest.approx(np.zeros(len(pool)))


@given(pools)
def test_signed_is_a_potential_difference(pool: list[dict[str, Any]]) -> None:
    total = differences(pool, measure="signed").total
    assert total == pytest.approx(-total.T)
    # Δ(a→c) = Δ(a→b) + Δ(b→c): the best target is the same for every source.
    assert total == pytest.approx(total[:, [0]] + total[[0], :], abs=1e-6)


def test_signed_ranks_versions_as_versions() -> None:
    pool = [{"C": {"kernel": kernel}} for kernel in ("6.9", "6.12", "5.4")]
    total = differences(pool, measure="signed", weights={"C": 1, "N": 0, "S": 0}).total
    assert total[2] == pytest.approx([0.5, 1.0, 0.0])


@given(pools, st.floats(0.1, 50))
def test_only_the_proportion_of_the_weights_counts(pool: list[dict[str, Any]], factor: float) -> None:
    weights = {"C": 1.0, "N": 2.0, "S": 0.5}
    larger = {name: weight * factor for name, weight in weights.items()}
    assert differences(pool, weights=weights).total == pytest.approx(differences(pool, weights=larger).total)


def test_the_total_is_eq_3_3() -> None:
    pool = [
        {"C": {"kernel": "a"}, "N": {"mtu": 1.0}, "S": {"ssh": "1"}},
        {"C": {"kernel": "b"}, "N": {"mtu": 1.0}, "S": {"ssh": "1"}},
        {"C": {"kernel": "a"}, "N": {"mtu": 3.0}, "S": {"ssh": "2"}},
    ]
    total = differences(pool, weights={"C": 1, "N": 2, "S": 5}).total
    assert total[0] == pytest.approx([0, 1 / 8, 7 / 8])


def test_entropy_ignores_what_all_share_and_gower_does_not() -> None:
    unlike = [{"C": {"kernel": kernel}} for kernel in "ab"]
    shared = [{"C": {**entry["C"], "arch": "x86_64"}} for entry in unlike]
    assert differences(shared, measure="entropy").groups["C"][0, 1] == 1.0
    assert differences(shared, measure="gower").groups["C"][0, 1] == 0.5


def test_entropy_lets_an_even_spread_count_more_than_one_odd_host() -> None:
    pool = [{"C": {"even": "ab"[i % 2], "odd": "ab"[i == 7]}} for i in range(8)]
    distance = differences(pool, measure="entropy").groups["C"]
    assert distance[0, 1] > 0.5 > distance[1, 7] > 0


def test_cve_is_the_jaccard_distance_of_vulnerabilities_and_nothing_else() -> None:
    found = [frozenset({"CVE-1", "CVE-2"}), frozenset({"CVE-2", "CVE-3"}), frozenset[str]()]
    pool = [{"C": {"cves": cves, "kernel": "same"}} for cves in found]
    total = differences(pool, measure="cve").total
    assert total[0] == pytest.approx([0, 2 / 3, 1])
    assert differences(pool, measure="gower").total.max() == 0


def test_cve_needs_a_list_for_every_host() -> None:
    with pytest.raises(UsageError, match="1 have none") as refused:
        differences([{"C": {"cves": frozenset({"CVE-1"})}}, {"C": {}}], measure="cve")
    assert "relocate_features.C.cves" in refused.value.hint
    with pytest.raises(UsageError, match="needs the vulnerabilities"):
        differences([{"C": {}}, {"C": {}}], measure="cve")


@pytest.mark.parametrize("weights", [{"C": 0, "N": 0, "S": 0}, {"C": -1}])
def test_weights_without_a_share_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="weights"):
        differences([{}], weights=weights)


def test_a_pool_is_worth_its_kinds_of_hosts() -> None:
    kinds = np.repeat(np.eye(3), 4, axis=0) @ np.repeat(np.eye(3), 4, axis=1)
    assert effective_hosts(kinds) == pytest.approx(3)
    assert effective_hosts(np.eye(2), [0.9, 0.1]) == pytest.approx(
        math.exp(-0.9 * math.log(0.9) - 0.1 * math.log(0.1))
    )
    assert effective_hosts(np.zeros((0, 0))) == 0


@given(pools)
def test_a_pool_is_worth_between_one_host_and_all_of_them(pool: list[dict[str, Any]]) -> None:
    worth = effective_hosts(differences(pool).similarity)
    assert 1 - 1e-6 <= worth <= len(pool) + 1e-6


def test_thousands_of_hosts_have_the_differences_of_few() -> None:
    rng = np.random.default_rng(0)
    few = [
        {
            "C": {"kernel": f"{i % 3}", "packages": frozenset(map(str, rng.integers(0, 900, 300)))},
            "N": {"mtu": float(i)},
        }
        for i in range(12)
    ]
    many = differences(few * 100).total
    assert many[:12, -12:] == pytest.approx(differences(few).total, abs=1e-6)
