"""Memory that follows its container: pages that stay on the source until they are asked for (userfaultfd(2)).

The source's CRIU serves them to one peer alone; on the target `criu lazy-pages` fetches what the container
touches first, and then the rest. Until all are there, the container lives of both hosts.
"""

import contextlib
import ctypes
import os
import signal
import socket
import time
from pathlib import Path

from relocate_proxy import paths
from relocate_proxy.kernel import shell

LABEL = "relocate.lazy"
CRIU = "/usr/sbin/criu"
SOCKET = "lazy-pages.socket"  # CRIU's own name for it, in the directory it works in
SOCKET_SECONDS = 2.0
PIDFD_GETFD = 438
LIBC = ctypes.CDLL(None, use_errno=True)


def wanted(labels: dict[str, str]) -> bool:
    """Whether a container's owner has asked for it: its host may be lost with what it still owes."""
    return labels.get(LABEL, "").lower() == "true"


def _table(relocation: str) -> str:
    return f"relocate-pages-{relocation}"


def offer(relocation: str, peer: str) -> tuple[str, int]:
    """An address of this host and a free port, which ``peer`` alone can reach until `withdraw`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((peer, 9))
        address = str(probe.getsockname()[0])
    with socket.socket() as listener:
        listener.bind((address, 0))
        port = int(listener.getsockname()[1])
    table = _table(relocation)
    rules = f"add table ip {table}\nadd chain ip {table} input {{ type filter hook input priority -10 ; }}\n"
    rules += f"add rule ip {table} input tcp dport {port} ip saddr != {peer} drop\n"
    shell.run(["nft", "-f", "-"], rules)
    return address, port


def withdraw(relocation: str) -> None:
    """Undo `offer`; none is fine."""
    shell.succeeds(["nft", "delete", "table", "ip", _table(relocation)])


def fetch(images: str, work: str, address: str, port: int, init: int) -> None:
    """Start what fetches the pages of a container, whose first process will be ``init``.

    Raises OSError when it does not listen.
    """
    Path(work, SOCKET).unlink(missing_ok=True)
    command = ["criu", "lazy-pages", "--page-server", "--address", address, "--port", str(port)]
    command += ["-D", images, "-W", work, "-o", "lazy-pages.log", "-v2"]
    if os.fork() == 0:
        try:
            _watch(command, init)
        finally:
            os._exit(0)
    deadline = time.monotonic() + SOCKET_SECONDS
    while not Path(work, SOCKET).exists():
        if time.monotonic() > deadline:
            raise OSError("criu lazy-pages does not listen")
        time.sleep(0.0003)


def _watch(command: list[str], init: int) -> None:
    """Outlive the shim, and kill the container if its pages do not come.

    Where the daemon dies the kernel would give zeroes for what is missing; so its descriptors are held here
    too until the container is dead.
    """
    os.setsid()
    os.closerange(3, 1 << 16)
    nothing = os.open("/dev/null", os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    pid = os.posix_spawn(CRIU, command, {"PATH": paths.SYSTEM_PATH})
    daemon, held = os.pidfd_open(pid), set[str]()
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                if "userfaultfd" in str(entry.readlink()) and entry.name not in held:
                    LIBC.syscall(PIDFD_GETFD, daemon, int(entry.name), 0)
                    held.add(entry.name)
        time.sleep(0.005)
    if ended[1]:
        with contextlib.suppress(OSError):
            own = Path(f"/proc/{init}/cgroup").read_text().strip().partition("0::")[2]
            Path(f"/sys/fs/cgroup{own}/cgroup.kill").write_text("1")
            while Path(f"/proc/{init}").exists():
                os.kill(init, signal.SIGKILL)
                time.sleep(0.01)
