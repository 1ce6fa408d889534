"""Work below a directory that a container writes, or wrote: nothing outside of it is reached.

Every path is resolved without following a link; a program that would follow them sees no other files.
"""

import ctypes
import errno
import io
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

OPENAT2 = 437  # wherever Docker runs; the C library may have no function for it
RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 0x04, 0x08
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
PATH_BYTES, NAME_BYTES = 4096, 255  # PATH_MAX, NAME_MAX
NO_SUCH_DIRECTORY = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV)

CLONE_NEWNS = 0x20000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
# Found now: not between fork and exec, where another thread may have held the loader's lock.
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.mount.argtypes = (*[ctypes.c_char_p] * 3, ctypes.c_ulong, ctypes.c_char_p)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


_HOW = _OpenHow(DIRECTORY, 0, RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH)
_HOW_TO = (ctypes.byref(_HOW), ctypes.c_size_t(ctypes.sizeof(_HOW)))


def directory(root: int, path: str) -> int | None:
    """Open the directory ``path`` (an empty one: ``root`` itself) below the descriptor ``root``.

    None unless each component is a directory and no link. The caller closes it. Raises OSError when the
    file system fails.
    """
    name = path or "."
    opened = _libc.syscall(OPENAT2, root, os.fsencode(name), *_HOW_TO)
    if opened >= 0:
        return int(opened)
    code = ctypes.get_errno()
    if code == errno.ENOSYS:  # before Linux 5.6
        return _walk(root, name)
    if code in NO_SUCH_DIRECTORY:
        return None
    raise OSError(code, os.strerror(code), path)


def _walk(root: int, path: str) -> int | None:
    opened = os.dup(root)
    for part in path.split("/"):
        try:
            below = os.open(part, DIRECTORY, dir_fd=opened)
        except OSError as error:
            if error.errno in NO_SUCH_DIRECTORY:
                return None
            raise
        finally:
            os.close(opened)
        opened = below
    return opened


def is_name(name: object) -> bool:
    """Whether it is a path that lies below a root, be it UTF-8 or not (surrogateescape)."""
    if not isinstance(name, str) or "\0" in name or not {"", ".", ".."}.isdisjoint(name.split("/")):
        return False
    try:
        path = os.fsencode(name)
    except UnicodeEncodeError:
        return False
    return len(path) < PATH_BYTES and all(len(part) <= NAME_BYTES for part in path.split(b"/"))


def is_directory(root: int, path: str) -> bool:
    """Whether ``path`` below the descriptor ``root`` is a directory, and reached through directories."""
    opened = directory(root, path)
    if opened is not None:
        os.close(opened)
    return opened is not None


def remove(root: int, path: str) -> None:
    """Remove what ``path`` below the descriptor ``root`` names, with all that is in it; there may be
    nothing. Raises OSError when the file system fails."""
    parent, _, name = path.rpartition("/")
    opened = directory(root, parent)
    if opened is None:
        return
    try:
        if stat.S_ISDIR(os.stat(name, dir_fd=opened, follow_symlinks=False).st_mode):
            shutil.rmtree(name, dir_fd=opened)
        else:
            os.unlink(name, dir_fd=opened)
    except FileNotFoundError:
        pass
    finally:
        os.close(opened)


def regular_file(path: Path, writable: bool = False) -> io.BufferedRandom | io.BufferedReader:
    """Open for reading, and perhaps for writing, what must be a file and no link. Raises OSError if it is
    anything else."""
    mode = os.O_RDWR if writable else os.O_RDONLY
    descriptor = os.open(path, mode | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return os.fdopen(descriptor, "r+b") if writable else os.fdopen(descriptor, "rb")


def new_file(path: Path) -> io.BufferedWriter:
    """Open for writing, empty, without following a link. Raises OSError where one lies."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")


def replace_file(path: Path, content: bytes) -> None:
    """Put another file in the place of whatever ``path`` names, whole or not at all. Raises OSError."""
    partial = path.with_name(f"{path.name}.partial")
    with new_file(partial) as stream:
        stream.write(content)
    partial.rename(path)


def confinement(root: Path) -> Callable[[], None]:
    """What a child process runs between fork and exec to be left with ``root``, its working directory, and
    the system's programs, which it cannot write. Needs root's rights; raises OSError (in the child).

    Not unshare(1) with a shell: that starts nine programs, and the window waits for them.
    """

    def confine() -> None:
        _check(_libc.unshare(CLONE_NEWNS), "unshare")
        os.chdir(root)  # ahead of the mount on /mnt, below which it may lie
        _mount(None, "/", MS_REC | MS_PRIVATE)
        _mount("none", "/mnt", 0, "tmpfs", "mode=700")
        os.mkdir("/mnt/usr")  # noqa: PTH102 - between fork and exec: the less the better
        os.mkdir("/mnt/layer")  # noqa: PTH102
        for name in ("bin", "lib", "lib64"):
            os.symlink(f"usr/{name}", f"/mnt/{name}")  # noqa: PTH211
        _mount("/usr", "/mnt/usr", MS_BIND)
        _mount(None, "/mnt/usr", MS_BIND | MS_REMOUNT | MS_RDONLY)
        _mount(".", "/mnt/layer", MS_BIND)
        os.chroot("/mnt")
        os.chdir("/layer")

    return confine


def _mount(
    what: str | None, where: str, flags: int, kind: str | None = None, data: str | None = None
) -> None:
    source, options = (None if word is None else word.encode() for word in (what, data))
    filesystem = None if kind is None else kind.encode()
    _check(_libc.mount(source, where.encode(), filesystem, flags, options), f"mount {where}")


def _check(result: int, what: str) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
