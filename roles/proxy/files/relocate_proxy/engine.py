"""What we ask of the Docker engine, and how a container's configuration travels: the one client of its API.

Plain HTTP over the engine's socket (docs.docker.com/reference/api/engine): importing a client library would
cost more than most of what is asked here.
"""

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from relocate_proxy import paths
from relocate_proxy.protocol.messages import RestartPolicy

JsonObject = dict[str, Any]
SOCKET = "/run/docker.sock"
ENGINE_SECONDS = 60.0
QUICK_SECONDS = 5.0
RESTART_SECONDS = 20.0
BRIDGE_NAME = "com.docker.network.bridge.name"
IMAGE_NAME = "relocate.image"  # an annotation, of containers whose image has another name here
NO_ACCOUNT = "e30="  # X-Registry-Auth: {} in base64; the engine refuses a push without


class EngineError(Exception):
    """The engine refused, or does not answer; the message is its own, in one line."""


class NotFoundError(EngineError):
    """The engine knows no such container, or image."""


class _Connection(http.client.HTTPConnection):
    """To a Unix socket."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(SOCKET)


def ask(
    path: str, method: str = "GET", body: Any = None, *, seconds: float = ENGINE_SECONDS, **query: Any
) -> Any:
    """The engine's answer; None if it has no content. Raises EngineError or NotFoundError in its words."""
    text = _answer(path, method, body, seconds, query)
    try:
        return json.loads(text) if text.strip() else None
    except ValueError as error:
        raise EngineError(f"the Docker engine answers {path} with no JSON: {error}") from None


def look_up(path: str) -> Any:
    """What the engine says, for who would rather go without than wait. Raises EngineError, NotFoundError."""
    return ask(path, seconds=QUICK_SECONDS)


def follow(path: str, method: str = "POST", **query: Any) -> Iterator[JsonObject]:
    """The lines of an answer that tells of its progress. Raises EngineError, also for one that tells of an
    error."""
    for line in _answer(path, method, None, None, query).splitlines():
        said: JsonObject = json.loads(line)
        if "error" in said:
            raise EngineError(" ".join(str(said["error"]).split()))
        yield said


def _answer(path: str, method: str, body: Any, seconds: float | None, query: JsonObject) -> bytes:
    connection = _Connection("docker", timeout=seconds)
    headers = {"X-Registry-Auth": NO_ACCOUNT, "Content-Type": "application/json"}
    words = {key: value if isinstance(value, str) else json.dumps(value) for key, value in query.items()}
    try:
        connection.request(
            method,
            f"{path}?{urlencode(words)}" if words else path,
            None if body is None else json.dumps(body),
            headers,
        )
        response = connection.getresponse()
        text = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise EngineError(f"the Docker engine does not answer: {error}") from None
    finally:
        connection.close()
    if response.status < 400:
        return text
    kind = NotFoundError if response.status == 404 else EngineError
    raise kind(_complaint(text) or f"{method} {path}: {response.status}")


def _complaint(text: bytes) -> str:
    try:
        return " ".join(str(json.loads(text)["message"]).split())
    except (ValueError, KeyError, TypeError):
        return ""


def patiently(act: Callable[[], None]) -> None:
    """Do it, again and again for a while if the engine does not answer: one that was killed comes back within
    seconds (of containerd Debian's unit waits five). Raises EngineError."""
    deadline = time.monotonic() + RESTART_SECONDS
    while True:
        try:
            return act()
        except EngineError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


def inspect(name: str, seconds: float = ENGINE_SECONDS) -> JsonObject:
    """`docker inspect NAME`. Raises NotFoundError when there is no such container."""
    document: JsonObject = ask(f"/containers/{quote(name)}/json", seconds=seconds)
    return document


def containers(everything: bool = False) -> list[JsonObject]:
    """`docker ps`; with ``everything`` of those too that do not run. Blocks on no container that is being
    started."""
    return list(ask("/containers/json", all=everything))


def networks() -> list[JsonObject]:
    """The bridge networks of this host."""
    return list(ask("/networks", filters={"driver": ["bridge"]}))


