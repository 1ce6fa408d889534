"""One round: survey, who is due, one joint assignment, relocations, the next times; and `drain`."""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import numpy as np

from relocate_cli import placement, relocation, schedule, survey
from relocate_cli.errors import ExitCode
from relocate_cli.fleet import Container, Fleet, stale
from relocate_cli.journal import Due, Journal
from relocate_cli.plan import Move, Outcome, Plan, Relocation
from relocate_cli.settings import Settings

OnPhase = Callable[[str], None]


@dataclass(frozen=True)
class Round:
    """What a round did. ``staying`` maps containers whose time has come, but which did not move, to why.

    ``refused``: no host can take some of them; ``planned`` is what `--check` found.
    """

    due: tuple[str, ...] = ()
    planned: tuple[Move, ...] = ()
    ended: tuple[Relocation, ...] = ()
    staying: Mapping[str, str] | None = None
    refused: bool = False
    needs_recover: bool = False
    next_at: float | None = None

    @property
    def exit_code(self) -> ExitCode:
        """As the shell is told: the worst of what happened; refused only if nothing could be done."""
        if self.needs_recover:
            return ExitCode.NEEDS_RECOVER
        if self.ended:
            return relocation.exit_code(self.ended)
        return ExitCode.REFUSED if self.refused and not self.planned else ExitCode.DONE


def generator(seed: int | None = None) -> np.random.Generator:
    """Random numbers from the operating system's entropy; a ``seed`` is for tests: it can be guessed."""
    return np.random.default_rng(secrets.randbits(256) if seed is None else seed)


def facts(settings: Settings, journal: Journal, wanted: str = "", *, verbosity: int = 0) -> Fleet:
    """The fleet as it is known; as the hosts say if that is too old, or if container ``wanted`` is not in it.

    A silent host is not an error.
    """
    known = survey.kept(settings, journal)
    if (
        known is None
        or not journal.trusted
        or any(stale(host, settings.facts_ttl) for host in known.hosts)
        or (wanted and all(entry.name != wanted for entry in known.containers))
    ):
        return survey.take(settings, journal, verbosity=verbosity)
    return known


def renew(
    settings: Settings, journal: Journal, fleet: Fleet, now: float, rng: np.random.Generator
) -> tuple[tuple[Due, ...], Mapping[str, str]]:
    """Bring the next times up to date; soonest first, with the containers whose labels make no clock."""
    schedule.policy(settings.clock)  # a useless clock is refused before anything happens
    changes = schedule.renew(journal.due(), fleet, settings.clock, now, rng)
    journal.set_due(changes.drawn)
    journal.forget_due(changes.forgotten)
    return journal.due(), changes.errors


def tick(
    settings: Settings,
    journal: Journal,
    *,
    rng: np.random.Generator,
    check: bool = False,
    verbosity: int = 0,
    on_phase: OnPhase = lambda _: None,
) -> Round:
    """Move what is due, within budget and hours. The caller holds the lock.

    With ``check``, says what would move. Raises RelocateError if no host can be asked.
    """
    schedule.policy(settings.clock)
    on_phase("survey")
    fleet = survey.refresh(settings, journal, verbosity=verbosity)
    now = time.time()
    entries, errors = renew(settings, journal, fleet, now, rng)
    struck = [entry.container for entry in schedule.due(entries, now)]
    staying = dict(errors)
    unsettled = {entry.container for entry in journal.open_relocations()}
    staying |= {name: "its last relocation needs `relocate recover`" for name in struck if name in unsettled}
    known = {entry.name for entry in fleet.containers}
    staying |= {name: _unknown(fleet) for name in struck if name not in staying and name not in known}
    ready = [name for name in struck if name not in staying]
    if ready and schedule.quiet(settings.policy.quiet_hours, datetime.fromtimestamp(now)):
        staying |= dict.fromkeys(ready, "quiet hours")
        ready = []
    found = placement.place(fleet, [_one(fleet, name) for name in ready], settings, rng)
    staying |= found.staying
    left = schedule.budget(settings.policy.max_moves_per_hour, journal.relocations(since=now - 3600), now)
    moves = _within(found.moves, ready, left)
    staying |= {
        move.container: "the budget of this hour is spent" for move in found.moves if move not in moves
    }
    ended: tuple[Relocation, ...] = ()
    if moves and not check:
        ended = relocation.carry_out(
            Plan(moves), settings=settings, journal=journal, verbosity=verbosity, on_phase=on_phase
        )
        journal.set_due(schedule.after(ended, fleet, settings.clock, time.time(), rng))
    if not check:  # what stands in a tenant's way is said once a gap, not once a minute
        stuck = [entry for entry in map(partial(_one, fleet), ready) if entry.obstacles]
        journal.set_due([_again(entry, settings, now, rng) for entry in stuck])
    return Round(
        due=tuple(struck),
        planned=moves,
        ended=ended,
        staying=staying,
        refused=bool(found.staying),
        needs_recover=bool(unsettled),
        next_at=min((entry.at for entry in journal.due() if entry.at != float("inf")), default=None),
    )


