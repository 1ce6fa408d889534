from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relocate_cli.compose import variables
from relocate_cli.compose.variables import Variables

KNOWN = {"A": "a", "EMPTY": "", "B_2": "b"}


@pytest.mark.parametrize(
    ("text", "filled", "missing"),
    [
        ("$A/${A}/${B_2}", "a/a/b", set()),
        ("$$A $${A}", "$A ${A}", set()),
        ("${NO}x$NO", "x", {"NO"}),
        ("${NO:-d} ${EMPTY:-d} ${EMPTY-d} ${NO-}", "d d  ", set()),
        ("${NO:-${A}/x}", "a/x", set()),
        ("${NO:-${NEITHER:-${A}}}", "a", set()),
        ("${A:+set} ${EMPTY:+set} ${EMPTY+set} ${NO+set}", "set  set ", set()),
        ("${A:?say it} ${NO:?say it}", "a ", {"NO"}),
        ("${NO:-{a: b}}", "{a: b}", set()),
        ("${1} ${A ${A", "${1} ${A ${A", set()),
        ("${A!x} 5$ $", "${A!x} 5$ $", set()),
    ],
)
def test_a_variable_is_filled_in_as_compose_does(text: str, filled: str, missing: set[str]) -> None:
    lookup = Variables(KNOWN)
    assert lookup.text(text) == filled
    assert lookup.missing == missing


def test_values_are_filled_in_and_keys_are_not() -> None:
    assert Variables(KNOWN).fill({"$A": ["$A", {"x": "$A"}, None, True]}) == {
        "$A": ["a", {"x": "a"}, None, True]
    }


def test_the_file_beside_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(
        "# words\nONE=1\nexport TWO = two words # said\nTHREE='$ONE'\nFOUR=\"${ONE}#4\"\nFIVE: 5\n"
        "ONE=later\nPWD=mine\nnonsense\nEMPTY=\n"
    )
    assert variables.environment(path, {"PWD": "/here"}) == {
        "PWD": "/here", "ONE": "later", "TWO": "two words", "THREE": "$ONE", "FOUR": "1#4", "FIVE": "5",
        "EMPTY": "",
    }  # fmt: skip


def test_values_that_double_stay_small(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A0=xxxxxxxx\n" + "".join(f"A{n}=$A{n - 1}$A{n - 1}\n" for n in range(1, 60)))
    assert max(map(len, variables.environment(path, {}).values())) <= 2 * variables.LONGEST


@pytest.mark.timeout(20)
@pytest.mark.parametrize("part", ["${", "${A:-", "${1", "$", "${A:-$A}", "}"])
def test_a_long_value_takes_no_time(part: str) -> None:
    assert Variables(KNOWN).text(part * 50_000)


@given(st.text(alphabet="${}AB:-+? ", max_size=40))
def test_no_text_ends_the_run(text: str) -> None:
    assert isinstance(Variables(KNOWN).text(text), str)
