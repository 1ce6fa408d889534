"""When each container is due: its clock, its next time, the budget and the quiet hours. Pure.

A container's clock starts when the container starts, and again with each relocation. What nobody watched is
not made up: a container found late has its next time drawn as if all earlier ones had come and gone, and one
whose time has passed while the controller slept is due once.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from relocate_cli.clock import Clock, make_clock
from relocate_cli.errors import RelocateError, UsageError
from relocate_cli.fleet import Container, Fleet
from relocate_cli.journal import Due
from relocate_cli.plan import Outcome, Relocation
from relocate_cli.settings import Clock as ClockSettings

RATE_LABEL = "relocate.rate"
THRESHOLD_LABEL = "relocate.threshold"
# Clocks of hosts and controller differ by less than this, in seconds; else it is a restart, or time was set.
SLACK = 60.0
_HISTORY = 1000  # gaps after which it no longer matters when the first one began


@dataclass(frozen=True)
class Policy:
    """By what a container moves: its clock, in ticks of ``tick`` seconds; ``text`` is told to people."""

    clock: Clock
    tick: float
    text: str


@dataclass(frozen=True)
class Changes:
    """What to write into the journal so that it says when each container is due."""

    drawn: tuple[Due, ...]
    forgotten: tuple[str, ...]
    errors: Mapping[str, str]


def policy(settings: ClockSettings, labels: Mapping[str, str] | None = None) -> Policy:
    """The clock of a container with these labels, which win over the settings.

    Raises UsageError if a label is no number, or λ and T make no clock.
    """
    given = {name: labels[name] for name in (RATE_LABEL, THRESHOLD_LABEL) if labels and labels.get(name)}
    numbers = {RATE_LABEL: settings.rate, THRESHOLD_LABEL: settings.threshold}
    for name, value in given.items():
        try:
            numbers[name] = float(value)
        except ValueError:
            raise UsageError(f"the label {name}={value} is not a number", "such as 10, or 0.05") from None
    clock = make_clock(settings.kind, numbers[RATE_LABEL], numbers[THRESHOLD_LABEL])
    parts = [clock.kind]
    if clock.kind != "static":
        parts.append(f"λ={clock.rate:g}")
    if clock.kind in ("truncated", "threshold", "cumulative"):
        parts.append(f"T={clock.threshold:g}")
    parts.append(f"tick={settings.tick:g}s")
    return Policy(clock, settings.tick, " ".join(parts) + (" (label)" if given else ""))


def draw(container: str, chosen: Policy, since: float, now: float, rng: np.random.Generator) -> Due:
    """The first time after ``now`` at which a clock started at ``since`` strikes; seconds since the epoch.

    ``inf`` if it never does.
    """
    mean = chosen.clock.mean * chosen.tick
    if mean == float("inf"):
        return Due(container, mean, since, now, chosen.text)
    at = max(min(since, now), now - _HISTORY * mean)
    while at <= now:
        expected = (now - at) / mean
        gaps = chosen.clock.sample(rng, int(expected + 4 * expected**0.5) + 8) * chosen.tick
        times = at + np.cumsum(gaps)
        later = np.flatnonzero(times > now)
        at = float(times[later[0] if later.size else -1])
    return Due(container, at, since, now, chosen.text)


def renew(
    known: Sequence[Due], fleet: Fleet, settings: ClockSettings, now: float, rng: np.random.Generator
) -> Changes:
    """Draw what is new, restarted, of another policy or of a time that was set back; forget what has gone.

    A container of a host that does not answer keeps its time. One whose labels make no clock is an error of
    its own and does not keep the others waiting.
    """
    before = {entry.container: entry for entry in known}
    blind = any(host.error or host.taken_at is None for host in fleet.hosts)
    drawn, errors = [], {}
    taking_part = [entry for entry in fleet.containers if entry.enabled]
    for container in taking_part:
        try:
            chosen = policy(settings, container.labels)
        except RelocateError as error:
            errors[container.name] = f"{error.message} ({error.hint})"
            continue
        old = before.get(container.name)
        if old is None or not _holds(old, container, chosen, now):
            drawn.append(draw(container.name, chosen, min(container.started_at, now), now, rng))
    here = {container.name for container in taking_part} - set(errors)
    gone = () if blind else tuple(sorted(set(before) - here))
    return Changes(tuple(drawn), gone, errors)


def _holds(old: Due, container: Container, chosen: Policy, now: float) -> bool:
    """Whether the time drawn earlier is still the container's."""
    if old.policy != chosen.text:
        return False
    if old.drawn > now + SLACK:  # the controller's clock was set back: the time may be years away
        return False
    # A start in the future is that of a host whose clock is ahead, which cannot tell.
    return not old.since + SLACK < container.started_at <= now


