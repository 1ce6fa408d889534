"""The target's side of a relocation: arm, restore up to the vote, commit, own, destroy, settle. Every step
may be repeated."""

import ipaddress
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from relocate_proxy import engine, paths
from relocate_proxy.criu.parked import Parked, ParkedError
from relocate_proxy.host import enrolment
from relocate_proxy.host.records import Stage, TargetFacts, TargetRecord, unfired, write
from relocate_proxy.host.stopwatch import Stopwatch
from relocate_proxy.inventory import checking
from relocate_proxy.kernel import flows, logs, shell, units, vips
from relocate_proxy.protocol.messages import Dumped, Restored
from relocate_proxy.storage import images, layer, shared, tar
from relocate_proxy.storage.shared import StorageArea, StorageError, Vote

ARM_SECONDS = 180.0  # a slow engine; what fails is noticed at once
RESUME_SECONDS = 10.0
ABORT_SECONDS = 10.0
START_SECONDS = 15.0
ENGINE_UNITS = ("docker", "containerd")
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}


class TargetError(Exception):
    """This step failed; nothing of the copy has executed."""


def arm(relocation: str, vip: str, recovers: str | None = None) -> None:
    """Create the container here and park its restore in front of CRIU.

    After the source's `offer`, whose configuration it reads; or of a container of which only the images of
    the relocation ``recovers`` are left. Raises TargetError, StorageError, EngineError or OSError; nothing of
    it is left here then.
    """
    shared.require()
    area = StorageArea(recovers or relocation)
    try:
        specification, configuration = area.read_configuration()
        name = str(specification["name"])
        for stale in unfired(TargetRecord, name):
            destroy(stale)
        if engine.find(name):
            raise TargetError(f"a container named {name} is on the target already: remove or rename it")
        specification["image"] = engine.pull(specification["image"], specification["image_name"])
        facts = TargetFacts(
            container=name,
            vip=vip,
            container_id=engine.create(specification),
            storage=recovers or relocation,
            restart_policy=engine.policy_of(specification["host_config"]),
            configuration=configuration,
        )
        TargetRecord(relocation).write(facts, Stage.ARMING)
        _prepare(TargetRecord(relocation), facts, specification["descriptors"], area)
    except Exception:
        destroy(relocation)
        raise


def fill(relocation: str) -> None:
    """Apply the first copy of the writable layer to the container that `arm` has created.

    After the source's `arm`, which writes it. Raises TargetError or OSError; then nothing is left of it here.
    """
    record = TargetRecord(relocation)
    facts = record.read()
    if facts is None:
        raise TargetError("it was called off before it was armed")
    try:
        area = StorageArea(facts.storage)
        packed = layer.unpack(area.layer(0), Path(facts.rootfs))
        facts = replace(facts, layer=packed)
        if facts.storage != relocation:
            _take_over(area, facts)
        if record.read() is None:
            raise TargetError("called off while it was being prepared")
        record.write(facts, Stage.ARMED)
    except Exception:
        destroy(relocation)
        raise


def _take_over(area: StorageArea, facts: TargetFacts) -> None:
    """Make complete images, written for a target that never ran them, ready for this one's address."""
    vote = _stored_vote(area)
    layers = [facts.layer, vote.dumped.layer]
    if vote.images and area.digest(layers) != vote.images:
        raise TargetError("the stored images are not what was dumped")
    images.rewrite_address(area.images / "files.img", vote.dumped.new_ip, facts.address)
    dumped = replace(vote.dumped, new_ip=facts.address)
    area.write_vote(Vote(dumped, area.digest(layers) if vote.images else ""))


def _stored_vote(area: StorageArea) -> Vote:
    """What the source voted with, if the images are all there is of the container. Raises TargetError."""
    try:
        vote = area.read_vote()
    except (ValueError, StorageError, OSError) as error:
        raise TargetError(f"the stored images: {error}") from None
    if vote is None:
        raise TargetError("the stored images are not complete")
    return vote


