"""The target's side of a relocation: arm, restore up to the vote, commit, own, destroy, settle. Every step
may be repeated."""

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from relocate_proxy import engine, paths
from relocate_proxy.belongings import networks, volumes
from relocate_proxy.criu.parked import Parked, ParkedError
from relocate_proxy.host import admission, endpoints, enrolment
from relocate_proxy.host.records import Stage, TargetFacts, TargetRecord, Volume, copies, unfired, write
from relocate_proxy.host.stopwatch import Stopwatch
from relocate_proxy.inventory import checking
from relocate_proxy.kernel import flows, logs, units, vips
from relocate_proxy.protocol import shapes
from relocate_proxy.protocol.messages import Dumped, Restored, Vote
from relocate_proxy.storage import images, layer, shared, tar
from relocate_proxy.storage.shared import StorageArea

ARM_SECONDS = 180.0  # a slow engine; what fails is noticed at once
RESUME_SECONDS = 10.0
ABORT_SECONDS = 10.0
START_SECONDS = 15.0
ENGINE_UNITS = ("docker", "containerd")
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}


class TargetError(Exception):
    """This step failed; nothing of the copy has executed."""


def arm(relocation: str, container: str, vip: str, recovers: str | None = None) -> None:
    """Create the container here and park its restore in front of CRIU.

    After the source's `offer`, whose configuration it reads and judges for itself; or of a container of which
    only the images of the relocation ``recovers`` are left. Raises TargetError, SpecificationError,
    NetworkError, VolumeError, StorageError, EngineError or OSError; nothing of it is left here then.
    """
    shared.require()
    area = StorageArea(recovers or relocation)
    try:
        said, configuration = area.read_configuration()
        specification = admission.admit(said, container)
        name = container
        for stale in unfired(TargetRecord, name):
            destroy(stale)
        if engine.find(name):
            raise TargetError(f"a container named {name} is on the target already: remove or rename it")
        specification["image"] = engine.pull(specification["image"], specification["image_name"])
        facts = TargetFacts(
            container=name,
            vip=vip,
            container_id="",
            storage=recovers or relocation,
            restart_policy=engine.policy_of(specification["host_config"]),
            configuration=configuration,
        )
        TargetRecord(relocation).write(facts, Stage.ARMING)  # ahead of what `destroy` then finds
        facts = _create(relocation, facts, specification)
        TargetRecord(relocation).write(facts, Stage.ARMING)
        _prepare(TargetRecord(relocation), facts, specification, area)
    except Exception:
        destroy(relocation)
        raise


def _create(relocation: str, facts: TargetFacts, specification: dict[str, Any]) -> TargetFacts:
    """The container, with what it brings along. Raises EngineError, VolumeError, NetworkError, ShapeError."""
    bridges = networks.read(specification.get("bridges", []))  # older configurations have neither
    belongings = shapes.read(volumes.Volumes, specification.get("volumes", {}))
    volumes.make(relocation, belongings)
    with networks.arranged(relocation, bridges):
        identity = engine.create(specification)
    created = replace(facts, container_id=identity)
    TargetRecord(relocation).write(created, Stage.ARMING)
    found = volumes.created(engine.inspect(identity), belongings)
    here = tuple(Volume(each.path, each.name, each.anonymous) for each in found)
    return replace(created, volumes=here)


def fill(relocation: str) -> None:
    """Apply the first copies of the writable layer and the volumes to the container that `arm` has created.

    After the source's `arm`, which writes them. Raises TargetError or OSError; nothing of it is left then.
    """
    record = TargetRecord(relocation)
    facts = record.read()
    if facts is None:
        raise TargetError("it was called off before it was armed")
    try:
        area = StorageArea(facts.storage)
        packed = layer.unpack(area.layer(0), Path(facts.rootfs))
        filled = tuple(_fill(area, number, volume) for number, volume in enumerate(facts.volumes))
        facts = replace(facts, layer=packed, volumes=filled)
        if record.read() is None:
            raise TargetError("called off while it was being prepared")
        record.write(facts, Stage.ARMED)
    except Exception:
        destroy(relocation)
        raise


def _fill(area: StorageArea, number: int, volume: Volume) -> Volume:
    """What the engine puts into a new volume, from the image, is not what the source's has."""
    place = Path(volume.path)
    layer.empty(place)
    packed = layer.unpack(area.volume(number, 0), place, plain=True)
    layer.write_back(place)
    return replace(volume, first=packed)


def _prepare(
    record: TargetRecord, facts: TargetFacts, specification: dict[str, Any], area: StorageArea
) -> None:
    """Start the container through the engine; our OCI runtime holds it before its first instruction."""
    container = facts.container_id
    area.append_log(0, engine.log_file(container))
    if facts.storage == record.relocation:
        area.write_descriptors(
            specification["descriptors"]
        )  # else they are there, and a part of what was voted for
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
    ends = endpoints.of_namespace([f"--net={namespace}"], endpoints.subnets(list(specification["networks"])))
    attached = [end.network for end in ends]
    if attached != specification.get("attached", attached):
        raise TargetError(f"its way out would be another here: {attached[0]}")
    prepared = replace(
        facts,
        rootfs=config["root"]["path"],
        namespace=namespace,
        address=ends[0].address,
        others=tuple(end.address for end in ends[1:]),
        interfaces=tuple(end.interface for end in ends),
        waiter=units.main_pid(unit),
        engine=tuple(pid for each in ENGINE_UNITS if (pid := units.main_pid(each))),
    )
    for end in ends:
        _prime_neighbour(end.address)
    record.write(prepared, Stage.ARMING)


def _bundle(container: str) -> Path:
    return Path("/run/containerd/io.containerd.runtime.v2.task/moby") / container


