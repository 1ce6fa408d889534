"""YAML as Compose means it, and nothing that ends the run."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relocate_cli.compose import document
from relocate_cli.compose.document import ComposeError, Tagged, parse


def test_words_stay_as_they_are_written() -> None:
    text = "a: 22:22\nb: 0440\nc: 2024-01-01\nd: yes\ne: true\nf:\ng: 'true'\nh: ~\ni: 1.20\n"
    assert parse(text) == [
        {
            "a": "22:22", "b": "0440", "c": "2024-01-01", "d": "yes", "e": True, "f": None, "g": "true",
            "h": None, "i": "1.20",
        }
    ]  # fmt: skip


def test_anchors_and_merge_keys() -> None:
    text = "x: &x {a: '1', b: '2'}\ny: &y {b: '3', c: '4'}\nz: {<<: [*x, *y], a: '5'}\nw: {<<: *y}\nv: *x\n"
    (tree,) = parse(text)
    assert tree["z"] == {"a": "5", "b": "2", "c": "4"}
    assert tree["w"] == {"b": "3", "c": "4"}
    assert tree["v"] == {"a": "1", "b": "2"}


def test_composes_own_tags_are_kept_and_others_passed_over() -> None:
    (tree,) = parse("a: !reset null\nb: !override [x]\nc: !other [y]\n")
    assert tree == {"a": Tagged("reset", None), "b": Tagged("override", ["x"]), "c": ["y"]}


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: b: c", "no YAML in line 1"),
        ("a: 'b", "no YAML in line"),
        ("- a", "no mapping"),
        ("word", "no mapping"),
        ("? [a]\n: b", "a key of it is no word"),
        ("a: &a [*a]", "its aliases mean more"),
        ("a: {<<: [b]}", "`<<` merges no mapping"),
        (BOMB, "its aliases mean more"),
        ("[" * 100_000, "no YAML"),
        ("a: \x01", "no YAML"),
    ],
)
def test_what_compose_would_refuse_is_one_line(text: str, reason: str) -> None:
    with pytest.raises(ComposeError, match=reason) as raised:
        parse(text)
    assert "\n" not in raised.value.message
    assert raised.value.hint


def test_only_regular_files_of_text_are_read(tmp_path: Path) -> None:
    latin = tmp_path / "latin"
    latin.write_bytes(b"a: \xe9")
    large = tmp_path / "large"
    large.write_bytes(b"#" * (document.MOST_BYTES + 1))
    for path, reason in (
        (latin, "UTF-8"),
        (large, "more than"),
        (Path("/dev/zero"), "is no file"),
        (tmp_path, "is no file"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(ComposeError, match=reason):
            document.load(path)


@given(st.text(alphabet="ab:-{}[]&*!<>|?'\"#%@, \n\t", max_size=60))
def test_no_text_ends_the_run(text: str) -> None:
    try:
        assert all(isinstance(tree, dict) for tree in parse(text))
    except ComposeError as error:
        assert error.message