def bridge(network: JsonObject) -> str:
    """Name of the interface of a bridge network: its own, or the one that the engine gives."""
    return str((network.get("Options") or {}).get(BRIDGE_NAME) or f"br-{network['Id'][:12]}")


def specification(document: JsonObject, image: str) -> JsonObject:
    """What the target needs to create the same container from ``image`` (a reference it can pull).

    A port of the host that the engine chose is the container's from now on: its clients know it.
    """
    networks = document["NetworkSettings"]["Networks"]
    mode = document["HostConfig"].get("NetworkMode") or "default"
    if mode not in ("default", *networks):  # an id, which is another one elsewhere
        mode = next(iter(networks))
    return {
        "name": document["Name"].lstrip("/"),
        "image": image,
        "image_name": image_name(document),
        "config": document["Config"],
        "host_config": {
            **document["HostConfig"],
            "NetworkMode": mode,
            "PortBindings": _bindings(document),
            "PublishAllPorts": False,
        },
        "networks": {
            name: {key: settings.get(key) for key in ("Aliases", "Links", "DriverOpts")}
            for name, settings in networks.items()
        },
    }


def image_name(document: JsonObject) -> str:
    """The tenant's word for the image: where it means nothing, or something else, a container is created from
    an id, and has the word as an annotation."""
    annotations = (document.get("HostConfig") or {}).get("Annotations") or {}
    return str(annotations.get(IMAGE_NAME) or document["Config"].get("Image") or "")


def _bindings(document: JsonObject) -> JsonObject:
    """The published ports as the tenant asked for them, with the numbers that the engine has given."""
    asked = document["HostConfig"].get("PortBindings") or {}
    given = {port: found for port, found in (document["NetworkSettings"].get("Ports") or {}).items() if found}
    bindings: JsonObject = dict(asked)
    for port, found in given.items():
        wanted = asked.get(port) or [{"HostIp": "", "HostPort": ""}]
        if any(not each.get("HostPort", "").isdigit() for each in wanted):
            numbers = sorted({each["HostPort"] for each in found})
            address = wanted[0].get("HostIp") or ""
            bindings[port] = [{"HostIp": address, "HostPort": number} for number in numbers]
    return bindings


def create(spec: JsonObject) -> str:
    """Create, but do not start, the container of ``spec``; return its id. Its restart policy is ``no``
    until it has settled.

    Raises EngineError with the engine's own words.
    """
    body = dict(spec["config"], Image=spec["image"])
    body["HostConfig"] = dict(spec["host_config"], RestartPolicy=_policy(NEVER))
    if spec["image"] != spec["image_name"]:
        annotations = spec["host_config"].get("Annotations") or {}
        body["HostConfig"]["Annotations"] = {**annotations, IMAGE_NAME: spec["image_name"]}
    body["NetworkingConfig"] = {"EndpointsConfig": spec["networks"]}
    return str(ask("/containers/create", "POST", body, name=str(spec["name"]))["Id"])


NEVER = RestartPolicy("no")


def policy_of(document: JsonObject) -> RestartPolicy:
    """The restart policy of a container's document, or of a specification's ``host_config``."""
    found = document.get("HostConfig", document).get("RestartPolicy") or {}
    return RestartPolicy(found.get("Name") or "no", int(found.get("MaximumRetryCount") or 0))


def _policy(policy: RestartPolicy) -> JsonObject:
    return {"Name": policy.name, "MaximumRetryCount": policy.retries}


def hold_policy(name: str) -> None:
    """Let the engine not start this container by itself. Harmless if it is so already. Raises EngineError."""
    _set_policy(name, NEVER)


def give_policy_back(name: str, policy: RestartPolicy) -> None:
    """End `hold_policy`, unless the tenant has set another since, or has removed the container."""
    try:
        if policy_of(inspect(name)) == NEVER != policy:
            _set_policy(name, policy)
    except NotFoundError:
        return


def _set_policy(name: str, policy: RestartPolicy) -> None:
    try:
        ask(f"/containers/{quote(name)}/update", "POST", {"RestartPolicy": _policy(policy)})
    except EngineError as error:
        if "AutoRemove" not in str(error):  # it has none, and never will
            raise


