"""What we ask of the Docker engine, and how a container's configuration travels. Uses Debian's
python3-docker."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from relocate_proxy import paths

JsonObject = dict[str, Any]
ENGINE_SECONDS = 60
RESTART_SECONDS = 20.0


class EngineError(Exception):
    """The engine refused; the message is its own, in one line."""


def client() -> Any:
    """A low-level API client of the local engine.

    Raises EngineError when the engine does not answer.
    """
    import docker

    try:
        return docker.APIClient(base_url="unix:///run/docker.sock", version="auto", timeout=ENGINE_SECONDS)
    except docker.errors.DockerException as error:
        raise EngineError(f"the Docker engine does not answer: {error}") from None


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


def inspect(name: str) -> JsonObject:
    """`docker inspect NAME`. Raises EngineError when there is no such container."""
    import docker

    try:
        document: JsonObject = client().inspect_container(name)
    except docker.errors.NotFound:
        raise EngineError(f"no container {name!r} on this host") from None
    return document


def specification(document: JsonObject, image: str) -> JsonObject:
    """What the target needs to create the same container from ``image`` (a reference it can pull)."""
    networks = document["NetworkSettings"]["Networks"]
    return {
        "name": document["Name"].lstrip("/"),
        "image": image,
        "image_name": document["Config"]["Image"],
        "config": document["Config"],
        "host_config": document["HostConfig"],
        "networks": {
            name: {key: settings.get(key) for key in ("Aliases", "Links", "DriverOpts")}
            for name, settings in networks.items()
        },
    }


def create(spec: JsonObject) -> str:
    """Create, but do not start, the container of ``spec``; return its id. Its restart policy is ``no``
    until it has settled.

    Raises EngineError with the engine's own words.
    """
    import docker

    body = dict(spec["config"], Image=spec["image"])
    body["HostConfig"] = dict(
        spec["host_config"], RestartPolicy={"Name": "no", "MaximumRetryCount": 0}, AutoRemove=False
    )
    body["NetworkingConfig"] = {"EndpointsConfig": spec["networks"]}
    try:
        answer = client().create_container_from_config(body, spec["name"])
    except docker.errors.APIError as error:
        raise EngineError(error.explanation or str(error)) from None
    return str(answer["Id"])


def restart_policy(name: str, policy: JsonObject) -> None:
    """Set a container's restart policy; harmless if it is so already, or the container removes itself or is
    gone."""
    import docker

    try:
        client().update_container(name, restart_policy=policy)
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as error:
        if "AutoRemove" not in str(error.explanation):
            raise EngineError(error.explanation or str(error)) from None


def remove(name: str) -> None:
    """Kill and remove a container and its anonymous volumes; done already is done."""
    import docker

    try:
        client().remove_container(name, v=True, force=True)
    except docker.errors.NotFound:
        return
    except docker.errors.APIError as error:
        if "is already in progress" not in str(error.explanation):
            raise EngineError(error.explanation or str(error)) from None


def start(name: str) -> None:
    """`docker start NAME`. Raises EngineError with the engine's own words."""
    import docker

    try:
        client().start(name)
    except docker.errors.APIError as error:
        raise EngineError(error.explanation or str(error)) from None


def address(name: str) -> str:
    """A running container's address in its first network."""
    return str(next(iter(inspect(name)["NetworkSettings"]["Networks"].values()))["IPAddress"])


def find(name: str) -> str | None:
    """Id of the container called ``name``, or None. Never blocks on a container that is being started."""
    for entry in client().containers(all=True, filters={"name": f"^/{name}$"}):
        return str(entry["Id"])
    return None


def push(image: str, repository: str) -> str:
    """Push a local image to the shared repository, layers it has already not sent again; return
    ``repository/name@digest``.

    Raises EngineError when the repository refuses.
    """
    api = client()
    identity = api.inspect_image(image)
    name = f"{repository}/relocate/{identity['Id'].removeprefix('sha256:')[:32]}"
    # In containerd's store an image is its manifest, and has this reference whether it was pushed or not.
    digest = identity["Id"]
    for reference in identity.get("RepoDigests") or []:
        if reference.startswith(f"{name}@") and reference != f"{name}@{digest}":
            return str(reference)
    api.tag(identity["Id"], name, "latest")
    for line in api.push(name, "latest", stream=True, decode=True):
        if "error" in line:
            raise EngineError(f"push to {repository}: {line['error']}")
        said = line.get("aux", {})
        # Of an index of several platforms it pushes the one manifest that is here.
        digest = said.get("Digest") or said.get("selectedManifest", {}).get("digest") or digest
    return f"{name}@{digest}"


def pull(reference: str, name: str) -> str:
    """Have the image ``repository/name@digest`` here and return what to create from.

    The tag ``name`` that the tenant used is given to it if that name is free or already means this image.
    """
    import docker

    api = client()
    try:
        identity = api.inspect_image(reference)["Id"]
    except docker.errors.NotFound:
        try:
            api.pull(reference)
        except docker.errors.APIError as error:
            raise EngineError(f"pull {reference}: {error.explanation}") from None
        identity = api.inspect_image(reference)["Id"]
    if name.startswith("sha256:"):
        return str(identity)
    try:
        return name if api.inspect_image(name)["Id"] == identity else str(identity)
    except docker.errors.NotFound:
        repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "latest")
        api.tag(identity, repository, tag)
        return name


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
