"""Where the playbooks and roles of this very version are."""

import os
from collections.abc import Mapping
from pathlib import Path

from relocate_cli.errors import UsageError

_PACKAGE = Path(__file__).parent


def find(environment: Mapping[str, str] | None = None, package: Path = _PACKAGE) -> Path:
    """The directory of playbooks/ and roles/: $RELOCATE_CONTENT_DIR, else the checkout, else the wheel's.

    A checkout comes before ``_content``, since an earlier build may have left a stale one in its package.
    Raises UsageError if the place has no playbooks.
    """
    environment = os.environ if environment is None else environment
    wanted = environment.get("RELOCATE_CONTENT_DIR")
    if wanted:
        place = Path(wanted)
    elif (package.parent / "pyproject.toml").is_file():
        place = package.parent
    else:
        place = package / "_content"
    if not (place / "playbooks").is_dir():
        raise UsageError(
            f"{place}: there are no playbooks", "set RELOCATE_CONTENT_DIR, or install relocate again"
        )
    return place.absolute()
