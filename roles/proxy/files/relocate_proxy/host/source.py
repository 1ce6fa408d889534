"""The source's side of a relocation: arm, freeze and dump, thaw, destroy. Every step may be repeated."""

import importlib
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from relocate_proxy import engine, paths
from relocate_proxy.belongings import networks, volumes
from relocate_proxy.criu import pages
from relocate_proxy.criu.parked import Parked, ParkedError
from relocate_proxy.host import enrolment
from relocate_proxy.host.records import (
    Decision,
    SourceFacts,
    SourceRecord,
    Stage,
    Volume,
    copies,
    unfired,
    write,
)
from relocate_proxy.host.stopwatch import Stopwatch
from relocate_proxy.inventory import taking
from relocate_proxy.inventory.document import Mode
from relocate_proxy.kernel import flows, links, logs, shell, units, vips
from relocate_proxy.kernel.priority import be_second
from relocate_proxy.kernel.sockets import SocketDiagnosis
from relocate_proxy.protocol import shapes
from relocate_proxy.protocol.messages import Dumped, Gone, Stored, Thawed, Vote
from relocate_proxy.storage import images, layer, shared
from relocate_proxy.storage.shared import StorageArea
from relocate_proxy.survey import holdings, preflight, surroundings

ARM_SECONDS = 180.0  # a slow engine; what fails is noticed at once
FREEZE_SECONDS = 2.0
ABORT_SECONDS = 3.0
ENGINE_SECONDS = 5.0
WATCHDOG_SLACK_SECONDS = 1.0
WAITING_SECONDS = 0.1  # of a program that accepts what comes; it is a part of the gap
CLOSED_SECONDS = 5.0
WAITING = "of its clients wait to be accepted"
CLOSED = "that it has closed are not sent whole yet"
PAGES_SECONDS = 900.0  # of a container that runs elsewhere already


class SourceError(Exception):
    """This step failed; the container is as it was, or will be thawed."""


def offer(relocation: str, container: str, vip: str, repository: str) -> None:
    """Look whether the container can leave, and put its image into the repository and its configuration on
    the storage, from which the target creates it.

    The container is not touched. Raises SourceError, NetworkError, StorageError or EngineError; then nothing
    of it is open.
    """
    shared.require()
    for stale in unfired(SourceRecord, container):
        thaw(stale)
    document = engine.inspect(container)
    facts = _facts(container, vip, document)
    record, area = SourceRecord(relocation), StorageArea(relocation)
    try:
        area.create()
        record.write(facts, Stage.ARMING)
        specification = engine.specification(document, engine.push(document["Image"], repository))
        specification["attached"] = _names(facts, document)
        specification["bridges"] = networks.of_container(document)
        belongings = volumes.of_container(document)
        specification["volumes"] = shapes.write(belongings)
        specification["descriptors"] = engine.runc_state(facts.container_id)["external_descriptors"]
        configuration = area.write_configuration(specification)
        log_bytes = area.copy_log(engine.log_file(facts.container_id), 0)
        facts = replace(facts, volumes=_volumes(document, belongings))
        record.write(replace(facts, configuration=configuration, log_bytes=log_bytes), Stage.ARMING)
    except Exception:
        _give_up(relocation)
        raise


def arm(relocation: str) -> None:
    """Copy the writable layer and the volumes ahead and park a dump of the container in front of CRIU.

    After `offer`. Raises SourceError, EngineError or OSError; then nothing is left armed.
    """
    record, area = SourceRecord(relocation), StorageArea(relocation)
    facts = record.read()
    if facts is None:
        raise SourceError("it was called off before it was armed")
    try:
        upper = engine.upper_dir(facts.rootfs)
        mapped = layer.written_in_place(Path(facts.cgroup, "cgroup.procs").read_text().split())
        found, snapshot = layer.changes(upper, layer.Snapshot(), mapped=mapped)
        packed = layer.pack(upper, found, area.layer(0), frozen=False)
        record.write_snapshot(snapshot)
        copied = tuple(_copy(record, area, number, each, mapped) for number, each in enumerate(facts.volumes))
        _park(record, facts, area)
        if record.decision is not None:  # by `recover`, which did not know how far this would come
            raise SourceError("called off while it was being prepared")
        record.write(replace(facts, layer=packed, volumes=copied), Stage.ARMED)
    except Exception:
        _give_up(relocation)
        raise


