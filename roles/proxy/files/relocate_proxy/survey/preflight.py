"""Whether a container can move at all: by what ``docker inspect`` says of it, what its processes hold, and
what surrounds it on its host."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from relocate_proxy import engine
from relocate_proxy.belongings import volumes
from relocate_proxy.engine import EngineError
from relocate_proxy.protocol.messages import MOST_NETWORKS
from relocate_proxy.survey import clients, confinement, holdings
from relocate_proxy.survey.confinement import DriverOf, Permits, SpecificationError, travelling
from relocate_proxy.survey.holdings import Finding
from relocate_proxy.survey.holdings import held as held  # for who asks the one question and the other
from relocate_proxy.survey.patience import Patience
from relocate_proxy.survey.surroundings import Surroundings

LABEL = "relocate.enable"
ANY_ADDRESS = {"", "0.0.0.0", "::"}
NO_NETWORKS = {"host", "null"}  # drivers of the networks "host" and "none"
ALONE = Surroundings()
LOOKS = 10  # starting an exec may take the engine a second
LOOK_SECONDS = 0.1


def obstacles(
    inspect: dict[str, Any], around: Surroundings = ALONE, patience: Patience | None = None
) -> list[dict[str, str]]:
    """Why the container cannot move and what its tenant would have to change; empty when it can.

    ``inspect`` is the engine's document of one container; if it runs here, its processes are looked at too.
    ``around``: what else is on its host, as far as it is known. Answers ``[{"reason", "hint"}]``.

    >>> obstacles({"Config": {"Labels": {"relocate.enable": "true"}}, "HostConfig": {"Privileged": True},
    ...            "NetworkSettings": {"Networks": {"bridge": {}}}})[0]["reason"]
    'it is privileged'
    """
    mounted = travelling(each.name for each in volumes.mounted(inspect))
    found = specified(inspect, around.permits, mounted)
    found += [finding for check in (_binds, _state) for finding in check(inspect)]
    found += _entered(inspect, patience or Patience())
    found += [
        finding for check in (_shared, _drivers, _volumes, _awaited) for finding in check(inspect, around)
    ]
    return [{"reason": reason, "hint": hint} for reason, hint in dict.fromkeys(found)]


def specified(document: dict[str, Any], permits: Permits, driver_of: DriverOf) -> list[Finding]:
    """Of these obstacles, those that stand in what the container is created from, wherever that is: a target
    asks again, since it does not believe the source. Pure. Raises SpecificationError if it is malformed.

    ``driver_of``: the driver of a volume where this is asked, "" if there is no such volume.
    """
    try:
        found = [finding for check in (_label, _network, _ports) for finding in check(document)]
        found += confinement.strange(document["Config"], confinement.CONFIG)
        return found + list(confinement.findings(_host(document), permits, driver_of))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SpecificationError(f"its configuration is not the engine's: {error}") from None


def enabled(labels: dict[str, str]) -> bool:
    """Whether the tenant lets the container take part."""
    return labels.get(LABEL, "").lower() == "true"


def _host(inspect: dict[str, Any]) -> dict[str, Any]:
    return inspect.get("HostConfig") or {}


def _label(inspect: dict[str, Any]) -> Iterator[Finding]:
    if not enabled(inspect["Config"].get("Labels") or {}):
        yield f"it has no label {LABEL}=true", f"start it with --label {LABEL}=true"


def _network(inspect: dict[str, Any]) -> Iterator[Finding]:
    mode = _host(inspect).get("NetworkMode") or "default"
    networks = inspect["NetworkSettings"].get("Networks") or {}
    if mode == "host":
        yield "it uses the host's network", "start it without --network host and publish its ports with -p"
    elif mode.startswith("container:"):
        yield "it uses another container's network", "give it a network of its own"
    elif mode == "none" or not networks:
        yield "it has no network", "attach it to a bridge network"
    elif len(networks) > MOST_NETWORKS:
        yield f"it is attached to {len(networks)} networks", f"leave it attached to {MOST_NETWORKS}"
    for name, network in networks.items():
        if ((network or {}).get("IPAMConfig") or {}).get("IPv4Address"):
            yield (
                f"its address in {name} is fixed",
                "start it without --ip: it gets a new address with each move",
            )


def _ports(inspect: dict[str, Any]) -> Iterator[Finding]:
    for port, bindings in (_host(inspect).get("PortBindings") or {}).items():
        for binding in bindings or []:
            if (address := binding.get("HostIp") or "") not in ANY_ADDRESS:
                yield (
                    f"port {port} is published on {address} only",
                    "publish it on all addresses: the VIP is not that one",
                )


def _binds(inspect: dict[str, Any]) -> Iterator[Finding]:
    for mount in inspect.get("Mounts") or []:
        if mount.get("Type") == "bind":
            yield (
                f"{mount.get('Destination', '?')} is the host's {mount.get('Source', '?')}",
                "put the files into the image or on a volume",
            )
    for mount in _host(inspect).get("Mounts") or []:
        if ((mount or {}).get("VolumeOptions") or {}).get("Subpath"):
            yield f"{mount.get('Target', '?')} is a part of a volume", "give it the whole volume"


def _volumes(inspect: dict[str, Any], around: Surroundings) -> Iterator[Finding]:
    mounted = list(volumes.mounted(inspect))
    if len({each.name for each in mounted}) > volumes.MOST:
        yield f"it has more than {volumes.MOST} volumes", "give it fewer"
    for each in mounted:
        document = around.volumes.get(each.name, {})
        if why := volumes.unable(document):
            yield f"volume {each.name[:40]} cannot come along: {why}", "use a volume without driver options"
        if not volumes.of_this_host_alone(document):
            continue
        for identity, name in around.users.get(each.name, {}).items():
            if identity != inspect.get("Id"):
                yield (
                    f"container {name} has its volume {each.name[:40]} too",
                    "give that one a volume of its own, or remove it: the volume goes with its container",
                )


def _state(inspect: dict[str, Any]) -> Iterator[Finding]:
    state = inspect.get("State") or {}
    if state.get("Paused"):
        yield "it is paused", "let it go on: docker unpause"
    if state.get("Restarting"):
        yield "it is about to be started again", "see why it ends: docker logs"


def _entered(inspect: dict[str, Any], patience: Patience) -> Iterator[Finding]:
    """Processes that `docker exec` started, but for the health check: that one ends with the move, and the
    engine of the target starts the next."""
    pid = (inspect.get("State") or {}).get("Pid") or 0
    found = holdings.strangers(holdings.processes_of(pid), patience=patience) if pid else {}
    command = health_command(inspect["Config"])
    for _ in patience.over(range(LOOKS)):
        if found and command:
            checks = _health_checks(inspect["Id"], command, patience)
            time.sleep(LOOK_SECONDS)  # the engine learns a moment late which process its check is
            left = holdings.strangers(holdings.processes_of(pid), patience=patience)
            found = {process: left[process] for process in found if process in left.keys() - checks}
    for process, name in found.items():
        yield (
            f"process {name} (pid {process}) was started by docker exec and would end",
            "end it, or let the container's own command start it",
        )


def _health_checks(identity: str, command: list[str], patience: Patience) -> set[str]:
    """Pids of the container's health check, which the engine runs as an exec; empty if it does not say."""
    found: set[str] = set()
    with contextlib.suppress(EngineError):
        for session in patience.over(engine.look_up(f"/containers/{identity}/json").get("ExecIDs") or []):
            with contextlib.suppress(EngineError):  # it has ended
                document = engine.look_up(f"/exec/{session}/json")
                process = document["ProcessConfig"]
                if [process["entrypoint"], *(process.get("arguments") or [])] == command:
                    found.add(str(document["Pid"]))
    return found


