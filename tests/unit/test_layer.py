"""The writable layer: what changed since a copy, and how it is applied elsewhere."""

import contextlib
import hashlib
import json
import os
import stat
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relocate_proxy.storage import layer, tar

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


def opaque(path: Path) -> None:
    try:
        os.setxattr(path, layer.OPAQUE, b"y")
    except OSError:
        pytest.skip("this file system has no trusted attributes")


def late(after: layer.Snapshot) -> layer.Snapshot:
    """As if the copy had been taken just now, so that what came before does not count as changed."""
    settle_clock()
    now = time.time()
    settle_clock()
    return replace(after, taken_at=now)


def touch(path: Path) -> None:
    (path / "b").write_text("new")


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
    opaque(upper / "dir")
    copy(upper, merged, layer.Snapshot(), tmp_path / "layer-0.tar")
    assert tree(merged) == {"dir": "/", "dir/mine": "new"}


@as_root
def test_the_second_copy_has_only_what_changed(upper: Path, merged: Path, tmp_path: Path) -> None:
    (upper / "a").write_text("1")
    (upper / "gone").write_text("1")
    os.utime(upper / "a")
    after = copy(upper, merged, layer.Snapshot(), tmp_path / "layer-0.tar")
    late = replace(after, taken_at=time.time())
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
    copy(upper, merged, replace(after, taken_at=time.time()), tmp_path / "layer-1.tar")
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
    late = replace(after, taken_at=time.time())
    (upper / "a/old").unlink()
    (upper / "a").rmdir()
    (upper / "b").rename(upper / "a")
    copy(upper, merged, late, tmp_path / "layer-1.tar")
    assert tree(merged) == {"a": "/", "a/new": "new"}


@as_root
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


@as_root
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


HAPPENS: dict[str, Callable[[Path], object]] = {
    "a name is added": touch,
    "chmod": lambda path: path.chmod(0o711),
    "chown": lambda path: os.chown(path, 1, 1),
    "an attribute": lambda path: os.setxattr(path, "user.colour", b"blue"),
}


@as_root
@pytest.mark.parametrize("what", HAPPENS)
@pytest.mark.parametrize("depth", ["d", "new/d"])
def test_an_opaque_directory_that_was_copied_keeps_its_files(
    upper: Path, merged: Path, tmp_path: Path, what: str, depth: str
) -> None:
    (upper / depth).mkdir(parents=True)
    (upper / depth / "a").write_text("old")
    opaque(upper / depth)
    after = late(copy(upper, merged, layer.Snapshot(), tmp_path / "layer-0.tar"))
    HAPPENS[what](upper / depth)
    found, _ = layer.changes(upper, after)
    assert (found.removed, found.directories) == ([], [depth])
    copy(upper, merged, after, tmp_path / "layer-1.tar")
    assert tree(merged) == tree(upper)


@as_root
def test_a_directory_made_again_under_the_same_inode_hides_the_image(
    upper: Path, merged: Path, tmp_path: Path
) -> None:
    (merged / "d").mkdir()
    (merged / "d/image").write_text("old")
    (upper / "d").mkdir()
    after = late(copy(upper, merged, layer.Snapshot(), tmp_path / "layer-0.tar"))
    opaque(upper / "d")  # ext4 gives a number again at once; this is what it looks like
    copy(upper, merged, after, tmp_path / "layer-1.tar")
    assert tree(merged) == {"d": "/"}


@as_root
def test_what_an_opaque_directory_was_is_copied_again_where_it_is_not_known(
    upper: Path, merged: Path, tmp_path: Path
) -> None:
    (upper / "d").mkdir()
    (upper / "d/a").write_text("old")
    opaque(upper / "d")
    after = late(copy(upper, merged, layer.Snapshot(), tmp_path / "layer-0.tar"))
    touch(upper / "d")
    copy(upper, merged, replace(after, opaque=frozenset()), tmp_path / "layer-1.tar")
    assert tree(merged) == {"d": "/", "d/a": "old", "d/b": "new"}