def _start_error(directory: Path, container: str) -> str:
    keeper = paths.TARGETS / container / "keeper.error"
    for log in (keeper, directory / "start.log"):
        with suppress(OSError):
            for line in log.read_text(errors="replace").splitlines():
                if line.strip():
                    return line.removeprefix("Error response from daemon: ").strip()
    return ""


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
        # They wait for the last changes.
        self.extraction = tar.Extraction(Path(facts.rootfs))
        self.extractions = [tar.Extraction(Path(volume.path)) for volume in facts.volumes]
        enrolment.note(facts.container_id, facts.address, facts.vip)
        vips.expect(facts.address, facts.vip)
        try:
            self.shim = Parked.wait_for(self.record.socket, 1.0)
        except ParkedError as error:
            raise TargetError(f"the parked restore is gone: {error}") from None

    def close(self) -> None:
        """Let go of the root file system and the volumes. Idempotent."""
        for extraction in (self.extraction, *self.extractions):
            extraction.close()

    def restore_stored(self, voted: Vote, seconds: float, verify: bool) -> Restored:
        """`restore` a container of which only the images are left, which must be what host0 says was
        ``voted`` for. Raises TargetError or OSError."""
        if self.facts.configuration != voted.configuration:
            raise TargetError("spec.json on the shared storage is not what the container was moved with")
        if verify and not voted.images:
            raise TargetError(
                "the source lost its power before it had the digest of the images: whether they are what it"
                " dumped is not known ([storage] verify = false restores them all the same)"
            )
        dumped, facts = voted.dumped, self.facts
        old, new = (dumped.new_ip, *dumped.others), facts.addresses
        if len(old) != len(new):
            raise TargetError(f"it was in {len(old)} networks, and is in {len(new)} here")
        instead = images.take_over(self.area.images, dict(zip(old, new, strict=True)))
        mine = replace(dumped, new_ip=facts.address, others=facts.others)
        restored = self.restore(mine, seconds, verify, instead)
        if verify and restored.images != voted.images:
            raise TargetError("the stored images are not what was dumped")
        return restored

    def restore(
        self, dumped: Dumped, seconds: float, verify: bool, instead: Mapping[str, str] | None = None
    ) -> Restored:
        """Bring CRIU to the point where all is restored and nothing has executed, and see that it is what was
        frozen: the vote.

        ``dumped``: what the source voted with; ``verify``: state the digest of what was restored from;
        ``instead``: what digests stand for others, where the images are all there is of the container.
        Raises TargetError or OSError; the copy is dead then, or will be when it is destroyed.
        """
        watch = Stopwatch()
        if dumped.layer:
            layer.unpack(self.area.layer(1), Path(self.facts.rootfs), dumped.layer, self.extraction)
            watch.lap("layer")
        if len(dumped.volumes) != len(self.facts.volumes):
            raise TargetError("the source has dumped other volumes than it was armed with")
        for number, changed in enumerate(dumped.volumes):
            if changed:
                place, waiting = Path(self.facts.volumes[number].path), self.extractions[number]
                layer.unpack(self.area.volume(number, 1), place, changed, waiting, plain=True)
                watch.lap("volumes")
        self.close()
        failures: list[str] = []
        digests: list[str] = []
        expected = checking.Expected(self.area, dumped.inventory)
        works: list[Callable[[], None]] = [lambda: self._connect(dumped, watch), expected.read]
        if verify:
            works.append(lambda: digests.append(self._digest(dumped, watch, instead)))
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
        compared = expected.check(_cgroup(self.facts.container_id), self.facts.addresses, instead is not None)
        watch.lap("inventory")
        watch.phases(self.shim.seen)
        return Restored(self.facts.address, "".join(digests), watch.laps, watch.spans, compared)

    @staticmethod
    def _guarded(work: Callable[[], None], failures: list[str]) -> None:
        try:
            work()
        except Exception as error:
            failures.insert(0, str(error))

    def _digest(self, dumped: Dumped, watch: Stopwatch, instead: Mapping[str, str] | None) -> str:
        """Runs beside the restore: nothing of the copy executes before the votes are compared."""
        with watch.beside("digests"):
            return self.area.digest(copies(self.facts, dumped), instead=instead)

    def _connect(self, dumped: Dumped, watch: Stopwatch) -> None:
        """Runs beside the restore: the flows, the VIP, the log's last lines."""
        with watch.beside("flows"):
            found = self.area.read_flows(dumped.carried)
            flows.insert(found, dumped.old_ip, self.facts.address, self.facts.vip)
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
    announce = ["nsenter", f"--net={facts.namespace}", "arping", "-q", "-U", "-c", "1", "-I"]
    for interface, address in zip(facts.interfaces, facts.addresses, strict=True):
        ask = [*announce, interface, address]
        threading.Thread(target=subprocess.run, args=(ask,), kwargs=QUIET).start()
    return True


def own(relocation: str) -> None:
    """Wait until the engine owns the copy that has run. Idempotent.

    If the engine was lost before `docker start` had returned it does not know the copy, which is ended: the
    container is this host's all the same, and starts again as its restart policy says when it is settled.
    Raises TargetError when it cannot be told yet, or OSError; the coordinator repeats.
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
    for volume in facts.volumes:  # what the source had on its disk is on ours before that one goes
        layer.write_back(Path(volume.path))
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
    if facts.container_id:
        engine.remove(facts.container_id)
        with suppress(OSError):  # gone, unless runc, whose it is, was missing
            _cgroup(facts.container_id).rmdir()
        shutil.rmtree(paths.TARGETS / facts.container_id, ignore_errors=True)
    volumes.drop(relocation)
    networks.sweep()
    if facts.address:
        vips.disown(facts.address, facts.vip)
        for address in facts.addresses:
            flows.forget_flows(address)
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
