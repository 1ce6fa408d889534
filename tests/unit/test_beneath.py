"""What lies below a root is reached without following a link, by either way of opening it."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from relocate_proxy.storage import beneath

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="a mount namespace needs root's rights")
Open = Callable[[int, str], int | None]


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "root/a/b").mkdir(parents=True)
    (tmp_path / "root/file").touch()
    (tmp_path / "root/link").symlink_to("a")
    (tmp_path / "root/a/out").symlink_to("/")
    descriptor = os.open(tmp_path / "root", beneath.DIRECTORY)
    yield descriptor
    os.close(descriptor)


@pytest.fixture(params=["openat2", "each component"])
def opener(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Open:
    if request.param == "each component":
        monkeypatch.setattr(beneath, "OPENAT2", 100_000)  # the kernel has no such call
    return beneath.directory


@pytest.mark.parametrize("path", ["", "a", "a/b"])
def test_a_directory_is_opened(root: int, opener: Open, path: str) -> None:
    opened = opener(root, path)
    assert opened is not None
    assert os.path.samestat(os.fstat(opened), os.stat(path or ".", dir_fd=root))
    os.close(opened)


@pytest.mark.parametrize(
    "path", ["gone", "a/gone/b", "file", "file/x", "link", "link/b", "a/out", "a/out/etc"]
)
def test_what_is_none_or_behind_a_link_is_not(root: int, opener: Open, path: str) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert opener(root, path) is None
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_a_failing_file_system_is_no_missing_directory(root: int, opener: Open) -> None:
    with pytest.raises(OSError) as raised:
        opener(root, "x" * 300)
    assert raised.value.errno == errno.ENAMETOOLONG


@given(
    st.lists(st.binary(min_size=1, max_size=8).filter(lambda part: not set(part) & set(b"/\0")), min_size=1)
)
def test_every_name_that_linux_allows_is_one(parts: list[bytes]) -> None:
    special = any(part in (b".", b"..") for part in parts)
    assert beneath.is_name(os.fsdecode(b"/".join(parts))) is not special


@as_root
def test_nothing_can_be_mounted_over_what_the_host_sees(tmp_path: Path) -> None:
    mounts = Path("/proc/self/mountinfo").read_text()
    child = os.fork()
    if not child:
        try:
            beneath.confinement(tmp_path)()
            seen = sorted(os.listdir("/")), os.listdir(".")  # noqa: PTH208
            fine = seen == (["bin", "layer", "lib", "lib64", "usr"], [])
            Path("/layer/written").touch()
            try:
                Path("/usr/relocate-escaped").touch()
            except OSError as error:
                os._exit(0 if fine and error.errno == errno.EROFS else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (tmp_path / "written").exists()
    assert Path("/proc/self/mountinfo").read_text() == mounts


@as_root
def test_a_root_below_mnt_is_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The confinement is built over /mnt; engines keep their data there."""
    child = os.fork()
    if not child:
        try:
            assert beneath._libc.unshare(beneath.CLONE_NEWNS) == 0
            beneath._mount(None, "/", beneath.MS_REC | beneath.MS_PRIVATE)
            beneath._mount("none", "/mnt", 0, "tmpfs")
            Path("/mnt/root/inside").mkdir(parents=True)
            beneath.confinement(Path("/mnt/root"))()
            os._exit(0 if Path("/layer/inside").is_dir() else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
