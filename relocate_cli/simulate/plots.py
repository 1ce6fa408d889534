"""Charts as PNG and SVG: dots with 95 % intervals, or lines. Colours that colour-blind readers tell apart."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from relocate_cli.errors import RefusedError, UsageError
from relocate_cli.simulate.report import Chart, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito 2008, without the yellow that paper does not show.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
_MARKERS = "osD^vPX"


def draw(report: Report, folder: Path) -> list[Path]:
    """Draw the dots of a report's lines and all its charts; the files written.

    Raises RefusedError without matplotlib, UsageError if the folder cannot be written.
    """
    try:
        import matplotlib
    except ImportError:
        raise RefusedError("plots need the package matplotlib", "pip install 'relocate[plot]'") from None
    matplotlib.use("Agg")
    # The same bytes for the same numbers: no date and no random ids in the SVG.
    matplotlib.rcParams |= {"svg.hashsalt": "relocate", "svg.fonttype": "none", "font.size": 10}
    paths: list[Path] = []
    if len(report.lines) <= 24 and any(line.measures for line in report.lines):
        paths += _save(folder, report.name, lambda axes: _dots(axes, report), 0.42 * len(report.lines) + 1.6)
    for chart in report.charts:
        paths += _save(
            folder, f"{report.name}-{chart.name}", lambda axes, chart=chart: _lines(axes, chart), 4.4
        )
    return paths


def _save(folder: Path, name: str, paint: Any, height: float) -> list[Path]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, height), layout="constrained")
    axes = figure.subplots()
    paint(axes)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, linewidth=0.6)
    paths = [folder / f"{name}.{kind}" for kind in ("png", "svg")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(paths[0], dpi=144, metadata={"Software": None})
        figure.savefig(paths[1], metadata={"Date": None})
    except OSError as error:
        raise UsageError(f"out: {error.filename or folder}: {error.strerror}") from None
    return paths


def _dots(axes: "Axes", report: Report) -> None:
    """One row a line of the table; a cross where the exact value is."""
    lines = list(report.lines)
    measures = list(dict.fromkeys(name for line in lines for name in line.measures))
    exact_drawn = False
    for number, name in enumerate(measures):
        shift = (number - (len(measures) - 1) / 2) * 0.24
        for row, line in enumerate(lines):
            if (found := line.measures.get(name)) is None:
                continue
            y = row + shift
            colour = COLOURS[number % len(COLOURS)]
            axes.plot([found.low, found.high], [y, y], color=colour, linewidth=2.2, alpha=0.6)
            label = name.replace("_", " ") if row == 0 else None
            axes.plot([found.value], [y], _MARKERS[number], color=colour, markersize=5.5, label=label)
            if found.exact is not None:
                told = None if exact_drawn else "exact"
                axes.plot([found.exact], [y], "x", color="black", markersize=7, label=told)
                exact_drawn = True
    axes.set_yticks(range(len(lines)), [line.name for line in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel("probability (share of trials, 95 % interval)")
    axes.figure.legend(loc="outside upper center", ncols=4, frameon=False)


def _lines(axes: "Axes", chart: Chart) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    few = all(len(series.points) <= 12 for series in chart.series)
    for number, series in enumerate(chart.series):
        colour = COLOURS[(number if series.colour is None else series.colour) % len(COLOURS)]
        style = "--" if series.dashed else "-"
        times, shares = zip(*series.points, strict=True)
        mark = _MARKERS[number % len(_MARKERS)] if few else None
        axes.plot(
            times, shares, style, color=colour, marker=mark, markersize=4.5, linewidth=1.8, label=series.label
        )
        if series.band:
            low, high = zip(*series.band, strict=True)
            axes.fill_between(times, low, high, color=colour, alpha=0.15, linewidth=0)
    for x, label in chart.marks:
        axes.axvline(x, color="black", linewidth=0.9, linestyle=":")
        where = ("data", "axes fraction")
        axes.annotate(
            label,
            (x, 0.99),
            xycoords=where,
            rotation=90,
            va="top",
            ha="right",
            fontsize=8,
            backgroundcolor="white",
        )
    axes.set_xlabel(chart.x)
    axes.set_ylabel(chart.y)
    axes.set_ylim(-0.02, 1.02)
    if chart.log:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.figure.legend(loc="outside upper center", ncols=3, frameon=False)
