"""The guests' disk: a Debian tree that boots by GRUB from a disk image, as a rented machine does."""

import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from relocate_cli.errors import RelocateError
from relocate_cli.render import note
from relocate_cli.testbed import root
from relocate_cli.testbed.root import Engine, Recipe

SECTOR = 512
FIRST_SECTOR = 2048
DISK_BYTES = 6 << 30

MACHINE_PACKAGES = (
    "udev,initramfs-tools,zstd,linux-image-cloud-amd64,grub-common,grub2-common,grub-pc-bin",
    "nfs-kernel-server,nfs-common",
)

METAPACKAGE = "linux-image-cloud-amd64"
KERNELS = "/srv/kernels"

# A guest has hardware, a clock and a kernel of its own, so these stay; the rest of what namespaced hosts do
# without would only cost seconds of emulation.
KEPT = {
    "systemd-sysctl.service",
    "systemd-modules-load.service",
    "systemd-remount-fs.service",
    "kmod-static-nodes.service",
    "dev-mqueue.mount",
    "proc-sys-fs-binfmt_misc.automount",
}
MASKED = " ".join(
    [
        *(unit for unit in root.MASKED.split() if unit not in KEPT),
        "rpcbind.service rpcbind.socket rpc-statd.service rpc-statd-notify.service systemd-udevd.service",
        "serial-getty@.service sshd-keygen.service nfs-blkmap.service systemd-user-sessions.service",
    ]
)
DISABLED = f"{root.DISABLED} nfs-server.service nfs-client.target"

SSHD = root.SSHD + "KexAlgorithms curve25519-sha256\\nCiphers aes128-gcm@openssh.com\\n"

# What differs between guests comes on a second disk that is a tar archive.
IDENTITY_UNIT = """[Unit]
Description=Identity and network of a testbed machine, from its second disk
DefaultDependencies=no
After=systemd-remount-fs.service systemd-modules-load.service
Before=sysinit.target network-pre.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=tar --extract --file /dev/vdb --directory /
ExecStart=hostname --file /etc/hostname
ExecStart=sh -e /etc/testbed-network
[Install]
WantedBy=sysinit.target
"""

# `$machine` is what the emulator says of one guest (emulator.kernel_options), as the version in its SMBIOS.
KERNEL_OPTIONS = (
    "mitigations=off nokaslr audit=0 quiet console=ttyS0 net.ifnames=0 tsc=reliable $machine "
    "panic=5 fsck.mode=skip systemd.show_status=no"
)
READ_OPTIONS = "smbios --type 1 --get-string 6 --set machine"
GRUB_DEFAULTS = f"""GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_TERMINAL=serial
GRUB_DISABLE_OS_PROBER=true
GRUB_DISABLE_LINUX_UUID=true
GRUB_DISABLE_LINUX_PARTUUID=true
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX='{KERNEL_OPTIONS}'
"""
GRUB_HEADER = f"#!/bin/sh\nprintf '%s\\n' 'insmod smbios' '{READ_OPTIONS}'\n"
GRUB_FIRST = f"""insmod smbios
{READ_OPTIONS}
serial --unit=0 --speed=115200
terminal_output serial
set timeout=0
menuentry Debian {{
    linux /vmlinuz root=/dev/vda1 ro {KERNEL_OPTIONS}
    initrd /initrd.img
}}
"""
GRUB_MODULES = "biosdisk part_msdos ext2 normal linux minicmd serial smbios"


class Kernel(StrEnum):
    """Debian's kernel that a guest starts on."""

    NEW = "trixie"
    OLD = "bookworm"


def _write(path: str, text: str, mode: str = "644") -> str:
    """A hook that writes a file into the tree."""
    quoted = text.replace("'", "'\\''")
    return (
        f'mkdir -p "$1{Path(path).parent}"; printf \'%s\' \'{quoted}\' >"$1{path}"; chmod {mode} "$1{path}"'
    )


