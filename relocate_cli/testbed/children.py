"""Short commands that end with the process that started them, however that ends."""

import subprocess
from collections.abc import Sequence
from typing import Any

from relocate_cli.testbed import locks


def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
    """As ``subprocess.run``, for what must be over before another run works on the same testbed.

    A killed `up` takes the command with it. As that takes a moment, the command holds this process's locks
    too: who takes one next waits until the command is gone.
    """
    return subprocess.run(["setpriv", "--pdeathsig=KILL", *command], pass_fds=locks.descriptors(), **options)
