"""`relocate check`: whether the project makes sense, and who can move where, and if not, why."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from relocate_cli.cli.options import Config, Inventory, Json, Quiet, Verbose, load
from relocate_cli.settings import Settings

if TYPE_CHECKING:
    from relocate_cli.fleet import Container, Fleet, Host


def check(
    container: Annotated[
        str | None, typer.Argument(help="Say whether this container can move, and where to.")
    ] = None,
    compose: Annotated[
        list[Path] | None,
        typer.Option(
            help="Say whether what this Compose file describes could move, or those below a directory: asks"
            " no host and needs no inventory; repeatable."
        ),
    ] = None,
    inventory: Inventory = None,
    config: Config = None,
    quiet: Quiet = False,
    verbose: Verbose = 0,
    as_json: Json = False,
) -> None:
    """Say what is wrong with the project and, once hosts were surveyed, with each of them and each container.

    Changes nothing on any host.
    """
    if compose:
        _compose(compose, container, quiet, as_json)
        return
    settings = load(inventory, config)
    if container is None:
        _project(settings, quiet, verbose, as_json)
    else:
        _container(settings, container, quiet, verbose, as_json)


def _compose(paths: list[Path], container: str | None, quiet: bool, as_json: bool) -> None:
    from relocate_cli import render
    from relocate_cli.compose import judge, read, report
    from relocate_cli.compose.rules import Rules
    from relocate_cli.errors import ExitCode, UsageError

    if container is not None:
        raise UsageError("a container and --compose are two questions", "ask one at a time")
    files = dict.fromkeys(file for path in paths for file in read.find(path))
    rules = Rules()
    verdicts = [judge.judge(file, rules) for file in files]
    if as_json:
        render.emit_json("check", report.document(verdicts))
    else:
        print(report.tables(verdicts))
        for line in () if quiet else report.notes(verdicts):
            render.note(line)
    if not all(verdict.movable for verdict in verdicts):
        raise typer.Exit(int(ExitCode.REFUSED))


def _project(settings: Settings, quiet: bool, verbose: int, as_json: bool) -> None:
    from relocate_cli import clock, content, inventory, render
    from relocate_cli.errors import ExitCode

    content.find()
    known = inventory.read(settings)
    described = clock.make_clock(settings.clock.kind, settings.clock.rate, settings.clock.threshold)
    fleet = _asked(settings, quiet, verbose)
    troubles = [] if fleet is None else _troubles(fleet, settings.facts_ttl)
    ways = [] if fleet is None else _ways(fleet)
    if as_json:
        document = {
            "inventory": list(settings.inventory),
            "hosts": sorted(known.hosts),
            "gateway": known.gateway,
            "storage": sorted(known.groups.get(inventory.STORAGE, ())),
            "entropy_bits": described.entropy_bits,
            "troubles": [{"of": name, "reason": why, "hint": hint or None} for name, why, hint in troubles],
            "no_way": [{"source": source, "target": target, "reason": why} for source, target, why in ways],
        }
        render.emit_json("check", document)
    else:
        bits = f"{described.entropy_bits:.1f} bits"
        print(f"hosts: {len(known.hosts)}, behind {known.gateway}; a {described.kind} clock, {bits}")
        if troubles:
            print(render.table(("OF", "TROUBLE", "WHAT TO CHANGE"), troubles))
        if ways:
            print(render.table(("FROM", "TO", "NO WAY"), ways))
        if fleet is None:
            render.note("Next: `relocate provision --check`, then `relocate provision`, then check again.")
        else:
            render.note(f"{len(fleet.movable)} containers of {len(fleet.containers)} can move.")
    if troubles:
        raise typer.Exit(int(ExitCode.REFUSED))


def _asked(settings: Settings, quiet: bool, verbose: int) -> "Fleet | None":
    """The fleet as it is now; None if its hosts were never surveyed and may not be provisioned yet."""
    from relocate_cli import render, survey
    from relocate_cli.journal import Journal

    with Journal(settings.state) as journal, render.Progress(quiet=quiet, verbose=verbose > 0) as progress:
        if survey.kept(settings, journal) is None:
            return None
        progress.phase("survey")
        return survey.take(settings, journal, verbosity=verbose)


def _troubles(fleet: "Fleet", ttl: float) -> list[tuple[str, str, str]]:
    """What is wrong with hosts, and with containers that take part: whose, what, and what to change."""
    from relocate_cli.constraints import defect, stale

    hosts = [(host.name, why, "") for host in fleet.hosts if (why := stale(host, ttl) or defect(host))]
    containers = [
        (f"{entry.name} on {entry.host}", obstacle.reason, obstacle.hint)
        for entry in fleet.containers
        if entry.enabled
        for obstacle in entry.obstacles
    ]
    return [*hosts, *containers]


def _ways(fleet: "Fleet") -> list[tuple[str, str, str]]:
    """Source, target, and why nothing can go from one to the other: no defect where hosts shall differ."""
    from relocate_cli.constraints import between

    ways = ((source, target, between(source, target)) for source in fleet.hosts for target in fleet.hosts)
    return [(source.name, target.name, why) for source, target, why in ways if why]


def _container(settings: Settings, name: str, quiet: bool, verbose: int, as_json: bool) -> None:
    from relocate_cli import render, survey
    from relocate_cli.constraints import why_not
    from relocate_cli.errors import ExitCode
    from relocate_cli.journal import Journal

    with Journal(settings.state) as journal, render.Progress(quiet=quiet, verbose=verbose > 0) as progress:
        progress.phase("survey")
        fleet = survey.take(
            settings, journal, light=survey.kept(settings, journal) is not None, verbosity=verbose
        )
    found = fleet.container(name)
    obstacles = [(entry.reason, entry.hint) for entry in found.obstacles]
    source = fleet.host(found.host)
    hosts = [
        (host.name, why_not(found, source, host, settings.facts_ttl))
        for host in fleet.hosts
        if host.name != found.host
    ]
    notes = list(_notes(found, source))
    can = not obstacles and any(not why for _, why in hosts)
    if as_json:
        document = {
            "container": name,
            "host": found.host,
            "can_move": can,
            "obstacles": [{"reason": reason, "hint": hint} for reason, hint in obstacles],
            "hosts": [{"host": host, "why_not": why or None} for host, why in hosts],
            "notes": notes,
        }
        render.emit_json("check", document)
    else:
        for reason, hint in obstacles:
            print(f"{name} on {found.host} cannot move: {reason} ({hint})")
        print(render.table(("HOST", "CAN TAKE IT"), [(host, why or "yes") for host, why in hosts]))
        for note in notes:
            print(note)
    raise typer.Exit(int(ExitCode.DONE if can else ExitCode.REFUSED))


def _notes(container: "Container", source: "Host") -> Iterator[str]:
    """What a move changes for it although nothing forbids it."""
    yield from _left_behind(container, source)
    yield from _lazy(container, source)


def _left_behind(container: "Container", source: "Host") -> Iterator[str]:
    """Who is found by name in a network of its own host only; in the network "bridge" nobody is."""
    for network in sorted(container.networks - {"bridge"}):
        others = sorted(
            other.name for other in source.containers if other != container and network in other.networks
        )
        if others:
            yield (
                f"network {network}: {', '.join(others)} stays on {source.name}, where {container.name} finds"
                " it by name and is found: after a move neither is so"
            )


def _lazy(container: "Container", source: "Host") -> Iterator[str]:
    """What its owner's wish about its memory means."""
    if not container.lazy:
        return
    if "uffd" not in source.criu.features:
        yield f"relocate.lazy: {source.name} has no userfaultfd for CRIU: a move would be undone"
        return
    yield (
        f"relocate.lazy: {container.name} goes on before its memory has come. Until all of it has, a loss of"
        " its old host or of the network between the two ends it: nothing can bring it back"
    )