@as_root
@pytest.mark.parametrize("in_its_place", [None, "away"])
def test_a_directory_that_was_away_while_it_was_copied_is_not_lost_in_silence(
    upper: Path, merged: Path, tmp_path: Path, in_its_place: str | None
) -> None:
    (upper / "d").mkdir()
    (upper / "d/a").write_text("old")
    found, after = layer.changes(upper, layer.Snapshot())
    (upper / "d").rename(upper / "away")
    if in_its_place:
        (upper / "d").symlink_to(in_its_place)
    layer.pack(upper, found, tmp_path / "layer-0.tar", frozen=False)
    (upper / "d").unlink(missing_ok=True)
    (upper / "away").rename(upper / "d")
    with contextlib.suppress(OSError):  # tar may refuse d/a, which lies behind a link
        layer.unpack(tmp_path / "layer-0.tar", merged)
    with pytest.raises(OSError, match="'d' was moved while it was copied"):
        copy(upper, merged, replace(after, taken_at=time.time() - 0.5), tmp_path / "layer-1.tar")


@as_root
def test_a_socket_takes_the_place_of_a_file(upper: Path, merged: Path, tmp_path: Path) -> None:
    (upper / "s").write_text("a file")
    after = late(copy(upper, merged, layer.Snapshot(), tmp_path / "layer-0.tar"))
    (upper / "s").unlink()
    os.mknod(upper / "s", stat.S_IFSOCK | 0o600)
    copy(upper, merged, after, tmp_path / "layer-1.tar")
    assert tree(merged) == {}