def _prepare(record: TargetRecord, facts: TargetFacts, descriptors: list[str], area: StorageArea) -> None:
    """Start the container through the engine; our OCI runtime holds it before its first instruction."""
    container = facts.container_id
    area.append_log(0, engine.log_file(container))
    if facts.storage == record.relocation:
        area.write_descriptors(descriptors)  # else they are there, and a part of what was voted for
    order = {"images": str(area.images), "work": str(area.restore_work), "socket": str(record.socket)}
    write(paths.TARGETS / container / "order.json", order)
    unit = units.name(record.relocation, "start")
    units.start(unit, ["/usr/bin/docker", "start", container], record.log)
    try:
        Parked.wait_for(record.socket, ARM_SECONDS, lambda: units.is_active(unit)).close()
    except ParkedError as error:
        raise TargetError(_start_error(record.run, container) or str(error)) from None
    config = json.loads(_bundle(container).joinpath("config.json").read_text())
    namespace = next(n["path"] for n in config["linux"]["namespaces"] if n["type"] == "network")
    prepared = replace(
        facts,
        rootfs=config["root"]["path"],
        namespace=namespace,
        address=_address(namespace),
        waiter=units.main_pid(unit),
        engine=tuple(pid for each in ENGINE_UNITS if (pid := units.main_pid(each))),
    )
    _prime_neighbour(prepared.address)
    record.write(prepared, Stage.ARMING)


def _bundle(container: str) -> Path:
    return Path("/run/containerd/io.containerd.runtime.v2.task/moby") / container


def _start_error(directory: Path, container: str) -> str:
    keeper = paths.TARGETS / container / "keeper.error"
    for log in (keeper, directory / "start.log"):
        with suppress(OSError):
            for line in log.read_text().splitlines():
                if line.strip():
                    return line.removeprefix("Error response from daemon: ").strip()
    return ""


def _address(namespace: str) -> str:
    """The address that the engine gave the container, read in its network namespace (inspect would block
    now)."""
    listing = json.loads(
        shell.run(["nsenter", f"--net={namespace}", "ip", "-json", "-4", "address", "show", "dev", "eth0"])
    )
    return str(ipaddress.IPv4Address(listing[0]["addr_info"][0]["local"]))


