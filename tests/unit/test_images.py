"""Addresses in CRIU's images; stored ones are made ready for another target, and are still known for what was
dumped."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from relocate_proxy.storage import images
from relocate_proxy.storage.images import AF_INET, AF_INET6, MAPPED_PREFIX

OLD, FIRST, SECOND = "172.17.1.2", "172.17.2.2", "172.17.3.2"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CRIU's formats are not needed here, and its library is not on every machine."""

    def rewritten(data: bytes, moved: Mapping[str, str]) -> tuple[bytes, int]:
        ((old, new),) = moved.items()
        return data.replace(old.encode(), new.encode()), data.count(old.encode())

    monkeypatch.setattr(images, "_rewritten", rewritten)
    (tmp_path / "files.img").write_text(f"{OLD}: and a peer at {FIRST}")
    (tmp_path / "pages-1.img").write_bytes(b"memory")
    return tmp_path


def test_a_target_after_another_starts_from_what_was_dumped(place: Path) -> None:
    """The first one's address may be a peer's: replaced once more, it would be another connection."""
    dumped = images.digest_of_all(place, [])
    for new in (FIRST, SECOND, FIRST):
        instead = images.take_over(place, {OLD: new})
        assert (place / "files.img").read_text() == f"{new}: and a peer at {FIRST}"
        assert images.digest_of_all(place, []) != dumped
        assert images.digest_of_all(place, [], instead=instead) == dumped


@pytest.mark.parametrize("name", ["files.img", "files.dumped", "pages-1.img", "core-1.img"])
def test_what_was_changed_before_or_after_is_not_what_was_dumped(place: Path, name: str) -> None:
    dumped = images.digest_of_all(place, [])
    images.take_over(place, {OLD: FIRST})
    (place / name).write_text("of another")
    instead = images.take_over(place, {OLD: SECOND})
    if name == "files.img":  # is made anew
        assert images.digest_of_all(place, [], instead=instead) == dumped
        (place / name).write_text("of another")
    assert images.digest_of_all(place, [], instead=instead) != dumped


def test_an_address_is_replaced_in_place(place: Path) -> None:
    assert images.rewrite_addresses(place / "files.img", {OLD: "1.1.1.1"}) == 1
    assert (place / "files.img").read_text() == f"1.1.1.1: and a peer at {FIRST}"


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
