"""The parameters of an experiment as a user gives them, and exact values where mathematics knows them."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from relocate_cli.clock import make_clock
from relocate_cli.errors import UsageError
from relocate_cli.simulate import closed_form
from relocate_cli.simulate.laws import AttackLaw, make_law
from relocate_cli.simulate.model import (
    Attacker,
    Gaps,
    Phase,
    Place,
    Scenario,
    Start,
    anywhere,
    check,
    found_anywhere,
    in_place,
)

_HOURS_A_YEAR = 8766.0
_LONG_SIEGE = 1000  # moves or attacks


@dataclass(frozen=True)
class Setup:
    """Times in ticks, but ``tick`` (seconds) and the gaps that clients see (milliseconds).

    The paper gives none of these values. ``mean_gap`` rescales every clock to one mean (0: as λ and T say).
    ``search_rate`` > 0 makes the attacker chase, ``attacker_gap`` > 0 makes him move too.
    """

    hosts: int = 30
    attackers: int = 10
    capacity: int = 0
    targets: int = 1
    clock: str = "threshold"
    rate: float = 10.0
    threshold: float = 0.1
    mean_gap: float = 0.0
    attack: str = "constant"
    attack_length: float = 7.0
    attack_shape: float = 0.0
    attack_file: Path | None = None
    horizon: float = 70.0
    start: Start = "captured"
    phase: Phase = "random"
    carry: float = 0.0
    search_rate: float = 0.0
    attacker_gap: float = 0.0
    tick: float = 60.0
    gap_ms: float = 100.0
    restart_ms: float = 2000.0
    trials: int = 200_000

    @cached_property
    def law(self) -> AttackLaw:
        """How long attacks take."""
        return make_law(self.attack, self.attack_length, self.attack_shape, self.attack_file)

    def checked(self) -> "Setup":
        """Itself. Raises UsageError that names the first parameter that makes no sense."""
        check(
            hosts=self.hosts,
            attackers=self.attackers,
            carry=self.carry,
            horizon=self.horizon,
            law=self.law,
            search_rate=self.search_rate,
            trials=self.trials,
            capacity=self.capacity,
            targets=self.targets,
        )
        if self.start not in ("captured", "random"):
            raise UsageError(f"start: captured or random, not {self.start}")
        if self.phase not in ("random", "aligned"):
            raise UsageError(f"phase: random or aligned, not {self.phase}")
        for name in ("mean_gap", "attacker_gap", "gap_ms", "restart_ms"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name.replace('_', '-')}: zero or more, not {value:g}")
        if not (math.isfinite(self.tick) and self.tick > 0):
            raise UsageError(f"tick: a time above zero, not {self.tick:g} s", "such as 1m")
        self.gaps(self.clock)
        return self

    def gaps(self, kind: str) -> Gaps:
        """Gaps of a clock of this kind, with this λ, T and mean."""
        clock = make_clock(kind, self.rate, self.threshold)
        if not self.mean_gap or kind == "static":
            return Gaps(clock)
        return Gaps(clock, self.mean_gap / clock.mean)

    @property
    def attacker(self) -> Attacker:
        """What the attacker does about relocation."""
        moves = Gaps(make_clock("exponential", self.attacker_gap)) if self.attacker_gap else None
        return Attacker(self.search_rate, moves, self.carry)

    @property
    def place(self) -> Place:
        """Uniform moves, as this attacker meets them."""
        if self.search_rate:
            return found_anywhere(self.carry)
        return anywhere(self.hosts, self.attackers, self.carry)

    def attempt(self, gaps: Gaps, phase: Phase) -> Scenario:
        """One attack on a captured target, until it succeeds or is thrown back."""
        return Scenario(gaps, self.place, self.law, self.attacker, phase=phase, first=True)

    def campaign(self, gaps: Gaps, place: Place | None = None, curve: tuple[float, ...] = ()) -> Scenario:
        """Every attack from a random start to the horizon."""
        where = place or self.place
        return Scenario(gaps, where, self.law, self.attacker, self.horizon, "random", "random", curve=curve)

    def siege(self, gaps: Gaps) -> tuple[Scenario, float] | None:
        """Attacks on a captured target without a horizon, and the exact mean time to compromise.

        None where no closed form says that it ends, or soon enough to wait for.
        """
        if self.search_rate or self.attacker_gap or self.carry or not math.isfinite(self.law.mean):
            return None
        exact = closed_form.time_to_compromise(gaps.clock, self.law, self.hosts, self.attackers, gaps.scale)
        if exact / min(gaps.mean, self.law.mean) > _LONG_SIEGE:
            return None
        return Scenario(gaps, self.place, self.law, phase="aligned"), exact

    def restarts(self) -> Place:
        """Self-cleaning in place of relocation."""
        return found_anywhere() if self.search_rate else in_place(self.hosts, self.attackers)

    def moves_per_hour(self, gaps: Gaps) -> float:
        """Relocations of one container."""
        return 3600.0 / (gaps.mean * self.tick)

    def downtime(self, gaps: Gaps, gap_ms: float | None = None) -> float:
        """Minutes a year in which clients of one container wait."""
        each = self.gap_ms if gap_ms is None else gap_ms
        return self.moves_per_hour(gaps) * _HOURS_A_YEAR * each / 60_000.0

    def _rate(self, gaps: Gaps) -> float | None:
        """Mean gap of the relative motion of target and attacker, if it is a Poisson process."""
        if gaps.clock.kind != "exponential":
            return None
        other = 1 / self.attacker_gap if self.attacker_gap else 0.0
        return 1 / (1 / gaps.mean + other)

    def exact_attempt(self, gaps: Gaps, phase: Phase) -> float | None:
        """P(resisted) of `attempt`, if there is a closed form."""
        clock, scale, law = gaps.clock, gaps.scale, self.law
        mean = self._rate(gaps)
        if self.search_rate:
            if (
                self.attacker_gap
                or self.carry
                or not (mean or (law.name == "constant" and phase == "aligned"))
            ):
                return None
            return 1 - closed_form.success_chasing(clock, law, self.search_rate, scale)
        if mean is not None:
            return 1 - closed_form.success_spread(law, mean, self.hosts, self.attackers, self.carry)
        if self.attacker_gap or (self.carry and self.attackers > 1 and clock.kind != "static"):
            return None
        if phase == "aligned":
            return 1 - closed_form.success_aligned(clock, law, scale)
        return 1 - closed_form.success_random_phase(clock, law, scale)

    def exact_campaign(self, gaps: Gaps, *, restart: bool = False, start: Start = "random") -> float | None:
        """P(no attack succeeds) of `campaign`, if there is a closed form or a renewal equation."""
        if self.search_rate:
            return None
        share = 1.0 if start == "captured" else self.attackers / self.hosts
        if gaps.clock.kind == "static" and not self.attacker_gap:
            return 1 - share * float(self.law.cdf(self.horizon))
        mean = self._rate(gaps)
        if mean is None or self.horizon / mean > 400:
            return None
        steps = max(2000, math.ceil(60 * self.horizon / min(mean, self.law.mean)))
        if steps > 20_000:
            return None
        where = replace(self, hosts=2, attackers=2) if restart else self
        found = closed_form.survival(
            self.horizon,
            self.law,
            mean,
            where.hosts,
            where.attackers,
            carry=0.0 if restart else self.carry,
            captured=1.0 if restart else share,
            steps=steps,
        )[-1]
        return float(1 - share * (1 - found)) if restart else float(found)
