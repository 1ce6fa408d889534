"""host0's side of an agent: one SSH connection to one host, kept open for as long as it is wanted."""

import queue
import subprocess
import threading
import time

from relocate_proxy import paths
from relocate_proxy.kernel.priority import be_prompt
from relocate_proxy.protocol import wire
from relocate_proxy.protocol.messages import Report, Request

RECONNECT_SECONDS = 1.0
REPORTS, REPORTS_PER_SECOND = 2000, 200.0  # at once, and for long: a dozen are one relocation's
SSH_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "yes",
    "ConnectTimeout": "5",
    "ServerAliveInterval": "2",
    "ServerAliveCountMax": "3",
    "LogLevel": "ERROR",
    "UserKnownHostsFile": f"{paths.CONFIG}/ssh/known_hosts",
    "IdentityFile": f"{paths.CONFIG}/ssh/id_ed25519",
}
SSH = ["ssh", "-T", *(f"-o{name}={value}" for name, value in SSH_OPTIONS.items())]

# A host whose channel is new, or what a host's agent reports.
Events = queue.SimpleQueue[str | tuple[str, Report]]


class Pace:
    """Holds back a host that talks without end: its channel is read no faster than this, so that what it says
    fills neither host0's memory nor its time."""

    def __init__(self, most: int = REPORTS, per_second: float = REPORTS_PER_SECOND) -> None:
        self.most, self.per_second = float(most), per_second
        self.left, self.at = self.most, time.monotonic()

    def wait(self) -> None:
        """Before each report: at once, unless there were too many."""
        now = time.monotonic()
        self.left = min(self.most, self.left + (now - self.at) * self.per_second) - 1.0
        self.at = now
        if self.left < 0.0:
            time.sleep(-self.left / self.per_second)


class Channel:
    """One SSH connection to one host's agent, opened again for as long as it is wanted."""

    def __init__(self, host: str, address: str, events: Events) -> None:
        self.host = host
        self.address = address
        self.events = events
        self.process: subprocess.Popen[bytes] | None = None
        self.wanted = True
        self.ready = threading.Event()
        self.lock = threading.Lock()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        be_prompt()
        connected_before = False
        pace = Pace()
        while self.wanted:
            self.process = subprocess.Popen(
                [*SSH, f"root@{self.address}", "agent"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert self.process.stdout is not None
            for line in wire.lines(self.process.stdout):
                if line == wire.HELLO:
                    self.ready.set()
                    if connected_before:
                        self.events.put(self.host)
                    connected_before = True
                elif report := wire.decode_report(line):
                    pace.wait()
                    self._write(wire.ACKNOWLEDGEMENT)
                    self.events.put((self.host, report))
            self.ready.clear()
            self.process.terminate()  # it may be waiting for us to read
            self.process.wait()
            time.sleep(RECONNECT_SECONDS)

    def send(self, message: Request) -> None:
        """Write one message; without a channel it is dropped, since the coordinator repeats."""
        if self.ready.is_set():
            self._write(wire.encode(message))

    def _write(self, line: bytes) -> None:
        assert self.process is not None and self.process.stdin is not None
        with self.lock:
            try:
                self.process.stdin.write(line)
                self.process.stdin.flush()
            except OSError:
                self.ready.clear()

    def close(self) -> None:
        """Hang up for good."""
        self.wanted = False
        if self.process is not None:
            self.process.terminate()
