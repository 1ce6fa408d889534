"""QEMU: which one, with or without KVM, and its command line."""

import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from relocate_cli.render import note
from relocate_cli.testbed import children, root
from relocate_cli.testbed.root import Engine, Recipe

MEMORY_MIB = 768
KVM = Path("/dev/kvm")
KVM_TRIAL_SECONDS = 10


class Accelerator(StrEnum):
    KVM = "kvm"
    EMULATION = "tcg,thread=multi"


@dataclass(frozen=True)
class EmulatorRecipe(Recipe):
    """QEMU of Debian 13, in a tree of its own: Debian 12's crashes one boot in three when it emulates."""

    @property
    def suites(self) -> tuple[str, ...]:
        return ("trixie",)

    def preferences(self) -> str:
        return ""

    def packages(self) -> list[str]:
        return ["qemu-system-x86", "qemu-utils", "seabios"]

    def hooks(self) -> list[str]:
        return []

    @property
    def key(self) -> str:
        return f"qemu-trixie-{self.digest()}"


@dataclass(frozen=True)
class Emulator:
    """QEMU, run by its own tree's loader and libraries, so that it need not fit this machine's."""

    tree: Path

    def command(self, program: str, *arguments: str) -> list[str]:
        """The command that runs one of the tree's programs."""
        libraries = f"{self.tree}/usr/lib/x86_64-linux-gnu"
        loader = f"{self.tree}/usr/lib64/ld-linux-x86-64.so.2"
        return [
            "env",
            f"QEMU_MODULE_DIR={libraries}/qemu",
            loader,
            "--library-path",
            libraries,
            f"{self.tree}/usr/bin/{program}",
            *arguments,
        ]

    def machine(self, accelerator: Accelerator, *arguments: str) -> list[str]:
        """The command of a machine with nothing that a container host does not need."""
        share = f"{self.tree}/usr/share"
        return self.command(
            "qemu-system-x86_64",
            *("-accel", accelerator, "-cpu", "host" if accelerator is Accelerator.KVM else "max"),
            *("-M", "q35,usb=off,vmport=off,smbus=off,sata=off", "-smp", "1", "-m", str(MEMORY_MIB)),
            *(
                "-nodefaults",
                "-no-user-config",
                "-display",
                "none",
                "-L",
                f"{share}/qemu",
                "-L",
                f"{share}/seabios",
            ),
            *arguments,
        )

    def make_overlay(self, disk: Path, overlay: Path) -> None:
        """A machine's own disk: what it writes goes to ``overlay``, the rest is read from ``disk``."""
        options = ["create", "-q", "-f", "qcow2", "-F", "raw", "-b", str(disk), str(overlay)]
        children.run(self.command("qemu-img", *options), stdin=subprocess.DEVNULL, check=True)


def ensure(roots: Path) -> Emulator:
    """QEMU in the cache, installed there first if it is missing."""
    return Emulator(root.ensure(EmulatorRecipe(Engine.DOCKER_26), roots))


def kernel_options(accelerator: Accelerator, machine_id: str) -> str:
    """What a guest's kernel cannot find out: who it is, and (emulated) how fast the machine's clock runs."""
    options = f"systemd.machine_id={machine_id}"
    khz = clock_khz() if accelerator is Accelerator.EMULATION else None
    return f"{options} tsc_early_khz={khz}" if khz else options


def clock_khz(cpuinfo: Path = Path("/proc/cpuinfo")) -> int | None:
    """Rate of this machine's time stamp counter: emulated guests see it, and guess wrong up to threefold."""
    ended = subprocess.run(["dmesg"], capture_output=True, text=True, check=False)
    found = re.search(
        r"tsc: (?:Detected|Refined TSC clocksource calibration:) ([\d.]+) MHz", ended.stdout
    ) or re.search(r"cpu MHz\s*: ([\d.]+)", cpuinfo.read_text())
    return round(float(found[1]) * 1000) if found else None


def choose(emulator: Emulator, kernel: Path) -> Accelerator:
    """KVM if a trial boot of ``kernel`` under it comes to an end, else emulation, and says that that is slow.

    /dev/kvm may open and still hang every guest (nested in a paravirtual machine, say). A kernel without a
    disk panics, and ``panic=-1`` turns that into QEMU's end.
    """
    if not os.access(KVM, os.R_OK | os.W_OK):
        return _emulation("there is no /dev/kvm")
    arguments = [
        "-serial",
        "stdio",
        "-no-reboot",
        "-kernel",
        str(kernel),
        "-append",
        "console=ttyS0 panic=-1",
    ]
    try:
        trial = _run_for(emulator.machine(Accelerator.KVM, *arguments), KVM_TRIAL_SECONDS)
    except subprocess.TimeoutExpired:
        return _emulation(f"a trial boot under KVM was not done in {KVM_TRIAL_SECONDS} s")
    return Accelerator.KVM if "Kernel panic" in trial else _emulation("a trial boot under KVM failed")


def _run_for(command: Sequence[str], seconds: float) -> str:
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            return process.communicate(timeout=seconds)[0].decode(errors="replace")
        finally:
            process.kill()


def _emulation(why: str) -> Accelerator:
    note(f"testbed: the machines are emulated, about ten times slower than real ones: {why}")
    return Accelerator.EMULATION
