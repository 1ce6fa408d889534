"""The OCI runtime of a prepared target: Docker sets up the container, but its processes come from the
images, when told.

containerd's shim calls `runc create`, then `runc start` (the OCI runtime command line). For a prepared
container ``create`` makes a holder process in a new network namespace, which Docker plumbs like any
container's, and leaves a keeper behind; ``start`` lets the keeper park `runc restore` behind the criu shim
and returns when the restore has ended. Docker 26 plumbs in a prestart hook, which ``create`` runs; Docker 28
does it between the two calls. All other verbs are runc's own.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from relocate_proxy import paths
from relocate_proxy.criu.terminal import Terminal
from relocate_proxy.kernel import links
from relocate_proxy.kernel.priority import be_prompt

CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
SYS_CLONE3 = 435
FAILED_STATUS = 125
LIBC = ctypes.PyDLL(None, use_errno=True)  # keeps the interpreter's lock: `ghost` returns twice


@dataclass(frozen=True)
class Call:
    """One runtime command line: global options, verb, container id, and the options of `create` that we
    need."""

    globals: list[str]
    verb: str
    container: str
    bundle: Path
    pid_file: Path
    log: Path | None
    console: Path | None = None


VERBS = {
    "create",
    "start",
    "kill",
    "delete",
    "state",
    "exec",
    "ps",
    "events",
    "pause",
    "resume",
    "update",
    "checkpoint",
    "restore",
    "run",
}


def parse(arguments: list[str]) -> Call:
    """Split a runtime command line as containerd's shim writes it."""
    at = next((i for i, word in enumerate(arguments) if word in VERBS), len(arguments) - 1)
    before, after = arguments[:at], arguments[at + 1 :]

    def option(words: list[str], name: str) -> str:
        return words[words.index(name) + 1] if name in words else ""

    log, console = option(before, "--log"), option(after, "--console-socket")
    return Call(
        globals=before,
        verb=arguments[at],
        container=arguments[-1],
        bundle=Path(option(after, "--bundle") or "."),
        pid_file=Path(option(after, "--pid-file") or "/dev/null"),
        log=Path(log) if log else None,
        console=Path(console) if console else None,
    )


def main(arguments: list[str]) -> int:
    """Entry point of the wrapper; what it does not answer itself it hands to runc."""
    call = parse(arguments)
    directory = paths.TARGETS / call.container
    if call.verb == "create":
        return create(call, directory)
    if call.verb == "start":
        return _ask_keeper(call, directory, b"start")
    if call.verb in {"kill", "delete"} and not (paths.RUNC_ROOT / call.container / "state.json").exists():
        with contextlib.suppress(OSError):
            _ask_keeper(call, directory, b"quit")
    _become_runc(arguments)


def _become_runc(arguments: list[str]) -> NoReturn:
    os.execvpe("runc", ["runc", *arguments], dict(os.environ, PATH=paths.SYSTEM_PATH))


def _complain(call: Call, message: str) -> None:
    """Leave an error where containerd looks for the runtime's."""
    line = json.dumps(
        {"level": "error", "msg": message, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    )
    if call.log:
        with call.log.open("a") as stream:
            stream.write(line + "\n")
    print(message, file=sys.stderr)


def _ask_keeper(call: Call, directory: Path, word: bytes) -> int:
    with socket.socket(socket.AF_UNIX) as keeper:
        if word == b"quit":
            keeper.settimeout(2.0)
        keeper.connect(str(directory / "keeper.sock"))
        keeper.sendall(word)
        answer = keeper.makefile().readline().strip()
    if answer == "ok":
        return 0
    _complain(call, f"relocation: {answer or 'the keeper is gone'}")
    return 1


def create(call: Call, directory: Path) -> int:
    """Leave a holder whose pid Docker takes for the container's init, and a keeper that can restore."""
    config = json.loads((call.bundle / "config.json").read_text())
    read_end, write_end = os.pipe()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "keeper.sock"))
    listener.listen()
    terminal = Terminal(call.console, directory / "console.sock") if call.console else None
    if os.fork() == 0:
        os.close(read_end)
        try:
            Keeper(call, directory, config, listener, terminal).run(write_end)
        except Exception as error:
            (directory / "keeper.error").write_text(f"{type(error).__name__}: {error}\n")
        os._exit(0)
    os.close(write_end)
    holder = os.read(read_end, 32)
    if not holder:
        _complain(call, "relocation: no holder process")
        return 1
    for hook in config.get("hooks", {}).get("prestart", []):
        state = {
            "ociVersion": "1.0.2",
            "id": call.container,
            "status": "created",
            "pid": int(holder),
            "bundle": str(call.bundle),
        }
        ended = subprocess.run(
            hook["args"],
            executable=hook["path"],
            input=json.dumps(state).encode(),
            env=_environment(hook),
            check=False,
        )
        if ended.returncode:
            _complain(call, f"relocation: prestart hook {hook['args'][0]} failed")
            return 1
    call.pid_file.write_text(holder.decode())
    return 0


def _environment(hook: dict[str, Any]) -> dict[str, str]:
    return dict(entry.split("=", 1) for entry in hook.get("env", []))


