from pathlib import Path

import pytest

from relocate_cli import content
from relocate_cli.errors import UsageError


def playbooks(place: Path) -> Path:
    (place / "playbooks").mkdir(parents=True)
    return place


def test_an_installed_package_uses_what_the_wheel_brought(tmp_path: Path) -> None:
    package = tmp_path / "site-packages/relocate_cli"
    brought = playbooks(package / "_content")
    assert content.find({}, package) == brought


def test_a_checkout_is_not_misled_by_a_stale_build(tmp_path: Path) -> None:
    checkout = playbooks(tmp_path / "checkout")
    (checkout / "pyproject.toml").write_text("")
    playbooks(checkout / "relocate_cli/_content")
    assert content.find({}, checkout / "relocate_cli") == checkout


def test_the_environment_decides_first(tmp_path: Path) -> None:
    mine = playbooks(tmp_path / "mine")
    assert content.find({"RELOCATE_CONTENT_DIR": str(mine)}) == mine


def test_a_place_without_playbooks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no playbooks"):
        content.find({"RELOCATE_CONTENT_DIR": str(tmp_path)})
