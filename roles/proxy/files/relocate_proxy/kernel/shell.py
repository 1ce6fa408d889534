"""The one way to run a tool of the system, and the one error when it refuses."""

import subprocess

NOT_THERE = 127  # as a shell says it


class ToolError(Exception):
    """A tool refused: its name, its exit code, and the line that says why."""

    def __init__(self, tool: str, code: int, line: str) -> None:
        super().__init__(f"{tool}: {line}")
        self.tool = tool
        self.code = code
        self.line = line


def run(command: list[str], stdin: str = "") -> str:
    """Run a tool to its end; return what it printed.

    Raises ToolError with its last line, of nft with that which says what is wrong; also when there is no such
    tool.
    """
    try:
        ended = subprocess.run(
            command, input=stdin, capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError as error:
        raise ToolError(command[0], NOT_THERE, str(error.strerror)) from None
    if ended.returncode:
        words = ended.stderr.strip().splitlines() or [f"exit {ended.returncode}"]
        line = next((line for line in words if "Error: " in line), words[-1])
        raise ToolError(command[0], ended.returncode, line)
    return ended.stdout


def succeeds(command: list[str]) -> bool:
    """Run a tool whose refusal is an answer: that there is nothing to remove, or that a unit does not run."""
    try:
        run(command)
    except ToolError:
        return False
    return True
