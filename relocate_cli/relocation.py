"""Carries out a plan: runs playbooks/relocate.yml, follows it, and writes down what came of each move."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from relocate_cli import playbook
from relocate_cli.errors import ExitCode, RelocateError
from relocate_cli.inventory import GATEWAY, STORAGE
from relocate_cli.journal import Journal
from relocate_cli.plan import Move, Outcome, Phase, Plan, Relocation, Span, inventory_of
from relocate_cli.playbook import PlaybookResult, TaskEvent
from relocate_cli.said import line
from relocate_cli.settings import Settings

# What the tasks of roles/relocation register; their titles are for people and may change.
ARMING = ("relocation__offered", "relocation__armed", "relocation__filled")
FIRED = "relocation__fired"
SETTLED = "relocation__settled"
# Those that are worth a word, in their order.
PHASES = {**dict.fromkeys(ARMING, "arm"), FIRED: "fire", SETTLED: "settle"}


def carry_out(
    plan: Plan,
    *,
    settings: Settings,
    journal: Journal,
    verbosity: int = 0,
    on_phase: Callable[[str], None] | None = None,
) -> tuple[Relocation, ...]:
    """Move the containers of ``plan``; one relocation each, in the plan's order, already in the journal.

    A relocation that failed does not raise: its outcome and reason say so. One of unknown end stays OPEN.
    """
    started = time.time()
    opened = [_open(move, started) for move in plan.moves]
    for entry in opened:
        journal.record(entry)
    seen: set[str] = set()

    def follow(event: TaskEvent) -> None:
        phase = PHASES.get(event.register)
        if event.status == "started" and phase and phase not in seen:
            seen.add(phase)
            if on_phase is not None:
                on_phase(phase)

    result = playbook.run(
        "relocate",
        settings=settings,
        extravars=variables(plan, settings),
        limit=",".join([*sorted(plan.hosts), GATEWAY, STORAGE]),
        verbosity=verbosity,
        on_event=follow,
    )
    ended = tuple(conclude(entry, result) for entry in opened)
    for entry in ended:
        journal.record(entry)
        if entry.outcome is Outcome.MOVED:
            journal.container_moved(entry)
    if any(entry.outcome is not Outcome.MOVED for entry in ended):
        journal.distrust()  # the next decision asks the hosts first
    return ended


def exit_code(ended: Sequence[Relocation]) -> ExitCode:
    """The worst of these outcomes, as the shell is told."""
    outcomes = {entry.outcome for entry in ended}
    if outcomes & {Outcome.FAILED, Outcome.OPEN}:
        return ExitCode.NEEDS_RECOVER
    return ExitCode.ROLLED_BACK if Outcome.ROLLED_BACK in outcomes else ExitCode.DONE


def variables(plan: Plan, settings: Settings) -> dict[str, Any]:
    """What the playbook is told."""
    return {
        "relocation__moves": [
            {
                "id": move.id,
                "container": move.container,
                "source": move.source,
                "target": move.target,
                "vip": move.vip,
                "deadline": settings.relocation.deadline,
                "verify": settings.storage.verify,
                "inventory": settings.relocation.inventory,
                **({"recovers": move.recovers} if move.recovers else {}),
            }
            for move in plan.moves
        ],
        "relocation__parallel": settings.policy.max_parallel or len(plan.moves),
        "relocation__keep": settings.storage.keep,
    }


def conclude(opened: Relocation, result: PlaybookResult) -> Relocation:
    """How the relocation ended, as far as ``result`` tells. Pure but for the clock."""
    fired = result.of(FIRED)
    for event in fired.values():
        for entry in _listed(event, "relocations"):
            if entry.get("relocation_id") == opened.id:
                return _settled(_answered(opened, entry), result)
    ended = replace(opened, ended=time.time(), outcome=Outcome.ROLLED_BACK)
    for event in (event for step in ARMING for event in result.of(step).values()):
        for entry in _listed(event, "results"):
            if entry.get("id") == opened.id and not entry.get("ok"):
                return replace(ended, reason=line(str(entry.get("reason", ""))) or f"{event.host} refused")
    begun = {PHASES.get(event.register) for event in result.tasks}
    reason = "interrupted" if result.interrupted else _why(opened, result)
    if result.unread and "fire" not in begun:
        return replace(opened, reason=reason)
    if "fire" in begun:
        return replace(opened, reason=f"{reason}; host0 carries on by itself")
    if "arm" in begun:
        return replace(opened, reason=f"{reason} before the window, so it runs where it was")
    return replace(ended, reason=reason)


def _open(move: Move, started: float) -> Relocation:
    return Relocation(move.id, move.container, move.source, move.target, move.vip, started=started)


def _listed(event: TaskEvent, key: str) -> list[Mapping[str, Any]]:
    """The objects in the list ``key`` of the task's document; a failed task may have answered too, or not at
    all, or what is no such list."""
    try:
        found = event.document().get(key)
    except RelocateError:
        return []
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def _answered(opened: Relocation, entry: Mapping[str, Any]) -> Relocation:
    window = entry.get("window_ms")
    return replace(
        opened,
        ended=time.time(),
        outcome=Outcome(entry["outcome"]),
        reason=str(entry.get("reason") or ""),
        old_ip=str(entry.get("old_ip") or ""),
        new_ip=str(entry.get("new_ip") or ""),
        vip=str(entry.get("vip") or opened.vip),
        window_ms=None if window is None else float(window),
        phases=tuple(Phase(str(phase["name"]), float(phase["ms"])) for phase in entry.get("phases", ())),
        inventory=inventory_of(entry.get("inventory")),
        spans=tuple(Span(**span) for span in entry.get("trace", ())),
    )


def _settled(answered: Relocation, result: PlaybookResult) -> Relocation:
    """Still open if a host said that it could not settle: `recover` tries again."""
    why = unsettled(result).get(answered.id)
    return replace(answered, outcome=Outcome.OPEN, ended=None, reason=why) if why else answered


def unsettled(result: PlaybookResult) -> dict[str, str]:
    """The relocations that a host could not settle, by id, with where and why."""
    entries = ((event.host, e) for event in result.of(SETTLED).values() for e in _listed(event, "results"))
    return {
        str(entry.get("id")): f"{host}: {line(str(entry.get('reason', '')))}"
        for host, entry in entries
        if entry.get("ok") is not True
    }


def _why(opened: Relocation, result: PlaybookResult) -> str:
    trouble = result.trouble
    for host in (opened.source, opened.target, *trouble):
        if host in trouble:
            return f"{host}: {trouble[host]}"
    return result.complaint or "the playbook ended without an answer"
