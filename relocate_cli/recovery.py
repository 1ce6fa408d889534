"""Ends what an interrupted relocation left open, and brings back what is only an image."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from relocate_cli import playbook, relocation, survey
from relocate_cli.constraints import why_not_restore
from relocate_cli.errors import RefusedError, UsageError
from relocate_cli.fleet import Capacity, Container, Fleet
from relocate_cli.journal import Journal
from relocate_cli.plan import Move, Outcome, Plan, Relocation
from relocate_cli.playbook import OnEvent
from relocate_cli.settings import Settings

# What the task registers that ends open relocations; settling reads it as it reads what `fire` answered.
ENDED = relocation.FIRED


@dataclass(frozen=True)
class Findings:
    """What host0 and the hosts know: ``opened`` is ended now (but with check), ``stored`` only an image.
    ``unsettled`` is what a host could not settle, by id, with where and why."""

    opened: tuple[Mapping[str, Any], ...]
    stored: tuple[Mapping[str, Any], ...]
    ended: tuple[Mapping[str, Any], ...]
    unsettled: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Recovery:
    """What was found, the relocations of which the end is known since, those that restored an image, and why
    the other images were not restored."""

    findings: Findings
    ended: tuple[Relocation, ...] = ()
    restored: tuple[Relocation, ...] = ()
    refused: tuple[RefusedError, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every image that was found runs again, and every end is settled."""
        left = self.findings.unsettled or self.refused
        return not left and all(entry.outcome is Outcome.MOVED for entry in self.restored)


def find(settings: Settings, container: str = "", verbosity: int = 0) -> Findings:
    """Ask the hosts and host0 what is open, of ``container`` or of all; nothing is changed.

    Raises RelocateError if host0 is silent.
    """
    return _play(settings, container, True, verbosity)


def recover(
    settings: Settings,
    journal: Journal,
    *,
    to: str | None = None,
    container: str = "",
    verbosity: int = 0,
    on_event: OnEvent | None = None,
) -> Recovery:
    """Run playbooks/recover.yml, survey, restore stored containers (on ``to``), conclude open relocations.

    Can be run again at any time. Raises RelocateError if host0 is silent, RefusedError if there are images
    and no host can take any.
    """
    before = _kept(settings, journal)
    found = _play(settings, container, False, verbosity, on_event)
    journal.distrust()
    light = before is not None
    known = survey.take(settings, journal, light=light, verbosity=verbosity, on_event=on_event)
    mine = [entry for entry in journal.open_relocations() if container in ("", entry.container)]
    concluded = [conclude(entry, found, known) for entry in mine]
    for entry in concluded:
        journal.record(entry)
    moves, refused = placed(known, found.stored, to, settings.facts_ttl, before)
    if refused and not moves:
        raise refused[0]
    restored: tuple[Relocation, ...] = ()
    if moves:
        restored = relocation.carry_out(Plan(moves), settings=settings, journal=journal, verbosity=verbosity)
    ended = tuple(entry for entry in concluded if entry.outcome is not Outcome.OPEN)
    return Recovery(found, ended, restored, refused)


def _kept(settings: Settings, journal: Journal) -> Fleet | None:
    """What was known so far: the next survey forgets a container that is only an image."""
    try:
        return survey.kept(settings, journal)
    except UsageError:  # of another version: the next survey replaces it
        return None


def _play(
    settings: Settings, container: str, check: bool, verbosity: int, on_event: OnEvent | None = None
) -> Findings:
    variables = {"relocation__container": container, "relocation__keep": settings.storage.keep}
    result = playbook.run(
        "recover",
        settings=settings,
        extravars=variables,
        check=check,
        verbosity=verbosity,
        on_event=on_event,
    )
    answers = [event for event in result.of(ENDED).values() if event.status in ("ok", "changed")]
    if not answers:
        result.require()
        raise RefusedError("host0 did not say what is open", "see that ssh to it works, then try again")
    return _findings(answers[0].document(), relocation.unsettled(result))


# The last record of host0's journal, and what follows from it (docs/protocol.md).
FOLLOWS = {
    "commit": "goes on on {target}, or on {source} if {target} has no copy",
    "running": "runs on {target}; what is left of it on {source} goes",
    "recover": "is only an image, and stays one for now",
    "commit_recovery": "goes on on {target}, or stays an image if {target} has no copy",
}


