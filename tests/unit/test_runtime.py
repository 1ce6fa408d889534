"""The OCI runtime's command line, as containerd's shim writes it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from relocate_proxy.criu import runtime

CREATE = [
    "--root",
    "/run/docker/runtime-runc/moby",
    "--log",
    "/b/log.json",
    "--log-format",
    "json",
    "--systemd-cgroup",
    "create",
    "--bundle",
    "/b",
    "--pid-file",
    "/b/init.pid",
    "abc",
]


def test_create_is_understood() -> None:
    call = runtime.parse(CREATE)
    assert (call.verb, call.container, call.bundle, call.pid_file) == (
        "create",
        "abc",
        Path("/b"),
        Path("/b/init.pid"),
    )
    assert call.log == Path("/b/log.json")
    assert "--systemd-cgroup" in call.globals


def test_a_container_named_like_a_verb_is_still_a_container() -> None:
    call = runtime.parse(["--root", "/r", "kill", "start", "9"])
    assert call.verb == "kill"


@pytest.mark.parametrize(
    ("cgroups_path", "directory"),
    [
        ("system.slice:docker:abc", "/sys/fs/cgroup/system.slice/docker-abc.scope"),
        (":docker:abc", "/sys/fs/cgroup/system.slice/docker-abc.scope"),
        ("/docker/abc", "/sys/fs/cgroup/docker/abc"),
    ],
)
def test_cgroup_of_both_drivers(cgroups_path: str, directory: str) -> None:
    assert runtime.cgroup_directory(cgroups_path) == Path(directory)


GHOST = """
import os
from relocate_proxy.criu import runtime
free = os.fork()
if free == 0:
    os._exit(0)
os.waitpid(free, 0)
runtime.ghost(free)
reaped, status = os.waitpid(free, 0)
assert (reaped, os.waitstatus_to_exitcode(status)) == (free, runtime.FAILED_STATUS), (reaped, status)
try:
    os.kill(free, 0)
except ProcessLookupError:
    print("gone")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="clone3 with set_tid needs CAP_SYS_ADMIN")
def test_a_ghost_has_the_pid_and_exits() -> None:
    """In a process of one thread, as the keeper is."""
    path = {**os.environ, "PYTHONPATH": str(Path(runtime.__file__).parents[2])}
    ran = subprocess.run(
        [sys.executable, "-c", GHOST], env=path, capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout == "gone\n"
