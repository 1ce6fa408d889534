"""The target's side of a relocation: arm, restore up to the vote, commit, destroy, settle. Every step
may be repeated."""

import contextlib
import hashlib
import ipaddress
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from relocate_proxy import engine, enrolment, flows, images, layer, paths, records, shell, units, vips
from relocate_proxy.parked import Parked, ParkedError
from relocate_proxy.stopwatch import Stopwatch

ARM_SECONDS = 180.0  # a slow engine; what fails is noticed at once
SOURCE_SECONDS = 30.0  # until the source has begun
LAYER_SECONDS = 1800.0  # a large writable layer takes its time, outside the window
RESUME_SECONDS = 10.0
ABORT_SECONDS = 10.0
START_SECONDS = 15.0
ENGINE_UNITS = ("docker", "containerd")
QUIET = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": False}


Manifest = Callable[[], dict[str, str]]


class TargetError(Exception):
    """This step failed; nothing of the copy has executed."""


def arm(move: dict[str, Any]) -> dict[str, Any]:
    """Create the container here and park its restore in front of CRIU; the layer's first copy is applied.

    ``move``: id, container, vip, and ``recovers``, the id of a stored relocation, if its images are what is
    to be restored. Waits for what the source's ``arm``, which runs at the same time, puts on the storage.
    Raises TargetError or EngineError; then nothing is left of it here.
    """
    relocation = move["id"]
    storage = paths.storage_dir(move.get("recovers") or relocation)
    try:
        _wait_for(storage, storage, SOURCE_SECONDS)
        text = _wait_for(storage / "spec.json", storage).read_bytes()
        spec = json.loads(text)
        for stale in records.unfired("target", spec["name"]):
            destroy(stale)
        existing = engine.find(spec["name"])
        if existing:
            raise TargetError(
                f"a container named {spec['name']} is on the target already: remove or rename it"
            )
        spec["image"] = engine.pull(spec["image"], spec["image_name"])
        container = engine.create(spec)
        facts = {
            "relocation": relocation,
            "container": spec["name"],
            "container_id": container,
            "vip": move["vip"],
            "storage": str(storage),
        }
        facts["restart_policy"] = spec["host_config"]["RestartPolicy"]
        records.write(records.open_record(relocation), {**facts, "side": "target"}, durable=True)
        _prepare(relocation, facts, spec, storage)
        facts["spec_digest"] = hashlib.sha256(text).hexdigest()
        records.write(records.facts_file(relocation, "target"), facts)
        layer.unpack(
            _wait_for(storage / "layer-0.json", storage, LAYER_SECONDS).with_suffix(".tar"),
            Path(facts["rootfs"]),
        )
        if move.get("recovers"):
            _take_over(storage, facts["address"])
        if not records.open_record(relocation).exists():
            raise TargetError("called off while it was being prepared")
    except Exception:
        destroy(relocation)
        raise
    return {"new_ip": facts["address"]}


def _take_over(storage: Path, address: str) -> None:
    """Make complete images, written for a target that never ran them, ready for ``address``."""
    dumped = records.read(storage / "dumped.json")
    if "manifest" in dumped and images.manifest(storage / "images") != dumped["manifest"]:
        raise TargetError("the stored images are not what was dumped")
    images.rewrite_address(storage / "images" / "files.img", dumped["new_ip"], address)
    dumped |= {"new_ip": address, "manifest": images.manifest(storage / "images")}
    records.write(storage / "dumped.json", dumped)


def _wait_for(path: Path, storage: Path, seconds: float = ARM_SECONDS) -> Path:
    deadline = time.monotonic() + seconds
    while not path.exists():
        if (storage / "failed").exists():
            raise TargetError("the source could not be armed")
        if time.monotonic() > deadline:
            raise TargetError(f"the source put no {path.name} on the shared storage within {seconds:.0f} s")
        time.sleep(0.02)
    return path


