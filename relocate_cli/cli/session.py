"""What verbs that touch hosts do around their work: the lock, the journal, the progress."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from relocate_cli.settings import Settings

if TYPE_CHECKING:
    from relocate_cli.journal import Journal
    from relocate_cli.playbook import PlaybookResult
    from relocate_cli.render import Progress


@contextmanager
def alone(
    settings: Settings, *, wait: float, quiet: bool, verbose: int
) -> Iterator[tuple["Journal", "Progress"]]:
    """No other run works on this fleet in the block, which gets the journal and the progress.

    Raises LockedError if another does after ``wait`` seconds.
    """
    from relocate_cli.journal import Journal, lock
    from relocate_cli.render import Progress

    with (
        lock(settings.state, wait),
        Journal(settings.state) as journal,
        Progress(quiet=quiet, verbose=verbose > 0) as progress,
    ):
        yield journal, progress


def play(
    playbook: str,
    settings: Settings,
    *,
    variables: Mapping[str, Any],
    limit: str | None,
    check: bool,
    diff: bool,
    quiet: bool,
    verbose: int,
) -> "PlaybookResult":
    """Run a playbook whose tasks are its progress; look at the result's ``require``."""
    from relocate_cli import playbook as playbooks
    from relocate_cli.render import Progress

    with Progress(quiet=quiet, verbose=verbose > 0) as progress:

        def follow(event: playbooks.TaskEvent) -> None:
            if event.status == "started":
                progress.task(event.task)
            elif event.status in ("failed", "unreachable"):
                progress.say(f"{event.host}: {event.task}: {event.message or event.status}")

        return playbooks.run(
            playbook,
            settings=settings,
            extravars=variables,
            limit=limit,
            check=check,
            diff=diff,
            verbosity=verbose,
            on_event=follow,
        )
