"""What differs between two inventories. Pure data in, pure data out."""

from collections.abc import Iterator
from dataclasses import dataclass

from relocate_proxy.inventory.document import Inventory, Socket, Value
from relocate_proxy.inventory.kinds import (
    DATAGRAMS,
    KINDS,
    NAME,
    PEER,
    PROCESS,
    RECEIVED,
    SOCKET,
    THINGS,
    UNSENT,
    Kind,
)

NOTHING = "(nothing)"
DATAGRAM = {"UDP_CORK", "NETLINK_PKTINFO"}  # whose transport may drop what it likes


@dataclass(frozen=True)
class Difference:
    """``of`` was one thing and is another now; ``NOTHING``: it is not there."""

    kind: Kind
    of: str
    was: Value
    now: Value

    def __str__(self) -> str:
        return f"{self.kind.name} of {self.of}: {_short(self.was)} became {_short(self.now)}"


def _short(value: Value) -> str:
    text = "unknown" if value is None else str(value)
    return text if len(text) <= 80 else text[:77] + "…"


def compare(was: Inventory, now: Inventory) -> list[Difference]:
    """All differences of the kinds in the table, what is missing as a whole once."""
    return [*_facts(was, now), *_sockets(was, now)]


def _facts(was: Inventory, now: Inventory) -> Iterator[Difference]:
    before = {(kind, of): value for kind, of, value in was.facts}
    after = {(kind, of): value for kind, of, value in now.facts}
    gone: set[str] = set()
    for (name, of), value in before.items():
        kind = KINDS.get(name)
        if kind is None or of in gone or _process(of) in gone:
            continue
        found = after.get((name, of), NOTHING)
        if found == value:
            continue
        if found == NOTHING and name in THINGS:
            gone.add(of)
        yield Difference(kind, of, value, found)
    for (name, of), value in after.items():
        if (name, of) not in before and (kind := KINDS.get(name)) and kind.both and _process(of) not in gone:
            yield Difference(kind, of, NOTHING, value)


def _process(of: str) -> str:
    """``process 7`` for a thread or a descriptor of its: ``thread 7/9``."""
    _, _, numbers = of.partition(" ")
    process, slash, _ = numbers.partition("/")
    return f"{PROCESS} {process}" if slash else ""


def _sockets(was: Inventory, now: Inventory) -> Iterator[Difference]:
    after = {socket.of: socket for socket in now.sockets}
    alike: dict[tuple[int, int], list[tuple[Kind, Value, Value]]] = {}
    for socket in was.sockets:
        found = after.get(socket.of)
        if found is None:
            yield Difference(KINDS[SOCKET], socket.of, socket.name, NOTHING)
            continue
        pair = socket.vector, found.vector
        if pair not in alike:
            alike[pair] = list(_values(was.values(socket), now.values(found)))
        for kind, before, value in alike[pair]:
            yield Difference(kind, socket.of, before, value)
        if socket[2:] != found[2:]:
            yield from _own(socket, found, not DATAGRAM & was.values(socket).keys())


def _values(before: dict[str, Value], after: dict[str, Value]) -> Iterator[tuple[Kind, Value, Value]]:
    for label, value in before.items():
        if label in after and after[label] != value and (kind := KINDS.get(label)):
            yield kind, value, after[label]


def _own(was: Socket, now: Socket, stream: bool) -> Iterator[Difference]:
    """What each socket has for itself."""
    pairs: list[tuple[str, Value, Value]] = [(NAME, was.name, now.name), (PEER, was.peer, now.peer)]
    pairs += [(RECEIVED if stream else DATAGRAMS, was.received, now.received)]
    pairs += [(UNSENT, was.unsent, now.unsent)]
    for name, before, value in pairs:
        if before != value:
            yield Difference(KINDS[name], was.of, before, value)