def _volumes(inspect: dict[str, Any], wanted: volumes.Volumes) -> tuple[Volume, ...]:
    found = volumes.travelling(inspect, wanted)
    return tuple(Volume(here.path, here.name, here.anonymous) for here in found)


def _copy(
    record: SourceRecord, area: StorageArea, number: int, volume: Volume, mapped: frozenset[int]
) -> Volume:
    """The first copy of a volume."""
    tree = Path(volume.path)
    found, snapshot = layer.changes(tree, layer.Snapshot(), plain=True, mapped=mapped)
    packed = layer.pack(tree, found, area.volume(number, 0), frozen=False)
    record.write_snapshot(snapshot, number)
    return replace(volume, first=packed)


def _give_up(relocation: str) -> None:
    """Leave nothing behind of an arming that failed; if an engine or the storage fails, `recover` will."""
    try:
        thaw(relocation)
        StorageArea(relocation).remove()
    except (engine.EngineError, OSError) as error:
        logs.of(relocation).warning("not settled here yet: %s", error)


def _facts(container: str, vip: str, document: dict[str, Any]) -> SourceFacts:
    if obstacles := preflight.obstacles(document, surroundings.glance()):
        raise SourceError(f"{obstacles[0]['reason']}: {obstacles[0]['hint']}")
    if not document["State"]["Running"] or document["State"]["Paused"]:
        raise SourceError(
            f"container {container} is {document['State']['Status']}, only a running one can move"
        )
    identity, pid = document["Id"], document["State"]["Pid"]
    state = engine.runc_state(identity)
    _refuse_held(state["cgroup_paths"][""])
    attached, bridges = document["NetworkSettings"]["Networks"], engine.networks()
    names = networks.ranked(attached, networks.internal(bridges))
    if len(names) < len(attached):
        raise SourceError("it has no address in one of its networks: start it again")
    address, *others = (attached[name]["IPAddress"] for name in names)
    return SourceFacts(
        container=container,
        vip=vip,
        container_id=identity,
        pid=pid,
        address=address,
        others=tuple(others),
        cgroup=state["cgroup_paths"][""],
        rootfs=state["config"]["rootfs"],
        sandbox=document["NetworkSettings"]["SandboxKey"],
        links=_links(document, names, bridges),
        lazy=pages.wanted(document["Config"].get("Labels") or {}),
        key=secrets.token_hex(32),
        checked=bool(preflight.health_command(document["Config"])),
    )


def _names(facts: SourceFacts, inspect: dict[str, Any]) -> list[str]:
    """Its networks in the order of its addresses."""
    names = {each["IPAddress"]: name for name, each in inspect["NetworkSettings"]["Networks"].items()}
    return [names[address] for address in facts.addresses]


def _refuse_held(cgroup: str) -> None:
    """What CRIU would refuse inside the window, or, of a traced process, try for as long as it may."""
    for obstacle in holdings.held(Path(cgroup, "cgroup.procs").read_text().split()):
        raise SourceError(f"{obstacle['reason']}: {obstacle['hint']}")


def _links(document: dict[str, Any], names: list[str], bridges: list[dict[str, Any]]) -> tuple[str, ...]:
    """Names of the host's ends of its cables to these networks, which are ``bridges`` of the engine's. Raises
    SourceError."""
    settings, known = document["NetworkSettings"], {each["Id"]: each for each in bridges}
    found = []
    for name in names:
        network = known.get(settings["Networks"][name]["NetworkID"])
        if network is None:
            raise SourceError(f"its network {name} is no bridge of this host: attach it to a bridge network")
        try:
            found.append(links.of_container(settings["SandboxKey"], engine.bridge(network)))
        except (links.LinkError, shell.ToolError, OSError) as error:
            raise SourceError(
                f"{error}: it has changed its network itself; start it again, without NET_ADMIN"
            ) from None
    return tuple(found)


