"""One policy's turn: the same containers in the same places, the same seed, another clock or choice."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from relocate_cli.clock import Clock, make_clock
from relocate_cli.demo.stage import Stage
from relocate_cli.errors import ExitCode, RelocateError
from relocate_cli.experiment.clients import Clients, Counts
from relocate_cli.experiment.declared import Declared, Policy
from relocate_cli.experiment.ground import Ground, Placed
from relocate_cli.experiment.sights import Look, read
from relocate_cli.simulate.run import generator

_PATIENCE = 3  # ticks in a row that end in an error


@dataclass(frozen=True)
class Moved:
    """One relocation, or one restart in place, as the controller and the client saw it.

    ``late``: seconds from the time that the clock had drawn to the end of it.
    """

    target: str
    source: str
    host: str
    begin: float
    end: float
    outcome: str
    reason: str
    late: float | None
    window_ms: float | None
    gap_ms: float | None


@dataclass(frozen=True)
class Played:
    """What one turn gave: the attackers' logs are what is judged, the rest is told beside it."""

    policy: Policy
    begin: float
    end: float
    placed: Placed
    looks: Mapping[str, tuple[Look, ...]]
    moves: tuple[Moved, ...]
    counts: Counts
    ticks: tuple[float, ...]  # seconds that each took
    errors: tuple[str, ...]
    running: Mapping[str, Sequence[str]]


def places(declared: Declared, hosts: Sequence[str]) -> Placed:
    """Where everything begins, drawn once from the seed: targets anywhere, attackers on different hosts."""
    rng = generator(declared.seed, 2)
    where = rng.integers(len(hosts), size=declared.targets)
    captured = sorted(rng.choice(len(hosts), declared.attackers, replace=False).tolist())
    return Placed(
        {f"target{number}": hosts[host] for number, host in enumerate(where.tolist(), 1)},
        {f"attacker{number}": hosts[host] for number, host in enumerate(captured, 1)},
    )


class Restarts:
    """Self-cleaning in place by the same clock; `relocate` has no such verb, so the experiment does it."""

    def __init__(self, placed: Placed, clock: Clock, tick: float, rng: np.random.Generator) -> None:
        self._placed, self._clock, self._tick, self._rng = placed, clock, tick, rng
        self._due = dict.fromkeys(placed.targets, 0.0)

    def begin(self, now: float) -> None:
        """Every clock starts."""
        for target in self._due:
            self._draw(target, now)

    def play(self, ground: Ground) -> list[Moved]:
        """Restart what is due."""
        done = []
        for target, at in self._due.items():
            begin = time.time()
            if at <= begin:
                host = self._placed.targets[target]
                ground.restart(host, target)
                end = time.time()
                done.append(Moved(target, host, host, begin, end, "restarted", "", end - at, None, None))
                self._draw(target, end)
        return done

    def _draw(self, target: str, now: float) -> None:
        self._due[target] = now + float(self._clock.sample(self._rng)) * self._tick


def play(
    stage: Stage,
    ground: Ground,
    declared: Declared,
    policy: Policy,
    placed: Placed,
    say: Callable[[str], None],
) -> Played:
    """Play one policy. Raises RelocateError if it cannot be played at all."""
    state = stage.testbed.places.state / f"turn-{policy.name}"
    stage = replace(stage, environment={"RELOCATE_STATE_DIR": str(state), **policy.settings(declared)})
    ground = ground.of(stage)
    ground.clear()
    ground.start(placed)
    stage.command("survey")
    vips = ground.vips(placed)

    def connect(target: str, patience: float) -> Any:
        return stage.connect(vips[target], patience, placed.port(target))

    clients = Clients(tuple(placed.targets), connect)
    ground.attack(placed, declared.look)
    restarts = None
    if policy.restart:
        clock = make_clock(policy.clock, declared.rate, declared.threshold)
        restarts = Restarts(placed, clock, declared.tick, generator(declared.seed, 3))
    with ExitStack() as ended:
        ended.callback(clients.finish)
        rounds = Rounds(stage, ground, state, declared, clients, restarts)
        rounds.play(say)
        looks = {name: read(name, log) for name, log in ground.logs(placed).items()}
        running = ground.running(placed)
        counts = clients.finish()
    return Played(
        policy,
        rounds.begin,
        rounds.end,
        placed,
        looks,
        tuple(rounds.moves),
        counts,
        tuple(rounds.ticks),
        tuple(rounds.errors),
        running,
    )


class Rounds:
    """Ticks as cron would make them, for the length of a turn."""

    def __init__(
        self,
        stage: Stage,
        ground: Ground,
        state: Path,
        declared: Declared,
        clients: Clients,
        restarts: Restarts | None,
    ) -> None:
        self._stage, self._ground, self._state, self._declared = stage, ground, state, declared
        self._clients, self._restarts = clients, restarts
        self.begin = self.end = 0.0
        self.moves: list[Moved] = []
        self.ticks: list[float] = []
        self.errors: list[str] = []

    def play(self, say: Callable[[str], None]) -> None:
        """From now for as long as a turn is. Raises RelocateError if ticks fail one after the other."""
        self.begin = time.time()
        self.end = self.begin + self._declared.turn
        if self._restarts:
            self._restarts.begin(self.begin)
        failed = 0
        while (now := time.time()) < self.end:
            say(f"{self._state.name}: {len(self.moves)} moves, {self.end - now:.0f} s left")
            failed = 0 if self._round() else failed + 1
            if failed == _PATIENCE:
                raise RelocateError(f"{failed} ticks in a row failed: {self.errors[-1]}", "it stops here")
            if self._restarts:
                self.moves += self._restarts.play(self._ground)
            self._clients.mend()
            # The next multiple of a tick; one that was missed is not made up.
            passed = (time.time() - self.begin) % self._declared.tick
            time.sleep(max(0.0, min(self._declared.tick - passed, self.end - time.time())))

    def _round(self) -> bool:
        due = self._due()
        began = time.time()
        seed = str(int(generator(self._declared.seed, 4, len(self.ticks)).integers(1 << 31)))
        try:
            code, document = self._stage.command("tick", "--seed", seed)
            if code == ExitCode.NEEDS_RECOVER:
                self._stage.command("recover")
        except RelocateError as error:
            self.errors.append(error.message)
            return False
        finally:
            self.ticks.append(time.time() - began)
        self.moves += [self._moved(entry, due) for entry in document["relocations"]]
        return True

    def _due(self) -> dict[str, float]:
        """When each container was to move, as the controller's journal says before the tick."""
        from relocate_cli.journal import Journal

        with suppress(RelocateError), Journal(self._state) as journal:
            return {entry.container: entry.at for entry in journal.due()}
        return {}

    def _moved(self, entry: Mapping[str, Any], due: Mapping[str, float]) -> Moved:
        target, begin = str(entry["container"]), float(entry["started"])
        end = float(entry["ended"] or time.time())
        moved = entry["outcome"] == "moved"
        return Moved(
            target,
            str(entry["source"]),
            str(entry["target"]) if moved else str(entry["source"]),
            begin,
            end,
            str(entry["outcome"]),
            str(entry["reason"]),
            end - due[target] if moved and target in due else None,
            entry["window_ms"],
            self._clients.gap_ms(target, begin, end) if moved else None,
        )
