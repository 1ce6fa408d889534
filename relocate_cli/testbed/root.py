"""The hosts' file system: a Debian trixie tree, built once and kept under the hash of its recipe."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from relocate_cli.errors import RefusedError, RelocateError
from relocate_cli.render import note
from relocate_cli.testbed.locks import held

# The build's processes end with the one that started it, however that ends, and its mounts with them.
CONFINED = (
    *("setpriv", "--pdeathsig=KILL"),
    *("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc"),
)

PACKAGES = (
    # a machine that boots and can be reached
    "systemd,systemd-sysv,dbus,openssh-server,procps,kmod,ca-certificates,python3,python3-apt,sudo",
    # what the roles ask for; here from the start, since the hosts have no way to a mirror
    "docker.io,docker-cli,containerd,runc,tini,docker-registry,apache2-utils,openssl,busybox-static",
    "criu,python3-pycriu,python3-protobuf,gcc,libc6-dev,linux-libc-dev",
    "iproute2,iptables,nftables,conntrack,arping,iputils-ping,tar,attr,jq,rsync,util-linux-extra,gocryptfs,fuse3",
)
CRIU_PACKAGES = "criu libcompel1 libcriu2 libnet9 libnl-3-200 python3-pycriu"
ENGINE_PACKAGES = "docker.io docker-cli containerd runc tini tini-static"

DAEMON: dict[str, dict[str, object]] = {
    "containerd": {"features": {"containerd-snapshotter": True}},
    "cgroupfs": {"exec-opts": ["native.cgroupdriver=cgroupfs"]},
}

# The machine's hardware, clock and network are none of these hosts' business; their role starts the engines.
MASKED = (
    "systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket "
    "systemd-udev-trigger.service systemd-udev-settle.service systemd-sysctl.service "
    "systemd-modules-load.service systemd-binfmt.service systemd-remount-fs.service "
    "systemd-logind.service systemd-networkd.service systemd-resolved.service systemd-timesyncd.service "
    "systemd-random-seed.service systemd-pstore.service systemd-firstboot.service "
    "systemd-journald-audit.socket systemd-tpm2-setup.service systemd-tpm2-setup-early.service "
    "getty@.service console-getty.service getty.target ldconfig.service kmod-static-nodes.service "
    "systemd-hwdb-update.service systemd-machine-id-commit.service systemd-boot-random-seed.service "
    "dev-hugepages.mount dev-mqueue.mount sys-kernel-config.mount sys-kernel-debug.mount "
    "sys-kernel-tracing.mount sys-fs-fuse-connections.mount proc-sys-fs-binfmt_misc.automount "
    "proc-sys-fs-binfmt_misc.mount tmp.mount apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer "
    "e2scrub_all.timer fstrim.timer e2scrub_reap.service"
)
DISABLED = "docker.service docker.socket containerd.service docker-registry.service nftables.service"

SSHD = (
    "UsePAM no\\nUseDNS no\\nPasswordAuthentication no\\nPermitRootLogin prohibit-password\\n"
    "MaxStartups 100\\n"
)

DPKG_OPTIONS = (
    "force-unsafe-io",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)


class Engine(StrEnum):
    """The two Docker releases whose start-up order differs where the runtime wrapper sits, as Debian
    configures them (overlay2, systemd's cgroups) or with another image store or cgroup driver."""

    DOCKER_26 = "26"
    DOCKER_28 = "28"
    DOCKER_26_CONTAINERD = "26+containerd"
    DOCKER_28_CONTAINERD = "28+containerd"
    DOCKER_26_CGROUPFS = "26+cgroupfs"
    DOCKER_28_CGROUPFS = "28+cgroupfs"
    DOCKER_26_CONTAINERD_CGROUPFS = "26+containerd+cgroupfs"
    DOCKER_28_CONTAINERD_CGROUPFS = "28+containerd+cgroupfs"

    @property
    def release(self) -> str:
        return self.split("+")[0]

    @property
    def daemon(self) -> dict[str, object]:
        """What daemon.json says of it."""
        return {key: value for option in self.split("+")[1:] for key, value in DAEMON[option].items()}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what the tree contains; ``key`` names it in the cache."""

    engine: Engine

    @property
    def suites(self) -> tuple[str, ...]:
        """Debian's suites that packages may come from; the first makes the tree."""
        return ("trixie", "sid")

    def preferences(self) -> str:
        """APT pins: trixie, but CRIU (and for Docker 28 the engine) from sid. Trixie's CRIU 4.1 can't dump
        TCP sockets on Linux 6.16 and later."""
        wanted = (
            CRIU_PACKAGES if self.engine.release == Engine.DOCKER_26 else f"{CRIU_PACKAGES} {ENGINE_PACKAGES}"
        )
        return (
            "Package: *\nPin: release n=sid\nPin-Priority: 50\n\n"
            f"Package: {wanted}\nPin: release n=sid\nPin-Priority: 600\n"
        )

    def packages(self) -> list[str]:
        # Trixie's tini brings /usr/bin/tini-static along; sid's has it in a package of its own.
        return [*PACKAGES, "tini-static"] if self.engine.release == Engine.DOCKER_28 else [*PACKAGES]

    def hooks(self) -> list[str]:
        return [
            f'chroot "$1" systemctl mask --quiet {MASKED}',
            f'chroot "$1" systemctl disable --quiet {DISABLED}',
            f"printf '{SSHD}' > \"$1/etc/ssh/sshd_config.d/testbed.conf\"",
            'rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/resolv.conf" "$1/etc/hostname"',
            'mkdir -p "$1/srv/relocate-storage" "$1/var/lib/containerd" "$1/var/lib/docker" "$1/root/.ssh"',
            'chmod 700 "$1/root/.ssh"; chmod 711 "$1/var/lib/containerd"; chmod 710 "$1/var/lib/docker"',
        ]

    @property
    def key(self) -> str:
        return f"trixie-docker{self.engine.release}-{self.digest()}"

    def digest(self) -> str:
        parts = [*self.packages(), self.preferences(), *self.hooks(), *DPKG_OPTIONS]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def machine_mirror() -> str:
    """The Debian mirror that this machine's own APT uses. Raises RefusedError when it has none."""
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    for uri in listing.stdout.split():
        if uri.rstrip("/").endswith("/debian"):
            return uri.rstrip("/")
    raise RefusedError("this machine's APT knows no Debian mirror", "apt-get update")


def machine_proxies() -> list[str]:
    """The proxies that this machine's APT goes through, as ``--aptopt`` lines."""
    dump = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=False)
    return [line for line in dump.stdout.splitlines() if "::Proxy" in line and not line.endswith('"";')]


