"""The one family of errors that a user sees: a line, a hint, an exit code."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell, cron and CI see (docs/operators.md)."""

    DONE = 0
    ROLLED_BACK = 1
    USAGE = 2
    REFUSED = 3
    NEEDS_RECOVER = 4
    LOCKED = 5


class RelocateError(Exception):
    """Says what is wrong in one line and, in ``hint``, what to do about it."""

    exit_code = ExitCode.ROLLED_BACK

    def __init__(self, message: str, hint: str = "", exit_code: ExitCode | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(RelocateError):
    """The arguments or the configuration are wrong; nothing was touched."""

    exit_code = ExitCode.USAGE


class RefusedError(RelocateError):
    """A precondition does not hold; nothing was touched."""

    exit_code = ExitCode.REFUSED


class LockedError(RelocateError):
    """Another run holds the lock; nothing was touched."""

    exit_code = ExitCode.LOCKED