def _park(record: SourceRecord, facts: SourceFacts, area: StorageArea) -> None:
    """Start runc ahead of the freeze, under a root of its own where the network namespace counts as
    external."""
    state = engine.runc_state(facts.container_id)
    for namespace in state["config"]["namespaces"]:
        if namespace["type"] == "NEWNET":
            namespace["path"] = facts.sandbox
    write(record.runc_root / facts.container_id / "state.json", state)
    environment = {"PATH": f"{paths.BIN}:{paths.SYSTEM_PATH}", "RELOCATE_SOCKET": str(record.socket)}
    command = ["/usr/bin/chrt", "--rr", "1", "/usr/sbin/runc"]  # the window waits for its answers
    command += ["--root", str(record.runc_root), "checkpoint"]
    command += ["--image-path", str(area.images), "--work-path", str(area.dump_work)]
    command += ["--tcp-established", "--leave-running", facts.container_id]
    unit = units.name(record.relocation, "dump")
    units.start(unit, command, record.log, environment)
    try:
        Parked.wait_for(record.socket, ARM_SECONDS, lambda: units.is_active(unit)).close()
    except ParkedError as error:
        words = record.log.read_text(errors="replace").splitlines()[-1:] if record.log.exists() else []
        raise SourceError(f"{error} {' '.join(words)}".strip()) from None


