"""Where things lie on a host. Nothing else names a directory."""

from pathlib import Path

LIBRARY = Path("/usr/lib/relocate")
BIN = LIBRARY / "bin"
CONFIG = Path("/etc/relocate")
STATE = Path("/var/lib/relocate")
STORAGE = STATE / "storage"
JOURNAL = STATE / "journal"
LOGS = Path("/var/log/relocate")
RUN = Path("/run/relocate")
TARGETS = RUN / "target"
RUNC_ROOT = Path("/run/docker/runtime-runc/moby")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def run_dir(relocation: str) -> Path:
    """This host's volatile directory of one relocation."""
    return RUN / "relocation" / relocation


def storage_dir(relocation: str) -> Path:
    """The shared directory of one relocation, 0700."""
    return STORAGE / relocation
