"""The writable layer: what changed since a copy, and how it is applied elsewhere."""

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relocate_proxy import layer

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="whiteouts are device nodes: only root can make them")


def whiteout(path: Path) -> None:
    os.mknod(path, 0o020000, os.makedev(0, 0))


def tree(root: Path) -> dict[str, str]:
    """Every file and directory below ``root`` with its content."""
    return {
        str(path.relative_to(root)): "/" if path.is_dir() else path.read_text()
        for path in sorted(root.rglob("*"))
    }


@pytest.fixture
def upper(tmp_path: Path) -> Path:
    (tmp_path / "upper").mkdir()
    return tmp_path / "upper"


@pytest.fixture
def merged(tmp_path: Path) -> Path:
    (tmp_path / "merged").mkdir()
    return tmp_path / "merged"


def copy(upper: Path, merged: Path, since: layer.Snapshot, archive: Path) -> layer.Snapshot:
    found, after = layer.changes(upper, since)
    layer.pack(upper, found, archive)
    layer.unpack(archive, merged)
    return after


def settle_clock() -> None:
    """Let the next change be later than what a snapshot counts as its own time."""
    time.sleep(0.02)


@as_root
def test_a_full_copy_carries_files_and_applies_whiteouts(upper: Path, merged: Path, tmp_path: Path) -> None:
    (merged / "from_image").write_text("old")
    (merged / "kept").write_text("image")
    (upper / "new").mkdir()
    (upper / "new/file").write_text("x")
    whiteout(upper / "from_image")
    copy(upper, merged, layer.Snapshot(), tmp_path / "layer-0.tar")
    assert tree(merged) == {"kept": "image", "new": "/", "new/file": "x"}


@as_root
def test_an_opaque_directory_hides_what_the_image_had(upper: Path, merged: Path, tmp_path: Path) -> None:
    (merged / "dir").mkdir()
    (merged / "dir/image").write_text("old")
    (upper / "dir").mkdir()
    (upper / "dir/mine").write_text("new")
    try:
        os.setxattr(upper / "dir", layer.OPAQUE, b"y")
    except OSError:
        pytest.skip("this file system has no trusted attributes")
    copy(upper, merged, layer.Snapshot(), tmp_path / "layer-0.tar")
    assert tree(merged) == {"dir": "/", "dir/mine": "new"}


@as_root
def test_the_second_copy_has_only_what_changed(upper: Path, merged: Path, tmp_path: Path) -> None:
    (upper / "a").write_text("1")
    (upper / "gone").write_text("1")
    os.utime(upper / "a")
    after = copy(upper, merged, layer.Snapshot(), tmp_path / "layer-0.tar")
    late = layer.Snapshot(time.time(), after.directories)
    settle_clock()
    (upper / "a").write_text("2")
    (upper / "b").write_text("new")
    (upper / "gone").unlink()
    found, _ = layer.changes(upper, late)
    assert (sorted(found.removed), sorted(found.others)) == (["gone"], ["a", "b"])
    layer.pack(upper, found, tmp_path / "layer-1.tar")
    layer.unpack(tmp_path / "layer-1.tar", merged)
    assert tree(merged) == {"a": "2", "b": "new"}


@as_root
def test_a_renamed_directory_comes_whole(upper: Path, merged: Path, tmp_path: Path) -> None:
    (upper / "one/deep").mkdir(parents=True)
    (upper / "one/deep/file").write_text("x")
    after = copy(upper, merged, layer.Snapshot(), tmp_path / "layer-0.tar")
    settle_clock()
    (upper / "one").rename(upper / "two")
    copy(upper, merged, layer.Snapshot(time.time(), after.directories), tmp_path / "layer-1.tar")
    assert tree(merged) == {"two": "/", "two/deep": "/", "two/deep/file": "x"}


@as_root
def test_a_directory_replaced_by_another_of_its_name_comes_whole(
    upper: Path, merged: Path, tmp_path: Path
) -> None:
    (upper / "a").mkdir()
    (upper / "a/old").write_text("old")
    (upper / "b").mkdir()
    (upper / "b/new").write_text("new")
    after = copy(upper, merged, layer.Snapshot(), tmp_path / "layer-0.tar")
    settle_clock()
    late = layer.Snapshot(time.time(), after.directories)
    (upper / "a/old").unlink()
    (upper / "a").rmdir()
    (upper / "b").rename(upper / "a")
    copy(upper, merged, late, tmp_path / "layer-1.tar")
    assert tree(merged) == {"a": "/", "a/new": "new"}


def test_links_out_of_the_root_are_never_followed(upper: Path, merged: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("host")
    (merged / "link").symlink_to(outside)
    (upper / "link").mkdir()
    (upper / "link/precious").write_text("tenant")
    found, _ = layer.changes(upper, layer.Snapshot())
    layer.pack(
        upper, layer.Changes(["link/precious"], found.directories, found.others), tmp_path / "layer-0.tar"
    )
    layer.unpack(tmp_path / "layer-0.tar", merged)
    assert (outside / "precious").read_text() == "host"
    assert (merged / "link/precious").read_text() == "tenant"


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8
).filter(lambda name: name not in (".", "..") and len(name.encode()) < 200)


@as_root
@pytest.mark.parametrize("link", ["{outside}", "../outside"])
def test_a_directory_that_becomes_a_link_while_it_is_copied_shows_nothing_of_the_host(
    upper: Path, tmp_path: Path, link: str
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/shadow").write_text("a secret of the host")
    (upper / "dir").mkdir()
    (upper / "dir/shadow").write_text("mine")
    (upper / "other").write_text("mine too")
    found, _ = layer.changes(upper, layer.Snapshot())
    (upper / "dir").rename(upper / "away")
    (upper / "dir").symlink_to(link.format(outside=tmp_path / "outside"))
    archive = tmp_path / "layer-0.tar"
    layer.pack(upper, found, archive, frozen=False)
    assert b"a secret" not in archive.read_bytes()
    assert b"mine too" in archive.read_bytes()


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(NAMES, st.text(max_size=20), max_size=5))
def test_any_name_survives(tmp_path_factory: pytest.TempPathFactory, files: dict[str, str]) -> None:
    base = tmp_path_factory.mktemp("names")
    for part in ("upper", "merged"):
        (base / part).mkdir()
    for name, content in files.items():
        (base / "upper" / name).write_bytes(content.encode())
    copy(base / "upper", base / "merged", layer.Snapshot(), base / "layer-0.tar")
    assert {path.name: path.read_bytes().decode() for path in (base / "merged").iterdir()} == files
