"""Which kernel GRUB boots. Debian's layout; needs linux-base, grub2-common and a menu without submenus.

``kernel_boot.py newest`` prints the newest installed release. ``kernel_boot.py once NEW OLD`` boots NEW next
and, should it not come up or be rebooted, OLD for ever after. ``kernel_boot.py keep RELEASE`` boots RELEASE
from now on.
"""

import re
import subprocess
import sys
from pathlib import Path

MENU = Path("/boot/grub/grub.cfg")


def newest(releases: list[str]) -> str:
    """The newest of ``releases``, numbers compared as numbers. Raises ValueError when there is none.

    >>> newest(["6.1.0-9-amd64", "6.1.0-56-amd64"])
    '6.1.0-56-amd64'
    """
    return max(releases, key=lambda release: [int(number) for number in re.findall(r"\d+", release)])


def entry(menu: str, release: str) -> str:
    """The name by which GRUB knows the entry that boots ``release`` normally. Raises LookupError when it
    has none.

    >>> menu = "menuentry 'Debian' $menuentry_id_option 'gnulinux-6.1.0-9-amd64-advanced-/dev/vda1' {"
    >>> entry(menu, "6.1.0-9-amd64")
    'gnulinux-6.1.0-9-amd64-advanced-/dev/vda1'
    """
    found = re.search(rf"'(gnulinux-{re.escape(release)}-advanced-[^']+)'", menu)
    if found is None:
        raise LookupError(f"GRUB's menu has no entry for kernel {release}")
    return found[1]


def installed() -> list[str]:
    """Releases of the kernels that are installed."""
    listing = subprocess.run(["linux-version", "list"], capture_output=True, text=True, check=True)
    return listing.stdout.split()


def main(arguments: list[str]) -> None:
    """Run one verb; a refusal is one line on stderr and exit code 1."""
    try:
        match arguments:
            case ["newest"]:
                print(newest(installed()))
            case ["once", new, old]:
                menu = MENU.read_text()
                chosen, fallback = entry(menu, new), entry(menu, old)
                subprocess.run(["grub-set-default", fallback], check=True)
                subprocess.run(["grub-reboot", chosen], check=True)
            case ["keep", release]:
                subprocess.run(["grub-set-default", entry(MENU.read_text(), release)], check=True)
            case _:
                sys.exit(__doc__)
    except (LookupError, ValueError, OSError, subprocess.CalledProcessError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main(sys.argv[1:])
