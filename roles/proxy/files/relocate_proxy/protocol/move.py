"""A move as everybody has it: the command line, host0's journal and both hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from relocate_proxy.protocol.shapes import Address, Identity, Seconds, at_most, matches
from relocate_proxy.protocol.words import Party

Name = Annotated[str, at_most(255)]
InventoryMode = Annotated[str, matches(r"full|sockets|off")]


@dataclass(frozen=True)
class Move:
    """``container`` from ``source`` to ``target``, names of the inventory, by the relocation ``id``.

    ``deadline``: seconds for the dump and for the restore, ours if None. ``verify``: whether the images'
    digests are compared. ``inventory``: how much of the copy is compared with what was frozen.
    ``recovers``: the relocation that left only the images which this one restores.
    """

    id: Identity
    container: Name
    source: Name
    target: Name
    vip: Address
    deadline: Seconds | None = None
    verify: bool = True
    recovers: Identity | None = None
    inventory: InventoryMode = "full"

    def host(self, party: Party) -> str:
        """The host that is this party."""
        return self.source if party is Party.SOURCE else self.target

    @property
    def hosts(self) -> tuple[str, str]:
        """Source and target."""
        return self.source, self.target

    @property
    def armed_at(self) -> tuple[Party, ...]:
        """The parties that are armed; the source of a stored container has nothing left to arm."""
        return (Party.TARGET,) if self.recovers else (Party.SOURCE, Party.TARGET)
