from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest

from relocate_cli.compose import read
from relocate_cli.compose.read import Project

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file below a directory named shop, by default its compose.yaml."""

    def writing(text: str, name: str = "compose.yaml") -> Path:
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    return writing


@pytest.fixture
def project(write: Write) -> Callable[[str], Project]:
    """Reads a Compose file of this text."""
    return lambda text: read.read(write(text))