def remove(name: str) -> None:
    """Kill and remove a container and its anonymous volumes; done already is done."""
    try:
        ask(f"/containers/{quote(name)}", "DELETE", v=True, force=True)
    except NotFoundError:
        return
    except EngineError as error:
        if "is already in progress" not in str(error):
            raise


def start(name: str) -> None:
    """`docker start NAME`. Raises EngineError with the engine's own words."""
    ask(f"/containers/{quote(name)}/start", "POST")


def was_told_to_end(name: str, since: float) -> bool:
    """Whether somebody has stopped, killed or removed the container since (seconds since the epoch): as
    distinct from a crash, which the engine tells of by ``die`` alone."""
    events = follow(
        "/events",
        "GET",
        since=f"{since:.9f}",
        until=f"{time.time():.9f}",
        filters={"container": [name], "event": ["kill", "stop", "destroy"]},
    )
    return any(True for _ in events)


def find(name: str) -> str | None:
    """Id of the container called ``name``, or None. Never blocks on a container that is being started."""
    return next((str(each["Id"]) for each in containers(True) if f"/{name}" in (each["Names"] or ())), None)


def push(image: str, repository: str) -> str:
    """Push a local image to the shared repository, layers it has already not sent again; return
    ``repository/name@digest``.

    That the engine remembers to have pushed it proves nothing: the repository is asked whether it has it.
    Raises EngineError when the repository refuses.
    """
    identity = ask(f"/images/{quote(image)}/json")
    name = f"{repository}/relocate/{identity['Id'].removeprefix('sha256:')[:32]}"
    digest = identity["Id"]
    for reference in identity.get("RepoDigests") or []:
        if reference.startswith(f"{name}@") and _is_in_repository(reference):
            return str(reference)
    ask(f"/images/{quote(identity['Id'])}/tag", "POST", repo=name, tag="latest")
    for said in follow(f"/images/{quote(name)}/push", tag="latest"):
        more = said.get("aux", {})
        # Of an index of several platforms it pushes the one manifest that is here.
        digest = more.get("Digest") or more.get("selectedManifest", {}).get("digest") or digest
    return f"{name}@{digest}"


def _is_in_repository(reference: str) -> bool:
    """Raises EngineError when the repository does not answer, or refuses."""
    try:
        ask(f"/distribution/{quote(reference)}/json")
    except EngineError as error:
        if "unknown" in str(error) or isinstance(error, NotFoundError):  # the manifest, or what it is about
            return False
        raise
    return True


def pull(reference: str, name: str) -> str:
    """Have the image ``repository/name@digest`` here and return what to create from: ``name``, the tenant's
    word for it, where that means this image already, else its id.

    No name is given to it: what a tenant calls his image is what others here may mean something else by.
    """
    identity = _image(reference)
    if identity is None:
        repository, _, digest = reference.partition("@")
        for _ in follow("/images/create", fromImage=repository, tag=digest):
            pass
        identity = str(ask(f"/images/{quote(reference)}/json")["Id"])
    return name if _image(name) == identity else identity


def _image(reference: str) -> str | None:
    """Its id here, None if it is not here."""
    try:
        return str(ask(f"/images/{quote(reference)}/json")["Id"])
    except NotFoundError:
        return None


def runc_state(container_id: str) -> JsonObject:
    """runc's own record of a running container."""
    state: JsonObject = json.loads((paths.RUNC_ROOT / container_id / "state.json").read_text())
    return state


def upper_dir(rootfs: str) -> Path:
    """The writable directory of the overlay mounted at ``rootfs``. Raises EngineError if it is no
    overlay."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options = line.split(" ")[:4]
        if where == rootfs and kind == "overlay":
            return Path(
                next(o for o in options.split(",") if o.startswith("upperdir=")).removeprefix("upperdir=")
            )
    raise EngineError(
        f"{rootfs} is not an overlay mount: only overlay2 and the containerd snapshotter are supported"
    )


def log_file(container_id: str) -> Path:
    """Where the json-file driver keeps the container's log."""
    return Path(f"/var/lib/docker/containers/{container_id}/{container_id}-json.log")
