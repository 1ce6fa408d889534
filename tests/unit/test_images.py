"""Stored images are made ready for another target, and are still known for what was dumped."""

from pathlib import Path

import pytest
from relocate_proxy.storage import images

OLD, FIRST, SECOND = "172.17.1.2", "172.17.2.2", "172.17.3.2"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CRIU's formats are not needed here, and its library is not on every machine."""

    def rewritten(data: bytes, old: str, new: str) -> tuple[bytes, int]:
        return data.replace(old.encode(), new.encode()), data.count(old.encode())

    monkeypatch.setattr(images, "_rewritten", rewritten)
    (tmp_path / "files.img").write_text(f"{OLD}: and a peer at {FIRST}")
    (tmp_path / "pages-1.img").write_bytes(b"memory")
    return tmp_path


def test_a_target_after_another_starts_from_what_was_dumped(place: Path) -> None:
    """The first one's address may be a peer's: replaced once more, it would be another connection."""
    dumped = images.digest_of_all(place, [])
    for new in (FIRST, SECOND, FIRST):
        instead = images.take_over(place, OLD, new)
        assert (place / "files.img").read_text() == f"{new}: and a peer at {FIRST}"
        assert images.digest_of_all(place, []) != dumped
        assert images.digest_of_all(place, [], instead=instead) == dumped


@pytest.mark.parametrize("name", ["files.img", "files.dumped", "pages-1.img", "core-1.img"])
def test_what_was_changed_before_or_after_is_not_what_was_dumped(place: Path, name: str) -> None:
    dumped = images.digest_of_all(place, [])
    images.take_over(place, OLD, FIRST)
    (place / name).write_text("of another")
    instead = images.take_over(place, OLD, SECOND)
    if name == "files.img":  # is made anew
        assert images.digest_of_all(place, [], instead=instead) == dumped
        (place / name).write_text("of another")
    assert images.digest_of_all(place, [], instead=instead) != dumped


def test_an_address_is_replaced_in_place(place: Path) -> None:
    assert images.rewrite_address(place / "files.img", OLD, "1.1.1.1") == 1
    assert (place / "files.img").read_text() == f"1.1.1.1: and a peer at {FIRST}"
