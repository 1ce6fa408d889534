from collections.abc import Callable
from typing import Any

import pytest

from relocate_cli.plan import Outcome, Relocation


@pytest.fixture
def moved() -> Callable[..., Relocation]:
    """Make a relocation from ``way``, such as h1>h2, that began at ``at`` and took a second."""

    def make(container: str, way: str, at: float, **changes: Any) -> Relocation:
        source, target = way.split(">")
        facts: dict[str, Any] = {"outcome": Outcome.MOVED, "window_ms": 60.0, "ended": at + 1} | changes
        return Relocation(f"{container}-{at}", container, source, target, started=at, **facts)

    return make
