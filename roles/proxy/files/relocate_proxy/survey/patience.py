"""How long looking at one container may take: a tenant decides how much there is to see."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
CONTAINER_SECONDS = 3.0


class ImpatientError(Exception):
    """There was more to look at than there is time for."""


class Patience:
    """A deadline that whatever is looked at is held to; past it, the container has that as its obstacle."""

    def __init__(self, seconds: float = CONTAINER_SECONDS) -> None:
        self.seconds = seconds
        self.deadline = time.monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds, none below zero."""
        return max(0.0, self.deadline - time.monotonic())

    def over(self, each: Iterable[T]) -> Iterator[T]:
        """The same, for as long as there is time. Raises ImpatientError."""
        for found in each:
            if time.monotonic() > self.deadline:
                raise ImpatientError(f"its processes take longer than {self.seconds:.1f} s to look at")
            yield found
