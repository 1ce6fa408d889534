"""The documentation of the mathematics is executed, as are the examples beside the code."""

import doctest
from pathlib import Path

import pytest

from relocate_cli import clock, heterogeneity, schedule, selection

PAGE = Path(__file__).parents[2] / "docs/mathematics.md"


def test_the_page_says_what_the_code_does() -> None:
    failed, tried = doctest.testfile(
        str(PAGE), module_relative=False, encoding="utf-8", optionflags=doctest.IGNORE_EXCEPTION_DETAIL
    )
    assert tried > 15 and failed == 0


@pytest.mark.parametrize("module", [clock, heterogeneity, schedule, selection])
def test_examples_beside_the_code(module: object) -> None:
    failed, tried = doctest.testmod(module)  # type: ignore[arg-type]
    assert tried > 0 and failed == 0
