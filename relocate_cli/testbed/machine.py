"""A host that is namespaces of this machine: its files, and switching it on."""

import shutil
import subprocess
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from relocate_cli.errors import RelocateError
from relocate_cli.testbed import children
from relocate_cli.testbed.cgroup import processes
from relocate_cli.testbed.rack import Station

BOOT_SCRIPT = Path(__file__).with_name("boot.sh")


@dataclass(frozen=True)
class Machine(Station):
    """A host that is namespaces of this machine; ``root`` is the tree that its disk lies over."""

    root: Path

    def prepare(self, names: dict[str, str], public_key: str) -> None:
        """Lay out the host's own files: identity, SSH keys, all hosts' ``names`` with addresses."""
        for part in ("upper", "work", "merged", "docker", "containerd"):
            (self.directory / part).mkdir(parents=True)
        # Modes of the directories that the overlay would otherwise take from ours.
        upper = self.directory / "upper"
        etc, ssh, root_home = upper / "etc", upper / "etc/ssh", upper / "root"
        for directory, mode in ((etc, 0o755), (ssh, 0o755), (root_home, 0o700), (root_home / ".ssh", 0o700)):
            directory.mkdir(mode=mode)
        (self.directory / "docker").chmod(0o710)
        (self.directory / "containerd").chmod(0o711)
        (etc / "hostname").write_text(f"{self.name}\n")
        hosts = "".join(f"{address}\t{name}\n" for name, address in names.items())
        (etc / "hosts").write_text(f"127.0.0.1\tlocalhost\n{hosts}")
        (etc / "machine-id").write_text(f"{uuid.uuid4().hex}\n")
        (etc / "resolv.conf").touch()
        (root_home / ".ssh" / "authorized_keys").write_text(public_key)
        key = str(ssh / "ssh_host_ed25519_key")
        children.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", key], check=True)

    def host_key(self) -> str:
        """The host's public key, as it stands in a known_hosts file after the name."""
        line = (self.directory / "upper/etc/ssh/ssh_host_ed25519_key.pub").read_text()
        return " ".join(line.split()[:2])

    def boot(self) -> None:
        """Start the host; returns at once. Its namespace and cables must exist."""
        self.cgroup.mkdir(exist_ok=True)
        arguments = [
            self.directory,
            self.root,
            self.places.namespace(self.name),
            self.cgroup,
            self.places.storage,
        ]
        with (self.directory / "boot.log").open("w") as log:
            subprocess.Popen(
                ["sh", str(BOOT_SCRIPT), *map(str, arguments)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def pid(self) -> int | None:
        """The machine's pid of the host's PID 1, or None when the host is off (or not that far yet)."""
        for pid in processes(self.cgroup):
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/status").read_text()
                line = next(line for line in fields.splitlines() if line.startswith("NSpid:"))
                if (
                    line.split()[1:] == [str(pid), "1"]
                    and Path(f"/proc/{pid}/comm").read_text() == "systemd\n"
                ):
                    return pid
        return None

    def inside(self, *argv: str) -> list[str]:
        """The command that runs ``argv`` in the host without SSH, as if at its console."""
        pid = self.pid()
        if pid is None:
            raise RelocateError(f"{self.name} is off", f"relocate testbed power {self.name} on")
        return ["nsenter", f"--target={pid}", "--all", "--wd=/root", *argv]

    def ended(self) -> bool:
        return False  # without a PID 1 it may be on its way

    def last_words(self) -> str:
        lines = (self.directory / "boot.log").read_text().strip().splitlines()
        return lines[-1] if lines else ""

    @property
    def log(self) -> str:
        return f"journalctl -D {self.directory}/upper/var/log/journal"

    def erase(self) -> None:
        if self.directory.exists():
            shutil.rmtree(self.directory)
