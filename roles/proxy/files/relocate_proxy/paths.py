"""Where things lie on a host. Nothing else names a directory."""

import re
from pathlib import Path

IDENTITY = re.compile(r"[a-z0-9][a-z0-9-]{3,63}\Z")  # of a relocation
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


def checked(relocation: str) -> str:
    """``relocation`` itself, if it can be the name of a file. Raises ValueError: what is removed by a name
    that a host has said must lie where we think."""
    if not IDENTITY.match(relocation):
        raise ValueError(f"{relocation[:80]!r} is not the id of a relocation")
    return relocation


def run_dir(relocation: str) -> Path:
    """This host's volatile directory of one relocation."""
    return RUN / "relocation" / relocation


def storage_dir(relocation: str) -> Path:
    """The shared directory of one relocation, 0700. Raises ValueError if that is no id."""
    return STORAGE / checked(relocation)
