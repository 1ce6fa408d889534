"""The source's half: take the inventory of the frozen container beside its dump, for the target."""

from pathlib import Path

from relocate_proxy.host.stopwatch import Stopwatch
from relocate_proxy.inventory import options, reading
from relocate_proxy.inventory.document import Inventory, Mode
from relocate_proxy.inventory.kinds import ENTERED
from relocate_proxy.kernel.priority import be_second
from relocate_proxy.storage.shared import StorageArea

COMMON = [(family, type_, 6 if type_ == 1 else 17) for family in (2, 10) for type_ in (1, 2)]


class Taking:
    """Of one container. All is done that can be done ahead of the window."""

    def __init__(self, cgroup: Path, own: tuple[str, ...], mode: Mode, checked: bool = False) -> None:
        """``own``: the container's addresses, that of its way out first; ``checked``: whether the engine runs
        a health check in it."""
        self.mode, self.checked = mode, checked
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
                found = self.reader.take()
                if stranger := self._stranger(found):
                    raise ValueError(f"process {stranger} was started by docker exec, and would end")
                self.digest = area.write_inventory(found.encode())
        except Exception as error:
            self.error = f"inventory: {error or type(error).__name__}"

    def _stranger(self, found: Inventory) -> str:
        """The command of a process that came from outside; of a container that has a health check it is taken
        for that."""
        entered = (str(fact.value) for fact in found.facts if fact.kind == ENTERED)
        return "" if self.checked else next(entered, "")


def prepare() -> None:
    """Learn which options this kernel has, ahead of the window."""
    for family, type_, protocol in COMMON:
        for connected in (False, True):
            options.usable(family, type_, protocol, connected)
