"""docs/simulation.md is run: what its consoles print, and its Python."""

import doctest
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from relocate_cli.cli import simulate

PAGE = Path(__file__).parents[2] / "docs/simulation.md"
CONSOLES = re.findall(r"```console\n\$ relocate simulate (.+?)\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_page_has_examples():
    assert len(CONSOLES) >= 7
    assert PAGE.read_text().count("```console") == len(CONSOLES)


@pytest.mark.parametrize(
    ("command", "printed"), CONSOLES, ids=[command.split()[0] for command, _ in CONSOLES]
)
def test_consoles_print_what_the_page_says(command, printed):
    result = CliRunner().invoke(simulate.app, shlex.split(command))
    assert result.exception is None
    same = doctest.OutputChecker().check_output(printed, result.stdout, doctest.ELLIPSIS)
    assert same, result.stdout


def test_python_examples():
    assert doctest.testfile(str(PAGE), module_relative=False).failed == 0


@pytest.mark.parametrize("module", ["closed_form", "engine", "laws", "sweep"])
def test_doctests(module):
    found = __import__(f"relocate_cli.simulate.{module}", fromlist=["_"])
    outcome = doctest.testmod(found, optionflags=doctest.ELLIPSIS)
    assert outcome.attempted and not outcome.failed


def test_plots_are_there():
    for plot in re.findall(r"!\[.*?\]\((.+?)\)", PAGE.read_text()):
        assert (PAGE.parent / plot).is_file()