def _prepare(relocation: str, facts: dict[str, Any], spec: dict[str, Any], storage: Path) -> None:
    """Start the container through the engine; our OCI runtime holds it before its first instruction."""
    container = facts["container_id"]
    directory = paths.run_dir(relocation)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        log = engine.log_file(container)
        shutil.copyfile(storage / "container.log", log)
        log.chmod(0o640)
    for name in ("images", "work-restore"):
        (storage / name).mkdir(mode=0o700, exist_ok=True)
    # runc restore reads this before it talks to CRIU; the dump will write the same
    (storage / "images" / "descriptors.json").write_text(json.dumps(spec["descriptors"]))
    shim_socket = directory / "restore.sock"
    order = {
        "images": str(storage / "images"),
        "work": str(storage / "work-restore"),
        "socket": str(shim_socket),
    }
    records.write(paths.TARGETS / container / "order.json", order)
    unit = units.name(relocation, "start")
    units.start(unit, ["/usr/bin/docker", "start", container], directory / "start.log")
    try:
        Parked.wait_for(shim_socket, ARM_SECONDS, lambda: units.is_active(unit)).close()
    except ParkedError as error:
        raise TargetError(_start_error(directory, container) or str(error)) from None
    config = json.loads(_bundle(container).joinpath("config.json").read_text())
    namespace = next(n["path"] for n in config["linux"]["namespaces"] if n["type"] == "network")
    facts |= {"rootfs": config["root"]["path"], "namespace": namespace, "address": _address(namespace)}
    facts["waiter"] = units.main_pid(unit)
    facts["engine"] = [pid for each in ENGINE_UNITS if (pid := units.main_pid(each))]
    _prime_neighbour(facts["address"])


def _bundle(container: str) -> Path:
    return Path("/run/containerd/io.containerd.runtime.v2.task/moby") / container


def _start_error(directory: Path, container: str) -> str:
    keeper = paths.TARGETS / container / "keeper.error"
    for log in (keeper, directory / "start.log"):
        with contextlib.suppress(OSError):
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
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, contextlib.suppress(OSError):
        sender.sendto(b"", (address, 9))


class Window:
    """The target inside the window; what can be ready beforehand is."""

    def __init__(self, relocation: str) -> None:
        """Connect to the parked restore. Raises TargetError when it is not armed here."""
        self.relocation = relocation
        self.facts = records.read(records.facts_file(relocation, "target"))
        if not self.facts:
            raise TargetError(f"relocation {relocation} is not armed here")
        records.fire(relocation)
        self.storage = Path(self.facts["storage"])
        self.peer = ""  # the source's address, if pages are to be fetched from it
        vips.expect(self.facts["address"], self.facts["vip"])
        try:
            self.shim = Parked.wait_for(paths.run_dir(relocation) / "restore.sock", 1.0)
        except ParkedError as error:
            raise TargetError(f"the parked restore is gone: {error}") from None

    def restore(
        self, dumped: dict[str, Any], seconds: float, manifest: Manifest | None = None
    ) -> dict[str, Any]:
        """Bring CRIU to the point where all is restored and nothing has executed: the vote.

        ``dumped``: what the source voted with; ``manifest`` waits for the images' digests, which follow;
        without one they were checked before, or need not be. Raises TargetError; the copy is dead then.
        """
        watch = Stopwatch()
        if dumped["layer"]:
            layer.unpack(self.storage / "layer-1.tar", Path(self.facts["rootfs"]))
            watch.lap("layer")
        failures: list[str] = []
        works: list[Callable[[], None]] = [lambda: self._connect(dumped, watch)]
        if manifest:
            works.append(lambda: self._verify(manifest, watch))
        beside = [threading.Thread(target=self._guarded, args=(work, failures)) for work in works]
        try:
            if "pages" in dumped:
                self.shim.send(f"pages={self.peer}:{dumped['pages']}")
            self.shim.send("go")
            for thread in beside:
                thread.start()
            self.shim.wait("post-restore", seconds)
        except ParkedError as error:
            failures.append(f"CRIU restore: {self._why() or error}")
        for thread in beside:
            thread.join()
        if failures:
            raise TargetError(failures[0])
        if not _engine_will_own(self.facts):
            raise TargetError("the engine ended, or was restarted, while it waited for the copy")
        watch.lap("restore")
        watch.phases(self.shim.seen)
        return {**watch.document(), "new_ip": self.facts["address"]}

    @staticmethod
    def _guarded(work: Callable[[], None], failures: list[str]) -> None:
        try:
            work()
        except Exception as error:
            failures.insert(0, str(error))

    def _why(self) -> str:
        return images.first_error(self.storage / "work-restore" / "restore.log")

    def stored(self) -> dict[str, Any]:
        """What the source voted with, if the images are all there is of the container."""
        return records.read(self.storage / "dumped.json")

    def _verify(self, manifest: Manifest, watch: Stopwatch) -> None:
        """Runs beside the restore: nothing of the copy executes before the vote, which waits for this."""
        with watch.beside("digests"):
            mine = images.manifest(self.storage / "images")
        with watch.beside("digests of the source"):
            theirs = manifest()
        if theirs != mine:
            raise TargetError("an image was changed on the shared storage between dump and restore")

    def _connect(self, dumped: dict[str, Any], watch: Stopwatch) -> None:
        """Runs beside the restore: the flows, the VIP, the log's last lines."""
        entries = [flows.Flow(**flow) for flow in dumped["flows"]]
        with watch.beside("flows"):
            flows.insert(entries, dumped["old_ip"], self.facts["address"])
        with watch.beside("address"):
            vips.carry(self.facts["vip"])
        if dumped["log"]:
            with engine.log_file(self.facts["container_id"]).open("ab") as stream:
                stream.write(dumped["log"].encode(errors="surrogateescape"))