def test_what_vanishes_while_it_is_read_is_left_out(upper: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (upper / "gone").mkdir()
    (upper / "kept").write_text("x")
    opened = layer.beneath.directory

    def directory(root: int, path: str) -> int | None:
        if path == "gone":
            (upper / "gone").rmdir()
            (upper / "gone").symlink_to("/")
        return opened(root, path)

    monkeypatch.setattr(layer.beneath, "directory", directory)
    found, _ = layer.changes(upper, layer.Snapshot())
    assert found == layer.Changes([], [], ["kept"])


def listing(archive: Path, **fields: object) -> None:
    document = {"removed": [], "directories": [], "others": [], **fields}
    archive.with_suffix(".json").write_text(json.dumps(document))


@pytest.mark.parametrize("field", ["removed", "directories", "others", "kept"])
@pytest.mark.parametrize(
    "names",
    [
        *([name] for name in ("", "/etc/passwd", "../x", "a/../../x", "a/..", ".", "./a", "a//b", "a/")),
        *([name] for name in ("a\0b", "a/" * 2100 + "b", "é" * 128, "\ud800", None, 7, ["a"])),
        *("kept", {"kept": 1}, None, 7),
    ],
    ids=lambda names: repr(names)[:20],
)
def test_a_listing_with_names_that_are_none_of_a_layer_removes_nothing(
    merged: Path, tmp_path: Path, field: str, names: object
) -> None:
    (merged / "kept").write_text("x")
    archive = tmp_path / "layer-0.tar"
    bad = ["kept", *names] if field == "removed" and isinstance(names, list) else names
    listing(archive, **{"removed": ["kept"], field: bad})
    with pytest.raises(OSError, match=r"^the layer's listing [^\n]*$"):
        layer.unpack(archive, merged)
    assert tree(merged) == {"kept": "x"}


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"removed": []}', "[" * 100_000, "\xff"])
def test_a_listing_that_is_none_is_refused_in_one_line(merged: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "layer-0.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(OSError, match=r"^the layer's listing cannot be read$"):
        layer.unpack(tmp_path / "layer-0.tar", merged)


@as_root
def test_names_that_are_no_utf_8_survive(upper: Path, merged: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 \n\\")
    (upper / name).write_text("x")
    (merged / os.fsdecode(b"\xff")).write_text("of the image")
    whiteout(upper / os.fsdecode(b"\xff"))
    copy(upper, merged, layer.Snapshot(), tmp_path / "layer-0.tar")
    assert tree(merged) == {name: "x"}


@pytest.mark.parametrize("suffix", [".tar", ".json"])
def test_a_link_on_the_storage_is_neither_read_nor_written(
    upper: Path, merged: Path, tmp_path: Path, suffix: str
) -> None:
    (upper / "a").write_text("x")
    found, _ = layer.changes(upper, layer.Snapshot())
    layer.pack(upper, found, tmp_path / "layer-0.tar")
    (tmp_path / f"layer-0{suffix}").rename(tmp_path / "elsewhere")
    (tmp_path / f"layer-0{suffix}").symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    with pytest.raises(OSError, match="symbolic link"):
        layer.unpack(tmp_path / "layer-0.tar", merged)
    (upper / "a").write_text("another")
    with contextlib.suppress(OSError):
        layer.pack(upper, found, tmp_path / "layer-0.tar")
    assert (tmp_path / "elsewhere").read_bytes() == before
    assert tree(merged) == {}


def test_what_is_no_file_on_the_storage_is_not_waited_for(merged: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "layer-0.json")
    with pytest.raises(OSError, match="not a regular file"):
        layer.unpack(tmp_path / "layer-0.tar", merged)


@as_root
@pytest.mark.parametrize("link", ["{outside}", "../outside", "/usr"])
@pytest.mark.parametrize("where", ["in the archive", "on the target"])
def test_an_archive_writes_nothing_outside_the_root(
    merged: Path, tmp_path: Path, link: str, where: str
) -> None:
    (tmp_path / "outside").mkdir()
    archive = tmp_path / "layer-0.tar"
    aim = link.format(outside=tmp_path / "outside")
    with tarfile.open(archive, "w") as stream:
        entry = tarfile.TarInfo("p")
        entry.type, entry.linkname = tarfile.SYMTYPE, aim
        if where == "in the archive":
            stream.addfile(entry)
        else:
            (merged / "p").symlink_to(aim)
        stream.addfile(tarfile.TarInfo("p/relocate-escaped"))
        stream.addfile(tarfile.TarInfo("../relocate-escaped"))
    listing(archive, others=["p", "q"])
    with contextlib.suppress(OSError):
        layer.unpack(archive, merged)
    places = (tmp_path / "outside", tmp_path, Path("/usr"))
    escaped = [found for place in places if (found := place / "relocate-escaped").exists()]
    for each in escaped:
        each.unlink()
    assert escaped == []


def test_a_name_whose_directory_is_a_link_on_the_target_is_refused(merged: Path, tmp_path: Path) -> None:
    (merged / "kept").write_text("x")
    (merged / "p").symlink_to("/etc")
    (tmp_path / "layer-1.tar").touch()
    listing(tmp_path / "layer-1.tar", removed=["kept"], others=["p/x"])
    with pytest.raises(OSError, match="'p' was moved while it was copied"):
        layer.unpack(tmp_path / "layer-1.tar", merged)
    assert (merged / "kept").exists()


@as_root
def test_a_copy_is_applied_only_if_it_is_what_was_packed(upper: Path, merged: Path, tmp_path: Path) -> None:
    (upper / "a").write_text("x")
    (merged / "gone").write_text("of the image")
    whiteout(upper / "gone")
    archive = tmp_path / "layer-0.tar"
    found, _ = layer.changes(upper, layer.Snapshot())
    packed = layer.pack(upper, found, archive)
    assert packed.archive == hashlib.sha256(archive.read_bytes()).hexdigest()
    assert packed.listing == hashlib.sha256(archive.with_suffix(".json").read_bytes()).hexdigest()
    for wrong in (replace(packed, archive="0" * 64), replace(packed, listing=""), layer.Packed("", "")):
        with pytest.raises(OSError, match="is not what the source wrote"):
            layer.unpack(archive, merged, wrong)
    assert tree(merged) == {"gone": "of the image"}
    layer.unpack(archive, merged, packed)
    assert tree(merged) == {"a": "x"}


@as_root
def test_an_archive_changed_after_its_check_is_noticed(
    upper: Path, merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (upper / "a").write_text("good")
    archive = tmp_path / "layer-0.tar"
    found, _ = layer.changes(upper, layer.Snapshot())
    packed = layer.pack(upper, found, archive)
    clear = layer._clear

    def change(root: Path, changes: layer.Changes) -> None:
        clear(root, changes)
        text = archive.read_bytes().replace(b"good", b"evil")
        archive.write_bytes(text)

    monkeypatch.setattr(layer, "_clear", change)
    with pytest.raises(OSError, match="is not what the source wrote"):
        layer.unpack(archive, merged, packed)


def test_a_copy_without_files_needs_no_archive(upper: Path, merged: Path, tmp_path: Path) -> None:
    (merged / "a").write_text("x")
    packed = layer.pack(upper, layer.Changes(["a"], [], []), tmp_path / "layer-1.tar")
    assert packed.archive == "" and not (tmp_path / "layer-1.tar").exists()
    layer.unpack(tmp_path / "layer-1.tar", merged, packed)
    assert tree(merged) == {}


@as_root
def test_an_archive_that_is_none_is_an_error_of_tar(merged: Path, tmp_path: Path) -> None:
    listing(tmp_path / "layer-0.tar", others=["a"])
    (tmp_path / "layer-0.tar").write_bytes(b"no archive" * 100_000)
    with pytest.raises(OSError, match="tar: "):
        layer.unpack(tmp_path / "layer-0.tar", merged)


@as_root
def test_a_tar_that_was_started_ahead_waits_for_the_archive(
    upper: Path, merged: Path, tmp_path: Path
) -> None:
    (upper / "a").write_text("x")
    found, _ = layer.changes(upper, layer.Snapshot())
    with contextlib.closing(tar.Extraction(merged)) as waiting:
        packed = layer.pack(upper, found, tmp_path / "layer-1.tar")
        layer.unpack(tmp_path / "layer-1.tar", merged, packed, waiting)
    assert tree(merged) == {"a": "x"}


@as_root
def test_a_tar_that_nobody_fed_ends_in_silence(merged: Path) -> None:
    waiting = tar.Extraction(merged)
    waiting.close()
    waiting.close()
    assert tree(merged) == {}


@as_root
def test_a_root_that_is_not_there_fails_in_one_line(upper: Path, merged: Path, tmp_path: Path) -> None:
    (upper / "a").write_text("x")
    found, _ = layer.changes(upper, layer.Snapshot())
    layer.pack(upper, found, tmp_path / "layer-0.tar")
    with pytest.raises(OSError, match="could not be confined"):
        layer.unpack(tmp_path / "layer-0.tar", tmp_path / "gone" / "root")


def bring(source: Path, target: Path, since: layer.Snapshot, archive: Path) -> layer.Snapshot:
    """A copy of a volume, there and applied."""
    found, after = layer.changes(source, since, plain=True)
    layer.pack(source, found, archive)
    layer.unpack(archive, target, plain=True)
    return after


@as_root
def test_a_volumes_own_owner_mode_and_time_are_a_part_of_it(
    upper: Path, merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "CLOCK_SLACK_SECONDS", 0.0)
    (upper / "a").write_text("1")
    os.chown(upper, 999, 998)
    upper.chmod(0o2750)
    os.utime(upper, ns=(1, 10**18 + 123456789))
    snapshot = bring(upper, merged, layer.Snapshot(), tmp_path / "0.tar")

    def own(path: Path) -> tuple[int, int, int, int]:
        status = path.stat()
        return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns

    assert own(merged) == own(upper) and own(upper)[3] == 10**18 + 123456789
    settle_clock()
    found, _ = layer.changes(upper, layer.Snapshot(time.time(), snapshot.directories), plain=True)
    assert not found, "nothing changed, so the window has nothing to do"
    upper.chmod(0o700)
    bring(upper, merged, snapshot, tmp_path / "1.tar")
    assert own(merged) == own(upper)


@as_root
def test_a_device_in_a_volume_is_refused(upper: Path) -> None:
    whiteout(upper / "node")
    with pytest.raises(OSError, match="'node' in a volume is a device"):
        layer.changes(upper, layer.Snapshot(), plain=True)


@as_root
def test_a_file_that_is_mapped_is_always_looked_at(
    upper: Path, merged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "CLOCK_SLACK_SECONDS", 0.0)
    (upper / "base").write_text("as it was noted")
    snapshot = bring(upper, merged, layer.Snapshot(), tmp_path / "0.tar")
    later = layer.Snapshot(time.time() + 9, snapshot.directories)
    assert not layer.changes(upper, later, plain=True)[0]
    found, _ = layer.changes(upper, later, plain=True, mapped=frozenset({(upper / "base").stat().st_ino}))
    assert found.others == ["base"]


def test_who_has_mapped_what_is_read_from_the_kernel(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    (tmp_path / "7/maps").write_text(
        "7f00-7f01 rw-s 00000000 fe:00 4711                       /data/a b\n"
        "7f01-7f02 r--s 00000000 fe:00 4712                       /data/read\n"
        "7f02-7f03 rw-p 00000000 fe:00 4713                       /data/private\n"
        "7f03-7f04 rw-p 00000000 00:00 0 \n"
    )
    assert layer.written_in_place(["7", "8"], tmp_path) == {4711}


def test_a_directory_is_emptied_and_what_its_links_mean_is_not(tmp_path: Path, upper: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/kept").write_text("")
    (upper / "below").mkdir()
    (upper / "below/file").write_text("")
    (upper / "link").symlink_to(tmp_path / "other")
    layer.empty(upper)
    assert list(upper.iterdir()) == [] and (tmp_path / "other/kept").exists()
