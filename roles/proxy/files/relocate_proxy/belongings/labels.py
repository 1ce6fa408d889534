"""The mark of what a relocation has made with the engine, and labels as they travel."""

from dataclasses import dataclass
from typing import Annotated, Any

from relocate_proxy.protocol import shapes

MADE = "relocate.made"  # by which relocation; it is not carried on


@dataclass(frozen=True)
class Label:
    """One of a network's or a volume's."""

    key: Annotated[str, shapes.at_most(256)]
    value: Annotated[str, shapes.at_most(4096)]


Labels = Annotated[tuple[Label, ...], shapes.at_most(256)]


def unmarked(labels: dict[str, str] | None) -> list[dict[str, Any]]:
    """As documents, without our mark."""
    return [{"key": key, "value": value} for key, value in (labels or {}).items() if key != MADE]


def marked(labels: tuple[Label, ...], relocation: str) -> dict[str, str]:
    """As the engine takes them, with our mark."""
    return {label.key: label.value for label in labels} | {MADE: relocation}
