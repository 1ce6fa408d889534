"""The source's side of a relocation: arm, freeze and dump, thaw, destroy. Every step may be repeated."""

import contextlib
import hashlib
import importlib
import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from relocate_proxy import (
    engine,
    enrolment,
    flows,
    images,
    layer,
    links,
    pages,
    paths,
    preflight,
    records,
    shell,
    units,
    vips,
)
from relocate_proxy.parked import Parked, ParkedError
from relocate_proxy.protocol import Answer
from relocate_proxy.stopwatch import Stopwatch
from relocate_proxy.urgency import be_second

ARM_SECONDS = 180.0  # a slow engine; what fails is noticed at once
FREEZE_SECONDS = 2.0
ABORT_SECONDS = 3.0
WATCHDOG_SLACK_SECONDS = 1.0
PAGES_SECONDS = 900.0  # of a container that runs elsewhere already


class SourceError(Exception):
    """This step failed; the container is as it was, or will be thawed."""


def arm(move: dict[str, Any]) -> dict[str, Any]:
    """Copy the writable layer ahead and park a dump of the container in front of CRIU.

    ``move``: id, container, vip, repository. Returns what the coordinator and the target must know.
    Raises SourceError or EngineError; then nothing is left armed.
    """
    relocation = move["id"]
    storage = paths.storage_dir(relocation)
    storage.mkdir(mode=0o700, exist_ok=True)
    try:
        for stale in records.unfired("source", move["container"]):
            thaw(stale)
        document = engine.inspect(move["container"])
        facts = _facts(move, document)
        records.write(records.open_record(relocation), facts, durable=True)
        engine.restart_policy(facts["container_id"], {"Name": "no", "MaximumRetryCount": 0})
        facts["spec_digest"] = _publish(document, move["repository"], storage, facts)
        records.write(records.facts_file(relocation, "source"), facts)
        _copy_layer(relocation, facts, storage)
        _park(relocation, facts, storage)
        if records.decided(relocation):  # by `recover`, which did not know how far this would come
            records.write(records.open_record(relocation), facts, durable=True)
            raise SourceError("called off while it was being prepared")
    except Exception as error:
        with contextlib.suppress(OSError):
            (storage / "failed").write_text(str(error))
        with contextlib.suppress(engine.EngineError):
            thaw(relocation)
        raise
    return {"old_ip": facts["address"], "spec_digest": facts["spec_digest"]}