def drain(
    settings: Settings,
    journal: Journal,
    host: str,
    *,
    rng: np.random.Generator,
    check: bool = False,
    verbosity: int = 0,
    on_phase: OnPhase = lambda _: None,
) -> Round:
    """Let nothing move to ``host`` from now on, and move away all that takes part. The caller holds the lock.

    Budget and quiet hours are for what moves by itself. Raises RelocateError if there is no such host.
    """
    on_phase("survey")
    fleet = survey.take(settings, journal, verbosity=verbosity)
    leaving = fleet.host(host)
    if not check:
        journal.drain(host)
    found = placement.place(fleet, leaving.containers, settings, rng)
    ended: tuple[Relocation, ...] = ()
    if found.moves and not check:
        ended = relocation.carry_out(
            Plan(found.moves), settings=settings, journal=journal, verbosity=verbosity, on_phase=on_phase
        )
        journal.set_due(schedule.after(ended, fleet, settings.clock, time.time(), rng))
    unsettled = {entry.container for entry in journal.open_relocations()}
    return Round(
        due=tuple(entry.name for entry in leaving.containers),
        planned=found.moves,
        ended=ended,
        staying=found.staying,
        refused=bool(found.staying),
        needs_recover=bool(unsettled & {entry.name for entry in leaving.containers}),
    )


def _unknown(fleet: Fleet) -> str:
    """Why nobody knows where a container is whose time has come: it was removed, or its host says nothing."""
    silent = [host.name for host in fleet.hosts if host.error or host.taken_at is None]
    return f"no host that answers has it; silent: {', '.join(silent)}"


def _one(fleet: Fleet, name: str) -> Container:
    """The first container of this name; `placement.place` says if there are more."""
    return next(entry for entry in fleet.containers if entry.name == name)


def _again(container: Container, settings: Settings, now: float, rng: np.random.Generator) -> Due:
    """The next time of a container that could not move now."""
    return schedule.draw(container.name, schedule.policy(settings.clock, container.labels), now, now, rng)


def _within(moves: Sequence[Move], order: Sequence[str], left: int | None) -> tuple[Move, ...]:
    """As many moves as the budget has left, the longest overdue first."""
    waiting = sorted(moves, key=lambda move: order.index(move.container))
    return tuple(waiting if left is None else waiting[:left])


def document(found: Round) -> dict[str, object]:
    """As `relocate tick --json` and `relocate drain --json` print it."""
    return {
        "due": list(found.due),
        "planned": [
            {"container": move.container, "source": move.source, "target": move.target}
            for move in found.planned
        ],
        "relocations": [entry.document() for entry in found.ended],
        "staying": [
            {"container": name, "reason": why} for name, why in sorted((found.staying or {}).items())
        ],
        "moved": sum(entry.outcome is Outcome.MOVED for entry in found.ended),
        "next_at": found.next_at,
    }
