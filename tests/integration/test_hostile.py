"""A tenant who means harm: what it makes of its files, processes, names and labels hurts nobody else."""

import time

from harness import CONSOLE, ECHO, Lab
from talk import Conversation
from test_writable_layer import differences, tree_of

SMALL_FILES = 20_000

LAYER = r"""
import os, stat
os.chdir("/data")
names = ["a\nb", "-rf", "--checkpoint-action=exec=touch pwned", "..\n", "$(touch pwned)"]
names += ["'\";", "\\", "\x1b[2J"]
for name in names:
    with open(name, "w") as stream: stream.write("odd")
    os.mkdir(name + " directory"); os.symlink("../" * 20 + "etc", name + " directory/up")
os.mknod("null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
os.mknod("disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0))
os.mknod("nothing", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
os.symlink("/", "root"); os.symlink("/proc/self/root/../../..", "proc"); os.symlink("loop", "loop")
os.link("/etc/passwd", "hard"); os.makedirs("swapped/deep")
for name in ("swapped/shadow", "swapped/deep/shadow"):
    with open(name, "w") as stream: stream.write("of the container")
"""
SWAP = """
import os
os.rename("swapped", "away"); os.symlink("/etc", "swapped")
os.rename("away/deep", "away/kept"); os.symlink("../../../../../../../../etc", "away/deep")
"""


def test_what_a_container_makes_of_its_files_stays_its_own(lab: Lab) -> None:
    lab.run("web")
    console = lab.console("web")
    console(LAYER)
    before = {
        host: lab.shell(host, "find /etc /root -xdev -type f | xargs -d '\\n' sha256sum")
        for host in lab.hosts
    }
    last = []

    def swap(_: object) -> None:
        console(SWAP)
        last.append(tree_of(lab, "host1", "web"))

    lab.expect_moved("web", between=swap)
    assert differences(last[0], tree_of(lab, "host2", "web")) == []
    assert console("answer = [os.stat(n).st_rdev for n in ('null', 'disk', 'nothing')]") == [
        0x103,
        0xFE00,
        0x105,
    ]
    after = {
        host: lab.shell(host, "find /etc /root -xdev -type f | xargs -d '\\n' sha256sum")
        for host in lab.hosts
    }
    assert before == after


def test_a_file_that_is_huge_and_empty_stays_so(lab: Lab) -> None:
    lab.run("web")
    console = lab.console("web")
    console("""
import os
with open("/data/sparse", "w") as stream: stream.truncate(1 << 40); stream.seek(1 << 39); stream.write("x")
""")
    lab.expect_moved("web")
    assert console("answer = os.stat('/data/sparse').st_size") == 1 << 40
    assert console("answer = os.stat('/data/sparse').st_blocks") < 100, "the holes were filled in"


def test_very_many_small_files_come_along(lab: Lab) -> None:
    lab.run("web")
    console = lab.console("web")
    console(f"""
import os
for n in range({SMALL_FILES}):
    if n % 1000 == 0: os.makedirs(f"/data/many/{{n // 1000}}")
    with open(f"/data/many/{{n // 1000}}/{{n}}", "w") as stream: stream.write(str(n))
""")
    lab.expect_moved("web")
    kept = f"all(open(f'/data/many/{{n // 1000}}/{{n}}').read() == str(n) for n in range({SMALL_FILES}))"
    assert console(f"answer = {kept}")


# As many processes as a host without a pids controller bears, each soon gone and replaced by another.
BROOD, BREEDING_SECONDS = 150, 60
BREED = f"""
import os, time
alive, end = 0, time.monotonic() + {BREEDING_SECONDS}
while time.monotonic() < end:
    while alive < {BROOD}:
        alive += 1
        if os.fork() == 0: time.sleep(0.05); os._exit(0)
    os.wait(); alive -= 1
"""


def test_processes_that_breed_while_they_are_dumped_harm_nobody(lab: Lab) -> None:
    lab.run("web", "host1", "--restart", "unless-stopped")
    conversation = Conversation(lab.connect("web", ECHO), every=0.01)
    assert conversation.flows()

    def breed(_: object) -> None:
        console = lab.console("web")
        console(f"import subprocess, sys; brood = subprocess.Popen([sys.executable, '-c', {BREED!r}])")
        time.sleep(1.0)

    report = lab.move("web", between=breed)
    assert not report["needs_recover"], report
    assert lab.where("web") == ["host2" if report["outcome"] == "moved" else "host1"], report
    assert conversation.flows()
    result = conversation.end()
    assert result.clean, result
    lab.await_no_leftovers()


HARM = [
    "$(touch /tmp/pwned)",
    "`touch /tmp/pwned`",
    "'; touch /tmp/pwned; '",
    "{{ lookup('pipe', 'touch /tmp/pwned') }}",
    "{% raw %}",
    "line\nbreak } ; flush ruleset",
    "--privileged",
    "\\",
    '"',
    "é\u202e",
]


def test_labels_environment_and_arguments_are_data_on_every_path(lab: Lab) -> None:
    options = [
        word
        for n, text in enumerate(HARM)
        for word in ("--label", f"harm.{n}={text}", "--env", f"HARM_{n}={text}")
    ]
    options += [
        "--label",
        f"relocate.group={HARM[0]}{HARM[3]}",
        "--hostname",
        "x--y",
        "--workdir",
        "/data/$(x) {{ 1 }}",
    ]
    lab.run("we_b.-x", "host1", f"--publish={CONSOLE}:{CONSOLE}", *options)
    state = "{{json .Config.Labels}} {{json .Config.Env}} {{json .Config.WorkingDir}} {{json .Args}}"
    before = lab.docker("host1", "inspect", "--format", state, "we_b.-x")
    assert lab.relocate("survey").code == 0
    moved = lab.relocate("move", "we_b.-x", "--to", "host2", "--json")
    assert (moved.code, moved.document()["outcome"]) == (0, "moved"), moved.err
    assert lab.docker("host2", "inspect", "--format", state, "we_b.-x") == before
    for host in ("host0", *lab.hosts):
        assert lab.shell(host, "ls /tmp/pwned 2>/dev/null || true") == ""
