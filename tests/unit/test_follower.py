"""Digests that are taken while CRIU writes are those of the finished images."""

import threading
from pathlib import Path

from relocate_proxy.storage import images


def test_what_grows_meanwhile_is_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "core-1.img").write_bytes(b"core")
    follower, ended = images.Follower(tmp_path), threading.Event()
    reader = threading.Thread(target=follower.follow, args=(ended,))
    reader.start()
    for number in range(200):
        for name in ("pages-1.img", "pages-2.img"):
            with (tmp_path / name).open("ab") as stream:
                stream.write(bytes([number]) * 5000)
    ended.set()
    reader.join()
    known = follower.digests()
    assert known.keys() == {"pages-1.img", "pages-2.img"}
    assert images.digest_of_all(tmp_path, [], known) == images.digest_of_all(tmp_path, [])


def test_one_byte_that_changed_after_it_was_read_is_another_image(tmp_path: Path) -> None:
    (tmp_path / "pages-1.img").write_bytes(b"x" * 9000)
    known = images.Follower(tmp_path).digests()
    (tmp_path / "pages-1.img").write_bytes(b"x" * 8999 + b"y")
    assert images.digest_of_all(tmp_path, [], known) != images.digest_of_all(tmp_path, [])


def test_what_travels_beside_the_images_counts_too(tmp_path: Path) -> None:
    assert images.digest_of_all(tmp_path, ["a"]) != images.digest_of_all(tmp_path, [])
