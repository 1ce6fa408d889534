"""Other ways to move the benchmark's tenant, each as a skilled user would script it on one host of a testbed.

All keep their address, which spares them the change of route that a move between hosts needs: what they
show is the least that they cost. Packets wait at host0 (`packet_queue`), as they do for this project;
without it the client would get a reset. criu, runc and podman have the priority of this project's processes.
"""

import json
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import CONSOLE, ECHO, IMAGE, TENANT, Lab

from relocate_cli.testbed import places, root

HOST = "host1"
ADDRESS = "198.18.0.11"
WORK = "/var/lib/containerd/relocate-bench"  # a real file system, which overlays and images need
SUBNET = "172.30.9"
RUNC_CONF = "tcp-established\nnetwork-lock=skip\nskip-in-flight\nmanage-cgroups=ignore\n"
# A restored socket probes at once; before its flow is known here again, that packet would make a wrong one.
GUARD = f"FORWARD -d {places.WAN} -p tcp ! --syn -m conntrack --ctstate NEW -j DROP"
HOLD = """
import sys, time
sys.path.insert(0, "/usr/lib/relocate")
from relocate_proxy.host0.packet_queue import Hold
hold = Hold(sys.argv[1], "bench-peer")
print("held", flush=True)
sys.stdin.readline()
hold.release()
time.sleep(0.3)
"""
PROMPT = "chrt --rr 1"
FREEZE = "echo 1 >{cgroup}/cgroup.freeze; until grep -q 'frozen 1' {cgroup}/cgroup.events; do :; done"


def _let_through(address: str, action: str = "-I") -> str:
    """Docker's own rules drop what is forwarded to others."""
    return "; ".join(f"iptables {action} FORWARD {way} {address} -j ACCEPT" for way in ("-d", "-s"))


