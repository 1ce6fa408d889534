"""The order in which people count names."""

import re


def natural(name: str) -> tuple[tuple[bool, int, str], ...]:
    """A key for sorting: numbers within names by their value.

    >>> sorted(["host10", "host2", "host1"], key=natural)
    ['host1', 'host2', 'host10']
    """
    # Parts of text and of digits take turns, so that like is compared with like.
    parts = re.split(r"(\d+)", name)
    return tuple((part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts)