class Keeper:
    """Outlives `create`, keeps the container's standard streams, owns the holder, and runs `runc restore`; of
    a container with a terminal it is the terminal's carrier then."""

    def __init__(
        self,
        call: Call,
        directory: Path,
        config: dict[str, Any],
        listener: socket.socket,
        terminal: Terminal | None,
    ) -> None:
        self.call = call
        self.directory = directory
        self.config = config
        self.listener = listener
        self.terminal = terminal
        self.order = json.loads((directory / "order.json").read_text())
        self.holder = 0
        self.holder_reaped = False

    def run(self, report: int) -> None:
        os.setsid()
        if self.terminal:
            _hold_no_pipe()
        be_prompt()  # the window waits for the holder's end and for runc
        self.holder = self._hold()
        os.write(report, str(self.holder).encode())
        os.close(report)
        connection, _ = self.listener.accept()
        if connection.recv(16) != b"start":
            return
        reason = self._restore()
        if reason:
            self._seem_to_exit()
        with contextlib.suppress(OSError):
            connection.sendall((reason or "ok").encode() + b"\n")
        connection.close()
        if self.terminal and not reason:
            self.terminal.relay()

    def _hold(self) -> int:
        """Fork the holder: it dies with the keeper, in the container's cgroup, in a network namespace of
        its own."""
        read_end, write_end = os.pipe()
        pid = os.fork()
        if pid:
            os.close(write_end)
            os.read(read_end, 1)
            os.close(read_end)
            return pid
        try:
            LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            cgroup = cgroup_directory(self.config["linux"].get("cgroupsPath", ""))
            cgroup.mkdir(parents=True, exist_ok=True)
            (self.directory / "cgroup").write_text(str(cgroup))
            (cgroup / "cgroup.procs").write_text("0")
            if LIBC.unshare(CLONE_NEWNET):
                os._exit(1)
            links.set_link("lo", up=True)
            for name, value in self.config["linux"].get("sysctl", {}).items():
                if name.startswith("net."):
                    Path("/proc/sys", name.replace(".", "/")).write_text(value)
            os.write(write_end, b"1")
            os.close(write_end)
            while True:
                signal.pause()
        finally:
            os._exit(1)

    def _restore(self) -> str:
        """Park `runc restore`, wait for its end; return why it failed, or an empty string."""
        self._point_at_network()
        # runc 1.2 and later refuses a cgroup that is not empty
        leave_cgroup(self.holder)
        pid_file = self.directory / "init.pid"
        command = [
            "runc",
            *self.call.globals,
            "restore",
            "--bundle",
            str(self.call.bundle),
            "--pid-file",
            str(pid_file),
        ]
        command += [
            "--detach",
            "--no-subreaper",
            "--image-path",
            self.order["images"],
            "--work-path",
            self.order["work"],
        ]
        if self.terminal:
            command += ["--console-socket", str(self.terminal.place)]
        command += ["--tcp-established", self.call.container]
        environment = dict(os.environ, PATH=f"{paths.BIN}:{paths.SYSTEM_PATH}")
        environment |= {"RELOCATE_SOCKET": self.order["socket"], "RELOCATE_PID": str(self.holder)}
        restore = os.posix_spawn("/usr/sbin/runc", command, environment)
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == self.holder:
                self.holder_reaped = True
            elif pid == restore:
                break
        code = os.waitstatus_to_exitcode(status)
        if code:
            return self._why()
        if int(pid_file.read_text()) != self.holder:
            return "the restored process has another pid than Docker was told"
        return ""

    def _why(self) -> str:
        if self.call.log and self.call.log.exists():
            for line in reversed(self.call.log.read_text(errors="replace").splitlines()):
                with contextlib.suppress(ValueError, KeyError):
                    return "runc restore: " + " ".join(str(json.loads(line)["msg"]).split())
        return "runc restore failed"

    def _point_at_network(self) -> None:
        """Make config.json name the network namespace that Docker plumbed, and drop the hooks that have
        run."""
        wanted = Path(f"/proc/{self.holder}/ns/net").stat().st_ino
        namespace = next(path for path in Path("/run/docker/netns").iterdir() if path.stat().st_ino == wanted)
        for entry in self.config["linux"]["namespaces"]:
            if entry["type"] == "network":
                entry["path"] = str(namespace)
        self.config.pop("hooks", None)
        (self.call.bundle / "config.json").write_text(json.dumps(self.config))

    def _seem_to_exit(self) -> None:
        """containerd's shim waits for the pid it was told: let a process of that pid end, if the
        holder's end was ours to reap."""
        if self.holder_reaped:
            ghost(self.holder)


def _hold_no_pipe() -> None:
    """With a terminal the standard streams are containerd's own, which waits for their end."""
    nothing = os.open("/dev/null", os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    os.close(nothing)


def cgroup_directory(cgroups_path: str) -> Path:
    """The cgroup2 directory of an OCI ``cgroupsPath``: ``slice:prefix:name`` (systemd driver) or a path
    (cgroupfs driver).

    >>> str(cgroup_directory("system.slice:docker:abc"))
    '/sys/fs/cgroup/system.slice/docker-abc.scope'
    >>> str(cgroup_directory("/docker/abc"))
    '/sys/fs/cgroup/docker/abc'
    """
    root = Path("/sys/fs/cgroup")
    if cgroups_path.count(":") == 2:
        parent, prefix, name = cgroups_path.split(":")
        return root / (parent or "system.slice") / f"{prefix}-{name}.scope"
    return root / cgroups_path.lstrip("/")


def leave_cgroup(pid: int) -> None:
    """Move ``pid`` out of the container's cgroup into this process's own."""
    own = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    Path("/sys/fs/cgroup", own[3:].lstrip("/"), "cgroup.procs").write_text(str(pid))


def ghost(pid: int) -> None:
    """Make a child with this very pid that exits at once (clone3(2), set_tid), for whoever waits for it.

    For processes of one thread: nothing mends the interpreter's locks in the child, as `os.fork` would.
    """
    tid = ctypes.c_int(pid)
    request = struct.pack("11Q", 0, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, ctypes.addressof(tid), 1, 0)
    buffer = ctypes.create_string_buffer(request)
    if LIBC.syscall(SYS_CLONE3, buffer, len(request)) == 0:
        _exit_now()


def _exit_now() -> NoReturn:
    os._exit(FAILED_STATUS)
