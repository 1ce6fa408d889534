"""System calls that Python has no name for. All take a pid or a descriptor: nothing is attached to the
process that they are about."""

import ctypes
import os
import struct
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
IOPRIO_SET, IOPRIO_GET, SCHED_SETATTR, SCHED_GETATTR, SIGNALFD4, PIDFD_OPEN, PIDFD_GETFD = (
    {"x86_64": (251, 252, 314, 315, 289, 434, 438), "aarch64": (30, 31, 274, 275, 74, 434, 438)}
)[os.uname().machine]
IOPRIO_WHO_PROCESS = 1
SCHEDULING = struct.Struct("=IIQiIQQQ")  # struct sched_attr, first version
RESET_ON_FORK = 1
NAMESPACES = {"net": 0x40000000, "ipc": 0x08000000, "uts": 0x04000000}


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _call(number: int, *arguments: int) -> int:
    return _checked(LIBC.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)))


def pidfd_open(pid: int) -> int:
    """A descriptor for a process. Raises OSError when there is none."""
    return _call(PIDFD_OPEN, pid, 0)


def pidfd_getfd(pidfd: int, descriptor: int) -> int:
    """A duplicate of a process's descriptor, close-on-exec. Raises OSError."""
    return _call(PIDFD_GETFD, pidfd, descriptor, 0)


def io_priority(tid: int) -> int:
    """ioprio_get(2)."""
    return _call(IOPRIO_GET, IOPRIO_WHO_PROCESS, tid)


def set_io_priority(tid: int, value: int) -> None:
    """ioprio_set(2)."""
    _call(IOPRIO_SET, IOPRIO_WHO_PROCESS, tid, value)


def scheduling(tid: int) -> tuple[int, int, int, int]:
    """Policy, whether it is reset on fork, nice value and real-time priority (sched_getattr(2))."""
    buffer = ctypes.create_string_buffer(256)
    _checked(LIBC.syscall(ctypes.c_long(SCHED_GETATTR), ctypes.c_long(tid), buffer, ctypes.c_long(256), 0))
    _, policy, flags, nice, priority, _, _, _ = SCHEDULING.unpack_from(buffer)
    return policy, flags & RESET_ON_FORK, nice, priority


def set_scheduling(tid: int, policy: int, flags: int, nice: int, priority: int) -> None:
    """sched_setattr(2)."""
    buffer = SCHEDULING.pack(SCHEDULING.size, policy, flags, nice, priority, 0, 0, 0)
    _checked(LIBC.syscall(ctypes.c_long(SCHED_SETATTR), ctypes.c_long(tid), buffer, ctypes.c_long(0)))


def set_signals(descriptor: int, mask: int) -> None:
    """Which signals a signalfd delivers (signalfd4(2) on one that is there)."""
    word = ctypes.c_uint64(mask)
    arguments = (ctypes.c_long(descriptor), ctypes.byref(word), ctypes.c_long(8), ctypes.c_long(0))
    _checked(LIBC.syscall(ctypes.c_long(SIGNALFD4), *arguments))


def listen(descriptor: int, backlog: int) -> None:
    """listen(2) again: a listener's backlog."""
    _checked(LIBC.listen(descriptor, backlog))


def enter(pid: int, *kinds: str) -> None:
    """Move the calling thread into namespaces of a process; it must end there. Raises OSError."""
    for kind in kinds:
        with Path(f"/proc/{pid}/ns/{kind}").open("rb") as namespace:
            _checked(LIBC.setns(namespace.fileno(), NAMESPACES[kind]))
