"""Puts right what differs in a copy that has not executed yet."""

import os
import socket
from collections.abc import Iterable

from relocate_proxy.inventory import calls, descriptors, multicast, namespaces, sockets, tasks
from relocate_proxy.inventory.comparison import Difference
from relocate_proxy.inventory.options import ORDER
from relocate_proxy.inventory.reading import Process, Reader
from relocate_proxy.kernel.shell import ToolError


class MendError(Exception):
    """It could not be put right; the message says why."""


class Mender:
    """Works on the processes that a reader has found. Holds no descriptor of theirs when it returns."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.processes = {each.inside: each for each in reader.processes}
        self.here = {inside: pid for pid, inside in reader.pids.items()}

    def mend(self, difference: Difference) -> None:
        """Anything but a value of a socket. Raises MendError."""
        try:
            self._mend(difference)
        except (OSError, ValueError, KeyError, ToolError) as error:
            raise MendError(f"{difference}, and cannot be mended: {error}") from None

    def mend_socket(self, of: str, differences: Iterable[Difference]) -> None:
        """Values of one socket, in the order in which they may be set. Raises MendError."""
        process, number = self._find(of)
        with _duplicate(process.pid, number) as found:
            for each in sorted(differences, key=lambda each: ORDER.get(each.kind.name, -1)):
                try:
                    if each.was is None:
                        raise ValueError("the source's kernel did not tell it")
                    sockets.mend(found, each.kind.name, each.was, self.here, self.reader.own)
                except (OSError, ValueError, KeyError) as error:
                    raise MendError(f"{each}, and cannot be mended: {error}") from None

    def _mend(self, difference: Difference) -> None:
        kind, of, was = difference.kind.name, difference.of, str(difference.was)
        if kind in (namespaces.ADDRESS, namespaces.ROUTE):
            namespaces.mend(self.reader.processes[0].pid, self.reader.own, kind, of)
            return
        if kind == multicast.MEMBERSHIP:
            word, holder, which = of.split(" ", 2)
            process, number = self._find(f"{word} {holder}")
            with _duplicate(process.pid, number) as found:
                multicast.join(found.fileno(), self.reader.groups, which, was)
            return
        process, number = self._find(of)
        if of.startswith("descriptor "):
            self._descriptor(process, number, kind, was, str(difference.now))
        elif of.startswith("thread "):
            _set(tasks.THREAD[kind], process.tids[number], was)
        else:
            _set(tasks.PROCESS[kind], process.pid, was)

    def _find(self, of: str) -> tuple[Process, int]:
        """Of ``thread 7/9``: process 7, and 9."""
        inside, _, number = of.partition(" ")[2].partition("/")
        return self.processes[int(inside)], int(number or 0)

    @staticmethod
    def _descriptor(process: Process, number: int, kind: str, was: str, now: str) -> None:
        pidfd = calls.pidfd_open(process.pid)
        try:
            duplicate = calls.pidfd_getfd(pidfd, number)
            try:
                descriptors.mend(duplicate, kind, was, now)
            finally:
                os.close(duplicate)
        finally:
            os.close(pidfd)
        of = f"descriptor {process.inside}/{number}"
        text = descriptors.information(process.pid, number)
        if not any(fact.kind == kind and fact.value == was for fact in descriptors.facts(of, "", text)):
            raise ValueError("the kernel has not taken it")


def _duplicate(pid: int, number: int) -> socket.socket:
    pidfd = calls.pidfd_open(pid)
    try:
        return socket.socket(fileno=calls.pidfd_getfd(pidfd, number))
    finally:
        os.close(pidfd)


def _set(setting: tasks.Setting, pid: int, value: str) -> None:
    setting.write(pid, value)
    if (found := setting.read(pid)) != value:
        raise ValueError(f"it is {found} then")