class Window:
    """The source inside the window; what can be ready beforehand is."""

    def __init__(
        self, relocation: str, deadline: float, peer: str | None, verify: bool, inventory: Mode = Mode.OFF
    ) -> None:
        """Connect to the parked dump and arm the watchdog, which thaws ``deadline`` seconds from now
        unless the vote is in. ``peer``: the target's address, if pages may stay here for a while.
        ``verify``: take digests of the images. ``inventory``: how much to look at.

        Raises SourceError when the container is not what was armed any more: its tenant has stopped, paused,
        renamed or removed it, or it has ended by itself.
        """
        self.record, self.area = SourceRecord(relocation), StorageArea(relocation)
        facts = self.record.read()
        if facts is None or self.record.stage is Stage.ARMING or self.record.rebooted:
            raise SourceError(f"relocation {relocation} is not armed here")
        self.facts = _held_by_us(self.record, facts)
        self.sockets = SocketDiagnosis(facts.pid)
        _await_none(self.sockets.closed, CLOSED, CLOSED_SECONDS)
        self.dump = Parked.wait_for(self.record.socket, 1.0)
        self.deadline = time.monotonic() + deadline - WATCHDOG_SLACK_SECONDS
        self.snapshot = self.record.read_snapshot()
        self.snapshots = [self.record.read_snapshot(number) for number, _ in enumerate(self.facts.volumes)]
        self.upper = engine.upper_dir(facts.rootfs)
        self.verify = verify
        self.follower = images.Follower(self.area.images)
        self.inventory = taking.Taking(Path(facts.cgroup), facts.addresses, inventory, facts.checked)
        self.pages = pages.offer(relocation, peer) if facts.lazy and peer else None
        self.frozen = False
        self.dumped: Dumped | None = None
        self.images = ""
        importlib.import_module("pycriu.images.fdinfo_pb2")  # so that the rewrite in the window need not

        watchdog = ["/usr/sbin/relocate-proxy", "thaw", relocation]
        units.start_after(units.name(relocation, "watchdog"), deadline, watchdog)

    def freeze(self, new: tuple[str, ...]) -> Dumped:
        """Freeze, cut the links, dump, write the new addresses, take the layer's last changes, vote.

        The links are cut after the freeze: an answer that it swallowed would be sent again by the copy's
        kernel, but only after a second.

        Raises SourceError when any of it fails or the deadline has passed; the caller answers `failed`.
        """
        old = self.facts.addresses
        if len(old) != len(new):
            raise SourceError(f"the target is in {len(new)} networks, not in {len(old)}")
        watch = Stopwatch()
        # No new ones come: the gateway holds them.
        _await_none(self.sockets.waiting, WAITING, WAITING_SECONDS)
        watch.lap("accept")
        self._freeze_cgroup()
        _await_none(self.sockets.waiting, WAITING, 0.0)
        watch.lap("freeze")
        for link in self.facts.links:
            links.set_link(link, up=False)
        watch.lap("cut")
        self.inventory.look()
        watch.lap("look")
        if self.pages:
            self.dump.send("pages={}:{}".format(*self.pages))
        self.dump.send("go")
        beside = _Beside(self, watch)
        ended = threading.Event()
        threads = [threading.Thread(target=beside.run)]
        threads.append(threading.Thread(target=self.inventory.run, args=(self.area, watch)))
        if self.verify:
            threads.append(threading.Thread(target=self._follow, args=(ended,)))
        for thread in threads:
            thread.start()
        try:
            self.dump.wait("pages" if self.pages else "post-dump", self.deadline - time.monotonic())
        except ParkedError as error:
            raise SourceError(f"CRIU dump: {self.area.dump_error() or error}") from None
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        watch.lap("dump")
        watch.phases(self.dump.seen)
        if trouble := beside.error or self.inventory.error:
            raise SourceError(trouble)
        images.rewrite_addresses(self.area.images / "files.img", dict(zip(old, new, strict=True)))
        watch.lap("rewrite")
        if not self.record.decide(Decision.VOTED):
            raise SourceError("the deadline passed and the container was thawed")
        assert self.facts.restart_policy is not None
        self.dumped = Dumped(
            old_ip=self.facts.address,
            new_ip=new[0],
            others=new[1:],
            carried=beside.flows,
            restart_policy=self.facts.restart_policy,
            layer=beside.layer,
            volumes=tuple(beside.volumes),
            pages=self.pages[1] if self.pages else None,
            inventory=self.inventory.digest,
            laps=watch.laps,
            spans=watch.spans,
        )
        self._write_vote(self.dumped)
        return self.dumped

    def digest(self) -> str:
        """Of the images and of the layer; the other half of the vote. Empty if nobody is to compare."""
        assert self.dumped is not None
        if self.verify and not self.images:
            self.images = self.area.digest(copies(self.facts, self.dumped), self.follower.digests())
            self._write_vote(self.dumped)
        return self.images

    def _write_vote(self, dumped: Dumped) -> None:
        self.area.write_vote(Vote(self.facts.configuration, dumped, self.images), self.facts.key)

    def undo(self) -> None:
        """Go on after a freeze that failed; what another agent's thaw has forgotten is known here. It cannot
        be voted upon any more."""
        try:
            if not thaw(self.record.relocation, unless_voted=True):
                return
        except engine.EngineError as error:  # the container goes on all the same
            logs.of(self.record.relocation).warning("not settled here yet: %s", error)
        if self.frozen:
            _unfreeze(self.facts)

    def _freeze_cgroup(self) -> None:
        cgroup = Path(self.facts.cgroup)
        if "frozen 1" in (cgroup / "cgroup.events").read_text():
            raise SourceError("its tenant has paused it")
        self.record.note_frozen()
        self.frozen = True
        (cgroup / "cgroup.freeze").write_text("1")
        deadline = time.monotonic() + FREEZE_SECONDS
        while "frozen 1" not in (cgroup / "cgroup.events").read_text():
            if time.monotonic() > deadline:
                raise SourceError("the container did not freeze: a process in uninterruptible sleep")
            time.sleep(0.0003)

    def _follow(self, ended: threading.Event) -> None:
        """Digests of what there is of the memory already; a failure leaves them to `digest`."""
        be_second()
        with suppress(OSError):
            self.follower.follow(ended)


