"""What the tests and the benchmarks do to a testbed: run things on hosts, reach tenants, move them.

Client sockets are made inside the client's network namespace, so they are on the far side of the gateway.
"""

import hashlib
import json
import os
import secrets
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import talk
from talk import Console

from relocate_cli.testbed.bed import Testbed

TENANT = Path(__file__).with_name("tenant")
# Named by what it is made of: a testbed that is kept has it already, and it is one image everywhere.
IMAGE = (
    "tenant:" + hashlib.sha256(b"".join(p.read_bytes() for p in sorted(TENANT.glob("*.*")))).hexdigest()[:8]
)
REPOSITORY = "198.18.0.10:5000"
ECHO, PUSH, DOWNLOAD, CONSOLE = 7000, 7001, 7002, 7003
RELOCATE = Path(sys.executable).with_name("relocate")
COMMAND_PATIENCE = 600.0  # of one `relocate …`
SSH_PATIENCE = 120.0  # of one command on a host

JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    def document(self) -> JsonObject:
        """What it printed under ``--json``."""
        document: JsonObject = json.loads(self.out)
        return document


@dataclass
class Lab:
    """A provisioned testbed and the containers that a test has put on it."""

    bed: Testbed
    vips: dict[str, str] = field(default_factory=dict)

    @property
    def state(self) -> Path:
        """The command line's journal and lock."""
        return self.bed.places.state / "controller"

    @property
    def hosts(self) -> list[str]:
        """The container hosts."""
        return [machine.name for machine in self.bed.machines[1:]]

    def ssh(self, host: str, *argv: str, stdin: str = "", check: bool = True) -> str:
        """Run a command on a host; its stdout. Raises AssertionError if it fails and ``check``."""
        command = ["ssh", "-F", str(self.bed.places.ssh_config), host, shlex.join(argv)]
        ended = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=SSH_PATIENCE, check=False
        )
        assert not check or ended.returncode == 0, f"{host}: {shlex.join(argv)}: {ended.stderr.strip()}"
        return ended.stdout

    def shell(self, host: str, script: str, check: bool = True) -> str:
        """Run a line of shell on a host."""
        return self.ssh(host, "sh", "-c", script, check=check)

    def docker(self, host: str, *argv: str) -> str:
        """`docker …` on a host, as a tenant or an operator would."""
        return self.ssh(host, "docker", *argv).strip()

    def proxy(self, host: str, verb: str, document: JsonObject) -> JsonObject:
        """`relocate-proxy VERB` with one document in and one out, as the playbooks call it."""
        answer: JsonObject = json.loads(self.ssh(host, "relocate-proxy", verb, stdin=json.dumps(document)))
        return answer

    def relocate(self, *argv: str, config: Path | None = None) -> Ended:
        """The command line, as a person types it."""
        command = [str(RELOCATE), *argv, "--config", str(config or self.bed.places.settings)]
        environment = os.environ | {"RELOCATE_STATE_DIR": str(self.state)}
        ended = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=COMMAND_PATIENCE, check=False
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    def settings(self, place: Path, tick: str) -> Path:
        """The testbed's settings with a journal of its own in ``place`` and a clock of this ``tick``."""
        place.mkdir(parents=True, exist_ok=True)
        config = place / f"tick-{tick}.toml"
        settings = self.bed.places.settings.read_text()
        own = settings.replace(f'"{self.bed.places.state / "journal"}"', f'"{place / "journal"}"')
        assert "state_dir" in settings
        config.write_text(f'{own}\n[clock]\ntick = "{tick}"\n')
        return config

    def make_image(self, host: str, name: str = IMAGE, patience: float = 120.0) -> None:
        """Build the tenant's image on a host that has none of this name; built twice, it is another image."""
        tar = subprocess.run(["tar", "-C", str(TENANT), "-cf", "-", "."], capture_output=True, check=True)
        build = f"tar -C /tmp/tenant -xf - && sh /tmp/tenant/image.sh {name}"
        script = f"mkdir -p /tmp/tenant; docker image inspect {name} >/dev/null 2>&1 || {{ {build}; }}"
        command = ["ssh", "-F", str(self.bed.places.ssh_config), host, script]
        subprocess.run(command, input=tar.stdout, check=True, timeout=patience)

    def bring_image(self, host: str, name: str = IMAGE, patience: float = 120.0) -> None:
        """Give ``host`` the first host's image under its name, if it has none of that name: that a container
        moves there does not."""
        if self.ssh(host, "docker", "image", "inspect", name, check=False).strip() not in ("", "[]"):
            return
        origin, target = (["ssh", "-F", str(self.bed.places.ssh_config), h] for h in (self.hosts[0], host))
        save = subprocess.Popen([*origin, f"docker save {name}"], stdout=subprocess.PIPE)
        with save:
            subprocess.run([*target, "docker load"], stdin=save.stdout, check=True, timeout=patience)
        assert save.returncode == 0

    def run(self, name: str, host: str = "host1", *options: str, command: Sequence[str] = ()) -> str:
        """Start a tenant, with all its ports published if ``options`` publish none; its VIP."""
        labels = ("--label", "relocate.enable=true")
        ports = [f"--publish={p}:{p}" for p in (ECHO, PUSH, DOWNLOAD, CONSOLE)] + ["--publish=7000:7000/udp"]
        if host != self.hosts[0]:
            self.bring_image(host)
        options = options if any(o.startswith("--publish") for o in options) else (*ports, *options)
        self.docker(host, "run", "--detach", "--name", name, *labels, *options, IMAGE, *command)
        return self.publish(name, host)

    def publish(self, name: str, host: str) -> str:
        """What the survey does with a new container. All hosts are heard: a name belongs to its last host
        until that one has said that it is gone."""
        listing = "docker ps --filter label=relocate.enable=true --format '{{.Names}}'"
        with ThreadPoolExecutor(2) as pool:
            listings = pool.map(lambda each: self.shell(each, listing).split(), self.hosts)
            found = dict(zip(self.hosts, listings, strict=True))
        found[host] = sorted({*found[host], name})
        labels = {"relocate.enable": "true"}
        hosts = {
            each: json.dumps({"containers": [{"name": one, "labels": labels} for one in names]})
            for each, names in found.items()
        }
        answer = self.proxy("host0", "publish", {"hosts": hosts})
        self.vips |= answer["vips"]
        # enrol serves exactly those it is told: of containers that are not ours too
        table = json.loads(self.ssh("host0", "cat", "/var/lib/relocate/vips.json"))
        known = {"vips": {owner: entry["vip"] for owner, entry in table.items()}}
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda each: self.proxy(each, "enrol", known), self.hosts))
        return self.vips[name]

    def connect(self, name: str, port: int) -> socket.socket:
        """A client's connection to a tenant, through the VIP. Tries until the service is up."""
        return self.dial(self.vips[name], port)

    def dial(self, address: str, port: int) -> socket.socket:
        """A client's connection to any address. Tries until the service is up."""
        deadline = time.monotonic() + talk.PATIENCE
        while True:
            try:
                with self.bed.entered("client"):
                    connection = socket.create_connection((address, port), timeout=talk.PATIENCE)
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection

    def console(self, name: str, port: int = CONSOLE) -> Console:
        """A connection over which a test runs Python inside the tenant's process."""
        return Console(self.connect(name, port))

    def where(self, name: str) -> list[str]:
        """Hosts with a container of this name that runs."""
        return [host for host in self.hosts for row in self.running(host) if row == name]

    def running(self, host: str) -> list[str]:
        """Names of the containers that run on a host."""
        return self.docker(host, "ps", "--format", "{{.Names}}").split()

    def address(self, host: str, name: str) -> str:
        """A container's address on docker0, as Docker tells it."""
        return self.docker(host, "inspect", "--format", "{{.NetworkSettings.IPAddress}}", name)

    def plan(self, name: str, source: str = "host1", target: str = "host2", **more: Any) -> JsonObject:
        """One entry of relocation__moves."""
        identity = f"test-{secrets.token_hex(4)}"
        move = {"id": identity, "container": name, "source": source, "target": target}
        return {**move, "vip": self.vips[name], **more}

    def arm(self, plan: JsonObject) -> list[dict[str, str]]:
        """The first tasks of playbooks/relocate.yml, on both hosts at once; of each {host: its answer}."""
        document = {"repository": REPOSITORY, "moves": [plan]}
        hosts = (plan["source"], plan["target"])

        def step(verb: str) -> dict[str, str]:
            with ThreadPoolExecutor(2) as pool:
                answers = pool.map(lambda host: self.proxy(host, verb, document | {"host": host}), hosts)
            return dict(zip(hosts, map(json.dumps, answers), strict=True))

        return [step(verb) for verb in ("offer", "arm", "fill")]

    def fire(self, plan: JsonObject, armed: list[dict[str, str]]) -> JsonObject:
        """The next task; the report of this move."""
        document = {"moves": [plan], "parallel": 1, "armed": armed}
        report: JsonObject
        (report,) = self.proxy("host0", "fire", document)["relocations"]
        return report

    def settle(self, plan: JsonObject, report: JsonObject) -> None:
        """The last task, everywhere."""
        hosts = ("host0", plan["source"], plan["target"])
        document = {"moves": [report], "keep": False}
        with ThreadPoolExecutor(3) as pool:
            answers = pool.map(lambda host: self.proxy(host, "settle", document | {"host": host}), hosts)
        assert all(result["ok"] for answer in answers for result in answer["results"])

    def move(
        self,
        name: str,
        source: str = "host1",
        target: str = "host2",
        between: Callable[[JsonObject], None] | None = None,
        **more: Any,
    ) -> JsonObject:
        """Arm, fire and settle without Ansible; ``between`` happens after arm. Returns the report."""
        plan = self.plan(name, source, target, **more)
        armed = self.arm(plan)
        if between is not None:
            between(plan)
        report = self.fire(plan, armed)
        self.settle(plan, report)
        return report

    def expect_moved(
        self, name: str, source: str = "host1", target: str = "host2", **options: Any
    ) -> JsonObject:
        """Move, and hold it to what every move must do."""
        before = self.address(source, name)
        report = self.move(name, source, target, **options)
        assert report["outcome"] == "moved", report["reason"]
        assert self.where(name) == [target]
        assert report["old_ip"] == before
        assert report["new_ip"] == self.address(target, name) != before
        return report

    def leftovers(self) -> dict[str, list[str]]:
        """What relocations left on the hosts; empty when all is as it should be after one has ended."""
        script = """
            find /run/relocate '(' -path '*/decided' -o -path '*/served' -o -path '*/ended' -o -name boot \\
                -o -name enrolment.lock -o -name readmit.error ')' -prune -o \\
                '(' -type f -o -type s ')' -print 2>/dev/null
            ls /var/lib/relocate/open /var/lib/relocate/storage 2>/dev/null | grep -v ':$'
            systemctl list-units --all --plain --no-legend 'relocate-*' | grep -v -e -gateway -e -recover
            iptables -t raw -S PREROUTING 2>/dev/null | grep NFQUEUE
            docker ps --all --quiet --filter status=created 2>/dev/null
            pgrep -af 'relocate-proxy|criu|[r]unc .*(restore|checkpoint)' | grep -v -e pgrep -e 'sh -c'
            true"""
        names = ["host0", *self.hosts]
        with ThreadPoolExecutor(3) as pool:
            listings = pool.map(lambda host: self.shell(host, script), names)
        found = zip(names, ([w for w in text.splitlines() if w.strip()] for text in listings), strict=True)
        return {host: lines for host, lines in found if lines}

    def await_no_leftovers(self, patience: float = 5.0) -> None:
        """What ends by itself (the coordinator's unit, a closing channel) has a moment to do so."""
        deadline = time.monotonic() + patience
        while (left := self.leftovers()) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert left == {}, left

    def clear(self) -> None:
        """End what a test that failed has left armed, remove all containers, forget all facts."""
        shutil.rmtree(self.state, ignore_errors=True)
        for host in self.hosts:
            for line in self.shell(host, "ls /var/lib/relocate/open 2>/dev/null || true").splitlines():
                self._give_up(line.removesuffix(".json"))
        for host in self.hosts:
            self.shell(
                host,
                "docker ps --all --quiet | xargs --no-run-if-empty docker rm --force --volumes >/dev/null",
            )

    def _give_up(self, identity: str) -> None:
        """Settle a relocation whose report is not known as one that was rolled back."""
        sides = {}
        for host in self.hosts:
            record = self.shell(host, f"cat /var/lib/relocate/open/{identity}.json 2>/dev/null || echo null")
            if facts := json.loads(record):
                sides[facts["side"]] = host
        ended = {"relocation_id": identity, "outcome": "rolled_back", "needs_recover": False}
        move = {**ended, "source": sides.get("source", ""), "target": sides.get("target", "")}
        for host in ("host0", *sides.values()):
            self.proxy(host, "settle", {"moves": [move], "keep": False, "host": host})
