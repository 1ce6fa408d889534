"""Three QEMU machines for the session: host0 and host1 on Debian 13's kernel, host2 on Debian 12's.

Emulated machines are ten times slower than real ones, so nothing here asserts a duration; where the time went
is printed at the end. ``RELOCATE_TEST_KEEP=1`` uses the machines of an earlier run, if they are still up, and
leaves them up.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from relocate_cli.errors import RefusedError, RelocateError
from relocate_cli.testbed import preflight
from relocate_cli.testbed.places import Places
from relocate_cli.testbed.vm import bed
from relocate_cli.testbed.vm.image import Kernel

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))
import harness
import talk

KEEP = os.environ.get("RELOCATE_TEST_KEEP", "") not in ("", "0")
# A message may be answered after a whole window, and windows last seconds here.
talk.PATIENCE = 240.0
harness.COMMAND_PATIENCE = 3600.0
harness.SSH_PATIENCE = 600.0

phases: list[tuple[str, float]] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.vm)
            item.add_marker(pytest.mark.timeout(2 * harness.COMMAND_PATIENCE))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if phases:
        terminalreporter.section("where the time went")
        for name, seconds in [*phases, ("all", sum(seconds for _, seconds in phases))]:
            terminalreporter.write_line(f"{seconds:7.0f} s  {name}")


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Note how long the block takes."""
    started = time.monotonic()
    try:
        yield
    finally:
        phases.append((name, time.monotonic() - started))


@pytest.fixture(scope="session")
def lab() -> Iterator[harness.Lab]:
    """The machines, provisioned, with the tenant's image on host2."""
    try:
        preflight.check(Places.of_user())
    except RefusedError as error:
        pytest.skip(f"{error.message} ({error.hint})")
    of = bed.places_of_user().named("tests")
    found = _kept(of) or _new(of)
    yield found
    if not KEEP:
        with phase("switch off"):
            bed.down(of)


def _kept(of: Places) -> "harness.Lab | None":
    try:
        return harness.Lab(bed.current(of)) if KEEP else None
    except RelocateError:
        return None


def _new(of: Places) -> harness.Lab:
    with phase("build what is not cached, boot"):
        found = harness.Lab(bed.up(2, {"host2": Kernel.OLD}, of))
    with phase("provision"):
        provisioned = found.relocate("provision")
        assert provisioned.code == 0, provisioned.err
    with phase("tenant's image"):
        found.make_image("host2", patience=talk.PATIENCE)
    return found
