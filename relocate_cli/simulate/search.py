"""The longest mean gap that keeps a risk below a bound, for several clocks at once: scan, bisect, check."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from relocate_cli.simulate.engine import Tally
from relocate_cli.simulate.model import Scenario
from relocate_cli.simulate.run import Job, Means, run

Curve = tuple[tuple[float, float], ...]  # mean gap in ticks, risk
MOST_GAPS, MOST_MOVES = 8, 40  # the scan goes from gaps of 8 attacks to 40 moves an attack
_POINTS, _BATCH = 30, 5
_STEPS = 8
_COARSE = 4_000  # trials that are enough to look for an answer, which is then checked with all
_CHECKS = 20


@dataclass(frozen=True)
class Found:
    """``mean`` gap in ticks, what all trials say of it, and whether even the upper end of ci95 is below."""

    mean: float
    tally: Tally
    meets: bool
    curve: Curve


@dataclass(frozen=True)
class Search:
    """``scenario``(kind, mean gap) is played ``trials`` times; ``length`` is the mean attack in ticks."""

    scenario: Callable[[str, float], Scenario]
    risk: float
    length: float
    trials: int
    means: Means

    def longest(self, kinds: Sequence[str]) -> dict[str, Found]:
        """For each kind its longest gap that meets the bound, or else the gap of the least risk seen."""
        curves = self._scan(kinds)
        brackets = {
            kind: (curve[-1][0], curve[max(len(curve) - 2, 0)][0])
            for kind, curve in curves.items()
            if curve[-1][1] < self.risk
        }
        answers = {kind: min(curve, key=lambda point: point[1])[0] for kind, curve in curves.items()}
        checked = self._check(answers | self._bisect(brackets), frozenset(brackets))
        return {kind: replace(found, curve=curves[kind]) for kind, found in checked.items()}

    def _play(self, points: Sequence[tuple[str, float]], trials: int, number: int) -> list[Tally]:
        jobs = [Job(self.scenario(kind, mean), trials) for kind, mean in points]
        return run(jobs, replace(self.means, seed=self.means.seed + number))

    def _scan(self, kinds: Sequence[str]) -> dict[str, Curve]:
        """Risk at ever shorter gaps, for each clock until it is below; several gaps at once for the cores."""
        tried = np.geomspace(self.length * MOST_GAPS, self.length / MOST_MOVES, _POINTS).tolist()
        curves: dict[str, Curve] = dict.fromkeys(kinds, ())
        for begin in range(0, _POINTS, _BATCH):
            left = [kind for kind, curve in curves.items() if not curve or curve[-1][1] >= self.risk]
            points = [(kind, mean) for kind in left for mean in tried[begin : begin + _BATCH]]
            found = self._play(points, min(_COARSE, self.trials), begin)
            for (kind, mean), tally in zip(points, found, strict=True):
                if not curves[kind] or curves[kind][-1][1] >= self.risk:
                    curves[kind] = (*curves[kind], (mean, tally.success))
        return curves

    def _bisect(self, brackets: Mapping[str, tuple[float, float]]) -> dict[str, float]:
        """Narrow all brackets (a gap with the risk below, one without) at once: every core has work."""
        brackets = dict(brackets)
        for step in range(_STEPS):
            middle = [(kind, math.sqrt(low * high)) for kind, (low, high) in brackets.items()]
            found = self._play(middle, min(_COARSE, self.trials), _POINTS + step)
            for (kind, mean), tally in zip(middle, found, strict=True):
                low, high = brackets[kind]
                brackets[kind] = (mean, high) if tally.success < self.risk else (low, mean)
        return {kind: low for kind, (low, _) in brackets.items()}

    def _check(self, answers: Mapping[str, float], hopeful: frozenset[str]) -> dict[str, Found]:
        """Play each answer in full; shorten its gap by 2 % until ci95 is below the bound as a whole."""
        left, checked = dict(answers), dict[str, Found]()
        for attempt in range(_CHECKS):
            points = list(left.items())
            for (kind, mean), tally in zip(
                points, self._play(points, self.trials, 100 + attempt), strict=True
            ):
                meets = 1 - tally.ci95[0] < self.risk
                if meets or kind not in hopeful or attempt == _CHECKS - 1:
                    checked[kind] = Found(mean, tally, meets, ())
                    del left[kind]
                else:
                    left[kind] = mean * 0.98
        return {kind: checked[kind] for kind in answers}
