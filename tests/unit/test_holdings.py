"""What processes are and hold: real ones where they can be made, else /proc as the kernel writes it."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy.survey.holdings import aio_events, droppable, held, strangers
from relocate_proxy.survey.patience import ImpatientError, Patience


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import socket; s = socket.create_server(('127.0.0.1', 0)); u = socket.socketpair()", ""),
        ("import select; e = select.epoll(); n = __import__('socket').socket(16, 3, 0)", ""),
        ("import ctypes; assert ctypes.CDLL(None).inotify_init() > 0", ""),
        (
            "import ctypes; c = ctypes.CDLL(None); c.inotify_add_watch(c.inotify_init(), b'/', 256)",
            "inotify watch of its root file system",
        ),
        ("import socket; s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)", "dump: MPTCP socket"),
        (
            "import ctypes; assert ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(256)) > 0",
            "dump: io_uring",
        ),
        ("import ctypes; assert ctypes.CDLL(None).syscall(447, 0) > 0", "dump: secret memory"),
        ("import os; p = os.pipe()", ""),
        ("import os; p = os.pipe2(os.O_DIRECT)", "dump: pipe in packet mode"),
    ],
)
def test_what_a_process_holds_that_cannot_be_dumped_is_named(program: str, reason: str) -> None:
    command = [sys.executable, "-c", f"{program}; print(flush=True); input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            pytest.skip("this kernel has no such thing")
        found = held([str(process.pid)])
        process.communicate(b"\n")
    assert [entry for entry in found if reason not in entry["reason"]] == []
    assert len(found) == bool(reason)


def test_memory_that_the_kernel_may_drop_is_seen() -> None:
    program = "import mmap; m = mmap.mmap(-1, 4096, flags=mmap.MAP_ANONYMOUS | 8); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            pytest.skip("this kernel has no MAP_DROPPABLE (Linux 6.11)")
        found = droppable(["999999999", str(process.pid)])
        process.communicate(b"\n")
    assert found


def test_a_process_that_has_ended_holds_nothing() -> None:
    assert held(["999999999"]) == []
    assert not droppable(["999999999"])
    assert aio_events(["999999999"]) == 0


def test_a_name_that_is_no_text_stops_nobody() -> None:
    program = "import ctypes; ctypes.CDLL(None).prctl(15, b'\\xff'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stdout.readline()
        found = held([str(process.pid)])
        process.communicate(b"\n")
    assert found == []


def test_aio_contexts_say_for_how_many_events_they_are() -> None:
    program = "import ctypes; c = ctypes.CDLL(None); r = ctypes.c_ulong(0)"
    program += "; assert c.syscall(206, 4096, ctypes.byref(r)) == 0; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        if not process.stdout.readline():
            pytest.skip("this kernel has no AIO")
        found = aio_events([str(process.pid)])
        process.communicate(b"\n")
    assert 4096 <= found < 4096 + 128  # what a page has room for besides


def process(proc: Path, pid: int, parent: int, inside: str, name: str, state: str = "S (sleeping)") -> None:
    directory = proc / str(pid)
    directory.mkdir()
    lines = (f"Name:\t{name}", f"State:\t{state}", f"PPid:\t{parent}", f"NSpid:\t{pid}\t{inside}".rstrip())
    (directory / "status").write_text("\n".join(lines) + "\n")
    (directory / "cmdline").write_bytes(name.encode() + b"\0--loop\0\xff\x1b[2J\0")


def test_who_came_in_by_docker_exec_is_told_from_who_descends_from_the_first(tmp_path: Path) -> None:
    process(tmp_path, 100, 50, "1", "init")
    process(tmp_path, 101, 100, "7", "child")
    process(tmp_path, 102, 101, "8\t1", "sandbox")  # the first of a namespace that the container made
    process(tmp_path, 103, 50, "9", "worker")
    process(tmp_path, 104, 103, "10", "its-child")
    process(tmp_path, 105, 50, "11", "over", "Z (zombie)")
    process(tmp_path, 106, 50, "12", "runc:[2:INIT]")
    process(tmp_path, 107, 50, "", "of-the-host")
    pids = [str(pid) for pid in range(100, 109)]
    assert strangers(pids, tmp_path) == {"103": "worker --loop \ufffd?[2J"}


@pytest.mark.parametrize("look", [held, strangers, droppable, aio_events])
@pytest.mark.parametrize("pid", ["999999999", "1"])
def test_no_look_outlasts_its_patience(look: Any, pid: str) -> None:
    """Of processes that have nothing to see, or have ended, there may be very many, too."""
    with pytest.raises(ImpatientError, match="its processes take longer"):
        look([pid] * 3, patience=Patience(-1.0))
