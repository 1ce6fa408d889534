"""One line for each step of a relocation, in systemd's journal with the relocation's id as a field:
`journalctl RELOCATION=ID` on any host shows what it did, in the words of docs/protocol.md.

The journal's own protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): a datagram of fields, a line each.
"""

import logging
import socket

SOCKET = "/run/systemd/journal/socket"
PRIORITIES = {logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}


class JournalHandler(logging.Handler):
    """Sends records to journald; a host without it, or one that is full, is not waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        words = " ".join(record.getMessage().split())
        relocation = getattr(record, "relocation", "")
        fields = {
            "MESSAGE": f"{relocation}: {words}" if relocation else words,
            "PRIORITY": PRIORITIES.get(record.levelno, 6),
            "SYSLOG_IDENTIFIER": "relocate-proxy",
            "RELOCATION": relocation,
        }
        text = "".join(f"{name}={value}\n" for name, value in fields.items())
        try:
            self.socket.sendto(text.encode(errors="replace"), SOCKET)
        except OSError:
            return  # a log that cannot be written stops nothing


def start() -> None:
    """Log from now on. Idempotent."""
    root = logging.getLogger("relocate")
    if not root.handlers:
        root.setLevel(logging.INFO)
        root.addHandler(JournalHandler())


def of(relocation: str) -> "logging.LoggerAdapter[logging.Logger]":
    """The log of one relocation."""
    return logging.LoggerAdapter(logging.getLogger("relocate"), {"relocation": relocation})
