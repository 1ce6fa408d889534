"""Spread trials over cores or a Dask cluster; the same numbers for the same seed, whatever carries them.

Trials are cut into tasks of a fixed size. Task i of job j draws from SeedSequence(seed, spawn_key=(j, i)) and
tallies are added in the order of tasks, so that neither the number of workers nor their speed can be seen.
"""

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np

from relocate_cli.errors import RefusedError, UsageError
from relocate_cli.simulate.engine import Tally, simulate
from relocate_cli.simulate.model import Scenario

TASK: Final = 65536
Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]  # tasks done, tasks in all


@dataclass(frozen=True)
class Job:
    """A scenario and how often to play it."""

    scenario: Scenario
    trials: int


@dataclass(frozen=True)
class Means:
    """What to compute with. ``workers`` 0 is every core; ``dask`` the address of a scheduler, if any."""

    seed: int
    workers: int = 0
    dask: str = ""
    progress: Progress | None = None


def generator(seed: int, *key: int) -> np.random.Generator:
    """The stream of random numbers of this seed and key; streams of two keys are independent."""
    return np.random.Generator(np.random.SFC64(np.random.SeedSequence(seed, spawn_key=key)))


def run(jobs: Sequence[Job], means: Means) -> list[Tally]:
    """Play all jobs; one tally each."""
    tasks = [
        (number, index, min(TASK, job.trials - begin))
        for number, job in enumerate(jobs)
        for index, begin in enumerate(range(0, job.trials, TASK))
    ]
    tallies = [Tally() for _ in jobs]
    for task, tally in zip(tasks, spread(_play, jobs, tasks, means), strict=True):
        tallies[task[0]] += tally
    return tallies


def _play(jobs: Sequence[Job], seed: int, task: tuple[int, int, int]) -> Tally:
    number, index, trials = task
    return simulate(jobs[number].scenario, generator(seed, number, index), trials)


def spread(
    play: Callable[[Shared, int, Task], Result], shared: Shared, tasks: Sequence[Task], means: Means
) -> Iterator[Result]:
    """``play(shared, seed, task)`` of each task, in their order. ``play`` is a function of a module."""
    if means.seed < 0:
        raise UsageError(f"seed: zero or more, not {means.seed}")
    if means.workers < 0:
        raise UsageError(f"workers: zero (every core) or more, not {means.workers}")
    for done, result in enumerate(_carry(play, shared, tasks, means), start=1):
        if means.progress:
            means.progress(done, len(tasks))
        yield result


def _carry(
    play: Callable[[Shared, int, Task], Result], shared: Shared, tasks: Sequence[Task], means: Means
) -> Iterator[Result]:
    workers = min(means.workers or len(os.sched_getaffinity(0)), len(tasks))
    if means.dask:
        yield from _on_dask(play, shared, tasks, means)
    elif workers <= 1:
        for task in tasks:
            yield play(shared, means.seed, task)
    else:
        # Forked workers inherit what is shared: nothing large is pickled, and they start in milliseconds.
        context = multiprocessing.get_context("fork")
        with context.Pool(workers, initializer=_prepare, initargs=(play, shared, means.seed)) as pool:
            yield from pool.imap(_play_here, tasks)


_WORK: list[Any] = []  # of this worker process: play, shared, seed


def _prepare(*work: Any) -> None:
    _WORK[:] = work


def _play_here(task: Any) -> Any:
    play, shared, seed = _WORK
    return play(shared, seed, task)


def _on_dask(
    play: Callable[[Shared, int, Task], Result], shared: Shared, tasks: Sequence[Task], means: Means
) -> Iterator[Result]:
    try:
        import distributed
    except ImportError:
        raise RefusedError("--dask needs the package distributed", "pip install 'relocate[dask]'") from None
    try:
        connect: Any = distributed.Client
        client = connect(means.dask, timeout=10)
    except (OSError, ValueError) as error:
        raise UsageError(f"dask: no scheduler answers at {means.dask}: {error}") from None
    with client:
        there = client.scatter([shared], broadcast=True)[0]
        futures = [client.submit(play, there, means.seed, task, pure=False) for task in tasks]
        for future in futures:
            yield future.result()
            future.release()