def after(
    ended: Iterable[Relocation], fleet: Fleet, settings: ClockSettings, now: float, rng: np.random.Generator
) -> tuple[Due, ...]:
    """The next times of containers that were just relocated, or were to be; both start their clock again.

    One whose labels make no clock, or of whose name there are more, has none: `renew` says so.
    """
    found = []
    for entry in ended:
        if entry.outcome in (Outcome.MOVED, Outcome.ROLLED_BACK):
            try:
                chosen = policy(settings, fleet.container(entry.container).labels)
            except RelocateError:
                continue
            found.append(draw(entry.container, chosen, entry.ended or now, now, rng))
    return tuple(found)


def due(entries: Iterable[Due], now: float) -> tuple[Due, ...]:
    """Those whose time has come, the longest overdue first."""
    return tuple(sorted((entry for entry in entries if entry.at <= now), key=lambda e: (e.at, e.container)))


def longest(fleet: Fleet, settings: ClockSettings) -> dict[str, float]:
    """The longest gap of each container's clock in seconds, without those that have none."""
    found = {}
    for container in fleet.containers:
        if container.enabled:
            with suppress(RelocateError):
                chosen = policy(settings, container.labels)
                found[container.name] = chosen.clock.max_gap * chosen.tick
    return {name: gap for name, gap in found.items() if math.isfinite(gap)}


def overdue(entries: Iterable[Due], gaps: Mapping[str, float], now: float) -> tuple[Due, ...]:
    """Those that should have moved whatever was drawn: their clock has no gap that long.

    It tells nobody when one moves who has not known it: ``gaps`` follow from the settings, and the times at
    which gaps began from the moves that were seen.
    """
    return tuple(
        entry
        for entry in entries
        if entry.container in gaps and max(entry.since, entry.drawn) + gaps[entry.container] + SLACK < now
    )


def budget(moves_an_hour: int, recent: Iterable[Relocation], now: float) -> int | None:
    """How many more may move now; None if there is no limit."""
    if not moves_an_hour:
        return None
    spent = sum(now - 3600 < entry.started <= now + SLACK for entry in recent)
    return max(0, moves_an_hour - spent)


def quiet(spans: Sequence[str], moment: datetime) -> bool:
    """Whether relocations rest at this local time; a span may go over midnight, one of no length is a day.

    >>> quiet(["22:00-06:00"], datetime(2026, 1, 1, 23, 30)), quiet(["22:00-06:00"], datetime(2026, 1, 1, 6))
    (True, False)
    """
    return any(_within(span, moment) for span in spans)


def allowed_from(spans: Sequence[str], moment: datetime) -> datetime | None:
    """The first moment, this one or later, at which relocations do not rest; None if they always do."""
    for _ in range(2 * len(spans) + 1):
        ends = [_end(span) for span in spans if _within(span, moment)]
        if not ends:
            return moment
        hour, minute = max(ends, key=lambda end: (end[0] * 60 + end[1] - _minute(moment)) % 1440)
        later = moment.replace(hour=hour, minute=minute, second=0, microsecond=0)
        moment = later if later > moment else later + timedelta(days=1)
    return None


def _within(span: str, moment: datetime) -> bool:
    begin, end = (int(part[:2]) * 60 + int(part[3:]) for part in span.split("-"))
    now = _minute(moment)
    return begin <= now < end if begin < end else now >= begin or now < end


def _end(span: str) -> tuple[int, int]:
    end = span.split("-")[1]
    return int(end[:2]), int(end[3:])


def _minute(moment: datetime) -> int:
    return moment.hour * 60 + moment.minute
