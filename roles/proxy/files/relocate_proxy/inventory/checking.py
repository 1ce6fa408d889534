"""The target's half: is the copy what the source's container was? Mends what can be mended, and refuses what
is not the same then."""

from collections import Counter
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from relocate_proxy.inventory import options, sockets
from relocate_proxy.inventory.comparison import Difference, compare
from relocate_proxy.inventory.document import Inventory, decode
from relocate_proxy.inventory.kinds import Verdict
from relocate_proxy.inventory.mending import Mender, MendError
from relocate_proxy.inventory.reading import Reader
from relocate_proxy.inventory.taking import prepare
from relocate_proxy.protocol.messages import MOST_KINDS, Compared, Noted
from relocate_proxy.storage.shared import StorageArea

SAID = 3  # differences in words
OF_SOCKETS = {*sockets.OF_ALL, *options.BY_LABEL}
ROUNDS = 2  # one option of a socket may change another


class CopyError(Exception):
    """The copy is not what the container was; the message is the difference in words."""


class _Check:
    """One comparison, and what came of each difference."""

    def __init__(self, was: Inventory, reader: Reader) -> None:
        self.was, self.reader = was, reader
        self.mended: Counter[str] = Counter()
        self.harmless: Counter[tuple[str, str]] = Counter()
        self.fatal: list[str] = []

    def run(self) -> None:
        self.reader.look()
        differences = compare(self.was, self.reader.take())
        mender = Mender(self.reader)
        wanting: list[Difference] = []
        for each in differences:
            if each.kind.verdict is not Verdict.MENDED:
                self._note(each, str(each), each.kind.verdict)
            elif each.kind.name in OF_SOCKETS:
                wanting.append(each)
            else:
                try:
                    mender.mend(each)
                    self.mended[each.kind.name] += 1
                except MendError as error:
                    self._note(each, str(error), each.kind.otherwise)
        for of, group in groupby(wanting, key=lambda each: each.of):
            self._socket(mender, of, list(group))

    def _socket(self, mender: Mender, of: str, differences: list[Difference]) -> None:
        self.mended.update(each.kind.name for each in differences)
        alone = replace(self.was, facts=(), sockets=tuple(s for s in self.was.sockets if s.of == of))
        for _ in range(ROUNDS):
            try:
                mender.mend_socket(of, differences)
            except MendError as error:
                self.fatal.append(str(error))
                return
            now = self.reader.again(of)
            differences = [each for each in compare(alone, now) if each.kind.verdict is Verdict.MENDED]
            if not differences:
                return
        self.fatal += [f"{each}, and cannot be mended" for each in differences]

    def _note(self, difference: Difference, words: str, verdict: Verdict) -> None:
        if verdict is Verdict.HARMLESS:
            self.harmless[difference.kind.name, difference.kind.why] += 1
        else:
            self.fatal.append(words)


class Expected:
    """What the copy is to be, read from the storage beside the restore."""

    def __init__(self, area: StorageArea, digest: str) -> None:
        """``digest``: what the source has said of it; empty if it took none."""
        self.area, self.digest = area, digest
        self.inventory: Inventory | None = None

    def read(self) -> None:
        """Raises StorageError, DocumentError or OSError."""
        if self.digest:
            self.inventory = decode(self.area.read_inventory(self.digest))
            prepare()

    def check(self, cgroup: Path, own: tuple[str, ...], last: bool) -> Compared | None:
        """Compare, and mend. Raises CopyError or OSError."""
        if self.inventory is None:
            return None
        return check(self.inventory, Reader(cgroup, own, self.inventory.mode), last)


def check(was: Inventory, reader: Reader, last: bool = False) -> Compared:
    """Compare the copy that ``reader`` reads with what there ``was``, and mend it. ``last``: there is no
    other copy, so that nothing is fatal, but said.

    Raises CopyError, or OSError when the copy cannot be read.
    """
    found = _Check(was, reader)
    found.run()
    if found.fatal and not last:
        more = f" (and {len(found.fatal) - SAID} more)" if len(found.fatal) > SAID else ""
        raise CopyError(f"the copy is not what was frozen: {'; '.join(found.fatal[:SAID])}{more}")
    for words in found.fatal[:MOST_KINDS]:
        found.harmless["not mended", words[:200]] += 1
    return Compared(
        was.count,
        tuple(Noted(kind, times) for kind, times in sorted(found.mended.items()))[:MOST_KINDS],
        tuple(Noted(kind, n, why) for (kind, why), n in sorted(found.harmless.items()))[:MOST_KINDS],
    )
