"""The order of names, and where people see it."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from relocate_cli import render
from relocate_cli.order import natural

NAMES = ["host10", "host2", "host1", "db-3.rack12", "db-3.rack2", "a", "²", "7", ""]
COUNTED = ["", "7", "a", "db-3.rack2", "db-3.rack12", "host1", "host2", "host10", "²"]


def test_names_are_counted_as_people_count() -> None:
    assert sorted(NAMES, key=natural) == COUNTED


@given(st.lists(st.text(max_size=6), max_size=6))
def test_every_two_names_can_be_compared_and_only_equal_ones_tie(names: list[str]) -> None:
    assert sorted(names, key=natural) == sorted(sorted(names), key=natural)


def test_tables_count_hosts(build: Callable[..., Any], survey: Any, container: Any) -> None:
    hosts = [survey(f"host{number}", container(f"web{number}")) for number in (10, 2, 1)]
    tables = render.hosts_table(build(*hosts), 60), render.containers_table(build(*hosts), {})
    assert [line.split()[0] for line in tables[0].splitlines()[1:]] == ["host1", "host2", "host10"]
    assert [line.split()[1] for line in tables[1].splitlines()[1:]] == ["host1", "host2", "host10"]