def plans(found: Findings, to: str | None = None) -> list[str]:
    """What was found and what follows from it, a line for each relocation."""
    lines = []
    for entry in found.opened:
        record = str(entry["stands_at"]).lower()
        follows = FOLLOWS.get(record, "goes on on {source}").format_map(entry)
        lines.append(
            f"{entry['container']}: {entry['source']} → {entry['target']} stopped at {record}: it {follows}"
        )
    for entry in found.stored:
        where = to or f"{entry['target']}, or else where it fits"
        lines.append(f"{entry['container']}: only an image is left: it is restored on {where}")
    known = {entry["id"] for entry in (*found.opened, *found.stored)}
    for entry in found.ended:
        if entry["relocation_id"] not in known:
            lines.append(
                f"{entry['container']}: {entry['outcome'].replace('_', ' ')}, but not settled: that is done"
            )
    return lines


def _findings(document: Mapping[str, Any], unsettled: Mapping[str, str]) -> Findings:
    opened, stored, ended = (tuple(document.get(key, ())) for key in ("open", "stored", "relocations"))
    return Findings(opened, stored, ended, unsettled)


def conclude(opened: Relocation, found: Findings, known: Fleet) -> Relocation:
    """How a relocation ended: as host0 says, else as the container's whereabouts show."""
    ended = replace(opened, ended=time.time(), reason="recovered")
    for entry in found.ended:
        if entry["relocation_id"] == opened.id and not entry["needs_recover"]:
            if opened.id in found.unsettled:
                return replace(opened, reason=found.unsettled[opened.id])
            return replace(ended, outcome=Outcome(entry["outcome"]))
    if any(entry["id"] == opened.id for entry in found.stored):
        return replace(ended, outcome=Outcome.FAILED, reason="only its image was left")
    if any(entry["relocation_id"] == opened.id for entry in found.ended):
        return opened  # a host that is needed does not answer
    where = {entry.host for entry in known.containers if entry.name == opened.container}
    if where == {opened.target}:
        return replace(ended, outcome=Outcome.MOVED)
    if where == {opened.source}:
        return replace(ended, outcome=Outcome.ROLLED_BACK)
    return opened


def placed(
    known: Fleet, stored: Sequence[Mapping[str, Any]], to: str | None, ttl: float, before: Fleet | None
) -> tuple[tuple[Move, ...], tuple[RefusedError, ...]]:
    """The moves that bring stored containers back, each beside those before it, and why others have none.

    ``before``: the fleet as it was surveyed before, for what is not known any more.
    """
    moves: list[Move] = []
    refused: list[RefusedError] = []
    for entry in stored:
        container = last_seen(entry, known, before)
        try:
            move = restoring(known, entry, to, ttl, container)
        except RefusedError as error:
            refused.append(error)
            continue
        moves.append(move)
        if container is not None:
            known = _arrived(known, container, move.target)
    return tuple(moves), tuple(refused)


def last_seen(stored: Mapping[str, Any], known: Fleet, before: Fleet | None) -> Container | None:
    """A stored container as a survey last saw it on its source; None if none did.

    What was known ``before`` comes first: what has that name there now would be another one.
    """
    for surveyed in (before, known):
        for entry in surveyed.containers if surveyed is not None else ():
            if (entry.name, entry.host) == (stored["container"], stored["source"]):
                return entry
    return None


def restoring(
    known: Fleet, stored: Mapping[str, Any], to: str | None, ttl: float, container: Container | None
) -> Move:
    """The move that brings a stored container back: ``to``, else its target, else the least loaded host.

    ``container``: what is known of it. Raises RefusedError if no host can take it, UsageError if there is no
    host ``to``.
    """
    name = stored["container"]
    source = next((host for host in known.hosts if host.name == stored["source"]), None)
    asked = [host for host in known.hosts if host is not source] if to is None else [known.host(to)]
    why = {
        host.name: "it came from there"
        if host is source
        else why_not_restore(name, container, source, host, ttl)
        for host in asked
    }
    able = [host for host in asked if not why[host.name]]
    if not able:
        said = "; ".join(f"{host}: {reason}" for host, reason in why.items())
        hint = "bring a host up, or give one with --to; the image is kept"
        if container is None:
            hint += f" (no survey has seen it on {stored['source']}: ports, memory and group are not known)"
        raise RefusedError(
            f"no host can take {name}, which is only an image now: {said or 'there is none'}", hint
        )
    chosen = min(able, key=lambda host: (host.name != stored["target"], len(host.containers), host.name))
    return Move(name, stored["source"], chosen.name, stored.get("vip") or "", recovers=stored["id"])


def _arrived(known: Fleet, container: Container, target: str) -> Fleet:
    """The fleet once ``container`` runs on ``target``."""

    def taken(capacity: Capacity) -> Capacity:
        return replace(
            capacity,
            memory_free_bytes=capacity.memory_free_bytes - container.memory_bytes,
            published_ports=capacity.published_ports | container.ports,
        )

    return Fleet(
        tuple(
            replace(host, containers=(*host.containers, container), capacity=taken(host.capacity))
            if host.name == target
            else host
            for host in known.hosts
        )
    )
