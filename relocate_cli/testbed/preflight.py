"""What a machine must have to hold a testbed; each lack is one line that says how to get it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from relocate_cli.errors import RefusedError
from relocate_cli.testbed.cgroup import CGROUP_HINT, cgroup_mount
from relocate_cli.testbed.places import Places

TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
}
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
FREE_BYTES = 2 << 30
# docker's overlay2 refuses to lie on these, and so does the overlay that the hosts' own files are.
UNFIT_FILE_SYSTEMS = {"overlay", "overlayfs", "nfs", "fuse", "ramfs"}


def check(of: Places) -> None:
    """Raise RefusedError at the first thing that is missing; nothing was touched then."""
    for message, hint in _lacks(of):
        raise RefusedError(f"the testbed cannot run here: {message}", hint)


def _lacks(of: Places) -> Iterator[tuple[str, str]]:
    if sys.platform != "linux":
        yield (
            f"its hosts are Linux namespaces and this is {sys.platform}",
            "use a Linux machine, or real hosts",
        )
        return
    if os.geteuid() != 0:
        yield "making namespaces and mounts needs root", "run it as root, for instance with sudo"
    for tool, package in TOOLS.items():
        if shutil.which(tool) is None:
            yield f"{tool} is missing", f"apt-get install {package}"
    if not KEYRING.exists():
        yield "Debian's archive keys are missing", "apt-get install debian-archive-keyring"
    if cgroup_mount() is None:
        yield "cgroup v2 is not mounted", CGROUP_HINT
    elif not Path("/proc/self/ns/cgroup").exists():
        yield "the kernel has no cgroup namespaces", "use Linux 4.6 or newer"
    if not _has_file_system("overlay"):
        yield "the kernel has no overlay file system", "modprobe overlay, or a kernel with CONFIG_OVERLAY_FS"
    yield from _unfit_directory(of)
    yield from _unfit_network()


def _has_file_system(name: str) -> bool:
    def known() -> bool:
        return name in Path("/proc/filesystems").read_text().split()

    if not known() and shutil.which("modprobe"):
        subprocess.run(["modprobe", "--quiet", name], check=False)
    return known()


def _unfit_directory(of: Places) -> Iterator[tuple[str, str]]:
    existing = next(path for path in (of.state, *of.state.parents) if path.exists())
    kind = subprocess.run(
        ["stat", "--file-system", "--format=%T", str(existing)], capture_output=True, text=True, check=False
    ).stdout.strip()
    elsewhere = "set RELOCATE_TESTBED_DIR to a directory on ext4, xfs or btrfs"
    if kind in UNFIT_FILE_SYSTEMS:
        yield f"{existing} is on {kind}, which Docker's layers cannot lie on", elsewhere
    for directory in (existing, next(path for path in (of.cache, *of.cache.parents) if path.exists())):
        if shutil.disk_usage(directory).free < FREE_BYTES:
            yield f"{directory} has less than {FREE_BYTES >> 30} GiB free", "make room, or " + elsewhere


def _unfit_network() -> Iterator[tuple[str, str]]:
    """Try the kinds of interface in a namespace that ends with the trial."""
    if shutil.which("unshare") is None or os.geteuid() != 0:
        return
    if subprocess.run(["unshare", "--net", "--mount", "true"], capture_output=True, check=False).returncode:
        yield "namespaces and mounts are not permitted", "use a machine or a VM, or a privileged container"
        return
    for kind, extra in (("bridge", ""), ("veth", "peer name trial1")):
        command = ["unshare", "--net", "ip", "link", "add", "trial0", "type", kind, *extra.split()]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            yield (
                f"the kernel cannot make {kind} interfaces",
                f"modprobe {kind}, or a kernel with CONFIG_{kind.upper()}",
            )
