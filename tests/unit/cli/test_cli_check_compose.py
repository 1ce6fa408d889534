"""`relocate check --compose`: before anything runs, without a host."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from relocate_cli import inventory, playbook, settings

Run = Callable[..., Any]
GOOD = dedent("""
    services:
      web: {image: x, network_mode: bridge, labels: {relocate.enable: "true"}, ports: ["80:80"]}
""")
BAD = "services: {web: {image: x, network_mode: bridge}, db: {image: y, privileged: true}}\n"


@pytest.fixture(autouse=True)
def nothing_but_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """No inventory, no settings and no host is asked for."""

    def forbidden(*_: Any, **__: Any) -> None:
        raise AssertionError("that is not pure")

    for module, name in ((inventory, "read"), (playbook, "run"), (settings, "load")):
        monkeypatch.setattr(module, name, forbidden)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    texts = {"good/compose.yaml": GOOD, "bad/docker-compose.yml": BAD, "no/compose.yml": "x: ["}
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_project_that_can_move(relocate: Run, files: Path) -> None:
    ended = relocate("check", "--compose", "good/compose.yaml", "--json")
    assert ended.code == 0
    assert ended.document["schema"] == "relocate/check/v1"
    web = {"name": "web", "movable": True, "obstacles": [], "carried": [], "needs": ["port tcp/80 free"]}
    project = {"movable": True, "obstacles": [], "unlabelled": [], "unset": [], "services": [web]}
    assert ended.document["projects"] == [{"file": "good/compose.yaml", **project}]


def test_a_directory_of_projects_and_one_more(relocate: Run, files: Path) -> None:
    ended = relocate("check", "--compose", ".", "--compose", "good/compose.yaml", "--json")
    assert ended.code == 3
    projects = {each["file"]: each for each in ended.document["projects"]}
    assert {file: each["movable"] for file, each in projects.items()} == {
        "good/compose.yaml": True,
        "bad/docker-compose.yml": False,
        "no/compose.yml": False,
    }
    services = {each["name"]: each for each in projects["bad/docker-compose.yml"]["services"]}
    assert services["web"]["movable"]
    assert services["db"]["obstacles"][0]["reason"] == "it is privileged"
    assert "no YAML" in projects["no/compose.yml"]["obstacles"][0]["reason"]


def test_people_see_tables(relocate: Run, files: Path) -> None:
    ended = relocate("check", "--compose", ".")
    lines = [line.split() for line in ended.out.splitlines()]
    assert ["bad/docker-compose.yml", "no", "1", "of", "2", "missing"] in lines
    assert ["good/compose.yaml", "yes", "1", "of", "1", "yes"] in lines
    assert any(line[:5] == ["bad/docker-compose.yml", "db", "it", "is", "privileged"] for line in lines)
    assert "1 of 3 projects can move whole, 2 of 3 services." in ended.err
    assert relocate("check", "--compose", ".", "-q").err == ""


def test_what_is_not_there_is_a_mistake_of_the_caller(relocate: Run, files: Path) -> None:
    assert relocate("check", "--compose", "none.yaml").code == 2
    (files / "empty").mkdir()
    assert relocate("check", "--compose", "empty").code == 2
    assert relocate("check", "web", "--compose", ".").code == 2