def _facts(move: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    obstacles = preflight.obstacles(document)
    if obstacles:
        raise SourceError(f"{obstacles[0]['reason']}: {obstacles[0]['hint']}")
    if not document["State"]["Running"] or document["State"]["Paused"]:
        raise SourceError(
            f"container {move['container']} is {document['State']['Status']}, only a running one can move"
        )
    _refuse_held(document["Id"])
    network = next(iter(document["NetworkSettings"]["Networks"].values()))
    state = engine.runc_state(document["Id"])
    return {
        "relocation": move["id"],
        "side": "source",
        "container": move["container"],
        "container_id": document["Id"],
        "restart_policy": document["HostConfig"]["RestartPolicy"],
        "pid": document["State"]["Pid"],
        "address": network["IPAddress"],
        "vip": move["vip"],
        "cgroup": state["cgroup_paths"][""],
        "rootfs": state["config"]["rootfs"],
        "lazy": pages.wanted(document["Config"].get("Labels") or {}),
        "sandbox": document["NetworkSettings"]["SandboxKey"],
        "link": _host_link(document["State"]["Pid"]),
    }


def _refuse_held(container: str) -> None:
    """What CRIU would refuse inside the window, or, of a traced process, try for as long as it may."""
    cgroup = Path(engine.runc_state(container)["cgroup_paths"][""])
    for obstacle in preflight.held((cgroup / "cgroup.procs").read_text().split()):
        raise SourceError(f"{obstacle['reason']}: {obstacle['hint']}")


def _host_link(pid: int) -> str:
    """Name of the host's end of the container's eth0."""
    inside = shell.run(
        ["nsenter", "--target", str(pid), "--net", "ip", "-json", "link", "show", "type", "veth"]
    )
    peer = json.loads(inside)[0]["link_index"]
    return str(
        next(
            link["ifname"]
            for link in json.loads(shell.run(["ip", "-json", "link"]))
            if link["ifindex"] == peer
        )
    )


def _publish(document: dict[str, Any], repository: str, storage: Path, facts: dict[str, Any]) -> str:
    """Put the image into the repository and the configuration on the storage; return the configuration's
    SHA-256."""
    spec = engine.specification(document, engine.push(document["Image"], repository))
    spec["descriptors"] = engine.runc_state(facts["container_id"])["external_descriptors"]
    text = json.dumps(spec)
    records.write(storage / "spec.json", spec)
    with contextlib.suppress(OSError):
        shutil.copyfile(engine.log_file(facts["container_id"]), storage / "container.log")
        facts["log_bytes"] = (storage / "container.log").stat().st_size
    return hashlib.sha256(text.encode()).hexdigest()


def _copy_layer(relocation: str, facts: dict[str, Any], storage: Path) -> None:
    upper = engine.upper_dir(facts["rootfs"])
    found, snapshot = layer.changes(upper, layer.Snapshot())
    layer.pack(upper, found, storage / "layer-0.tar", frozen=False)
    seen = {path: [inode, sorted(names)] for path, (inode, names) in snapshot.directories.items()}
    records.write(
        paths.run_dir(relocation) / "snapshot.json", {"taken_at": snapshot.taken_at, "directories": seen}
    )


def _snapshot(relocation: str) -> layer.Snapshot:
    stored = records.read(paths.run_dir(relocation) / "snapshot.json")
    directories = {path: (inode, frozenset(names)) for path, (inode, names) in stored["directories"].items()}
    return layer.Snapshot(stored["taken_at"], directories)


def _park(relocation: str, facts: dict[str, Any], storage: Path) -> None:
    """Start runc ahead of the freeze, under a root of its own where the network namespace counts as
    external."""
    directory = paths.run_dir(relocation)
    container = facts["container_id"]
    state = engine.runc_state(container)
    for namespace in state["config"]["namespaces"]:
        if namespace["type"] == "NEWNET":
            namespace["path"] = facts["sandbox"]
    records.write(directory / "runc" / container / "state.json", state)
    for name in ("images", "work-dump"):
        (storage / name).mkdir(mode=0o700, exist_ok=True)
    socket_path = directory / "dump.sock"
    environment = {"PATH": f"{paths.BIN}:{paths.SYSTEM_PATH}", "RELOCATE_SOCKET": str(socket_path)}
    command = ["/usr/bin/chrt", "--rr", "1", "/usr/sbin/runc"]  # the window waits for its answers
    command += ["--root", str(directory / "runc"), "checkpoint"]
    command += ["--image-path", str(storage / "images"), "--work-path", str(storage / "work-dump")]
    command += ["--tcp-established", "--leave-running", container]
    unit = units.name(relocation, "dump")
    units.start(unit, command, directory / "dump.log", environment)
    try:
        Parked.wait_for(socket_path, ARM_SECONDS, lambda: units.is_active(unit)).close()
    except ParkedError as error:
        words = (
            (directory / "dump.log").read_text().splitlines()[-1:]
            if (directory / "dump.log").exists()
            else []
        )
        raise SourceError(f"{error} {' '.join(words)}".strip()) from None


class Window:
    """The source inside the window; what can be ready beforehand is."""

    def __init__(self, relocation: str, deadline: float, peer: str = "", verify: bool = True) -> None:
        """Connect to the parked dump and arm the watchdog, which thaws ``deadline`` seconds from now
        unless the vote is in. ``peer``: the target's address, if pages may stay here for a while.
        ``verify``: take digests of the images."""
        self.relocation = relocation
        self.facts = records.read(records.facts_file(relocation, "source"))
        if not self.facts:
            raise SourceError(f"relocation {relocation} is not armed here")
        records.fire(relocation)
        self.dump = Parked.wait_for(paths.run_dir(relocation) / "dump.sock", 1.0)
        self.deadline = time.monotonic() + deadline - WATCHDOG_SLACK_SECONDS
        self.snapshot = _snapshot(relocation)
        self.upper = engine.upper_dir(self.facts["rootfs"])
        self.storage = paths.storage_dir(relocation)
        self.dumped: dict[str, Any] = {}
        self.verify = verify
        self.follower = images.Follower(self.storage / "images")
        self.pages = pages.offer(relocation, peer) if self.facts.get("lazy") and peer else None
        importlib.import_module("pycriu.images.fdinfo_pb2")  # so that the rewrite in the window need not

        watchdog = ["/usr/sbin/relocate-proxy", "thaw", relocation]
        units.start_after(units.name(relocation, "watchdog"), deadline, watchdog)

    def freeze(self, new_address: str) -> dict[str, Any]:
        """Freeze, cut the link, dump, write the new address, take the layer's last changes, vote.

        The link is cut after the freeze: an answer that it swallowed would be sent again by the copy's
        kernel, but only after a second.

        Raises SourceError when any of it fails or the deadline has passed; the caller answers `failed`.
        """
        watch = Stopwatch()
        self._freeze_cgroup()
        watch.lap("freeze")
        links.set_link(self.facts["link"], up=False)
        watch.lap("cut")
        if self.pages:
            self.dump.send("pages={}:{}".format(*self.pages))
        self.dump.send("go")
        rest: dict[str, Any] = {}
        ended = threading.Event()
        beside = [threading.Thread(target=self._beside, args=(rest, watch))]
        if self.verify:
            beside.append(threading.Thread(target=self._follow, args=(ended,)))
        for thread in beside:
            thread.start()
        try:
            self.dump.wait("pages" if self.pages else "post-dump", self.deadline - time.monotonic())
        except ParkedError as error:
            why = images.first_error(self.storage / "work-dump" / "dump.log") or images.refusal(self.storage)
            raise SourceError(f"CRIU dump: {why or error}") from None
        finally:
            ended.set()
            for thread in beside:
                thread.join()
        watch.lap("dump")
        watch.phases(self.dump.seen)
        if "error" in rest:
            raise SourceError(rest["error"])
        images.rewrite_address(self.storage / "images" / "files.img", self.facts["address"], new_address)
        watch.lap("rewrite")
        if not records.decide(self.relocation, "voted"):
            raise SourceError("the deadline passed and the container was thawed")
        addresses = {"old_ip": self.facts["address"], "new_ip": new_address}
        self.dumped = {**watch.document(), **addresses, **rest}
        if self.pages:
            self.dumped["pages"] = self.pages[1]
        records.write(_vote_on_storage(self.relocation), self.dumped)
        return self.dumped

    def manifest(self) -> dict[str, str]:
        """Digests of the images, which the target waits for before its vote."""
        digests = images.manifest(self.storage / "images", self.follower.digests())
        records.write(_vote_on_storage(self.relocation), {**self.dumped, "manifest": digests})
        return digests

    def undo(self) -> None:
        """Go on after a freeze that failed; what another agent's thaw has forgotten is known here. It cannot
        be voted upon any more."""
        with contextlib.suppress(engine.EngineError):
            if not thaw(self.relocation, unless_voted=True):
                return
        _unfreeze(self.facts)

    def _freeze_cgroup(self) -> None:
        cgroup = Path(self.facts["cgroup"])
        (cgroup / "cgroup.freeze").write_text("1")
        deadline = time.monotonic() + FREEZE_SECONDS
        while "frozen 1" not in (cgroup / "cgroup.events").read_text():
            if time.monotonic() > deadline:
                raise SourceError("the container did not freeze: a process in uninterruptible sleep")
            time.sleep(0.0003)

    def _follow(self, ended: threading.Event) -> None:
        """Digests of what there is of the memory already; a failure leaves them to `manifest`."""
        be_second()
        with contextlib.suppress(OSError):
            self.follower.follow(ended)

    def _beside(self, rest: dict[str, Any], watch: Stopwatch) -> None:
        """What runs on the other core while CRIU dumps."""
        try:
            with watch.beside("layer"):
                found, _ = layer.changes(self.upper, self.snapshot)
                if found:
                    layer.pack(self.upper, found, self.storage / "layer-1.tar")
                rest["layer"] = bool(found)
            with watch.beside("flows"):
                rest["flows"] = [
                    flow.to_json() for flow in flows.flows_of(self.facts["address"], self.facts["vip"])
                ]
            rest["log"] = self._log_tail()
        except Exception as error:
            rest["error"] = f"{type(error).__name__}: {error}"

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError), engine.log_file(self.facts["container_id"]).open("rb") as stream:
            stream.seek(self.facts.get("log_bytes", 0))
            return stream.read().decode(errors="surrogateescape")
        return ""