def _prime_neighbour(address: str) -> None:
    """One datagram to the discard port: the host and the container learn each other's MAC ahead of the
    window."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, suppress(OSError):
        sender.sendto(b"", (address, 9))


class Window:
    """The target inside the window; what can be ready beforehand is."""

    def __init__(self, relocation: str, peer: str | None = None) -> None:
        """Connect to the parked restore. ``peer``: the source's address, if pages are to be fetched from it.
        Raises TargetError when it is not armed here."""
        self.record = TargetRecord(relocation)
        facts = self.record.read()
        if facts is None or self.record.stage is Stage.ARMING or self.record.rebooted:
            raise TargetError(f"relocation {relocation} is not armed here")
        self.facts, self.peer = facts, peer
        self.area = StorageArea(facts.storage)
        if self.record.stage is Stage.ARMED:
            self.record.write(facts, Stage.FIRED)
        self.extraction = tar.Extraction(Path(facts.rootfs))  # waits for the layer's last changes
        vips.expect(facts.address, facts.vip)
        try:
            self.shim = Parked.wait_for(self.record.socket, 1.0)
        except ParkedError as error:
            raise TargetError(f"the parked restore is gone: {error}") from None

    def close(self) -> None:
        """Let go of the root file system. Idempotent."""
        self.extraction.close()

    def stored(self) -> Dumped:
        """What the source voted with, if the images are all there is of the container."""
        return _stored_vote(self.area).dumped

    def restore(self, dumped: Dumped, seconds: float, verify: bool, last: bool = False) -> Restored:
        """Bring CRIU to the point where all is restored and nothing has executed, and see that it is what was
        frozen: the vote.

        ``dumped``: what the source voted with; ``verify``: state the digest of what was restored from;
        ``last``: there is no other copy.
        Raises TargetError or OSError; the copy is dead then, or will be when it is destroyed.
        """
        watch = Stopwatch()
        if dumped.layer:
            layer.unpack(self.area.layer(1), Path(self.facts.rootfs), dumped.layer, self.extraction)
            watch.lap("layer")
        self.close()
        failures: list[str] = []
        digests: list[str] = []
        expected = checking.Expected(self.area, dumped.inventory)
        works: list[Callable[[], None]] = [lambda: self._connect(dumped, watch), expected.read]
        if verify:
            works.append(lambda: digests.append(self._digest(dumped, watch)))
        beside = [threading.Thread(target=self._guarded, args=(work, failures)) for work in works]
        try:
            if dumped.pages is not None:
                self.shim.send(f"pages={self.peer}:{dumped.pages}")
            self.shim.send("go")
            for thread in beside:
                thread.start()
            self.shim.wait("post-restore", seconds)
        except ParkedError as error:
            failures.append(f"CRIU restore: {self.area.restore_error() or error}")
        for thread in beside:
            if thread.ident is not None:
                thread.join()
        if failures:
            raise TargetError(failures[0])
        if not _engine_will_own(self.facts):
            raise TargetError("the engine ended, or was restarted, while it waited for the copy")
        if dumped.restart_policy != self.facts.restart_policy:  # its tenant has set another since
            self.facts = replace(self.facts, restart_policy=dumped.restart_policy)
            self.record.write(self.facts, Stage.FIRED, durable=False)
        watch.lap("restore")
        compared = expected.check(_cgroup(self.facts.container_id), self.facts.address, last)
        watch.lap("inventory")
        watch.phases(self.shim.seen)
        return Restored(self.facts.address, "".join(digests), watch.laps, watch.spans, compared)

    @staticmethod
    def _guarded(work: Callable[[], None], failures: list[str]) -> None:
        try:
            work()
        except Exception as error:
            failures.insert(0, str(error))

    def _digest(self, dumped: Dumped, watch: Stopwatch) -> str:
        """Runs beside the restore: nothing of the copy executes before the votes are compared."""
        with watch.beside("digests"):
            return self.area.digest([self.facts.layer, dumped.layer])

    def _connect(self, dumped: Dumped, watch: Stopwatch) -> None:
        """Runs beside the restore: the flows, the VIP, the log's last lines."""
        with watch.beside("flows"):
            mine = [
                flow
                for flow in self.area.read_flows(dumped.carried)
                if self.facts.vip in (flow.destination, flow.reply_destination)
            ]
            flows.insert(mine, dumped.old_ip, self.facts.address)
        with watch.beside("address"):
            vips.carry(self.facts.vip)
        self.area.append_log(1, engine.log_file(self.facts.container_id))


def resume(relocation: str, shim: Parked | None) -> bool:
    """Let the copy run; True if it does, False if none has and none ever will. Idempotent."""
    record = TargetRecord(relocation)
    facts = record.read()
    if facts is None:
        return False
    if record.stage is Stage.RUNNING:
        return True
    if record.rebooted:
        destroy(relocation)
        return False
    try:
        shim = shim or Parked.wait_for(record.socket, 1.0)
        if not _engine_will_own(facts):
            destroy(relocation)
            return False
        shim.send("commit")
        shim.wait("post-resume", RESUME_SECONDS)
    except (ParkedError, OSError):
        _wait_for_end(units.name(relocation, "start"))  # CRIU may still be killing an inert copy
        if not _is_running(facts.container_id):
            destroy(relocation)
            return False
    announce = ["nsenter", f"--net={facts.namespace}", "arping", "-q", "-U", "-c", "1", "-I", "eth0"]
    threading.Thread(target=subprocess.run, args=([*announce, facts.address],), kwargs=QUIET).start()
    return True


def own(relocation: str) -> None:
    """Wait until the engine owns the copy that has run. Idempotent.

    If the engine was lost before `docker start` had returned it does not know the copy, which is ended: the
    container is this host's all the same, and starts again as its restart policy says when it is settled.
    Raises TargetError when it cannot be told yet; the coordinator repeats.
    """
    record = TargetRecord(relocation)
    facts = record.read()
    if facts is None or record.stage is Stage.RUNNING:
        return
    if not record.rebooted:
        deadline = time.monotonic() + START_SECONDS
        while _start_waits(facts):
            if time.monotonic() > deadline:
                raise TargetError("the engine does not take the copy over")
            time.sleep(0.001)
        if not _is_owned(facts):
            logs.of(relocation).warning("the engine was lost before it owned the copy, which is ended")
            _end_restore(facts.container_id)
    record.write(facts, Stage.RUNNING)


