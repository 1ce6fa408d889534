"""Holding packets: an NFQUEUE on host0 keeps what comes for a VIP, then lets it go in one batch, before
conntrack and routing.

Netlink as in linux/netfilter/nfnetlink_queue.h; the standard library has the socket, we pack the messages.
"""

import contextlib
import shlex
import socket
import struct
import subprocess
import threading
import time

NETLINK_NETFILTER = 12
QUEUE_SUBSYSTEM = 3 << 8
MSG_PACKET, MSG_VERDICT, MSG_CONFIG, MSG_VERDICT_BATCH = 0, 1, 2, 3
ATTR_PACKET_HEADER, ATTR_VERDICT_HEADER = 1, 2
CFG_COMMAND, CFG_PARAMETERS, CFG_MAX_LENGTH = 1, 2, 3
BIND, COPY_META = 1, 1
NF_ACCEPT = 1
NLM_F_REQUEST, NLM_F_ACK, NLMSG_ERROR = 1, 4, 2
MAX_PACKETS = 65536
FIRST_QUEUE, QUEUES = 7000, 256
SO_RCVBUFFORCE = 33
SOL_NETLINK, NETLINK_NO_ENOBUFS = 270, 5
DRAIN_SECONDS = 0.05
OWNER = "relocate:"


class HoldError(Exception):
    """The kernel refused the queue or the rule."""


def _attribute(kind: int, payload: bytes) -> bytes:
    return struct.pack("=HH", len(payload) + 4, kind) + payload + b"\0" * (-len(payload) % 4)


class Hold:
    """Packets to one VIP wait from construction until ``release``."""

    def __init__(self, vip: str, relocation: str) -> None:
        """``relocation`` owns the rule: a successor of a dead coordinator finds it. Raises HoldError."""
        self.vip = vip
        self.relocation = relocation
        self.queue = 0
        self.last = 0
        self.passing = False
        self.ended = False
        self.lock = threading.Lock()
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)
        self.socket.setsockopt(SOL_NETLINK, NETLINK_NO_ENOBUFS, 1)
        self.socket.bind((0, 0))
        self._bind_a_free_queue()
        self._configure(_attribute(CFG_PARAMETERS, struct.pack(">IB", 0, COPY_META)))
        self._configure(_attribute(CFG_MAX_LENGTH, struct.pack(">I", MAX_PACKETS)))
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()
        sweep(relocation)
        _rule("-I", vip, self.queue, relocation)

    def _send(self, kind: int, flags: int, attributes: bytes) -> None:
        body = struct.pack(">BBH", socket.AF_UNSPEC, 0, self.queue) + attributes
        self.socket.send(struct.pack("=IHHII", 16 + len(body), QUEUE_SUBSYSTEM | kind, flags, 0, 0) + body)

    def _bind_a_free_queue(self) -> None:
        for self.queue in range(FIRST_QUEUE, FIRST_QUEUE + QUEUES):
            with contextlib.suppress(HoldError):
                self._configure(_attribute(CFG_COMMAND, struct.pack(">BxH", BIND, socket.AF_INET)))
                return
        raise HoldError("no free NFQUEUE: is nfnetlink_queue in the kernel?")

    def _configure(self, attributes: bytes) -> None:
        self._send(MSG_CONFIG, NLM_F_REQUEST | NLM_F_ACK, attributes)
        answer = self.socket.recv(65536)
        (code,) = struct.unpack_from("=i", answer, 16)
        if struct.unpack_from("=H", answer, 4)[0] == NLMSG_ERROR and code:
            raise HoldError(f"NFQUEUE {self.queue}: error {-code}")

    def _verdict(self, kind: int, packet: int) -> None:
        self._send(
            kind, NLM_F_REQUEST, _attribute(ATTR_VERDICT_HEADER, struct.pack(">II", NF_ACCEPT, packet))
        )

    def _read(self) -> None:
        while not self.ended:
            with contextlib.suppress(OSError):
                self._take(self.socket.recv(1 << 16))

    def _take(self, data: bytes) -> None:
        at = 0
        while at + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            if length < 16:
                return
            if kind == QUEUE_SUBSYSTEM | MSG_PACKET:
                (packet,) = struct.unpack_from(
                    ">I", data, at + 24
                )  # nlmsghdr 16, nfgenmsg 4, attribute header 4
                with self.lock:
                    self.last = packet
                    if self.passing:
                        self._verdict(MSG_VERDICT_BATCH, packet)
            at += (length + 3) & ~3

    def release(self) -> None:
        """Let all go, in order, at once. Idempotent."""
        with self.lock:
            if self.passing:
                return
            self.passing = True
            if self.last:
                self._verdict(MSG_VERDICT_BATCH, self.last)
        threading.Thread(target=self._end).start()

    def _end(self) -> None:
        _rule("-D", self.vip, self.queue, self.relocation)
        time.sleep(DRAIN_SECONDS)
        self.ended = True
        self.socket.close()


def _rule(action: str, vip: str, queue: int, relocation: str) -> None:
    match = ["-d", vip, "-m", "comment", "--comment", f"{OWNER}{relocation}"]
    verdict = ["-j", "NFQUEUE", "--queue-num", str(queue), "--queue-bypass"]
    ended = _iptables(action, "PREROUTING", *match, *verdict)
    if ended.returncode and action != "-D":
        raise HoldError(ended.stderr.strip().splitlines()[-1] if ended.stderr else "iptables failed")


def _iptables(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["iptables", "-w", "5", "-t", "raw", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def sweep(relocation: str) -> None:
    """Remove the rule of a hold whose coordinator died; it has let packets through since."""
    for line in _iptables("-S", "PREROUTING").stdout.splitlines():
        words = shlex.split(line)
        if f"{OWNER}{relocation}" in words:
            _iptables("-D", *words[1:])
