"""What an experiment found, as data: one shape for the table, the CSV, the JSON document and the plots."""

import csv
import json
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from relocate_cli import render
from relocate_cli.errors import UsageError
from relocate_cli.simulate.engine import Tally, wilson


@dataclass(frozen=True)
class Measure:
    """A simulated share with its 95 % interval, and the exact value if mathematics knows it."""

    value: float
    low: float
    high: float
    exact: float | None = None

    @classmethod
    def resisted(cls, tally: Tally, exact: float | None = None) -> "Measure":
        """Share of trials in which no attack succeeded."""
        return cls(tally.resisted, *tally.ci95, exact)

    @classmethod
    def share(cls, count: int, trials: int) -> "Measure":
        """A plain proportion."""
        return cls(count / trials, *wilson(count, trials))

    def __str__(self) -> str:
        exact = "" if self.exact is None else f" (exact {self.exact:.4f})"
        return f"{self.value:.4f} ±{(self.high - self.low) / 2:.4f}{exact}"


@dataclass(frozen=True)
class Line:
    """A policy, or a point of a grid."""

    name: str
    measures: Mapping[str, Measure] = field(default_factory=dict)
    figures: Mapping[str, float | str | None] = field(default_factory=dict)

    def flat(self) -> dict[str, Any]:
        """One row of the CSV file and one object of the JSON document; what is infinite is null."""
        row: dict[str, Any] = {"name": self.name}
        for name, found in self.measures.items():
            row |= {
                name: found.value,
                f"{name}_ci95": [found.low, found.high],
                f"{name}_closed_form": found.exact,
            }
        return row | {name: finite(value) for name, value in self.figures.items()}


@dataclass(frozen=True)
class Series:
    """A line of a chart: (x, y) points; (low, high) at each if simulated; ``colour`` shares another's."""

    label: str
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float], ...] = ()
    dashed: bool = False
    colour: int | None = None


@dataclass(frozen=True)
class Chart:
    """Probabilities over ``x``; ``marks`` are moments worth a name."""

    name: str
    x: str
    y: str
    series: tuple[Series, ...]
    marks: tuple[tuple[float, str], ...] = ()
    log: bool = False


@dataclass(frozen=True)
class Report:
    """``head``: what JSON has on top. ``kind``: a line's word. ``declared``: what the paper leaves open."""

    name: str
    kind: str
    lines: Sequence[Line]
    head: Mapping[str, Any] = field(default_factory=dict)
    declared: Mapping[str, object] = field(default_factory=dict)
    sensitivity: Sequence[Line] = ()
    notes: Sequence[str] = ()
    charts: Sequence[Chart] = ()

    def document(self) -> dict[str, Any]:
        """The JSON document, but for its schema."""
        found: dict[str, Any] = {
            **{name: finite(value) for name, value in self.head.items()},
            self.kind: [line.flat() for line in self.lines],
        }
        if self.charts:
            found["charts"] = {
                chart.name: {series.label: series.points for series in chart.series} for chart in self.charts
            }
        if self.sensitivity:
            found["sensitivity"] = [line.flat() for line in self.sensitivity]
        return found | {"declared_here": dict(self.declared), "notes": list(self.notes)}

    def text(self) -> str:
        """What a person reads."""
        parts = [_table(self.lines)]
        if self.sensitivity:
            parts.append("How sensitive this is:\n" + _table(self.sensitivity))
        if self.declared:
            told = ", ".join(f"{name} {value}" for name, value in self.declared.items())
            parts.append(_wrapped(f"Declared here, for the paper does not say: {told}"))
        notes = "\n".join(_wrapped(note) for note in self.notes)
        return "\n\n".join([*parts, notes] if notes else parts)

    def write(self, folder: Path) -> list[Path]:
        """Write NAME.csv and NAME.json. Raises UsageError if the folder cannot be written."""
        data, table = folder / f"{self.name}.json", folder / f"{self.name}.csv"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            data.write_text(json.dumps(self.document(), indent=2) + "\n")
            with table.open("w", newline="") as stream:
                rows = [_spread(line.flat()) for line in self.lines]
                writer = csv.DictWriter(stream, list(dict.fromkeys(name for row in rows for name in row)))
                writer.writeheader()
                writer.writerows(rows)
        except OSError as error:
            raise UsageError(f"out: {error.filename or folder}: {error.strerror}") from None
        return [data, table]


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 110, break_long_words=False)


def finite(value: Any) -> Any:
    """JSON has no infinity: None instead."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _spread(row: Mapping[str, Any]) -> dict[str, Any]:
    spread: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, list):
            spread |= {f"{name}_low": value[0], f"{name}_high": value[1]}
        else:
            spread[name] = value
    return spread


def _table(lines: Sequence[Line]) -> str:
    measures = list(dict.fromkeys(name for line in lines for name in line.measures))
    figures = list(dict.fromkeys(name for line in lines for name in line.figures))
    head = ["", *(name.replace("_", " ") for name in [*measures, *figures])]
    rows = [
        [
            line.name,
            *(line.measures.get(name) for name in measures),
            *(_figure(line.figures.get(name)) for name in figures),
        ]
        for line in lines
    ]
    return render.table(head, [["" if cell is None else cell for cell in row] for row in rows])


def _figure(value: float | str | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if not math.isfinite(value):
        return "never"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
