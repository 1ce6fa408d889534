"""What an experiment found, as data: the JSON document, the table, what the page shows. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from relocate_cli import render
from relocate_cli.experiment import judge
from relocate_cli.experiment.beside import MEASURES, Beside, Expected
from relocate_cli.experiment.declared import STATIC, Declared
from relocate_cli.experiment.judge import Share
from relocate_cli.experiment.sights import Sight, longest_pause, sights
from relocate_cli.experiment.turn import Played
from relocate_cli.report import Spread, spread

MATCHED = "matched under these declared parameters"
CLAIMS = {
    "time": "the paper: more than 87 % of attacks resisted",
    "space": "the paper: survival about 29 % better than static",
}


@dataclass(frozen=True)
class Verdict:
    """One policy: what attackers saw, what came of it, and what was expected."""

    played: Played
    seen: tuple[Sight, ...]
    shares: Mapping[str, Share]
    beside: Beside

    @property
    def name(self) -> str:
        """Of the policy."""
        return self.played.policy.name

    @property
    def moved(self) -> int:
        """Relocations, or restarts in place."""
        return sum(move.outcome in ("moved", "restarted") for move in self.played.moves)

    @property
    def gaps_ms(self) -> Spread | None:
        """What clients waited for at relocations."""
        return spread([move.gap_ms for move in self.played.moves if move.gap_ms is not None])

    @property
    def late(self) -> Spread | None:
        """By how many seconds moves were later than their clock."""
        return spread([move.late for move in self.played.moves if move.late is not None])

    @property
    def strays(self) -> dict[str, list[str]]:
        """Targets that do not run on one host exactly."""
        return {name: list(hosts) for name, hosts in self.played.running.items() if len(hosts) != 1}

    def agrees(self, name: str) -> bool | None:
        """Whether the intervals, live and simulated as played, meet; None where one of them is missing."""
        expected = (self.beside.played or self.beside.declared).get(name)
        live = self.shares[name]
        if expected is None or live.value is None:
            return None
        return live.low <= expected.high and expected.low <= live.high


@dataclass(frozen=True)
class Result:
    """The whole experiment."""

    declared: Declared
    hosts: tuple[str, ...]
    verdicts: tuple[Verdict, ...]
    delta: tuple[tuple[float, ...], ...]
    versions: Mapping[str, str]

    @property
    def headline(self) -> str:
        """The measure of the figure."""
        return "resisted" if self.declared.kind == "time" else "survives"

    @property
    def clean(self) -> bool:
        """Whether no message, no connection and no container was lost; restarts in place cost connections."""
        return not any(
            verdict.strays
            or any(
                verdict.played.counts.__dict__[name] for name in ("lost", "duplicated", "reordered", "broken")
            )
            for verdict in self.verdicts
            if not verdict.played.policy.restart
        )

    def gain(self, verdict: Verdict) -> float | None:
        """By how much its survival is better than that of static, which was played in the same places."""
        still = next(
            (entry.shares["survives"].value for entry in self.verdicts if entry.name == STATIC), None
        )
        own = verdict.shares["survives"].value
        return own / still - 1 if still and own is not None else None


def verdict(declared: Declared, played: Played, beside: Beside) -> Verdict:
    """Judge one turn by what its attackers wrote."""
    seen: list[Sight] = []
    for attacker, looks in played.looks.items():
        seen += sights(attacker, looks, played.begin, played.end)
    turn = judge.Turn(tuple(played.placed.targets), played.begin, played.end, declared.attack)
    found = (
        judge.resisted(turn, seen),
        judge.resisted_if_aligned(turn, seen),
        judge.survives(turn, seen, declared.window * declared.tick),
    )
    return Verdict(played, tuple(seen), dict(zip(MEASURES, found, strict=True)), beside)


def document(result: Result) -> dict[str, Any]:
    """As `relocate experiment … --json` prints it. Times are seconds from the beginning of a turn."""
    return {
        "kind": result.declared.kind,
        "declared_here": asdict(result.declared),
        "versions": dict(result.versions),
        "judge": "the attackers' own logs",
        "headline": result.headline,
        "policies": [_policy(result, verdict) for verdict in result.verdicts],
        "hosts": list(result.hosts),
        "delta": [[round(value, 4) for value in row] for row in result.delta],
        "clean": result.clean,
        "notes": notes(result),
    }


def _policy(result: Result, verdict: Verdict) -> dict[str, Any]:
    played, begin = verdict.played, verdict.played.begin
    outcomes = Counter(move.outcome for move in played.moves)
    return {
        "name": verdict.name,
        "measures": {
            name: {
                "live": _share(verdict.shares[name]),
                "simulated_as_declared": _expected(verdict.beside.declared.get(name)),
                "simulated_as_played": _expected(verdict.beside.played.get(name)),
                "agrees": verdict.agrees(name),
            }
            for name in MEASURES
        },
        "better_than_static": result.gain(verdict),
        "relocations": dict(sorted(outcomes.items())),
        "gap_ms": asdict(verdict.gaps_ms) if verdict.gaps_ms else None,
        "late_seconds": asdict(verdict.late) if verdict.late else None,
        "tick_seconds": asdict(ticks) if (ticks := spread(played.ticks)) else None,
        "messages": asdict(played.counts),
        "containers_lost_or_doubled": verdict.strays,
        "blind_at_most_seconds": round(longest_pause(played.looks.values()), 2),
        "errors": list(played.errors),
        "attackers": dict(played.placed.attackers),
        "targets": dict(played.placed.targets),
        "sights": [
            {
                "attacker": sight.attacker,
                "target": sight.target,
                "address": sight.address,
                "begin": round(sight.begin - begin, 2),
                "end": round(sight.end - begin, 2),
                "open": sight.open,
            }
            for sight in verdict.seen
        ],
        "moves": [
            {
                **asdict(move),
                "begin": round(move.begin - begin, 2),
                "end": round(move.end - begin, 2),
            }
            for move in played.moves
        ],
    }


def _share(share: Share) -> dict[str, Any]:
    return {"value": share.value, "ci95": [share.low, share.high], "parts": share.parts, "worth": share.worth}


def _expected(found: Expected | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"value": found.value, "ci95": [found.low, found.high], "closed_form": found.exact}


def notes(result: Result) -> list[str]:
    """What a reader has to know to read the figures right."""
    told = [
        f"{CLAIMS[result.declared.kind]}; it gives no λ, T, tick, attack length, number of attackers or"
        f" horizon, so a value like it is {MATCHED}, and no more than that.",
        "resisted: attacks on a target in sight that begin at any moment; aligned: as it comes into sight;"
        " survives: no attack succeeds within the horizon, wherever the target is when it begins.",
        "as declared: the simulator with the clock alone; as played: with the lateness that this testbed"
        " added to each gap (late ticks, the time a move takes), less one look of the attackers.",
        "The hosts share one kernel and one processor: channels through hardware are out of sight here.",
    ]
    for verdict in result.verdicts:
        apart = [name for name in MEASURES if verdict.agrees(name) is False]
        if apart:
            told.append(f"{verdict.name}: live and simulated as played lie apart: {', '.join(apart)}.")
        for name, hosts in verdict.strays.items():
            told.append(f"{verdict.name}: {name} runs on {', '.join(hosts) or 'no host'}.")
        if verdict.played.errors:
            told.append(
                f"{verdict.name}: {len(verdict.played.errors)} ticks failed: {verdict.played.errors[0]}"
            )
    return told


def text(result: Result) -> str:
    """What a person reads."""
    rows = []
    for verdict in result.verdicts:
        for name in MEASURES:
            rows.append(
                (
                    verdict.name if name == MEASURES[0] else " ",
                    name.replace("_", " "),
                    said(verdict.shares[name]),
                    _simulated(verdict.beside.declared.get(name)),
                    _simulated(verdict.beside.played.get(name)),
                )
            )
    head = ("POLICY", "MEASURE", "LIVE", "AS DECLARED", "AS PLAYED")
    facts = [_facts(verdict) for verdict in result.verdicts]
    declared = ", ".join(f"{name} {value}" for name, value in result.declared.told().items())
    return "\n\n".join(
        [
            render.table(head, rows),
            render.table(FACTS, facts),
            f"Declared here, for the paper does not say: {declared}",
            "\n".join(notes(result)),
        ]
    )


FACTS = (
    *("POLICY", "MOVED", "NOT MOVED", "SIGHTS", "GAP MS", "LATE S", "SENT", "LOST", "DOUBLED", "REORDERED"),
    "CUT OFF",
)


def _facts(verdict: Verdict) -> Sequence[object]:
    counts = verdict.played.counts
    return (
        verdict.name,
        verdict.moved,
        len(verdict.played.moves) - verdict.moved,
        len(verdict.seen),
        _spread(verdict.gaps_ms, 0),
        _spread(verdict.late, 1),
        counts.sent,
        counts.lost,
        counts.duplicated,
        counts.reordered,
        counts.broken,
    )


def facts(result: Result) -> list[Sequence[object]]:
    """One row a policy, under `FACTS`."""
    return [_facts(verdict) for verdict in result.verdicts]


def said(share: Share) -> str:
    """A live share with its interval and how many stays or targets it rests on."""
    if share.value is None:
        return f"nothing to judge ({share.parts})"
    return f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}] of {share.parts}"


def _simulated(found: Expected | None) -> str:
    if found is None:
        return ""
    exact = "" if found.exact is None else f" (exact {found.exact:.3f})"
    return f"{found.value:.3f}{exact}"


def _spread(found: Spread | None, digits: int) -> str:
    """Least, middle, 95 of 100, greatest."""
    if found is None:
        return ""
    return "/".join(f"{value:.{digits}f}" for value in (found.min, found.median, found.p95, found.max))
