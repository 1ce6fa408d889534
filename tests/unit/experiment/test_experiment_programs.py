"""The programs in the containers, on this machine's loopback."""

import socket
import threading

import pytest

from relocate_cli.experiment import attacker, target
from relocate_cli.experiment.ground import program
from relocate_cli.experiment.sights import read


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> str:
    """A target on an address of the loopback's own; gives that address."""
    monkeypatch.setenv("TARGET", "target7")
    address = "127.77.7.3"
    listener = socket.create_server((address, 0))
    monkeypatch.setattr(attacker, "PORT", listener.getsockname()[1])

    def serve() -> None:
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=target.serve, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield address
    listener.close()


def test_an_attacker_finds_who_answers_but_himself(answering: str) -> None:
    found = attacker.look("127.77.7", own="127.77.7.2")
    assert found == {f"target7/{target.PROCESS}": answering}
    assert attacker.look("127.77.7", own=answering) == {}


def test_what_he_prints_is_what_is_read(answering: str) -> None:
    found = attacker.look("127.77.7", own="")
    line = " ".join(f"{who}={where}" for who, where in found.items())
    (look,) = read("eve", f"12.5 {line}\n")
    assert look.found == {(f"target7/{target.PROCESS}", answering)}


def test_a_target_counts_lines_but_not_who_asks(answering: str) -> None:
    with socket.create_connection((answering, attacker.PORT)) as connection:
        stream = connection.makefile("rwb", buffering=0)
        for sent, answer in ((b"5\n", b"5 1\n"), (b"who\n", f"target7 {target.PROCESS}\n".encode())):
            stream.write(sent)
            assert stream.readline() == answer
        stream.write(b"6\n")
        assert stream.readline() == b"6 2\n"


def test_programs_travel_as_their_source() -> None:
    for name in ("attacker.py", "target.py"):
        compile(program(name), name, "exec")
