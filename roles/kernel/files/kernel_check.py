"""What of CRIU's needs this host lacks: ``kernel_check.py REQUIRED OPTIONAL`` or ``kernel_check.py criu``.

The first reads the running kernel's configuration for two comma-separated lists of options and writes
``{"kernel", "source", "missing_required": [], "missing_optional": []}``; ``source`` is the file that was
read, or "" when the kernel does not tell its configuration and only CRIU can say more. The second asks CRIU
and writes ``{"version", "fault"}``.
"""

import gzip
import json
import platform
import re
import subprocess
import sys
from pathlib import Path


def candidates(release: str) -> list[Path]:
    """Where distributions put the configuration of the kernel ``release``, the surest first."""
    return [
        Path("/proc/config.gz"),
        Path(f"/boot/config-{release}"),
        Path(f"/usr/lib/modules/{release}/config"),
        Path(f"/lib/modules/{release}/build/.config"),
    ]


def options(text: str) -> set[str]:
    """The options that a kernel configuration has built in or as a module, without CONFIG_."""
    assignments = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
    return {name.removeprefix("CONFIG_") for name, _, value in assignments if value in ("y", "m")}


def read(path: Path) -> str:
    """The text of a configuration, compressed or not."""
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def report(required: list[str], optional: list[str], release: str, paths: list[Path]) -> dict[str, object]:
    """What the first readable file of ``paths`` lacks."""
    source = next((path for path in paths if path.is_file()), None)
    present = options(read(source)) if source else {*required, *optional}
    return {
        "kernel": release,
        "source": str(source or ""),
        "missing_required": [name for name in required if name not in present],
        "missing_optional": [name for name in optional if name not in present],
    }


def outgrown(version: str, release: str) -> str:
    """Why CRIU ``version`` cannot work with kernel ``release`` although it starts; "" if it can.

    CRIU before 4.2 cannot dump TCP sockets on Linux 6.16 and later (checkpoint-restore/criu#2718), which
    ``criu check`` does not try.
    """
    if numbers(release) >= (6, 16) and numbers(version) < (4, 2):
        return f"CRIU {version} cannot dump TCP sockets on kernel {release}: install 4.2 or newer"
    return ""


def numbers(version: str) -> tuple[int, ...]:
    """The leading two numbers of a version, for comparison; () if there are none."""
    match = re.match(r"(\d+)[.](\d+)", version)
    return tuple(map(int, match.groups())) if match else ()


def criu(release: str) -> dict[str, str]:
    """Version of the installed CRIU and, in ``fault``, why it cannot work here.

    Raises OSError when CRIU is not installed.
    """
    words = subprocess.run(["criu", "--version"], capture_output=True, text=True, check=False).stdout
    version = words.partition("Version: ")[2].split("\n")[0]
    checked = subprocess.run(["criu", "check"], capture_output=True, text=True, check=False)
    lines = (checked.stdout + checked.stderr).strip().splitlines() or ["criu check failed"]
    return {"version": version, "fault": lines[-1] if checked.returncode else outgrown(version, release)}


def main(arguments: list[str]) -> None:
    """Print the report as JSON."""
    release = platform.release()
    if arguments == ["criu"]:
        json.dump(criu(release), sys.stdout)
        return
    required, optional = (argument.split(",") if argument else [] for argument in arguments[:2])
    paths = candidates(release)
    if len(arguments) == 3:
        release = arguments[2]
        paths = candidates(release)[1:]  # /proc tells of the running kernel only
    json.dump(report(required, optional, release, paths), sys.stdout)


if __name__ == "__main__":
    main(sys.argv[1:])
