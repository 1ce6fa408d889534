"""The command `relocate`. Each verb is a module of its own here; heavy imports stay inside the verbs."""

import importlib
import sys
from typing import cast

import typer

from relocate_cli import __version__
from relocate_cli.errors import ExitCode, RelocateError

INTERRUPTED = 130  # what Typer makes of a KeyboardInterrupt: the shells' number for SIGINT
# Typer's own copy of Click has it, without a public name.
UsageMistake = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])

# A module named here defines a function of its own name (a command) or `app` (a group of commands).
VERBS = (
    "init",
    "check",
    "provision",
    "survey",
    "status",
    "schedule",
    "target",
    "move",
    "tick",
    "drain",
    "recover",
    "history",
    "report",
    "metrics",
    "clock",
    "simulate",
    "timer",
    "kernel",
    "decommission",
    "config",
    "testbed",
    "demo",
    "experiment",
)


def build(arguments: list[str]) -> typer.Typer:
    """The command, with the verb that ``arguments`` ask for, or all (for help and completion)."""
    app = typer.Typer(
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        callback=root,
    )
    asked = next((word for word in arguments if not word.startswith("-")), None)
    for verb in [asked] if asked in VERBS else VERBS:
        module = importlib.import_module(f"relocate_cli.cli.{verb}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=verb)
        else:
            app.command(name=verb)(getattr(module, verb))
    return app


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        parts = ", ".join(f"{name} {version(name)}" for name in ("ansible-core", "ansible-runner"))
        typer.echo(f"relocate {__version__} ({parts})")
        raise typer.Exit


def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Move running Docker containers between unlike hosts at unpredictable moments."""


def main() -> None:
    """Entry point of the console script: the one place where errors become a line and an exit code."""
    try:
        code = build(sys.argv[1:])(standalone_mode=False)
        if code == INTERRUPTED:
            _complain("interrupted", "`relocate recover --check` says what is open")
    except RelocateError as error:
        _complain(error.message, error.hint)
        code = int(error.exit_code)
    except typer.Abort:
        _complain("nothing was done", "")
        code = int(ExitCode.ROLLED_BACK)
    except UsageMistake as mistake:
        code = int(ExitCode.USAGE)
        if said := mistake.format_message().strip().rstrip("."):  # else the help has been shown
            path = mistake.ctx.command_path if mistake.ctx else "relocate"
            _complain(said, f"see `{path} --help`")
    raise SystemExit(code)


def _complain(line: str, hint: str) -> None:
    print(f"relocate: {line} ({hint})" if hint else f"relocate: {line}", file=sys.stderr)