def health_command(config: dict[str, Any]) -> list[str]:
    """What the engine runs to see whether the container is healthy; empty if nothing."""
    kind, *words = (config.get("Healthcheck") or {}).get("Test") or ["NONE"]
    if kind == "CMD-SHELL":
        return [*(config.get("Shell") or ["/bin/sh", "-c"]), *words]
    return words if kind == "CMD" else []


def _shared(inspect: dict[str, Any], around: Surroundings) -> Iterator[Finding]:
    """Containers that would be left in a dead namespace."""
    mine = str(inspect.get("Id", ""))
    for other in around.neighbours:
        if other.get("Id") == mine:
            continue
        for key, namespace in (("NetworkMode", "network"), ("IpcMode", "ipc"), ("PidMode", "pid")):
            kind, _, whose = str(_host(other).get(key) or "").partition(":")
            if kind == "container" and whose and _is(inspect, whose):
                yield (
                    f"container {_name(other)} shares its {namespace} namespace",
                    f"start that one without {namespace} container:…, or remove it: it could not come along",
                )


def _is(inspect: dict[str, Any], reference: str) -> bool:
    """Whether ``reference``, a name or an id, means this container."""
    by_id = len(reference) >= 12 and str(inspect.get("Id", "")).startswith(reference)
    return by_id or reference == _name(inspect)


def _name(document: dict[str, Any]) -> str:
    """Of the engine's document of a container, or its line in a listing."""
    names = document.get("Names") or [document.get("Name") or str(document.get("Id", "?"))[:12]]
    return str(names[0]).lstrip("/")


def _drivers(inspect: dict[str, Any], around: Surroundings) -> Iterator[Finding]:
    for name in inspect["NetworkSettings"].get("Networks") or {}:
        driver = around.drivers.get(name, "bridge")
        if driver != "bridge" and driver not in NO_NETWORKS:
            yield (
                f"its network {name} is {driver}, not a bridge",
                "attach it to a bridge network: packets reach it by its host",
            )
        elif name in around.fixed:
            yield (
                f"its network {name} cannot be made elsewhere: {around.fixed[name]}",
                "make the network without that",
            )


def _awaited(inspect: dict[str, Any], around: Surroundings) -> Iterator[Finding]:
    for client in clients.waiting(inspect, around.clients):
        yield (
            f"`docker {client.verb}` (pid {client.pid}) waits for its end, and a move would be that",
            "start it with -d: what keeps the client running would start it a second time",
        )