class _Beside:
    """What runs on the other core while CRIU dumps: the last changes of files, the flows, the log."""

    def __init__(self, window: Window, watch: Stopwatch) -> None:
        self.window, self.watch = window, watch
        self.layer: layer.Packed | None = None  # nothing changed
        self.volumes: list[layer.Packed | None] = []
        self.flows = ""
        self.error = ""

    def run(self) -> None:
        try:
            self._run()
        except SourceError as error:
            self.error = str(error)
        except Exception as error:
            self.error = f"{type(error).__name__}: {error}"

    def _run(self) -> None:
        window, facts = self.window, self.window.facts
        with self.watch.beside("closed"):
            _await_none(window.sockets.closed, CLOSED, 0.0)
        with self.watch.beside("layer"):
            mapped = layer.written_in_place(Path(facts.cgroup, "cgroup.procs").read_text().split())
            found, _ = layer.changes(window.upper, window.snapshot, mapped=mapped)
            if found:
                self.layer = layer.pack(window.upper, found, window.area.layer(1))
        if facts.volumes:
            with self.watch.beside("volumes"):
                self.volumes = [self._changed(number, mapped) for number, _ in enumerate(facts.volumes)]
        with self.watch.beside("flows"):
            self.flows = window.area.write_flows(flows.flows_of(facts.address, facts.vip))
        window.area.copy_log(engine.log_file(facts.container_id), 1, facts.log_bytes)

    def _changed(self, number: int, mapped: frozenset[int]) -> layer.Packed | None:
        """The last changes of one volume."""
        tree = Path(self.window.facts.volumes[number].path)
        found, _ = layer.changes(tree, self.window.snapshots[number], plain=True, mapped=mapped)
        return layer.pack(tree, found, self.window.area.volume(number, 1)) if found else None


def _await_none(count: Callable[[], int], which: str, seconds: float) -> None:
    """CRIU passes over what nobody has accepted, and over what was closed but is not sent yet: their peers
    would hang, or lose what they were to get. Raises SourceError if there are still any then."""
    deadline = time.monotonic() + seconds
    while found := count():
        if time.monotonic() >= deadline:
            raise SourceError(f"{found} connection{'s' * (found > 1)} {which}")
        time.sleep(0.001)


def _held_by_us(record: SourceRecord, facts: SourceFacts) -> SourceFacts:
    """Note that host0 has taken it up, and see to it that the engine does not start the container by itself
    from now on: after a loss of power it would be the second that lives.

    What the tenant has made of the container since it was armed comes first. Raises SourceError, EngineError.
    """
    if record.stage is Stage.FIRED and facts.restart_policy is not None:
        return facts  # an agent before this one did
    try:
        document = engine.inspect(facts.container_id)
    except engine.NotFoundError:
        raise SourceError("its tenant has removed it since") from None
    if document["State"]["Pid"] != facts.pid or not _alive(facts):
        raise SourceError("it has ended, or was restarted, since it was armed")
    if document["State"]["Paused"]:
        raise SourceError("its tenant has paused it")
    if document["Name"].lstrip("/") != facts.container:
        raise SourceError(f"its tenant has renamed it to {document['Name'].lstrip('/')}")
    users = volumes.users() if facts.volumes else {}
    for volume in facts.volumes:
        if others := users.get(volume.name, {}).keys() - {facts.container_id}:
            raise SourceError(
                f"container {users[volume.name][min(others)]} has its volume {volume.name} since"
            )
    fired = replace(facts, restart_policy=engine.policy_of(document), fired_at=time.time())
    record.write(fired, Stage.FIRED)
    engine.hold_policy(facts.container_id)
    return fired


def thaw(relocation: str, unless_voted: bool = False) -> bool:
    """Let the source's container go on as if nothing had been; True if it does. Idempotent.

    ``unless_voted`` is the watchdog's and a failing window's way: after the vote only the coordinator
    may thaw. Raises EngineError when the engine does not answer: the container goes on, and all that is the
    engine's is for the next call.
    """
    record = SourceRecord(relocation)
    if not record.decide(Decision.THAWED) and unless_voted:
        return False
    facts = record.read()
    if facts is None:
        return True
    with suppress(OSError):  # there is none any more
        Parked(record.socket).abort(ABORT_SECONDS)
    if record.was_frozen:
        _unfreeze(facts)
    units.stop(units.name(relocation, "dump"))
    pages.withdraw(relocation)
    units.stop(units.name(relocation, "watchdog"))
    _leave_to_its_tenant(record, facts)
    record.forget()
    logs.of(relocation).info("thawed")
    return True


