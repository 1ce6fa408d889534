"""`relocate timer`: what runs `relocate tick` on the controller."""

import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from relocate_cli.cli.options import Check, Config, Diff, Json, Verbose, load

app = typer.Typer(no_args_is_help=True, help="Run `relocate tick` by a systemd timer or by cron.")

_UNIT = "relocate-tick.timer"
_FILES = {"systemd": Path("/etc/systemd/system") / _UNIT, "cron": Path("/etc/cron.d/relocate-tick")}


@app.command()
def install(
    cron: Annotated[bool, typer.Option("--cron", help="A line in /etc/cron.d instead.")] = False,
    calendar: Annotated[str, typer.Option(help="How often, for systemd: see systemd.time(7).")] = "minutely",
    user: Annotated[str, typer.Option(help="As whom.")] = "root",
    directory: Annotated[
        Path | None, typer.Option(help="Where relocate.toml is; else here.", show_default=False)
    ] = None,
    config: Config = None,
    check: Check = False,
    diff: Diff = False,
    verbose: Verbose = 0,
) -> None:
    """Install the timer, or bring it up to date."""
    import shlex

    from relocate_cli import render
    from relocate_cli.errors import RefusedError

    if cron and not _FILES["cron"].parent.is_dir():
        raise RefusedError(f"there is no {_FILES['cron'].parent}: cron is not installed", "leave --cron away")
    place = (directory or Path.cwd()).absolute()
    command = [str(_program()), "tick", "--quiet"]
    if config is not None:
        command += ["--config", str(config.absolute())]
    variables = {
        "timer__state": "present",
        "timer__kind": "cron" if cron else "systemd",
        "timer__on_calendar": calendar,
        "timer__command": shlex.join(command),
        "timer__directory": str(place),
        "timer__user": user,
    }
    _run(variables, config, check, diff, verbose)
    kind = "cron" if cron else "systemd"
    render.note(f"{'would be' if check else 'is'} run by {kind}: {variables['timer__command']} in {place}")


@app.command()
def remove(config: Config = None, check: Check = False, diff: Diff = False, verbose: Verbose = 0) -> None:
    """Remove the timer, whichever kind it is; containers stay where they are."""
    _run({"timer__state": "absent"}, config, check, diff, verbose)


@app.command()
def status(as_json: Json = False) -> None:
    """Show whether a timer is installed and runs, and when it strikes next."""
    from relocate_cli import render

    kind = next((name for name, path in _FILES.items() if path.exists()), None)
    active, following = (kind == "cron"), None
    if kind == "systemd":
        asked = ["systemctl", "show", _UNIT, "--property=ActiveState,NextElapseUSecRealtime"]
        answer = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
        shown = dict(line.split("=", 1) for line in answer.splitlines() if "=" in line)
        active = shown.get("ActiveState") == "active"
        following = shown.get("NextElapseUSecRealtime") or None
    if as_json:
        file = None if kind is None else str(_FILES[kind])
        render.emit_json("timer", {"kind": kind, "active": active, "next": following, "file": file})
    elif kind is None:
        print("no timer is installed")
        render.note("Next: `relocate timer install`.")
    else:
        print(
            f"{kind} timer, {'active' if active else 'not active'}"
            + (f", next {following}" if following else "")
        )


def _program() -> Path:
    """This very command, since cron's PATH does not have a virtual environment in it."""
    beside = Path(sys.executable).with_name("relocate")
    return beside if beside.exists() else Path(sys.argv[0]).absolute()


def _run(variables: dict[str, Any], config: Path | None, check: bool, diff: bool, verbose: int) -> None:
    from relocate_cli import playbook

    result = playbook.run(
        "timer",
        settings=load(None, config),
        inventory=["localhost,"],
        extravars={**variables, "ansible_python_interpreter": "/usr/bin/python3"},
        check=check,
        diff=diff,
        verbosity=max(verbose, int(diff)),
    )
    result.require()
