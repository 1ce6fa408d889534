"""Addresses in CRIU's images."""

import pytest
from relocate_proxy.storage import images
from relocate_proxy.storage.images import AF_INET, AF_INET6, MAPPED_PREFIX


@pytest.mark.parametrize(
    ("family", "prefix"), [(AF_INET, []), (AF_INET6, MAPPED_PREFIX)], ids=["IPv4", "dual stack"]
)
def test_addresses_are_replaced_all_at_once(family: int, prefix: list[int]) -> None:
    """One after the other, what has just become new would be old again."""
    a, b, other = (images._word(f"172.18.0.{n}") for n in (2, 3, 9))
    words = {a: b, b: a}
    for old, new in ((a, b), (b, a)):
        address = [*prefix, old]
        assert images._replace(address, family, words) and address == [*prefix, new]
    for kept in ([*prefix, other], [*prefix, 0]):
        before = [*kept]
        assert not images._replace(kept, family, words) and kept == before
    assert not images._replace([1, 2, 3, a], AF_INET6, words), "an address of IPv6 that ends alike"
