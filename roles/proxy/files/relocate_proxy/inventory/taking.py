"""The source's half: take the inventory of the frozen container beside its dump, for the target."""

from pathlib import Path

from relocate_proxy.host.stopwatch import Stopwatch
from relocate_proxy.inventory import options, reading
from relocate_proxy.inventory.document import Mode
from relocate_proxy.kernel.priority import be_second
from relocate_proxy.storage.shared import StorageArea

COMMON = [(family, type_, 6 if type_ == 1 else 17) for family in (2, 10) for type_ in (1, 2)]


class Taking:
    """Of one container. All is done that can be done ahead of the window."""

    def __init__(self, cgroup: Path, own: str, mode: Mode) -> None:
        """``own``: the container's address."""
        self.mode = mode
        self.reader = reading.Reader(cgroup, own, mode)
        self.digest = ""
        self.error = ""
        if mode is not Mode.OFF:
            prepare()

    def look(self) -> None:
        """Once it is frozen and before CRIU comes. Raises OSError."""
        if self.mode is not Mode.OFF:
            self.reader.look()

    def run(self, area: StorageArea, watch: Stopwatch) -> None:
        """Runs beside CRIU; what fails is in ``error``."""
        if self.mode is Mode.OFF:
            return
        be_second()
        try:
            with watch.beside("inventory"):
                self.digest = area.write_inventory(self.reader.take().encode())
        except Exception as error:
            self.error = f"inventory: {error or type(error).__name__}"


def prepare() -> None:
    """Learn which options this kernel has, ahead of the window."""
    for family, type_, protocol in COMMON:
        for connected in (False, True):
            options.usable(family, type_, protocol, connected)
