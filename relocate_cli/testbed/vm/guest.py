"""One guest: its disk, what makes it itself, and switching it on and off."""

import io
import subprocess
import tarfile
import uuid
from dataclasses import dataclass
from pathlib import Path

from relocate_cli.testbed import children
from relocate_cli.testbed.rack import Station
from relocate_cli.testbed.vm import network
from relocate_cli.testbed.vm.emulator import Accelerator, Emulator, kernel_options
from relocate_cli.testbed.vm.image import Kernel
from relocate_cli.testbed.vm.network import WAN_TAP


@dataclass(frozen=True)
class Guest(Station):
    """A QEMU machine. ``kernel`` came with its disk."""

    kernel: Kernel

    @property
    def overlay(self) -> Path:
        return self.directory / "disk.qcow2"

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    def prepare(self, emulator: Emulator, disk: Path, names: dict[str, str], public_key: str) -> None:
        """Lay out the guest's disks. ``names`` maps the names of all machines to addresses."""
        self.directory.mkdir(parents=True)
        emulator.make_overlay(disk, self.overlay)
        key = self.directory / "ssh_host_ed25519_key"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", self.name, "-f", str(key)]
        children.run(command, check=True)
        (self.directory / "machine-id").write_text(uuid.uuid4().hex)
        hosts = "".join(f"{address}\t{name}\n" for name, address in names.items())
        files = {
            "etc/hostname": (f"{self.name}\n", 0o644),
            "etc/hosts": (f"127.0.0.1\tlocalhost\n{hosts}", 0o644),
            "etc/testbed-network": (network.guest_script(self.number), 0o644),
            "etc/ssh/ssh_host_ed25519_key": (key.read_text(), 0o600),
            "etc/ssh/ssh_host_ed25519_key.pub": (key.with_suffix(".pub").read_text(), 0o644),
            # Written anew at each boot, so not where provisioning puts the key of host0.
            "root/.ssh/authorized_keys2": (public_key, 0o600),
        }
        (self.directory / "identity.tar").write_bytes(_archive(files))

    def host_key(self) -> str:
        """The guest's public key, as it stands in a known_hosts file after the name."""
        return " ".join((self.directory / "ssh_host_ed25519_key.pub").read_text().split()[:2])

    def boot(self, emulator: Emulator, accelerator: Accelerator) -> None:
        """Switch on; returns at once. The wires must be laid."""
        machine_id = (self.directory / "machine-id").read_text()
        taps = [network.tap_of(self.number), *([] if self.number else [WAN_TAP])]
        arguments = [
            *("-name", self.name, "-serial", f"file:{self.console}"),
            *("-smbios", f"type=1,version={kernel_options(accelerator, machine_id)}"),
            *("-qmp", f"unix:{self.directory}/qmp,server=on,wait=off"),
            # Only a crash of the machine that QEMU runs on can lose what a guest wrote.
            *("-drive", f"file={self.overlay},if=virtio,cache=unsafe"),
            *("-drive", f"file={self.directory}/identity.tar,format=raw,readonly=on,if=virtio"),
            *("-device", "virtio-rng-pci"),
        ]
        for place, tap in enumerate(taps):
            card = f"virtio-net-pci,netdev={tap},romfile=,mac=52:54:00:12:{place:02x}:{self.number:02x}"
            arguments += ["-netdev", f"tap,id={tap},ifname={tap},script=no,downscript=no", "-device", card]
        command = ["nsenter", f"--net={self.places.namespace('lan')}", "nice", "-n", "19"]
        command += emulator.machine(accelerator, *arguments)
        self.cgroup.mkdir(parents=True, exist_ok=True)
        with (self.directory / "qemu.log").open("a") as log:
            subprocess.Popen(
                ["sh", "-c", 'echo $$ >"$0"; exec "$@"', str(self.cgroup / "cgroup.procs"), *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def pid(self) -> int | None:
        """The pid of the guest's QEMU, or None when it is off."""
        try:
            pids = (self.cgroup / "cgroup.procs").read_text().split()
        except FileNotFoundError:
            return None
        return int(pids[0]) if pids else None

    def ended(self) -> bool:
        return self.pid() is None

    @property
    def log(self) -> str:
        return str(self.console)

    def last_words(self) -> str:
        """The last line of what the guest wrote on its console, or of what QEMU said."""
        for path in (self.directory / "qemu.log", self.console):
            lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
            if lines:
                return lines[-1]
        return ""


def _archive(files: dict[str, tuple[str, int]]) -> bytes:
    """A tar archive of ``{path: (text, mode)}``, all root's; padded to whole sectors, as a disk must be."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, (text, mode) in files.items():
            member = tarfile.TarInfo(path)
            member.mode, member.size = mode, len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()
