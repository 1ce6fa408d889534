"""Stands between runc and CRIU: parks the request until told, relays the RPC, and holds the vote.

runc starts "criu swrk FD" and talks protobuf over that SEQPACKET socket (criu.org/RPC). runc can therefore be
started long before the freeze: its request waits here. On a Unix socket (``RELOCATE_SOCKET``) the agent sends
one word a line and reads one JSON event a line:

* ``parked``: the request is here, CRIU is started and idle. ``go`` sends it on, ``abort`` ends it.
* every notification of CRIU by its name (``post-dump``: the images are complete; ``post-restore``: all is
  restored and nothing of it has executed). At ``post-restore`` the shim waits for ``commit`` or ``abort``; an
  abort makes CRIU kill what it restored.
* ``done`` with ``ok``: CRIU's answer.

A client that connects later is told all events so far, so an agent may die and come back.
"""

import array
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from relocate_proxy import paths
from relocate_proxy.criu import pages
from relocate_proxy.kernel.priority import be_prompt

CRIU = "/usr/sbin/criu"
PARK_SECONDS = 1800.0  # an armed relocation that nobody fires ends by itself
MESSAGE_BYTES = 1 << 20
HOLDS_VOTE = "post-restore"
# What runc has nothing to do for, since Docker's network is not its own and the hooks have run. Asking it
# would wake a process in the window each time.
OF_NO_INTEREST = {
    *("pre-dump", "network-lock", "network-unlock"),
    *("pre-restore", "setup-namespaces", "post-setup-namespaces", "pre-resume"),
}


class Shim:
    """One held request. ``upstream`` is runc, ``downstream`` is CRIU."""

    def __init__(self, upstream: socket.socket, request: Any, rpc: Any, socket_path: str) -> None:
        self.rpc = rpc
        self.request = request
        self.upstream = upstream
        self.events: list[bytes] = []
        self.announced: set[str] = set()
        self.clients: list[socket.socket] = []
        self.gone = False
        self.committed = False
        self.aborted = False
        self.vote_ack: bytes | None = None
        self.voting = False
        self.serving: int | None = None  # tells when CRIU serves the pages that it did not write
        self.selector = selectors.DefaultSelector()
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        Path(socket_path).unlink(missing_ok=True)
        self.listener.bind(socket_path)
        Path(socket_path).chmod(0o600)
        self.listener.listen()
        self.downstream, criu_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.criu = self._start_criu(criu_end)
        criu_end.close()

    def _start_criu(self, end: socket.socket) -> int:
        """Start CRIU where runc would have: same descriptors, its socket at the number runc chose."""
        number = self.upstream.fileno()
        pid = os.fork()
        if pid:
            return pid
        try:
            be_prompt()
            # An open image for each socket; CRIU asks for more than it may, and gets none.
            _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
            os.dup2(end.fileno(), number, inheritable=True)
            environment = dict(os.environ, PATH=paths.SYSTEM_PATH, LD_PRELOAD=str(paths.LIBRARY / "criu.so"))
            os.execve(CRIU, ["criu", "swrk", str(number)], environment)
        finally:
            os._exit(127)

    def announce(self, event: str, **more: Any) -> None:
        line = json.dumps({"event": event, "at": time.monotonic(), **more}).encode() + b"\n"
        self.events.append(line)
        self.announced.add(event)
        for client in list(self.clients):
            try:
                client.sendall(line)
            except OSError:
                self._drop(client)

    def _drop(self, client: socket.socket) -> None:
        self.clients.remove(client)
        self.selector.unregister(client)
        client.close()

    def command(self, word: str) -> None:
        """Obey the agent; repeated and untimely words are harmless."""
        if word.startswith("pages=") and not self.gone:
            self._share_pages(*word.removeprefix("pages=").split(":"))
        elif word == "go" and not self.gone:
            self.gone = True
            self._free_pid()
            self.downstream.send(self.request.SerializeToString())
            self.announce("going")
        elif word == "commit" and self.gone:
            self.committed = True
            self._vote(True)
        elif word == "abort" and not self.committed:
            self.aborted = True
            if self.voting:
                self._vote(False)
            elif not self.gone:
                self.announce("done", ok=False, reason="aborted")
                os.kill(self.criu, signal.SIGKILL)
                raise SystemExit(1)
            elif "pages" in self.announced:
                os.kill(self.criu, signal.SIGKILL)  # its tasks are whole again; it only waits to be asked
            # else CRIU is at work: it fails at its next notification and cleans up after itself

    def _share_pages(self, address: str, port: str) -> None:
        """Leave pages where they are: the dump serves them there, the restore fetches them from there."""
        options = self.request.opts
        options.lazy_pages = True
        if self.request.type == self.rpc.DUMP:
            options.ps.address, options.ps.port = address, int(port)
            self.serving, options.status_fd = os.pipe()
            self.selector.register(self.serving, selectors.EVENT_READ)
            return
        images, work = (
            str(Path(f"/proc/self/fd/{fd}").readlink()) for fd in (options.images_dir_fd, options.work_dir_fd)
        )
        pages.fetch(images, work, address, int(port), int(os.environ["RELOCATE_PID"]))

    def _free_pid(self) -> None:
        """End the holder, whose pid the restored init takes over; its parent reaps it at once."""
        holder = os.environ.get("RELOCATE_PID")
        if holder is None:
            return
        os.kill(int(holder), signal.SIGKILL)
        while Path(f"/proc/{holder}").exists():
            time.sleep(0.0002)

    def _vote(self, yes: bool) -> None:
        if self.vote_ack is None or not self.voting:
            return
        self.voting = False
        self.downstream.send(self.vote_ack if yes else self._acknowledgement(False))

    def _acknowledgement(self, yes: bool) -> bytes:
        message = self.rpc.criu_req(type=self.rpc.NOTIFY, notify_success=yes)
        acknowledgement: bytes = message.SerializeToString()
        return acknowledgement

    def from_criu(self) -> bool:
        """Relay one message of CRIU to runc; False at its end."""
        data, fds, _, _ = socket.recv_fds(self.downstream, MESSAGE_BYTES, 4)
        if not data:
            return False
        answer = self.rpc.criu_resp.FromString(data)
        script = answer.notify.script if answer.type == self.rpc.NOTIFY else ""
        if script in OF_NO_INTEREST:
            self.downstream.send(self._acknowledgement(not self.aborted))
            self.announce(script)
            return True
        if script == HOLDS_VOTE:
            self.voting = True
            self.announce(script)
        if fds:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
            self.upstream.sendmsg([data], ancillary)
            for fd in fds:
                os.close(fd)
        else:
            self.upstream.send(data)
        if script and script != HOLDS_VOTE:
            self.announce(script)
        elif not script:
            reason = "" if answer.success else f"criu errno {answer.cr_errno}"
            self.announce("done", ok=bool(answer.success), reason=reason)
        return True

    def from_runc(self) -> None:
        """Relay runc's acknowledgement, but keep the one that is the vote."""
        data = self.upstream.recv(MESSAGE_BYTES)
        if not data:
            self.selector.unregister(self.upstream)
            return
        if not self.voting:
            self.downstream.send(self._acknowledgement(False) if self.aborted else data)
            return
        self.vote_ack = data
        if self.committed or self.aborted:
            self._vote(self.committed)

    def serve(self) -> int:
        """Run until CRIU has ended; return its exit code."""
        self.selector.register(self.listener, selectors.EVENT_READ)
        self.selector.register(self.upstream, selectors.EVENT_READ)
        self.selector.register(self.downstream, selectors.EVENT_READ)
        self.announce("parked")
        deadline = time.monotonic() + PARK_SECONDS
        while True:
            ready = self.selector.select(None if self.gone else max(0.0, deadline - time.monotonic()))
            if not ready and not self.gone:
                self.command("abort")
            for key, _ in ready:
                if key.fileobj is self.listener:
                    self._accept()
                elif key.fileobj is self.downstream:
                    if not self.from_criu():
                        return self._end()
                elif key.fileobj is self.upstream:
                    self.from_runc()
                elif key.fileobj == self.serving:
                    self.selector.unregister(self.serving)
                    self.announce("pages")
                elif isinstance(key.fileobj, socket.socket):
                    self._from_client(key.fileobj)

    def _accept(self) -> None:
        client, _ = self.listener.accept()
        client.setblocking(True)
        self.clients.append(client)
        self.selector.register(client, selectors.EVENT_READ)
        client.sendall(b"".join(self.events))

    def _from_client(self, client: socket.socket) -> None:
        try:
            words = client.recv(4096).decode(errors="replace").split()
        except OSError:
            words = []
        if not words:
            self._drop(client)
        for word in words:
            self.command(word)

    def _end(self) -> int:
        _, status = os.waitpid(self.criu, 0)
        return os.waitstatus_to_exitcode(status) & 0xFF


