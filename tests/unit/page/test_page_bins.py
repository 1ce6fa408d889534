from hypothesis import given
from hypothesis import strategies as st

from relocate_cli.page import bins


def test_there_is_no_distribution_of_nothing() -> None:
    assert bins.distribution([], bins.GAP_EDGES) is None


def test_edges_ascend() -> None:
    for edges in (bins.GAP_EDGES, bins.WINDOW_EDGES):
        assert list(edges) == sorted(set(edges))


@given(st.lists(st.floats(-1, 1e9), min_size=1))
def test_every_value_is_counted_once_and_the_ends_are_not_empty(values: list[float]) -> None:
    found = bins.distribution(values, bins.GAP_EDGES)
    assert found is not None
    assert sum(each.count for each in found.bins) == found.total == len(values)
    assert found.bins[0].count and found.bins[-1].count
    for each in found.bins:
        low = float("-inf") if each.low is None else each.low
        high = float("inf") if each.high is None else each.high
        assert each.count == sum(low <= value < high for value in values)
