"""One testbed for the session: host0 and two hosts, provisioned once by the command line. It is not the
developer's own, which may be up at the same time.

``RELOCATE_TEST_KEEP=1`` uses the session's testbed of an earlier run, if it is still up, and leaves it up:
for a quick second run.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Ended, Lab

from relocate_cli.errors import RefusedError, RelocateError
from relocate_cli.testbed import bed, preflight
from relocate_cli.testbed.places import Places
from relocate_cli.testbed.root import Engine

KEEP = os.environ.get("RELOCATE_TEST_KEEP", "") not in ("", "0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.integration)


@pytest.fixture(scope="session")
def able() -> None:
    """Skips, with the reason, where the machine cannot hold a testbed."""
    try:
        preflight.check(Places.of_user())
    except RefusedError as error:
        pytest.skip(f"{error.message} ({error.hint})")


@pytest.fixture(scope="session")
def lab_of_session(able: None) -> Iterator[Lab]:
    """The testbed, provisioned, with the tenant's image on host1 alone: others must pull it."""
    of = Places.of_user().named("tests")
    try:
        lab = _kept(of) or _new(of)
        provisioned: Ended = lab.relocate("provision")
        assert provisioned.code == 0, provisioned.err
        lab.make_image("host1")
        yield lab
    finally:
        if not KEEP:
            bed.down(of)


def _kept(of: Places) -> Lab | None:
    try:
        return Lab(bed.current(of)) if KEEP else None
    except RelocateError:
        return None


def _new(of: Places) -> Lab:
    bed.down(of)
    return Lab(bed.up(2, Engine.DOCKER_26, of))


@pytest.fixture
def lab(lab_of_session: Lab) -> Iterator[Lab]:
    """The testbed without any container, before and after."""
    lab_of_session.clear()
    yield lab_of_session
    lab_of_session.clear()
