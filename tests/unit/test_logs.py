"""What a step says in systemd's journal."""

import logging
import socket
from pathlib import Path

import pytest
from relocate_proxy.kernel import logs


@pytest.fixture
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "socket"))
    listener.settimeout(5)
    monkeypatch.setattr(logs, "SOCKET", str(tmp_path / "socket"))
    monkeypatch.setattr(logging.getLogger("relocate"), "handlers", [])
    return listener


def test_a_step_is_one_line_and_no_tenants_word_makes_a_field(
    journal: socket.socket,
) -> None:
    logs.start()
    logs.start()
    logs.of("move-1").warning("source: failed %s", "so\nPRIORITY=0")
    fields = dict(line.split("=", 1) for line in journal.recv(4096).decode().splitlines())
    assert fields == {
        "MESSAGE": "move-1: source: failed so PRIORITY=0",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "relocate-proxy",
        "RELOCATION": "move-1",
    }
    journal.settimeout(0.05)
    with pytest.raises(TimeoutError):
        journal.recv(4096)


def test_nobody_waits_for_a_journal_that_is_not_there(
    journal: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.start()
    monkeypatch.setattr(logs, "SOCKET", "/nonexistent")
    logs.of("move-1").info("thawed")
