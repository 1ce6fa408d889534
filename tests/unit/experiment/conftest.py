"""An experiment that was never played, made of what its parts would have said."""

from collections.abc import Callable
from typing import Any

import pytest

from relocate_cli.experiment import result
from relocate_cli.experiment.beside import MEASURES, Beside, Expected
from relocate_cli.experiment.clients import Counts
from relocate_cli.experiment.declared import Declared, policies
from relocate_cli.experiment.ground import Placed
from relocate_cli.experiment.result import Result
from relocate_cli.experiment.sights import read
from relocate_cli.experiment.turn import Moved, Played

BEGIN = 1000.0


@pytest.fixture
def played() -> Callable[..., Played]:
    """Two targets on host1, an attacker there who sees the first go after ``away`` seconds of 100."""

    def make(name: str = "threshold", away: int = 40, **changes: Any) -> Played:
        declared = changes.pop("declared", Declared("time"))
        target = changes.pop("target", "target1")
        log = "".join(
            f"{BEGIN + second:.3f} {f'{target}/a=172.17.1.2' if second < away else ''}\n"
            for second in range(101)
        )
        moves = (
            Moved(target, "host1", "host2", BEGIN + away, BEGIN + away + 2, "moved", "", 3.0, 70.0, 90.0),
            Moved(
                "target2",
                "host1",
                "host1",
                BEGIN + 50,
                BEGIN + 51,
                "rolled_back",
                "no room",
                None,
                None,
                None,
            ),
        )
        made = {
            "policy": policies(declared.kind)[name],
            "begin": BEGIN,
            "end": BEGIN + 100,
            "placed": Placed({target: "host1", "target2": "host1"}, {"attacker1": "host1"}),
            "looks": {"attacker1": read("attacker1", log)},
            "moves": moves,
            "counts": Counts(sent=100),
            "ticks": (4.0, 9.0),
            "errors": (),
            "running": {target: ["host2"], "target2": ["host1"]},
        }
        return Played(**(made | changes))

    return make


@pytest.fixture
def found(played: Callable[..., Played]) -> Callable[..., Result]:
    """A result of these turns; ``exact`` is what every simulation says."""

    def make(*turns: Played, exact: float = 0.5, declared: Declared | None = None) -> Result:
        declared = declared or Declared("time", attack_length=4.0, tick=5.0, horizon=10.0)
        expected = {name: Expected(exact, exact - 0.01, exact + 0.01, exact) for name in MEASURES}
        verdicts = [
            result.verdict(declared, turn, Beside(expected, expected)) for turn in turns or (played(),)
        ]
        return Result(
            declared, ("host1", "host2"), tuple(verdicts), ((0.0, 0.4), (0.4, 0.0)), {"CRIU": "4.2"}
        )

    return make
