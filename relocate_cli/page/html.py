"""The page as HTML. Every name and reason on it is somebody else's: escaped, printable and bounded."""

from datetime import UTC, datetime, tzinfo
from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from relocate_cli.page import draw
from relocate_cli.page.model import Page
from relocate_cli.render import age
from relocate_cli.said import line

# Names that people choose are shorter; so nobody makes the page too large to open by his own.
NAME = 100
SENTENCE = 500
TEMPLATE = "templates/report.html.j2"


def escaping() -> Environment:
    """For templates of pages: every word that is put in is escaped, and one that is missing is an error."""
    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(page: Page, zone: tzinfo | None = None) -> str:
    """The whole page; times are of ``zone``, this machine's if it is None."""

    def local(moment: float) -> datetime:
        return datetime.fromtimestamp(moment, UTC).astimezone(zone)

    def when(moment: float | None, shape: str = "%Y-%m-%d %H:%M:%S") -> str:
        return "–" if moment is None else local(moment).strftime(shape)

    def iso(moment: float) -> str:
        return local(moment).isoformat(timespec="seconds")

    environment = escaping()
    environment.filters |= {
        "when": when,
        "iso": iso,
        "plain": lambda text: _shown(text, NAME),
        "sentence": lambda text: _shown(text, SENTENCE),
        "span": draw.span,
        "age": age,
        "units": lambda value: f"{value:.1f}".removesuffix(".0"),
    }
    template = environment.from_string(files("relocate_cli").joinpath(TEMPLATE).read_text(encoding="utf-8"))
    return template.render(
        page=page,
        chart=draw.line_chart(page.line) if page.line else None,
        charts=[
            (title, about, found, draw.bin_chart(found))
            for title, about, found in (
                ("Windows", "From freeze to release: how long clients of a container waited.", page.windows),
                ("Gaps", "From one move of a container to its next.", page.gaps),
            )
            if found
        ],
        width=draw.WIDTH,
    )


def _shown(text: str, most: int) -> str:
    found = line(text[: most + 1])  # a letter for a letter
    return found if len(found) <= most else found[: most - 1] + "…"
