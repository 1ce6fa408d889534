"""Transient systemd units: what must outlive the process that starts it (systemd-run(1))."""

from pathlib import Path

from relocate_proxy.kernel.shell import run, succeeds


def name(relocation: str, what: str) -> str:
    """`relocate-WHAT-ID`, without a suffix."""
    return f"relocate-{what}-{relocation}"


def start(unit: str, command: list[str], stderr: Path, environment: dict[str, str] | None = None) -> None:
    """Start ``command`` as a service. Raises ToolError with systemd's own words."""
    settings = [f"--setenv={key}={value}" for key, value in (environment or {}).items()]
    settings += [f"--property=StandardError=file:{stderr}", "--property=KillMode=mixed"]
    run(["systemd-run", "--quiet", "--collect", f"--unit={unit}", *settings, *command])


def begin(unit: str) -> None:
    """Have systemd start a service that is installed, without waiting for it. Raises ToolError."""
    run(["systemctl", "start", "--no-block", f"{unit}.service"])


def start_after(unit: str, seconds: float, command: list[str]) -> None:
    """Start ``command`` in ``seconds`` unless ``stop`` comes first; set again, the clock starts anew."""
    stop(unit)
    timer = [f"--on-active={seconds:.1f}", "--timer-property=AccuracySec=50ms"]
    run(["systemd-run", "--quiet", "--collect", f"--unit={unit}", *timer, *command])


def stop(unit: str) -> None:
    """Stop a service or a timer of this name; none is fine."""
    succeeds(["systemctl", "stop", f"{unit}.timer", f"{unit}.service"])


def is_active(unit: str) -> bool:
    """Whether the service runs."""
    return succeeds(["systemctl", "is-active", "--quiet", unit])


def main_pid(unit: str) -> int:
    """The pid of the service's process, 0 if it has none."""
    return int(run(["systemctl", "show", "--property=MainPID", "--value", f"{unit}.service"]))
