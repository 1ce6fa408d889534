"""What an experiment declares, for the paper does not say it; checked before anything is booted. Pure."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from relocate_cli.errors import UsageError

Kind = Literal["time", "space"]
RESTART = "restart"
STATIC = "static"
MOST_HOSTS = 60
MOST_TARGETS = 40


@dataclass(frozen=True)
class Policy:
    """What one turn plays: a clock and a choice as relocate.toml has them; ``restart``: in place, instead."""

    name: str
    clock: str
    choice: str
    restart: bool = False

    def settings(self, declared: "Declared") -> dict[str, str]:
        """The environment that makes `relocate tick` play it; who restarts in place moves nothing."""
        return {
            "RELOCATE_CLOCK_KIND": "static" if self.restart else self.clock,
            "RELOCATE_CLOCK_RATE": f"{declared.rate:g}",
            "RELOCATE_CLOCK_THRESHOLD": f"{declared.threshold:g}",
            "RELOCATE_CLOCK_TICK": f"{declared.tick:g}s",
            "RELOCATE_SELECTION_CHOICE": self.choice,
        }


@dataclass(frozen=True)
class Declared:
    """Lengths are in ticks, as in `relocate simulate`; ``tick``, ``turn`` and ``look`` in seconds.

    ``turn`` is how long each policy is played, ``look`` how often an attacker looks around.
    """

    kind: Kind
    policies: tuple[str, ...] = ()
    hosts: int = 4
    targets: int = 4
    attackers: int = 2
    attack_length: float = 7.0
    tick: float = 10.0
    turn: float = 480.0
    look: float = 1.0
    rate: float = 10.0
    threshold: float = 0.1
    horizon: float = 0.0  # in ticks; 0: two attacks
    engines: tuple[str, ...] = ("26",)
    seed: int = 0

    @property
    def attack(self) -> float:
        """A in seconds."""
        return self.attack_length * self.tick

    @property
    def window(self) -> float:
        """The horizon of survival in ticks."""
        return self.horizon or 2 * self.attack_length

    @property
    def chosen(self) -> tuple[Policy, ...]:
        """The policies to play, in their turn."""
        known = policies(self.kind)
        return tuple(known[name] for name in dict.fromkeys(self.policies or tuple(known)))

    def checked(self) -> "Declared":
        """Itself. Raises UsageError that names the first parameter that makes no sense."""
        from relocate_cli.clock import make_clock
        from relocate_cli.testbed.root import Engine

        known = policies(self.kind)
        for name in self.policies:
            if name not in known:
                raise UsageError(
                    f"policy: {name} is none of experiment {self.kind}", "they are " + ", ".join(known)
                )
        _within("hosts", self.hosts, 2, MOST_HOSTS)
        _within("targets", self.targets, 1, MOST_TARGETS)
        _within("attackers", self.attackers, 1, self.hosts)
        for name in ("attack_length", "tick", "turn", "look"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name.replace('_', '-')}: above zero, not {value:g}")
        if self.look > self.attack / 4:
            raise UsageError(
                f"look: every {self.look:g} s is too seldom for attacks of {self.attack:g} s",
                f"{self.attack / 4:g} s at most",
            )
        if self.window < self.attack_length or not math.isfinite(self.window):
            raise UsageError(
                f"horizon: no attack of {self.attack_length:g} ticks fits into {self.window:g}",
                f"at least {self.attack_length:g}",
            )
        if self.turn < self.window * self.tick:
            raise UsageError(
                f"for: {self.turn:g} s are less than the horizon, {self.window * self.tick:g} s",
                "play longer, or shorten the attack or the tick",
            )
        if self.seed < 0:
            raise UsageError(f"seed: zero or more, not {self.seed}")
        for engine in self.engines:
            if engine not in list(Engine):
                raise UsageError(f"engine: there is no {engine}", "they are " + ", ".join(Engine))
        for policy in self.chosen:
            make_clock(policy.clock, self.rate, self.threshold)
        return self

    def told(self) -> dict[str, str]:
        """Every parameter for people."""
        return {
            "hosts": f"{self.hosts} (one kernel)",
            "engines": ", ".join(self.engines),
            "targets": str(self.targets),
            "attackers": f"{self.attackers}, one on each of as many hosts, drawn once",
            "attack length": f"{self.attack_length:g} ticks = {self.attack:g} s, constant",
            "tick": f"{self.tick:g} s; `relocate tick` every tick, or as soon as the last one has ended",
            "clock": f"λ={self.rate:g} T={self.threshold:g}",
            "horizon of survival": f"{self.window:g} ticks = {self.window * self.tick:g} s",
            "each policy is played for": f"{self.turn:g} s",
            "an attacker looks": f"every {self.look:g} s; two looks without an answer end a sight",
            "seed": str(self.seed),
        }


def policies(kind: Kind) -> Mapping[str, Policy]:
    """The policies of this experiment by name, in the order in which they are played."""
    if kind == "time":
        found = [
            Policy(STATIC, "static", "random"),
            Policy(RESTART, "threshold", "random", restart=True),
            Policy("threshold", "threshold", "random"),
            Policy("truncated", "truncated", "random"),
            Policy("exponential", "exponential", "random"),
        ]
    else:
        found = [
            Policy(STATIC, "static", "random"),
            Policy("random", "exponential", "random"),
            Policy("high", "exponential", "softmax"),
            Policy("equaliser", "exponential", "equaliser"),
            Policy("argmax", "exponential", "argmax"),
        ]
    return {policy.name: policy for policy in found}


def _within(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise UsageError(f"{name}: {least} to {most}, not {value}")
