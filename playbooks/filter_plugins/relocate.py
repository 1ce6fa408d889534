"""What playbooks make of answers before they hand them on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

# Package lists and the like make most of a survey; host0 would be sent every host's.
PUBLISHED = ("taken_at", "containers")


def containers_of(survey: str) -> str:
    """A survey document without what host0 does not read.

    What is no document stays as it is: whoever reads it says what is wrong, and of one host only.
    """
    try:
        document = json.loads(survey)
    except (ValueError, RecursionError):
        return survey
    if not isinstance(document, dict):
        return survey
    return json.dumps({part: document[part] for part in PUBLISHED if part in document})


class FilterModule:
    """Ansible's way to the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by the names that templates use."""
        return {"relocate_containers_of": containers_of}
