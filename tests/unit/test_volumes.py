"""Volumes that come along: what is made, what is expected to be there, and what is never touched."""

import json
from typing import Any

import pytest
from relocate_proxy import engine
from relocate_proxy.belongings import volumes
from relocate_proxy.belongings.labels import MADE
from relocate_proxy.belongings.volumes import VolumeError, Volumes
from relocate_proxy.protocol import shapes

NFS = {"type": "nfs", "o": "addr=10.0.0.1", "device": ":/srv"}
ANONYMOUS = "f" * 64


class Engine:
    """Volumes by name."""

    def __init__(self) -> None:
        self.volumes: dict[str, dict[str, Any]] = {}
        self.used: set[str] = set()

    def add(self, name: str, driver: str = "local", **options: str) -> None:
        self.volumes[name] = {
            "Name": name,
            "Driver": driver,
            "Options": options or None,
            "Labels": {"a": "b"},
        }

    def ask(self, path: str, method: str = "GET", body: Any = None, **query: Any) -> Any:
        _, _, name = [*path.split("/"), ""][:3]
        if name == "create":
            self.volumes.setdefault(body["Name"], {**body, "Driver": "local", "Options": None})
            return self.volumes[body["Name"]]
        if not name:
            key, _, value = query["filters"]["label"][0].partition("=")
            return {"Volumes": [each for each in self.volumes.values() if each["Labels"].get(key) == value]}
        if name not in self.volumes:
            raise engine.NotFoundError(f"get {name}: no such volume")
        if method == "DELETE":
            if name in self.used:
                raise engine.EngineError(f"remove {name}: volume is in use - [c0ffee]")
            del self.volumes[name]
        return self.volumes.get(name)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Engine:
    here = Engine()
    monkeypatch.setattr(engine, "ask", here.ask)
    return here


def inspected(*mounts: tuple[str, str], binds: tuple[str, ...] = ()) -> dict[str, Any]:
    """A container with volumes at destinations."""
    listing = [
        {"Type": "volume", "Name": name, "Destination": where, "Source": f"/v/{name}/_data"}
        for name, where in mounts
    ]
    return {"HostConfig": {"Binds": list(binds)}, "Mounts": [{"Type": "tmpfs"}, *listing]}


WEB = inspected(
    ("data", "/data"), (ANONYMOUS, "/spool"), ("media", "/media"), binds=("data:/data", "media:/media")
)


def wanted(host: Engine) -> Volumes:
    host.add("data")
    host.add(ANONYMOUS)
    host.add("media", **NFS)
    return volumes.of_container(WEB)


def test_what_travels_and_what_must_be_there_is_told_apart(host: Engine) -> None:
    found = wanted(host)
    assert [(each.destination, each.name) for each in found.carried] == [("/data", "data"), ("/spool", "")]
    assert [(each.name, each.driver) for each in found.shared] == [("media", "local")]
    assert [each.path for each in volumes.travelling(WEB, found)] == [
        f"/v/{n}/_data" for n in ("data", ANONYMOUS)
    ]
    assert shapes.parse(Volumes, json.dumps(shapes.write(found)).encode()) == found


def test_a_volume_at_two_places_travels_once(host: Engine) -> None:
    host.add("data")
    twice = inspected(("data", "/a"), ("data", "/b"), binds=("data:/a", "data:/b"))
    found = volumes.of_container(twice)
    assert len(found.carried) == 1
    assert [each.path for each in volumes.created(twice, found)] == ["/v/data/_data"]


def test_a_named_volume_is_made_with_its_labels_and_dropped_if_it_is_ours(host: Engine) -> None:
    said = wanted(host)
    del host.volumes["data"], host.volumes[ANONYMOUS]
    volumes.make("r-1", said)
    assert host.volumes["data"]["Labels"] == {"a": "b", MADE: "r-1"}
    volumes.drop("r-2")
    assert "data" in host.volumes
    volumes.drop("r-1")
    assert host.volumes.keys() == {"media"}


def test_a_volume_that_is_there_already_is_somebodys(host: Engine) -> None:
    with pytest.raises(VolumeError, match="a volume data is on the target already"):
        volumes.make("r-1", wanted(host))
    volumes.drop("r-1")
    assert "data" in host.volumes


@pytest.mark.parametrize(
    "change", [None, {"Driver": "rexray"}, {"Options": NFS | {"device": ":/other"}}, {"Options": None}]
)
def test_a_shared_volume_must_be_the_same(host: Engine, change: dict[str, Any] | None) -> None:
    said = wanted(host)
    del host.volumes["data"]
    if change is None:
        del host.volumes["media"]
    else:
        host.volumes["media"] |= change
    with pytest.raises(VolumeError, match="media"):
        volumes.make("r-1", said)
    assert "data" not in host.volumes


@pytest.mark.parametrize(
    "created",
    [
        inspected(("data", "/data"), ("precious", "/spool"), ("media", "/media"), binds=("precious:/spool",)),
        inspected(
            ("precious", "/data"), (ANONYMOUS, "/spool"), ("media", "/media"), binds=("precious:/data",)
        ),
        inspected(
            ("data", "/data"), (ANONYMOUS, "/spool"), ("precious", "/x"), binds=("data:/data", "precious:/x")
        ),
        inspected(("data", "/data"), binds=("data:/data",)),
    ],
)
def test_another_tenants_volume_is_not_reached(host: Engine, created: dict[str, Any]) -> None:
    with pytest.raises(VolumeError):
        volumes.created(created, wanted(host))


def test_what_is_in_use_by_now_stays(host: Engine) -> None:
    host.add("data")
    host.add("other")
    host.used = {"data"}
    volumes.leave(["data", "other", "gone"])
    assert host.volumes.keys() == {"data"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"carried": [{"destination": "data", "name": "data"}]},
        {"carried": [{"destination": "/data", "name": "../etc"}]},
        {"carried": [{"destination": "/data", "name": ""}] * 33},
        {"carried": [{"destination": "/data", "name": "", "path": "/etc"}]},
    ],
)
def test_what_a_source_says_is_held_to_a_shape(wrong: dict[str, Any]) -> None:
    with pytest.raises(shapes.ShapeError):
        shapes.read(Volumes, wrong)