def _leave_to_its_tenant(record: SourceRecord, facts: SourceFacts) -> None:
    """Give the engine back what it was kept from: the restart policy, and what that would have done
    meanwhile. Raises EngineError."""
    if facts.restart_policy is None:
        return  # it was never kept from anything
    if not _alive(facts) and (code := _exit_code(facts)) is not None:
        crashed = not record.rebooted and code != 0
        enrolment.revive(facts.container_id, facts.restart_policy, facts.vip, crashed)
    engine.give_policy_back(facts.container_id, facts.restart_policy)


def _exit_code(facts: SourceFacts) -> int | None:
    """With which code the container has ended; None if its tenant wanted it to since host0 took it up."""
    try:
        code = int(engine.inspect(facts.container_id)["State"]["ExitCode"])
    except engine.NotFoundError:
        return None
    return None if engine.was_told_to_end(facts.container_id, facts.fired_at) else code


def _alive(facts: SourceFacts) -> bool:
    try:
        return facts.container_id in Path(f"/proc/{facts.pid}/cgroup").read_text()
    except OSError:
        return False


def _unfreeze(facts: SourceFacts) -> None:
    """Of a container that has ended there is nothing to thaw. One that its tenant has paused while it stood
    still for us is paused again."""
    freezer = Path(facts.cgroup, "cgroup.freeze")
    with suppress(OSError):
        freezer.write_text("0")
        for link in facts.links:
            links.set_link(link, up=True)
        try:
            paused = engine.inspect(facts.container_id, ENGINE_SECONDS)["State"]["Paused"]
        except engine.EngineError:
            return
        if paused:
            freezer.write_text("1")


def _await_last_page(relocation: str) -> None:
    """Wait for the target to have all; CRIU ends by then, or when the target has gone."""
    deadline = time.monotonic() + PAGES_SECONDS
    while units.is_active(units.name(relocation, "dump")) and time.monotonic() < deadline:
        time.sleep(0.05)
    pages.withdraw(relocation)


def _vote(area: StorageArea, key: str) -> Vote | None:
    """Raises SourceError without the storage, or when it cannot be read; StorageError when it is not ours."""
    if not area.is_there:
        raise SourceError("the shared storage, which may have the container, is not here")
    try:
        return area.read_vote(key)
    except ValueError as error:
        raise SourceError(f"the vote on the shared storage: {error}") from None


def answer_thaw(relocation: str) -> Thawed | Stored | Gone:
    """Thaw for the coordinator and say what became of the container: thawed (it goes on, or is as its tenant
    has left it), stored (only in the image) or gone (with this host's power).

    Raises SourceError, StorageError or EngineError when that cannot be told now.
    """
    record = SourceRecord(relocation)
    facts = record.read()
    if facts is None:
        return Thawed()
    if _alive(facts):
        try:
            thaw(relocation)
        except engine.EngineError as error:  # it lives, and `settle` gives the engine its part back
            logs.of(relocation).warning("not settled here yet: %s", error)
        return Thawed()
    if facts.restart_policy is None or _exit_code(facts) is None:
        thaw(relocation)
        return Thawed()
    vote = _vote(StorageArea(relocation), facts.key)
    if vote is not None and vote.dumped.pages is None:
        return Stored(vote)
    rebooted = record.rebooted
    thaw(relocation)
    return Gone() if rebooted else Thawed()


def destroy(relocation: str) -> None:
    """Remove the source's copy after COMMIT (or its dead container, once the images run elsewhere). Its
    link stays cut, so nothing of its end reaches a client.
    Idempotent.

    Raises EngineError when the engine does not answer; the coordinator repeats.
    """
    record = SourceRecord(relocation)
    facts = record.read()
    if facts is None:
        return
    units.stop(units.name(relocation, "watchdog"))
    if facts.lazy:
        _await_last_page(relocation)
    # Before the address is another's. Left behind, they would refuse these flows their way back here.
    for address in facts.addresses:
        flows.forget_flows(address)
    engine.remove(facts.container_id)
    volumes.leave(volume.name for volume in facts.volumes if not volume.anonymous)
    networks.sweep()
    vips.disown(facts.address, facts.vip)
    units.stop(units.name(relocation, "dump"))
    record.forget()
    logs.of(relocation).info("the source's copy is removed")