class Peer:
    """One tenant that another system moves; ``name`` is its ``system`` in the results."""

    name = ""
    address = ADDRESS
    ports: tuple[int, int] = (ECHO, CONSOLE)

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.machine = lab.bed.machine(HOST)
        self.hops = 0
        self.shell(f"mkdir -p {WORK}/{self.name}")
        self.start()

    def shell(self, script: str) -> str:
        """Run a line of shell on the host. Raises AssertionError with its last words."""
        ended = subprocess.run(
            self.machine.inside("sh", "-ec", f"cd /; {script}"), capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{self.name}: {(ended.stderr or ended.stdout).strip()[-600:]}"
        return ended.stdout.strip()

    def dial(self, port: int) -> Any:
        """A client's connection to the tenant's ``ECHO`` or ``CONSOLE``."""
        return self.lab.dial(self.address, self.ports[(ECHO, CONSOLE).index(port)])

    def move(self) -> None:
        """Checkpoint and restore while the packets wait. Raises AssertionError if either fails."""
        self.hops += 1
        self.shell(self.before())
        gateway = self.lab.bed.machine("host0").inside("python3", "-I", "-c", HOLD, self.address)
        with subprocess.Popen(gateway, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as hold:
            assert hold.stdin is not None and hold.stdout is not None
            assert hold.stdout.readline() == "held\n"
            try:
                self.shell(self.switch())
            finally:
                hold.stdin.write("\n")
                hold.stdin.close()
        self.shell(self.after())

    def start(self) -> None:
        """Bring the tenant up."""
        raise NotImplementedError

    def before(self) -> str:
        """What can be done ahead of the gap."""
        return f"rm -rf {WORK}/{self.name}/images; mkdir -p {WORK}/{self.name}/images"

    def switch(self) -> str:
        """What the client waits for."""
        raise NotImplementedError

    def after(self) -> str:
        """What can be done when it goes on."""
        return "true"

    def remove(self) -> None:
        """Leave nothing behind."""


class Bare(Peer):
    """A network namespace of its own behind a cable, where a program runs as if it were a container's."""

    number = 0

    def start(self) -> None:
        self.address = f"{SUBNET}{self.number}.2"
        net = f"peer-{self.name}"
        self.shell(
            f"ip netns add {net}; ip link add {self.name}0 type veth peer name eth0 netns {net};"
            f"ip addr add {SUBNET}{self.number}.1/24 dev {self.name}0; ip link set {self.name}0 up;"
            f"ip -n {net} addr add {self.address}/24 dev eth0; ip -n {net} link set eth0 up;"
            f"ip -n {net} link set lo up; ip -n {net} route add default via {SUBNET}{self.number}.1;"
            f"{_let_through(self.address)}"
        )
        self.lab.shell("host0", f"ip route replace {self.address}/32 via {ADDRESS}")

    def remove(self) -> None:
        self.lab.shell("host0", f"ip route delete {self.address}/32", check=False)
        self.lab.shell(HOST, _let_through(self.address, "-D"), check=False)
        self.lab.shell(HOST, f"ip link delete {self.name}0; ip netns delete peer-{self.name}", check=False)


class Criu(Bare):
    """`criu dump` and `criu restore` of the plain process; with CRIU's own lock, and the hold besides."""

    name = "criu"
    number = 1
    lock = ""

    def start(self) -> None:
        super().start()
        self.shell(
            f"cd {WORK}/{self.name}; setsid nsenter --net=/run/netns/peer-{self.name}"
            " python3 ../server.py </dev/null >log 2>&1 & sleep 0.3;"
            f"ip netns pids peer-{self.name} >{WORK}/{self.name}/pid"
        )

    def switch(self) -> str:
        images = f"{WORK}/{self.name}/images"
        criu = f"{PROMPT} nsenter --net=/run/netns/peer-{self.name} criu"
        options = f"-D {images} -v1 -o log.txt --tcp-established --skip-in-flight --manage-cgroups=ignore"
        return (
            f"pid=$(cat {WORK}/{self.name}/pid); {criu} dump -t $pid {options} {self.lock};"
            "while [ -d /proc/$pid ]; do :; done;"
            f"{criu} restore -d {options} {self.lock}"
        )

    def remove(self) -> None:
        self.lab.shell(HOST, f"kill -9 $(cat {WORK}/{self.name}/pid)", check=False)
        super().remove()


class CriuSkip(Criu):
    """The floor: no lock of CRIU's, since the hold does its work."""

    name = "criu-skip"
    number = 2
    lock = "--network-lock skip"


class Runc(Bare):
    """`runc checkpoint` of a container that was frozen first, `runc restore`."""

    name = "runc"
    number = 3

    def start(self) -> None:
        super().start()
        self.shell(
            f"cd {WORK}/runc; mkdir -p rootfs images; tar -C rootfs -xf {WORK}/rootfs.tar;"
            "rm -f config.json; runc spec"
        )
        config = json.loads(self.shell(f"cat {WORK}/runc/config.json"))
        config["process"] |= {"terminal": False, "args": ["/usr/bin/python3", "/app/server.py"]}
        config["root"]["readonly"] = False
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = f"/run/netns/peer-{self.name}"
        text = shlex.quote(json.dumps(config))
        self.shell(
            f"cd {WORK}/runc; printf %s {text} >config.json;"
            f"runc --root {WORK}/runc/state run --detach --bundle . bench </dev/null >/dev/null 2>&1"
        )
        state = json.loads(self.shell(f"cat {WORK}/runc/state/bench/state.json"))
        self.cgroup = state["cgroup_paths"][""]

    def switch(self) -> str:
        runc = f"{PROMPT} runc --root {WORK}/runc/state"
        options = f"--image-path {WORK}/runc/images --work-path {WORK}/runc/images --tcp-established"
        return (
            f"{FREEZE.format(cgroup=self.cgroup)}; {runc} checkpoint {options} bench;"
            f"{runc} restore {options} --detach --bundle {WORK}/runc bench </dev/null >/dev/null 2>&1"
        )

    def remove(self) -> None:
        self.lab.shell(HOST, f"runc --root {WORK}/runc/state delete --force bench", check=False)
        super().remove()


class Docker(Peer):
    """`docker checkpoint create`, `docker start --checkpoint`; the address is fixed."""

    name = "docker"
    ports = (7100, 7103)

    def start(self) -> None:
        self.shell(
            "cp -n /etc/docker/daemon.json /etc/docker/daemon.json.bench;"
            """jq '.experimental=true' /etc/docker/daemon.json.bench >/etc/docker/daemon.json;"""
            "systemctl restart docker; docker rm -f peer-docker >/dev/null 2>&1 || true;"
            "docker network rm peer >/dev/null 2>&1 || true;"
            f"docker network create --subnet {SUBNET}4.0/24 peer >/dev/null;"
            f"docker run --detach --name peer-docker --network peer --ip {SUBNET}4.2"
            f" --publish 7100:{ECHO} --publish 7103:{CONSOLE} {IMAGE}"
        )

    def before(self) -> str:
        return f"docker checkpoint rm peer-docker c{self.hops - 1} 2>/dev/null || true"

    def switch(self) -> str:
        name = f"c{self.hops}"
        return (
            f"docker checkpoint create peer-docker {name} >/dev/null;"
            f"docker start --checkpoint {name} peer-docker >/dev/null"
        )

    def remove(self) -> None:
        script = (
            "docker rm -f peer-docker; docker network rm peer; rm -rf /tmp/ctrd-checkpoint*;"
            "mv /etc/docker/daemon.json.bench /etc/docker/daemon.json; systemctl restart docker"
        )
        self.lab.shell(HOST, script, check=False)


class Podman(Peer):
    """`podman container checkpoint --export`, `restore --import`, with all that costs time left out.

    It moves between two storages of the one host, as it would between two hosts.
    """

    name = "podman"
    ports = (7200, 7203)
    inside = "10.88.0.9"

    def podman(self, side: int) -> str:
        """The command for one of the two storages."""
        where = f"--root {WORK}/podman/{side % 2} --runroot /run/relocate-bench/{side % 2}"
        return f"{PROMPT} podman {where} --runtime runc"

    def start(self) -> None:
        with packages(self.machine.root, "podman", "netavark") as files:
            tar = subprocess.run(["tar", "-C", str(files), "-cf", "-", "."], capture_output=True, check=True)
            install = (
                f"command -v podman >/dev/null || {{ mkdir -p {WORK}/debs; tar -C {WORK}/debs -xf -;"
                f"dpkg --install {WORK}/debs/*.deb; }}"
            )
            command = self.machine.inside("sh", "-ec", install)
            subprocess.run(command, input=tar.stdout, check=True, capture_output=True)
        change = '--change \'CMD ["/usr/bin/python3", "/app/server.py"]\''
        for side in (0, 1):
            self.shell(f"{self.podman(side)} import {change} {WORK}/rootfs.tar peer-image")
        self.shell(
            f"{_let_through(self.inside)}; {self.podman(0)} run --detach --name peer --ip {self.inside}"
            f" --pids-limit 0 --publish 7200:{ECHO} --publish 7203:{CONSOLE} peer-image"
        )

    def switch(self) -> str:
        archive = f"{WORK}/podman/images/peer.tar"
        return (
            f"{self.podman(self.hops - 1)} container checkpoint --export {archive} --compress none"
            " --ignore-rootfs --tcp-established peer >/dev/null;"
            f"{self.podman(self.hops)} container restore --import {archive} --ignore-rootfs"
            " --tcp-established >/dev/null"
        )

    def after(self) -> str:
        return f"{self.podman(self.hops - 1)} rm --force peer >/dev/null"

    def remove(self) -> None:
        rest = "; ".join(f"{self.podman(side)} rm --all --force" for side in (0, 1))
        unmount = f"umount {WORK}/podman/*/overlay"
        self.lab.shell(HOST, f"{rest}; {_let_through(self.inside, '-D')}; {unmount}", check=False)


PEERS: dict[str, type[Peer]] = {peer.name: peer for peer in (CriuSkip, Criu, Runc, Docker, Podman)}


@contextmanager
def packages(tree: Path, *names: str) -> Iterator[Path]:
    """A directory with Debian packages and what they lack in ``tree``: the hosts have no way to a mirror."""
    with tempfile.TemporaryDirectory(prefix="relocate-debs-") as directory:
        for part in ("lists/partial", "archives/partial"):
            Path(directory, part).mkdir(parents=True)
        options = [
            f"Dir={tree}",
            f"Dir::State::status={tree}/var/lib/dpkg/status",
            f"Dir::State::Lists={directory}/lists",
            f"Dir::Cache={directory}",
            "Acquire::Check-Valid-Until=false",
            "APT::Sandbox::User=root",
            "Debug::NoLocking=1",
            *(line.split(";")[0].replace(' "', "=").rstrip('"') for line in root.machine_proxies()),
        ]
        apt = ["apt-get", "--quiet=2", *(word for option in options for word in ("-o", option))]
        subprocess.run([*apt, "update"], check=True, capture_output=True)
        download = [*apt, "--yes", "--no-install-recommends", "--download-only", "install", *names]
        subprocess.run(download, check=True, capture_output=True)
        yield Path(directory, "archives")


@contextmanager
def workshop(lab: Lab) -> Iterator[None]:
    """What the peers need on the host; gone afterwards."""
    server = (TENANT / "server.py").read_text()
    prepare = (
        f"mkdir -p {WORK} /etc/criu; cat >{WORK}/server.py; iptables -t mangle -I {GUARD};"
        f"printf %s {shlex.quote(RUNC_CONF)} >/etc/criu/runc.conf;"
        f"docker export $(docker create --name peer-export {IMAGE}) >{WORK}/rootfs.tar;"
        "docker rm peer-export >/dev/null"
    )
    try:
        lab.ssh(HOST, "sh", "-ec", prepare, stdin=server)
        yield
    finally:
        lab.shell(HOST, f"iptables -t mangle -D {GUARD}; rm -rf {WORK} /etc/criu/runc.conf", check=False)