def _is_owned(facts: TargetFacts) -> bool:
    """Whether the engine says that the copy's first process is the container's. Raises EngineError."""
    state = engine.inspect(facts.container_id)["State"]
    return bool(state["Running"]) and int(state["Pid"]) == _init(facts.container_id)


def _engine_will_own(facts: TargetFacts) -> bool:
    """Whether `docker start` waits, and for the daemons that it was begun with: one that came anew does not
    know the copy, and that containerd has ended `docker start` may not have heard yet."""
    return _start_waits(facts) and all(Path(f"/proc/{pid}").exists() for pid in facts.engine)


def _start_waits(facts: TargetFacts) -> bool:
    """Whether `docker start` still waits for the copy."""
    try:
        return facts.container_id.encode() in Path(f"/proc/{facts.waiter}/cmdline").read_bytes()
    except OSError:
        return False


def _init(container: str) -> int:
    """The pid of the copy's first process, 0 if there is none."""
    try:
        return int((paths.TARGETS / container / "init.pid").read_text())
    except (OSError, ValueError):
        return 0


def _is_running(container: str) -> bool:
    try:
        return container in Path(f"/proc/{_init(container)}/cgroup").read_text()
    except OSError:
        return False


def destroy(relocation: str) -> None:
    """Remove the inert copy and all that was prepared for it. Idempotent; of a copy that has run it does
    nothing.

    Raises EngineError when the engine does not answer; the coordinator repeats.
    """
    record = TargetRecord(relocation)
    facts = record.read()
    if facts is None or record.stage is Stage.RUNNING:
        return
    with suppress(OSError):  # there is none any more
        Parked(record.socket).abort(ABORT_SECONDS)
    if not _wait_for_end(units.name(relocation, "start")):
        _end_restore(facts.container_id)
        _wait_for_end(units.name(relocation, "start"))
    engine.remove(facts.container_id)
    with suppress(OSError):  # gone, unless runc, whose it is, was missing
        _cgroup(facts.container_id).rmdir()
    shutil.rmtree(paths.TARGETS / facts.container_id, ignore_errors=True)
    if facts.address:
        vips.disown(facts.address, facts.vip)
        flows.forget_flows(facts.address)
    record.forget()
    logs.of(relocation).info("nothing of it is left here")


def _wait_for_end(unit: str) -> bool:
    """Whether `docker start` has returned, for which the engine's other answers on the container wait."""
    deadline = time.monotonic() + START_SECONDS
    while units.is_active(unit):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _end_restore(container: str) -> None:
    """A restore that hangs hears no abort: end CRIU and what it has made so far, all in the container's
    cgroup (cgroup.kill, kernel.org: admin-guide/cgroup-v2)."""
    with suppress(OSError):  # the runtime has not made it yet
        (_cgroup(container) / "cgroup.kill").write_text("1")


def _cgroup(container: str) -> Path:
    """Raises OSError before the runtime has made it."""
    return Path((paths.TARGETS / container / "cgroup").read_text())


def settle(relocation: str) -> None:
    """Make the moved container an ordinary one: its restart policy back, nothing of ours left but the
    VIP; started if this host lost power, or its engine, since it ran. Idempotent. Raises EngineError."""
    record = TargetRecord(relocation)
    facts = record.read()
    if facts is None:
        return
    _wait_for_end(units.name(relocation, "start"))
    shutil.rmtree(paths.TARGETS / facts.container_id, ignore_errors=True)
    try:
        state = engine.inspect(facts.container_id)["State"]
        if not state["Running"] and not engine.was_told_to_end(facts.container_id, since=0.0):
            crashed = not record.rebooted and state["ExitCode"] != 0
            enrolment.revive(facts.container_id, facts.restart_policy, facts.vip, crashed)
    except engine.NotFoundError:
        pass  # its tenant has removed it
    engine.give_policy_back(facts.container_id, facts.restart_policy)
    record.forget()
    logs.of(relocation).info("settled")
