"""The parts of the QEMU testbed that decide something without a machine."""

import io
import shutil
import struct
import subprocess
import tarfile
from pathlib import Path

import pytest

from relocate_cli.testbed.root import Engine, Recipe
from relocate_cli.testbed.vm import emulator, guest, image, network
from relocate_cli.testbed.vm.emulator import Accelerator, Emulator
from relocate_cli.testbed.vm.image import GuestRecipe, Kernel

MIB = 1 << 20


@pytest.mark.skipif(shutil.which("mke2fs") is None, reason="mke2fs is missing (e2fsprogs)")
def test_the_disk_boots_grub_and_holds_the_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "DISK_BYTES", 16 * MIB)
    tree, disk = tmp_path / "tree", tmp_path / "disk.img"
    (tree / "usr/lib/grub/i386-pc").mkdir(parents=True)
    (tree / "boot/grub").mkdir(parents=True)
    (tree / "usr/lib/grub/i386-pc/boot.img").write_bytes(b"\xeb\x63" + bytes(508) + b"\x55\xaa")
    (tree / "boot/grub/core.img").write_bytes(b"core of grub" + bytes(2000))
    (tree / "hello").write_text("of the tree\n")
    image.make_disk(tree, disk)
    content = disk.read_bytes()
    assert len(content) == 16 * MIB
    assert content[:2] == b"\xeb\x63"
    assert content[510:524] == b"\x55\xaacore of grub"
    active, kind, first, sectors = struct.unpack("<B3xB3xII", content[0x1BE:0x1CE])
    assert (active, kind, first * 512, (first + sectors) * 512) == (0x80, 0x83, MIB, 16 * MIB)
    partition = tmp_path / "partition"
    partition.write_bytes(content[MIB:])
    shown = subprocess.run(["debugfs", "-R", "cat /hello", str(partition)], capture_output=True, check=True)
    assert shown.stdout == b"of the tree\n"


def test_a_core_that_does_not_fit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "DISK_BYTES", 16 * MIB)
    monkeypatch.setattr(image, "_run", lambda command, failed: None)
    for name in ("usr/lib/grub/i386-pc", "boot/grub"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "usr/lib/grub/i386-pc/boot.img").write_bytes(bytes(512))
    (tmp_path / "boot/grub/core.img").write_bytes(bytes(MIB))
    with pytest.raises(image.RelocateError, match="does not fit"):
        image.make_disk(tmp_path, tmp_path / "disk.img")


def test_each_kernel_has_a_tree_of_its_own() -> None:
    keys = {GuestRecipe(Engine.DOCKER_26, kernel).key for kernel in Kernel}
    assert len(keys | {Recipe(Engine.DOCKER_26).key}) == 3


def test_only_the_gateway_reaches_the_clients() -> None:
    assert "203.0.113.1/24 dev wan0" in network.guest_script(0)
    assert "default" not in network.guest_script(0)
    assert "wan0" not in network.guest_script(2)
    assert "addr add 198.18.0.12/24 dev lan0" in network.guest_script(2)
    assert "route add default via 198.18.0.10" in network.guest_script(2)


def test_a_guests_identity_is_an_archive_that_only_root_can_read_the_key_of() -> None:
    data = guest._archive({"etc/hostname": ("host1\n", 0o644), "etc/key": ("secret", 0o600)})
    assert len(data) % 512 == 0
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = {member.name: (member.mode, member.uid) for member in archive}
        hostname = archive.extractfile("etc/hostname")
        assert hostname is not None
        assert hostname.read() == b"host1\n"
    assert found == {"etc/hostname": (0o644, 0), "etc/key": (0o600, 0)}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("… Kernel panic - not syncing: VFS", Accelerator.KVM),
        ("", Accelerator.EMULATION),
        (None, Accelerator.EMULATION),
    ],
    ids=["boots", "ends at once", "hangs"],
)
def test_kvm_is_used_if_a_kernel_boots_under_it(
    said: str | None, expected: Accelerator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(command: list[str], seconds: float) -> str:
        assert "kvm" in command
        if said is None:
            raise subprocess.TimeoutExpired(command, seconds)
        return said

    (tmp_path / "kvm").touch()
    monkeypatch.setattr(emulator, "KVM", tmp_path / "kvm")
    monkeypatch.setattr(emulator, "_run_for", run)
    assert emulator.choose(Emulator(tmp_path), tmp_path / "vmlinuz") is expected


def test_without_kvm_the_machines_are_emulated_and_it_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(emulator, "KVM", tmp_path / "kvm")
    assert emulator.choose(Emulator(tmp_path), tmp_path / "vmlinuz") is Accelerator.EMULATION
    assert "slower" in capsys.readouterr().err


def test_an_emulated_guest_is_told_the_machines_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulator, "clock_khz", lambda: 2_500_000)
    assert "tsc_early_khz=2500000" in emulator.kernel_options(Accelerator.EMULATION, "ab")
    assert emulator.kernel_options(Accelerator.KVM, "ab") == "systemd.machine_id=ab"
