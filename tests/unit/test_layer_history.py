"""The writable layer under random histories of a real overlay: the first copy and what changed since, applied
to the image, are what the container saw."""

import contextlib
import os
import shutil
import stat
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from relocate_proxy.storage import beneath, layer

Step = tuple[str, str, str]

PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["write", "mkdir", "again", "remove", "rename", "link", "hard link", "chmod", "fifo"]
        ),
        PATHS,
        PATHS,
    ),
    max_size=8,
)


def take(root: Path, step: Step) -> None:
    """One step of the container; what the file system refuses has not happened."""
    what, first, second = step
    path, other = root / first, root / second
    with contextlib.suppress(OSError, NotImplementedError):  # Linux has no lchmod: symlink(7)
        if what == "write":
            path.write_text(f"{second} {time.monotonic_ns()}")
        elif what == "mkdir":
            path.mkdir(parents=True)
        elif what in ("again", "remove"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            if what == "again":
                path.mkdir()
        elif what == "rename":
            path.rename(other)
        elif what == "link":
            path.symlink_to(second)
        elif what == "hard link":
            path.hardlink_to(other)
        elif what == "chmod":
            path.chmod(0o711, follow_symlinks=False)
        elif what == "fifo":
            os.mkfifo(path)


def tree(root: Path) -> dict[str, tuple[int, str]]:
    """Each path with its kind and mode and its content."""
    found = {}
    for path in root.rglob("*"):
        mode = path.lstat().st_mode
        content = path.read_text() if stat.S_ISREG(mode) else ""
        content = str(path.readlink()) if stat.S_ISLNK(mode) else content
        found[str(path.relative_to(root))] = (mode, content)
    return found


def image(root: Path) -> None:
    for name in ("a/a/a", "a/b/a", "a/b/c", "a/c", "b/a/b", "b/b", "c"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("of the image")


def overlay(base: Path) -> Path:
    """Mount one over the image, in a mount namespace of this process's own."""
    for name in ("lower", "upper", "work", "seen", "copied"):
        (base / name).mkdir()
    for name in ("lower", "copied"):
        image(base / name)
    assert beneath._libc.unshare(beneath.CLONE_NEWNS) == 0
    beneath._mount(None, "/", beneath.MS_REC | beneath.MS_PRIVATE)
    options = f"lowerdir={base}/lower,upperdir={base}/upper,workdir={base}/work,redirect_dir=off"
    beneath._mount("overlay", str(base / "seen"), 0, "overlay", options)
    return base / "seen"


def in_child(work: Callable[[], object]) -> str:
    """Run ``work`` in a process of its own; how it failed, or nothing."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        try:
            work()
        except BaseException:
            os.write(writer, traceback.format_exc().encode()[-60_000:])
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        failure = stream.read().decode()
    os.waitpid(child, 0)
    return failure


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if os.geteuid() != 0:
        pytest.skip("only root can mount an overlay")
    failure = in_child(lambda: overlay(tmp_path_factory.mktemp("probe")))
    if failure:
        pytest.skip(f"no overlay here: {failure.splitlines()[-1]}")
    return tmp_path_factory.mktemp("histories")


def now() -> float:
    """A time between what was and what comes, as coarse as the clock of ctime is."""
    time.sleep(0.01)
    stamp = time.time()
    time.sleep(0.01)
    return stamp


def history(base: Path, early: list[Step], late: list[Step]) -> None:
    seen = overlay(base)
    since = layer.Snapshot()
    for number, steps in enumerate((early, late)):
        for step in steps:
            take(seen, step)
        stamp = now()
        found, after = layer.changes(base / "upper", since)
        archive = base / f"layer-{number}.tar"
        packed = layer.pack(base / "upper", found, archive, frozen=bool(number))
        layer.unpack(archive, base / "copied", packed)
        since = replace(after, taken_at=stamp)
        assert tree(base / "copied") == tree(seen), (steps, found)
    assert not layer.changes(base / "upper", replace(since, taken_at=now()))[0]


@settings(max_examples=60, deadline=None)
@given(STEPS, STEPS)
@example([("again", "a", "a"), ("write", "a/a", "a")], [("write", "a/b", "a")])
@example([("write", "a/a/b", "a")], [("again", "a", "a"), ("write", "a/a", "a")])
@example([("write", "a/a/b", "a")], [("again", "a/a", "a"), ("write", "a/a/b", "a")])
@example([], [("write", "a/c", "a"), ("again", "a/b", "a"), ("write", "a/b/b", "a")])
@example([("mkdir", "a/a/c", "a")], [("rename", "a/a/c", "b/c"), ("rename", "b/c", "a/a/c")])
@example([], [("remove", "a/a", ""), ("link", "a/a", "a"), ("chmod", "a/a", "")])
@example(
    [("again", "b", ""), ("mkdir", "b/b", ""), ("write", "b/b/a", ""), ("mkdir", "b/c", "")],
    [("remove", "b/b", ""), ("rename", "b/c", "b/b")],
)
@example(
    [("again", "b", ""), ("mkdir", "b/b/c", ""), ("write", "b/b/c/a", ""), ("mkdir", "b/c", "")],
    [("rename", "b/b/c", "b/c/c"), ("remove", "b/b", ""), ("rename", "b/c", "b/b")],
)
def test_two_copies_are_what_the_container_sees(base: Path, early: list[Step], late: list[Step]) -> None:
    place = base / str(time.monotonic_ns())
    place.mkdir()
    failure = in_child(lambda: history(place, early, late))
    shutil.rmtree(place)
    assert not failure, failure