def adapt(request: Any, rpc: Any, peer: int) -> None:
    """Set what runc has no flag for, and re-open here the descriptors that CRIU would look up in its
    peer, runc (``peer``)."""
    options = request.opts
    for field in ("images_dir_fd", "work_dir_fd"):
        if options.HasField(field):
            path = f"/proc/{peer}/fd/{getattr(options, field)}"
            setattr(options, field, os.open(path, os.O_RDONLY | os.O_DIRECTORY))
    options.ClearField("config_file")
    options.ClearField("manage_cgroups")
    options.manage_cgroups_mode = rpc.IGNORE
    options.network_lock = rpc.SKIP  # the gateway holds the packets and the source's link is cut
    options.tcp_established = True
    options.tcp_skip_in_flight = True
    options.ext_unix_sk = False
    options.file_locks = True
    options.link_remap = True
    options.ghost_limit = 1 << 28
    options.log_level = 2
    options.timeout = 60


def main(arguments: list[str]) -> int:
    """What /usr/lib/relocate/bin/criu runs inside a relocation: ``criu swrk FD``."""
    if arguments[:1] != ["swrk"]:
        os.execv(CRIU, ["criu", *arguments])
    upstream = socket.socket(fileno=int(arguments[1]))
    import pycriu.rpc_pb2 as rpc

    first = upstream.recv(MESSAGE_BYTES, socket.MSG_PEEK)
    request = rpc.criu_req.FromString(first)
    if request.type not in (rpc.DUMP, rpc.RESTORE):
        os.set_inheritable(upstream.fileno(), True)
        os.execv(CRIU, ["criu", *arguments])
    upstream.recv(MESSAGE_BYTES)
    credentials = upstream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    adapt(request, rpc, int.from_bytes(credentials[:4], sys.byteorder))
    be_prompt()
    shim = Shim(upstream, request, rpc, os.environ["RELOCATE_SOCKET"])
    return shim.serve()
