"""Ends what an interrupted relocation left open, and brings back what is only an image."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from relocate_cli import fleet, playbook, relocation, survey
from relocate_cli.errors import RefusedError
from relocate_cli.fleet import Fleet
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
    """What was found, the relocations of which the end is known since, and those that restored an image."""

    findings: Findings
    ended: tuple[Relocation, ...] = ()
    restored: tuple[Relocation, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every image that was found runs again, and every end is settled."""
        return not self.findings.unsettled and all(entry.outcome is Outcome.MOVED for entry in self.restored)


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

    Can be run again at any time. Raises RelocateError if host0 is silent.
    """
    found = _play(settings, container, False, verbosity, on_event)
    journal.distrust()
    known = survey.take(settings, journal, light=True, verbosity=verbosity, on_event=on_event)
    mine = [entry for entry in journal.open_relocations() if container in ("", entry.container)]
    concluded = [conclude(entry, found, known) for entry in mine]
    for entry in concluded:
        journal.record(entry)
    restored: tuple[Relocation, ...] = ()
    if found.stored:
        moves = tuple(restoring(known, entry, to, settings.facts_ttl) for entry in found.stored)
        restored = relocation.carry_out(Plan(moves), settings=settings, journal=journal, verbosity=verbosity)
    return Recovery(found, tuple(entry for entry in concluded if entry.outcome is not Outcome.OPEN), restored)


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
        lines.append(
            f"{entry['container']}: only an image is left: it is restored on {to or entry['target']}"
        )
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


def restoring(known: Fleet, stored: Mapping[str, Any], to: str | None, ttl: float) -> Move:
    """The move that brings a stored container back: ``to``, else its target, else the least loaded host."""
    able = [
        host
        for host in known.hosts
        if host.name != stored["source"] and not host.drained and not fleet.stale(host, ttl)
    ]
    if to is not None:
        able = [host for host in able if host.name == known.host(to).name]
    if not able:
        raise RefusedError(
            f"no host can take {stored['container']}, which is only an image now",
            "bring a host up, or give one with --to; the image is kept",
        )
    chosen = min(able, key=lambda host: (host.name != stored["target"], len(host.containers), host.name))
    return Move(
        stored["container"], stored["source"], chosen.name, stored.get("vip") or "", recovers=stored["id"]
    )
