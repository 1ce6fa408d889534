"""An experiment from boot to verdict: every policy in its turn, judged by the attackers' logs."""

import platform
from collections.abc import Callable
from dataclasses import replace

from relocate_cli import __version__
from relocate_cli.demo import stage as stages
from relocate_cli.demo.stage import Stage
from relocate_cli.experiment import turn
from relocate_cli.experiment.beside import Facts, expect
from relocate_cli.experiment.declared import Declared
from relocate_cli.experiment.ground import Ground, program
from relocate_cli.experiment.result import Result, verdict

NAME = "experiment"


def experiment(
    declared: Declared, say: Callable[[str], None], keep: Callable[[Result], None] = lambda _: None
) -> Result:
    """Boot, play, judge; whoever calls takes the testbed down. ``declared`` was checked.

    ``keep`` is given what was found so far after each turn: a run of an hour may be interrupted.
    """
    stage = stages.set_up(declared.engines, say, hosts=declared.hosts, name=NAME)
    say("image")
    ground = Ground(stage, stages.push_image(stage, "relocate-experiment", program("target.py")))
    ground.differ()
    ground.pull()
    placed = turn.places(declared, ground.hosts)
    versions = {"RELOCATE": __version__, "Python": platform.python_version(), **ground.versions()}
    result = Result(declared, ground.hosts, (), (), versions)
    captured = tuple(ground.hosts.index(host) for host in placed.attackers.values())
    for policy in declared.chosen:
        played = turn.play(stage, ground, declared, policy, placed, say)
        delta = result.delta or _delta(stage, policy.name)
        say(f"{policy.name}: simulated beside it")
        late = [move.late for move in played.moves if move.late is not None]
        judged = verdict(declared, played, expect(declared, policy, Facts(delta, captured), late))
        result = replace(result, verdicts=(*result.verdicts, judged), delta=delta)
        keep(result)
    return result


def _delta(stage: Stage, name: str) -> tuple[tuple[float, ...], ...]:
    """Δ between the hosts, as the controller of that turn had surveyed them."""
    from relocate_cli import placement, settings, survey
    from relocate_cli.errors import RelocateError
    from relocate_cli.journal import Journal

    of = stage.testbed.places
    chosen = settings.load({"state_dir": str(of.state / f"turn-{name}")}, config=of.settings)
    with Journal(chosen.state) as journal:
        fleet = survey.kept(chosen, journal)
    if fleet is None:
        raise RelocateError("the survey's facts are gone", "it stops here")
    return tuple(tuple(row) for row in placement.differences(fleet, chosen).total.tolist())