@dataclass(frozen=True)
class GuestRecipe(Recipe):
    """The tree of a guest: what namespaced hosts have, and a kernel, a boot loader and NFS."""

    kernel: Kernel = Kernel.NEW

    @property
    def suites(self) -> tuple[str, ...]:
        return ("trixie", "sid", "bookworm")

    def preferences(self) -> str:
        pins = [
            ("*", Kernel.OLD, 40),
            (METAPACKAGE, self.kernel, 1001),
            ("libnl-genl-3-200 libnl-route-3-200", "sid", 600),
        ]
        return super().preferences() + "".join(
            f"\nPackage: {package}\nPin: release n={suite}\nPin-Priority: {priority}\n"
            for package, suite, priority in pins
        )

    def packages(self) -> list[str]:
        return [*super().packages(), *MACHINE_PACKAGES]

    def hooks(self) -> list[str]:
        modules = "virtio_pci\\nvirtio_blk\\next4\\ncrc32c_generic\\n"
        chroot = 'chroot "$1"'
        return [
            # Newer kernels than the guest's own, as an archive of its own: guests have no way to a mirror.
            'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -qq --yes --download-only install '
            f"--no-install-recommends {METAPACKAGE}/{Kernel.NEW}",
            f'mkdir -p "$1{KERNELS}"; find "$1/var/cache/apt/archives" -name "linux-image-*.deb" '
            f'-exec mv -t "$1{KERNELS}" {{}} +',
            f'cd "$1{KERNELS}"; for deb in $(find . -name "*.deb"); do dpkg-deb --field "$deb"; '
            'echo "Filename: $deb"; echo "Size: $(stat -c %s "$deb")"; '
            'echo "SHA256: $(sha256sum "$deb" | cut -d" " -f1)"; echo; done >Packages',
            f'echo "deb [trusted=yes] file:{KERNELS} ./" >"$1/etc/apt/sources.list"',
            'rm "$1/etc/apt/preferences.d/sid"',
            f"{chroot} systemctl mask --quiet {MASKED}",
            f"{chroot} systemctl disable --quiet {DISABLED}",
            f"printf '{SSHD}' > \"$1/etc/ssh/sshd_config.d/testbed.conf\"",
            'rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/resolv.conf" "$1/etc/hostname"; : >"$1/etc/machine-id"',
            'mkdir -p -m 700 "$1/root/.ssh"; echo "/dev/vda1 / ext4 noatime 0 0" >"$1/etc/fstab"',
            _write("/etc/systemd/system/testbed-identity.service", IDENTITY_UNIT),
            _write("/etc/modules-load.d/testbed.conf", "virtio_net\nvirtio_rng\n"),
            _write("/etc/nfs.conf.d/testbed.conf", "[nfsd]\nvers3=n\nthreads=2\n"),
            f"{chroot} systemctl enable --quiet testbed-identity.service",
            # Unpacking modules costs an emulated machine seconds at each boot.
            'find "$1/usr/lib/modules" -name "*.ko.xz" -exec unxz {} +',
            f'for v in "$1"/usr/lib/modules/*; do {chroot} depmod "${{v##*/}}"; done',
            f"printf '{modules}' >>\"$1/etc/initramfs-tools/modules\"",
            _write(
                "/etc/initramfs-tools/conf.d/testbed",
                "MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=3\nFSTYPE=ext4\n",
            ),
            f"{chroot} update-initramfs -u -k all",
            _write("/etc/default/grub", GRUB_DEFAULTS),
            _write("/etc/grub.d/01_testbed", GRUB_HEADER, "755"),
            _write("/boot/grub/grub.cfg", GRUB_FIRST),
            'mkdir -p "$1/boot/grub/i386-pc"',
            'cp "$1"/usr/lib/grub/i386-pc/*.mod "$1"/usr/lib/grub/i386-pc/*.lst "$1/boot/grub/i386-pc/"',
            f"{chroot} grub-mkimage --format=i386-pc --prefix='(hd0,msdos1)/boot/grub' "
            f"--output=/boot/grub/core.img {GRUB_MODULES}",
            f"{chroot} grub-editenv /boot/grub/grubenv create",
        ]

    @property
    def key(self) -> str:
        return f"guest-{self.kernel}-{self.digest()}"


def ensure(kernel: Kernel, roots: Path) -> Path:
    """The disk image in the cache, made first if it is missing. Guests never write to it."""
    recipe = GuestRecipe(Engine.DOCKER_26, kernel)
    disk = roots / f"{recipe.key}.img"
    if disk.exists():
        return disk
    tree = root.ensure(recipe, roots)
    note(f"testbed: making the disk of machines with {kernel}'s kernel")
    part = disk.with_suffix(".part")
    make_disk(tree, part)
    part.rename(disk)
    return disk


def kernel_of(kernel: Kernel, roots: Path) -> Path:
    """The kernel image in the tree of ``kernel``, which must be in the cache."""
    return (roots / GuestRecipe(Engine.DOCKER_26, kernel).key / "vmlinuz").resolve()


def make_disk(tree: Path, disk: Path) -> None:
    """Write a disk with one ext4 partition that holds ``tree``, and GRUB in front of it.

    Done by hand since neither a loop device nor a mount is wanted: GRUB's boot sector loads sector 1, where
    ``core.img`` lies in the gap before the partition, and that finds the rest of itself by its own list.
    Raises RelocateError with mke2fs's words.
    """
    disk.unlink(missing_ok=True)
    with disk.open("wb") as image:
        image.truncate(DISK_BYTES)
    kib = (DISK_BYTES - FIRST_SECTOR * SECTOR) // 1024
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-O", "^metadata_csum_seed,^orphan_file"]
    command += ["-E", f"offset={FIRST_SECTOR * SECTOR},root_owner=0:0", "-d", str(tree), str(disk), f"{kib}k"]
    _run(command, "cannot make the machines' disk")
    boot = bytearray((tree / "usr/lib/grub/i386-pc/boot.img").read_bytes())
    boot[0x66:0x68] = b"\x90\x90"  # the drive that the BIOS names is right; no check for floppies
    boot[0x1BE:0x1FE] = _partitions()
    core = (tree / "boot/grub/core.img").read_bytes()
    if len(core) > (FIRST_SECTOR - 1) * SECTOR:
        raise RelocateError("GRUB does not fit in front of the first partition")
    with disk.open("r+b") as image:
        image.write(boot)
        image.write(core)


def _partitions() -> bytes:
    """The partition table: one bootable Linux partition from FIRST_SECTOR to the end."""
    chs = b"\xfe\xff\xff"
    entry = struct.pack("<B3sB3sII", 0x80, chs, 0x83, chs, FIRST_SECTOR, DISK_BYTES // SECTOR - FIRST_SECTOR)
    return entry.ljust(64, b"\0")


def _run(command: Sequence[str], failed: str) -> None:
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if ended.returncode:
        lines = (ended.stderr or ended.stdout).strip().splitlines()
        raise RelocateError(f"{failed}: {lines[-1] if lines else command[0]}")
