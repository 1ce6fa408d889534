"""Describes every file of a container, for before and after. Runs inside it: python3 - < tree.py"""

import hashlib
import json
import os
import stat
from pathlib import Path

# The engine puts these there, on each host anew.
NOT_OF_THE_LAYER = {"/proc", "/sys", "/dev", "/.dockerenv"} | {
    f"/etc/{name}" for name in ("hosts", "hostname", "resolv.conf", "mtab")
}


def content(path: str, mode: int) -> object:
    if stat.S_ISLNK(mode):
        return str(Path(path).readlink())
    if stat.S_ISREG(mode):
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    return None


def describe(path: str, first_name: dict[int, str]) -> dict[str, object]:
    status = os.lstat(path)
    several_names = status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode)
    return {
        "mode": stat.filemode(status.st_mode),
        "owner": [status.st_uid, status.st_gid],
        "content": content(path, status.st_mode),
        "mtime": status.st_mtime_ns // 1000 if not stat.S_ISDIR(status.st_mode) else None,
        "links": status.st_nlink if not stat.S_ISDIR(status.st_mode) else None,
        "same file as": first_name.setdefault(status.st_ino, path) if several_names else None,
        "xattrs": {name: os.getxattr(path, name, follow_symlinks=False).hex() for name in names(path)},
    }


def names(path: str) -> list[str]:
    return sorted(os.listxattr(path, follow_symlinks=False))


def main() -> None:
    first_name: dict[int, str] = {}
    tree = {}
    for directory, directories, files in os.walk("/"):
        above = directory.rstrip("/")
        directories[:] = sorted(name for name in directories if f"{above}/{name}" not in NOT_OF_THE_LAYER)
        for name in sorted(directories + files):
            if f"{above}/{name}" not in NOT_OF_THE_LAYER:
                tree[f"{above}/{name}"] = describe(f"{above}/{name}", first_name)
    print(json.dumps(tree))


if __name__ == "__main__":
    main()
