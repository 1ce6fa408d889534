"""Verdicts on Compose files, as people and programs read them."""

from collections.abc import Sequence
from typing import Any

from relocate_cli.compose.judge import Verdict
from relocate_cli.render import table

IMAGES = (
    "A Compose file does not tell of volumes that images declare, nor of what processes hold:"
    " `relocate check NAME` does, once it runs."
)


def tables(verdicts: Sequence[Verdict]) -> str:
    """A line a project, a line a service, a line an obstacle."""
    projects, services, obstacles = [], [], []
    for verdict in verdicts:
        file = plain(str(verdict.file))
        can = sum(each.movable for each in verdict.services)
        of = f"{can} of {len(verdict.services)}" if verdict.services else ""
        projects.append((file, _yes(verdict.movable), of, _label(verdict)))
        obstacles += [(file, "", plain(each.reason), plain(each.hint)) for each in verdict.obstacles]
        for service in verdict.services:
            carried, wanted = (plain(", ".join(each)) for each in (service.carried, service.needs))
            services.append((file, plain(service.name), _yes(service.movable), carried, wanted))
            obstacles += [
                (file, plain(service.name), plain(each.reason), plain(each.hint))
                for each in service.obstacles
            ]
    shown = [table(("PROJECT", "MOVES", "SERVICES", "LABEL"), projects)]
    if services:
        shown.append(table(("PROJECT", "SERVICE", "MOVES", "GOES WITH IT", "A TARGET NEEDS"), services))
    if obstacles:
        shown.append(table(("PROJECT", "SERVICE", "IN THE WAY", "WHAT TO CHANGE"), obstacles))
    return "\n\n".join(shown)


def notes(verdicts: Sequence[Verdict]) -> list[str]:
    """What is to be said of all of them."""
    services = [each for verdict in verdicts for each in verdict.services]
    unset = sorted({name for verdict in verdicts for name in verdict.unset})
    said = [
        f"{sum(each.movable for each in verdicts)} of {len(verdicts)} projects can move whole,"
        f" {sum(each.movable for each in services)} of {len(services)} services.",
        IMAGES,
    ]
    if unset:
        more = f" and {len(unset) - 5} more" if len(unset) > 5 else ""
        said.append(f"Taken as empty, since no .env says more: {', '.join(unset[:5])}{more}.")
    return said


def document(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """All of it, for programs."""
    return {
        "projects": [
            {
                "file": str(verdict.file),
                "movable": verdict.movable,
                "obstacles": [{"reason": each.reason, "hint": each.hint} for each in verdict.obstacles],
                "unlabelled": list(verdict.unlabelled),
                "unset": list(verdict.unset),
                "services": [
                    {
                        "name": service.name,
                        "movable": service.movable,
                        "obstacles": [
                            {"reason": each.reason, "hint": each.hint} for each in service.obstacles
                        ],
                        "carried": list(service.carried),
                        "needs": list(service.needs),
                    }
                    for service in verdict.services
                ],
            }
            for verdict in verdicts
        ],
        "notes": notes(verdicts),
    }


def plain(text: str) -> str:
    """Without what would steer a terminal, or could not be printed."""
    return "".join(each if each.isprintable() else "?" for each in text)


def _yes(movable: bool) -> str:
    return "yes" if movable else "no"


def _label(verdict: Verdict) -> str:
    """Whether its tenant has opted in, which is no obstacle yet."""
    if not verdict.unlabelled:
        return "yes" if verdict.services else ""
    if len(verdict.unlabelled) == len(verdict.services):
        return "missing"
    return plain(f"missing: {', '.join(verdict.unlabelled)}")