def build(recipe: Recipe, target: Path, log: Path, lock: int | None = None) -> None:
    """Make the tree in ``target``, which must not exist. mmdebstrap inherits ``lock``.

    Raises RelocateError with mmdebstrap's own error line.
    """
    mirror = machine_mirror()
    preferences = target.with_suffix(".preferences")
    preferences.write_text(recipe.preferences())
    command = [
        *CONFINED,
        "mmdebstrap",
        "--variant=minbase",
        "--mode=root",
        "--format=directory",
        f"--include={','.join(recipe.packages())}",
    ]
    # The signature of sid's Release is checked; its date may have passed on a mirror that is a snapshot.
    options = ['Acquire::Check-Valid-Until "false"', 'APT::Install-Recommends "false"', *machine_proxies()]
    command += [f"--aptopt={option}" for option in options]
    command += [f"--dpkgopt={option}" for option in DPKG_OPTIONS]
    command += [
        # Some packages (Java's) link into the manual's directory although its pages are left out.
        '--setup-hook=mkdir -p "$1/etc/apt/preferences.d" "$1/usr/share/man/man1"',
        f'--setup-hook=cp "{preferences}" "$1/etc/apt/preferences.d/sid"',
    ]
    command += [f"--customize-hook={hook}" for hook in recipe.hooks()]
    command += [recipe.suites[0], str(target), *(f"deb {mirror} {suite} main" for suite in recipe.suites)]
    with log.open("w") as output:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_build_environment(),
            pass_fds=() if lock is None else (lock,),
            check=False,
        )
    preferences.unlink()
    if ended.returncode:
        lines = log.read_text(errors="replace").splitlines()
        cause = next((line for line in lines if line.startswith("E:")), lines[-1] if lines else "no output")
        raise RelocateError(f"mmdebstrap could not build the hosts' root: {cause}", f"its log is {log}")


def _build_environment() -> dict[str, str]:
    kept = {
        name: value for name, value in os.environ.items() if name.lower().endswith("_proxy") or name == "HOME"
    }
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": "0", **kept}


def _walk(tree: Path) -> Iterator[str]:
    for directory, names, files in os.walk(tree):
        names.sort()
        for name in sorted([*files, *(n for n in names if Path(directory, n).is_symlink())]):
            path = Path(directory, name)
            status = path.lstat()
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            facts = (f"{status.st_mode:o}", status.st_uid, status.st_gid, size, status.st_mtime_ns)
            yield "\t".join(map(str, (path.relative_to(tree), *facts)))


def manifest(tree: Path) -> dict[str, str | int]:
    """Digest over name, mode, owner, size and time of each file: tells a whole tree from a damaged one."""
    digest, count = hashlib.sha256(), 0
    for line in _walk(tree):
        digest.update(line.encode(errors="surrogateescape") + b"\n")
        count += 1
    return {"files": count, "sha256": digest.hexdigest()}


def is_whole(tree: Path, stamp: Path) -> bool:
    """Whether ``tree`` is as it was when ``stamp`` was written, which is last: a half-built tree has none."""
    try:
        recorded = json.loads(stamp.read_text())
    except (OSError, ValueError):
        return False
    return tree.is_dir() and recorded == manifest(tree)


def ensure(recipe: Recipe, roots: Path) -> Path:
    """The tree of ``recipe`` in the cache, built first if it is missing or damaged."""
    roots.mkdir(parents=True, exist_ok=True)
    tree, stamp = roots / recipe.key, roots / f"{recipe.key}.json"
    with held(roots / f"{recipe.key}.lock", f"another run builds the root {recipe.key}", wait=True) as lock:
        if is_whole(tree, stamp):
            return tree
        if tree.exists():
            note(f"testbed: the cached root {recipe.key} is incomplete or damaged; building it again")
        note(f"testbed: building the hosts' root ({recipe.key}), once; about a minute")
        stamp.unlink(missing_ok=True)
        part = roots / f"{recipe.key}.part"
        for leftover in (tree, part):
            if leftover.exists():
                shutil.rmtree(leftover)
        build(recipe, part, roots / f"{recipe.key}.log", lock)
        part.rename(tree)
        partial = stamp.with_suffix(".part-json")
        partial.write_text(json.dumps(manifest(tree)))
        partial.rename(stamp)
    return tree