def thaw(relocation: str, unless_voted: bool = False) -> bool:
    """Let the source's container go on as if nothing had been; True if it does. Idempotent.

    ``unless_voted`` is the watchdog's and a failing window's way: after the vote only the coordinator
    may thaw. Raises EngineError when the engine does not answer: the container goes on, and all that is the
    engine's is for the next call.
    """
    if not records.decide(relocation, "thawed") and unless_voted:
        return False
    facts = records.read(records.open_record(relocation))
    if not facts:
        return True
    with contextlib.suppress(OSError):
        Parked(paths.run_dir(relocation) / "dump.sock").abort(ABORT_SECONDS)
    _unfreeze(facts)
    units.stop(units.name(relocation, "dump"))
    pages.withdraw(relocation)
    units.stop(units.name(relocation, "watchdog"))
    if not _alive(facts):
        enrolment.revive(facts)
    engine.restart_policy(facts["container_id"], facts["restart_policy"])
    records.forget(relocation)
    return True


def _alive(facts: dict[str, Any]) -> bool:
    with contextlib.suppress(OSError):
        return facts["container_id"] in Path(f"/proc/{facts['pid']}/cgroup").read_text()
    return False


def _unfreeze(facts: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        (Path(facts["cgroup"]) / "cgroup.freeze").write_text("0")
    with contextlib.suppress(OSError):
        links.set_link(facts["link"], up=True)


def _vote_on_storage(relocation: str) -> Path:
    """What the vote said. It lies beside the images, since after a power loss it is worth what they are."""
    return paths.storage_dir(relocation) / "dumped.json"


def _owes_pages(relocation: str) -> bool:
    """Whether the images that were voted for lack pages which only this host has."""
    return "pages" in records.read(_vote_on_storage(relocation))


def _await_last_page(relocation: str) -> None:
    """Wait for the target to have all; CRIU ends by then, or when the target has gone."""
    deadline = time.monotonic() + PAGES_SECONDS
    while units.is_active(units.name(relocation, "dump")) and time.monotonic() < deadline:
        time.sleep(0.05)
    pages.withdraw(relocation)


def answer_thaw(relocation: str) -> Answer:
    """Thaw for the coordinator and say what became of the container: thawed, stored (only in the image)
    or gone."""
    facts = records.read(records.open_record(relocation))
    if not facts:
        return Answer.THAWED
    alive = _alive(facts)
    if not alive and not paths.storage_dir(relocation).exists():
        raise SourceError("the shared storage, which may have the container, is not here")
    if not alive and _vote_on_storage(relocation).exists() and not _owes_pages(relocation):
        return Answer.STORED
    with contextlib.suppress(engine.EngineError) if alive else contextlib.nullcontext():
        thaw(relocation)
    return Answer.THAWED if alive else Answer.GONE


def destroy(relocation: str) -> None:
    """Remove the source's copy after COMMIT (or its dead container, once the images run elsewhere). Its
    link stays cut, so nothing of its end reaches a client.
    Idempotent.

    Raises EngineError when the engine does not answer; the coordinator repeats.
    """
    facts = records.read(records.open_record(relocation))
    if not facts:
        return
    units.stop(units.name(relocation, "watchdog"))
    if _owes_pages(relocation):
        _await_last_page(relocation)
    # Before the address is another's. Left behind, they would refuse these flows their way back here.
    flows.forget_flows(facts["address"])
    engine.remove(facts["container_id"])
    vips.disown(facts["address"], facts["vip"])
    units.stop(units.name(relocation, "dump"))
    records.forget(relocation)