def resume(relocation: str, shim: Parked | None) -> bool:
    """Let the copy run; True if it does, False if there is none and never will be. Idempotent."""
    facts = records.read(records.facts_file(relocation, "target"))
    if not facts or facts.get("running"):
        return bool(facts)
    try:
        shim = shim or Parked.wait_for(paths.run_dir(relocation) / "restore.sock", 1.0)
        if not _engine_will_own(facts):
            destroy(relocation)
            return False
        shim.send("commit")
        shim.wait("post-resume", RESUME_SECONDS)
    except (ParkedError, OSError):
        _wait_for_end(units.name(relocation, "start"))  # CRIU may still be killing an inert copy
        if not _is_running(facts["container_id"]):
            destroy(relocation)
            return False
    announce = ["nsenter", f"--net={facts['namespace']}", "arping", "-q", "-U", "-c", "1", "-I", "eth0"]
    threading.Thread(target=subprocess.run, args=([*announce, facts["address"]],), kwargs=QUIET).start()
    return True


def take_over(relocation: str) -> bool:
    """Wait until the running copy is the engine's; False if the engine was lost before, and the copy ended.

    An engine that ends before `docker start` has returned does not know the container when it is back.
    Idempotent.
    """
    facts = records.read(records.facts_file(relocation, "target"))
    if facts.get("running"):
        return True
    deadline = time.monotonic() + START_SECONDS
    while _start_waits(facts) and time.monotonic() < deadline:
        time.sleep(0.001)
    if (paths.run_dir(relocation) / "start.log").read_text().strip():
        _end_restore(facts["container_id"])
        destroy(relocation)
        return False
    records.write(records.facts_file(relocation, "target"), {**facts, "running": True})
    return True


def _engine_will_own(facts: dict[str, Any]) -> bool:
    """Whether `docker start` waits, and for the daemons that it was begun with: one that came anew does not
    know the copy, and that containerd has ended `docker start` may not have heard yet."""
    return _start_waits(facts) and all(Path(f"/proc/{pid}").exists() for pid in facts.get("engine", ()))


def _start_waits(facts: dict[str, Any]) -> bool:
    """Whether `docker start` still waits for the copy."""
    with contextlib.suppress(OSError):
        return facts["container_id"].encode() in Path(f"/proc/{facts.get('waiter', 0)}/cmdline").read_bytes()
    return False


def _is_running(container: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        pid = int((paths.TARGETS / container / "init.pid").read_text())
        return f"{container}" in Path(f"/proc/{pid}/cgroup").read_text()
    return False


def destroy(relocation: str) -> None:
    """Remove the inert copy and all that was prepared for it. Idempotent; never called after COMMIT.

    Raises EngineError when the engine does not answer; the coordinator repeats.
    """
    facts = records.read(records.facts_file(relocation, "target")) or records.read(
        records.open_record(relocation)
    )
    if facts.get("running"):
        return
    container = facts.get("container_id")
    if container:
        with contextlib.suppress(OSError):
            Parked(paths.run_dir(relocation) / "restore.sock").abort(ABORT_SECONDS)
        if not _wait_for_end(units.name(relocation, "start")):
            _end_restore(container)
            _wait_for_end(units.name(relocation, "start"))
        engine.remove(container)
        with contextlib.suppress(OSError):  # gone, unless runc, whose it is, was missing
            _cgroup(container).rmdir()
        shutil.rmtree(paths.TARGETS / container, ignore_errors=True)
        if "address" in facts:
            vips.disown(facts["address"], facts["vip"])
            flows.forget_flows(facts["address"])
    records.forget(relocation)


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
    with contextlib.suppress(OSError):
        (_cgroup(container) / "cgroup.kill").write_text("1")


def _cgroup(container: str) -> Path:
    """Raises OSError before the runtime has made it."""
    return Path((paths.TARGETS / container / "cgroup").read_text())


def settle(relocation: str) -> None:
    """Make the moved container an ordinary one: its restart policy back, nothing of ours left but the
    VIP; started if this host lost power since. Idempotent."""
    facts = records.read(records.open_record(relocation))
    if not facts:
        return
    _wait_for_end(units.name(relocation, "start"))
    if not records.facts_file(relocation, "target").exists():
        enrolment.revive(facts)
    engine.restart_policy(facts["container_id"], facts["restart_policy"])
    shutil.rmtree(paths.TARGETS / facts["container_id"], ignore_errors=True)
    records.forget(relocation)
