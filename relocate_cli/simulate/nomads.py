"""`relocate simulate nomad`: the NOMAD-like baseline by greedy search and exactly, beside doing nothing."""

from dataclasses import dataclass, replace

import numpy as np

from relocate_cli.simulate import nomad
from relocate_cli.simulate.fleet import interval
from relocate_cli.simulate.laws import Floats
from relocate_cli.simulate.nomad import Case, Ints, Window
from relocate_cli.simulate.report import Line, Measure, Report
from relocate_cli.simulate.run import Means, generator, spread

_POLICIES = ("static", "random", "greedy", "exact")
_SMALL = 80  # replicas times hosts up to which the exact solver is asked


@dataclass(frozen=True)
class Game:
    """``epochs`` of a case, seen through a ``window``."""

    case: Case
    window: int
    epochs: int


@dataclass(frozen=True)
class Played:
    """Mean leak of an epoch, share of replicas that no attack reached, moves an epoch, decisions unsolved."""

    leak: float
    survival: float
    moved: float
    unsolved: int


def nomad_like(game: Game, models: tuple[str, ...], trials: int, means: Means) -> Report:
    """Mean leak of each policy under each model, from the same random starts; greedy's gap to the optimum.

    The gap is taken decision by decision: greedy and exact answer from the same state.
    """
    games = [replace(game, case=replace(game.case, model=model)) for model in models]
    small = game.case.size * game.case.hosts <= _SMALL
    policies = _POLICIES if small else _POLICIES[:-1]
    tasks = [
        (number, policy, trial)
        for number in range(len(games))
        for policy in range(len(policies))
        for trial in range(trials)
    ]
    outcomes = list(spread(play, games, tasks, means))
    gaps = list(spread(greedy_gap, games, [(n, t) for n in range(len(games)) for t in range(trials)], means))
    lines = []
    for number, entry in enumerate(games):
        base = 0.0
        for place, policy in enumerate(policies):
            at = (number * len(policies) + place) * trials
            found = outcomes[at : at + trials]
            mean, low, high = _mean([one.leak for one in found])
            base = base or mean
            figures: dict[str, float | str | None] = {
                "leak_epochs": mean,
                "leak_ci95": f"{low:.2f} to {high:.2f}",
                "less_than_static": 1 - mean / base if base else None,
                "moves_per_epoch": float(np.mean([one.moved for one in found])),
            }
            if policy == "greedy" and small:
                known = [gap for gap in gaps[number * trials : (number + 1) * trials] if gap is not None]
                figures["gap_to_optimum"] = float(np.mean(known)) if known else None
            survival = Measure(*interval([one.survival for one in found]))
            lines.append(Line(f"<{entry.case.model}> {policy}", {"survival": survival}, figures))
    case = game.case
    told = {
        "clients": case.clients, "replicas": case.replicas, "hosts": case.hosts, "capacity": case.capacity,
        "budget": f"{case.budget} moves an epoch", "window": f"{game.window} epochs", "epochs": game.epochs,
    }  # fmt: skip
    notes = [
        "leak: epochs shared within the window; summed over pairs of clients, the worst pair for <rc>.",
        "survival: containers that shared a host with no stranger for a whole window, an attack's length.",
        "r: replicas hold one secret, nr: they do not; c: attackers collaborate, nc: they do not.",
    ]
    if unsolved := sum(one.unsolved for one in outcomes):
        notes.append(f"the solver left {unsolved} decisions open; there, nothing moved.")
    if not small:
        notes.append(f"too large to solve exactly: more than {_SMALL} replicas times hosts.")
    return Report("nomad", "policies", lines, {"trials": trials, "seed": means.seed}, told, (), notes)


def _mean(values: list[float]) -> tuple[float, float, float]:
    """Interval of counts: scaled into [0, 1] and back."""
    top = max(values) * 2 or 1.0
    mean, low, high = interval([value / top for value in values])
    return mean * top, low * top, high * top


def play(games: list[Game], seed: int, task: tuple[int, int, int]) -> Played:
    """One policy through all epochs; trial t starts alike for every policy and model."""
    number, policy, trial = task
    game = games[number]
    at = nomad.start(game.case, generator(seed, trial))
    rng = generator(seed, trial, policy)
    window = Window(game.window, game.case.size)
    window.add(at)
    leaks, moved, unsolved = [], 0, 0
    in_row = longest = nomad.together(at)
    for _ in range(game.epochs):
        past = window.past
        after = _decide(_POLICIES[policy], game.case, past, at, rng)
        if after is None:
            unsolved, after = unsolved + 1, at
        leaks.append(game.case.leak(past + nomad.together(after))[0])
        moved += int(np.count_nonzero(after != at))
        at = after
        window.add(at)
        in_row = (in_row + 1) * nomad.together(at)
        longest = np.maximum(longest, in_row)
    owner = np.arange(game.case.size) // game.case.replicas
    reached = (longest >= game.window) & (owner[:, None] != owner[None, :])
    survival = 1.0 - float(reached.any(axis=1).mean())
    return Played(float(np.mean(leaks)), survival, moved / game.epochs, unsolved)


def _decide(policy: str, case: Case, past: Floats, at: Ints, rng: np.random.Generator) -> Ints | None:
    if policy == "greedy":
        return nomad.greedy(case, past, at)
    if policy == "exact":
        return nomad.exact(case, past, at)
    return nomad.random_moves(case, at, rng) if policy == "random" else at


def greedy_gap(games: list[Game], seed: int, task: tuple[int, int]) -> float | None:
    """Mean of (greedy - optimum)/optimum over greedy's own states; None if too large or nothing leaks."""
    number, trial = task
    game = games[number]
    if game.case.size * game.case.hosts > _SMALL:
        return None
    at = nomad.start(game.case, generator(seed, trial))
    window = Window(game.window, game.case.size)
    window.add(at)
    gaps = []
    for _ in range(game.epochs):
        past = window.past
        near, best = nomad.greedy(game.case, past, at), nomad.exact(game.case, past, at)
        if best is not None:
            optimum = game.case.leak(past + nomad.together(best))[0]
            if optimum > 0:
                gaps.append(game.case.leak(past + nomad.together(near))[0] / optimum - 1)
        at = near
        window.add(at)
    return float(np.mean(gaps)) if gaps else None
