"""Who runs first on a busy host (sched(7)): what a window waits for, and nothing else."""

import contextlib
import os
import threading


def be_prompt(pid: int = 0) -> None:
    """Run ahead of what else the host does: the calling thread, or process ``pid``; what they start
    inherits it.

    CRIU gives what it restores its own policy back.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))


def be_second() -> None:
    """The calling thread has much to do beside CRIU: ahead of what else the host does, but not in the way of
    CRIU, nor for long in that of the tenant's own processes, in which CRIU does half of its work.
    """
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), -20)
