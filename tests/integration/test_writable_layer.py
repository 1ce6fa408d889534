"""What a container has written comes along: all of it, as it was, until the moment it was frozen."""

import json
import time
from pathlib import Path

from harness import JsonObject, Lab
from talk import Console

TREE = Path(__file__).with_name("tree.py")

BEFORE_ARM = """
import os, shutil, struct
os.chdir("/data")
def write(path, text):
    with open(path, "w") as stream: stream.write(text)
write("created", "by the container")
write("changed", "by the container")
os.unlink("deleted")
shutil.rmtree("deep"); os.mkdir("deep"); write("deep/fresh", "not of the image")
os.makedirs("new/directories"); write("new/directories/file", "x" * 300000)
os.link("created", "hard link"); os.symlink("/nowhere", "dangling"); os.symlink("created", "relative")
os.mkfifo("fifo"); os.chmod("created", 0o4751)
os.chown("changed", 1234, 5678); os.utime("changed", (1e9, 1e9))
os.setxattr("created", "user.colour", b"blue"); os.setxattr("new", "user.ours", b"yes")
os.setxattr("created", "security.capability", struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0))
with open("sparse", "w") as stream: stream.seek(1 << 26); stream.write("end")
write(os.fsencode("name \\udcff\\n".encode("utf-8", "surrogateescape")), "odd")
os.unlink("/bin/vi"); os.unlink("/etc/passwd"); write("/etc/passwd", "root:x:0:0::/:/bin/sh\\n")
write("goes later", ""); write("changes later", "early"); write("file to directory", "")
os.mkdir("directory to file"); write("directory to file/inside", "")
os.mkdir("renamed"); write("renamed/inside", "")
"""

AFTER_ARM = """
write("created late", "by the container")
write("changes later", "later")
os.unlink("goes later"); os.unlink("kept")
os.unlink("file to directory"); os.mkdir("file to directory"); write("file to directory/inside", "late")
shutil.rmtree("directory to file"); write("directory to file", "now a file")
os.rename("renamed", "renamed late"); os.mkdir("renamed"); write("renamed/other", "")
os.chmod("changed", 0o600); os.setxattr("changed", "user.late", b"1"); os.link("created", "late hard link")
shutil.rmtree("new/directories"); os.symlink("/data", "new/directories")
"""


def tree_of(lab: Lab, host: str, name: str) -> JsonObject:
    """Every file of a container that runs, as it sees them itself."""
    listing: JsonObject = json.loads(
        lab.ssh(host, "docker", "exec", "-i", name, "python3", "-", stdin=TREE.read_text())
    )
    return listing


def differences(before: JsonObject, after: JsonObject) -> list[str]:
    """One line a file and property that is not as it was."""
    return [
        f"{path}: {key}: {(before.get(path) or {}).get(key)} became {(after.get(path) or {}).get(key)}"
        for path in sorted(before.keys() | after.keys())
        for key in ("mode", "owner", "content", "mtime", "links", "same file as", "xattrs")
        if (before.get(path) or {}).get(key) != (after.get(path) or {}).get(key)
    ]


def test_every_file_is_as_it_was_with_what_changed_after_arming(lab: Lab) -> None:
    lab.run("web")
    console = lab.console("web")
    console(BEFORE_ARM)
    last: list[JsonObject] = []

    def change(_: JsonObject) -> None:
        console(AFTER_ARM)
        last.append(tree_of(lab, "host1", "web"))

    lab.expect_moved("web", between=change)
    after = tree_of(lab, "host2", "web")
    assert differences(last[0], after) == []
    assert "/data/deleted" not in after and "/data/kept" not in after and "/bin/vi" not in after
    assert sorted(path for path in after if path.startswith("/data/deep")) == [
        "/data/deep",
        "/data/deep/fresh",
    ]
    assert after["/data/late hard link"]["links"] == 3
    lab.expect_moved("web", "host2", "host1")
    assert differences(last[0], tree_of(lab, "host1", "web")) == []
    blocks = console("answer = os.stat('/data/sparse').st_blocks")
    assert blocks < 1000, "the hole was filled in"


def open_files(console: Console) -> None:
    console("""
import os
reader = open("/data/kept", "rb", buffering=0); reader.read(3)
writer = open("/data/journal", "w+b", buffering=0); writer.write(b"before ")
appender = open("/data/log", "ab", buffering=0); appender.write(b"before ")
unlinked = open("/data/unlinked", "w+b", buffering=0); unlinked.write(b"still here")
os.unlink("/data/unlinked")
renamed = open("/data/old name", "w+b", buffering=0); renamed.write(b"same file")
os.rename("/data/old name", "/data/new name")
directory = os.open("/data", os.O_RDONLY)
""")


def test_open_files_keep_their_offsets_even_without_a_name(lab: Lab) -> None:
    lab.run("web")
    console = lab.console("web")
    open_files(console)
    lab.expect_moved("web")
    assert console("answer = reader.read().decode()") == "of the image"[3:] + "\n"
    console("writer.write(b'after'); appender.write(b'after')")
    assert (
        lab.docker("host2", "exec", "web", "cat", "/data/journal", "/data/log") == "before afterbefore after"
    )
    assert console("unlinked.seek(0); answer = unlinked.read().decode()") == "still here"
    assert console("answer = os.fstat(unlinked.fileno()).st_nlink") == 0
    assert console("answer = os.fstat(renamed.fileno()).st_ino == os.stat('/data/new name').st_ino")
    assert "journal" in console("answer = os.listdir(directory)")
    lab.expect_moved("web", "host2", "host1")
    assert console("unlinked.seek(0); answer = unlinked.read().decode()") == "still here"


def test_a_file_that_is_written_without_pause_misses_nothing(lab: Lab) -> None:
    lab.run("web")
    console = lab.console("web")
    console("""
def scribble():
    for number in range(10**9):
        with open("/data/numbers", "a") as stream: stream.write(f"{number}\\n")
        with open("/data/latest", "w") as stream: stream.write(f"{number}\\n")
        if done: return
        time.sleep(0.002)
done = []
scribbler = threading.Thread(target=scribble); scribbler.start()
""")
    lab.expect_moved("web")
    time.sleep(0.3)
    console("done.append(True); scribbler.join()")
    numbers = lab.docker("host2", "exec", "web", "cat", "/data/numbers").split()
    assert numbers == [str(number) for number in range(len(numbers))]
    assert lab.docker("host2", "exec", "web", "cat", "/data/latest") == numbers[-1]
    assert len(numbers) > 200


def test_memory_backed_files_come_along(lab: Lab) -> None:
    lab.run("web", "host1", "--publish=7003:7003", "--tmpfs", "/scratch", "--read-only")
    console = lab.console("web")
    console("stream = open('/scratch/note', 'w+'); stream.write('kept'); stream.flush()")
    lab.expect_moved("web")
    assert lab.docker("host2", "exec", "web", "cat", "/scratch/note") == "kept"
    assert console("stream.seek(0); answer = stream.read()") == "kept"
