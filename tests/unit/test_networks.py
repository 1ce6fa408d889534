"""Networks made where a container comes to: what is asked of the engine, and what is not believed."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from relocate_proxy import engine, paths
from relocate_proxy.belongings import networks
from relocate_proxy.belongings.networks import MADE, NetworkError
from relocate_proxy.protocol.shapes import ShapeError

COMPOSE = {"com.docker.compose.project": "shop", "com.docker.compose.network": "default"}
MTU = "com.docker.network.driver.mtu"


class Engine:
    """An engine that gives subnets in order, never one that it has given."""

    def __init__(self, *known: dict[str, Any]) -> None:
        self.networks = {str(number): dict(each, Id=str(number)) for number, each in enumerate(known)}
        self.numbers = itertools.count(100)
        self.containers: list[dict[str, Any]] = []

    def ask(self, path: str, method: str = "GET", body: Any = None, **query: Any) -> Any:
        _, kind, identity = [*path.split("/"), ""][:3]
        if kind == "containers":
            return self.containers
        if (method, identity) == ("POST", "create"):
            assert body["Name"] not in [each["Name"] for each in self.networks.values()]
            taken = [part["Subnet"] for each in self.networks.values() for part in each["IPAM"]["Config"]]
            free = next(net for n in range(18, 30) if (net := f"172.{n}.0.0/16") not in taken)
            identity = str(next(self.numbers))
            self.networks[identity] = {"IPAM": {"Config": [{"Subnet": free}]}, **body, "Id": identity}
            return {"Id": identity}
        if method == "DELETE":
            del self.networks[identity]
            return None
        if identity:
            return self.networks[identity]
        return [each for each in self.networks.values() if not query or MADE in (each["Labels"] or {})]

    def named(self, name: str) -> dict[str, Any]:
        (found,) = [each for each in self.networks.values() if each["Name"] == name]
        return found


def network(name: str = "shop", **more: Any) -> dict[str, Any]:
    ipam = {"Config": [{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]}
    return {
        "Name": name,
        "Driver": "bridge",
        "Labels": COMPOSE,
        "Options": {MTU: "1400"},
        "IPAM": ipam,
    } | more


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    here = Engine()
    monkeypatch.setattr(paths, "STATE", tmp_path)
    monkeypatch.setattr(engine, "ask", here.ask)
    return here


def make(document: dict[str, Any], relocation: str = "r-1") -> None:
    with networks.arranged(relocation, [networks.described(document)]):
        pass


def test_a_network_is_made_as_it_was_with_a_subnet_that_is_another(host: Engine) -> None:
    make(network(Internal=True))
    (made,) = host.networks.values()
    assert made["Labels"] == {**COMPOSE, MADE: "r-1"} and made["Options"] == {MTU: "1400"}
    assert made["Internal"] and not made["EnableIPv6"] and made["Driver"] == "bridge"
    assert made["IPAM"]["Config"] == [{"Subnet": "172.19.0.0/16"}]


def test_our_mark_is_not_carried_on(host: Engine) -> None:
    make(network(Labels={**COMPOSE, MADE: "r-0"}))
    assert host.named("shop")["Labels"] == {**COMPOSE, MADE: "r-1"}


def test_one_that_is_there_is_left_as_it_is(host: Engine) -> None:
    host.networks["7"] = network(Id="7", Labels=None)
    make(network())
    networks.sweep()
    assert host.networks == {"7": network(Id="7", Labels=None)}


def test_one_of_another_driver_is_refused(host: Engine) -> None:
    host.networks["7"] = network(Id="7", Driver="macvlan")
    with pytest.raises(NetworkError, match="shop of this host is macvlan"):
        make(network())


def test_ours_is_removed_when_no_container_has_it(host: Engine) -> None:
    make(network())
    host.containers = [{"NetworkSettings": {"Networks": {"shop": {}}}}]
    networks.sweep()
    assert host.named("shop")
    host.containers = [{"NetworkSettings": {"Networks": {"bridge": {}}}}]
    networks.sweep()
    assert host.networks == {}


def test_a_bridges_name_that_is_taken_is_not_asked_for(host: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[str] = []
    monkeypatch.setattr(networks.vips, "know_bridge", known.append)
    make(network(Options={networks.BRIDGE_NAME: "lo"}))
    make(network("other", Options={networks.BRIDGE_NAME: "free0"}))
    assert host.named("shop")["Options"] == {}
    assert host.named("other")["Options"] == {networks.BRIDGE_NAME: "free0"} and known == ["free0"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "../etc"},
        {"options": [{"key": "com.docker.network.bridge.host_binding_ipv4", "value": "10.0.0.1"}]},
        {"options": [{"key": networks.BRIDGE_NAME, "value": 'a" }; flush ruleset'}]},
        {"labels": {"a": "b"}},
        {"driver": "macvlan"},
    ],
)
def test_what_a_source_says_is_held_to_a_shape(wrong: dict[str, Any]) -> None:
    with pytest.raises(ShapeError):
        networks.read([{"name": "shop", **wrong}])


def test_what_describes_no_network_of_another_host_is_named() -> None:
    assert networks.unable(network()) == ""
    assert networks.unable(network(Options={"com.docker.network.enable_ipv4": "true"})) == ""
    assert "container_iface_prefix is of this host" in networks.unable(
        network(Options={"com.docker.network.container_iface_prefix": "net"})
    )
    assert networks.unable(network("a b")) == "name is not what it may be"


def test_a_network_that_was_given_by_its_id_is_known_by_its_name_elsewhere() -> None:
    def mode(given: str, *names: str) -> str:
        document = {
            "Name": "/web", "Config": {"Image": "app"}, "HostConfig": {"NetworkMode": given},
            "NetworkSettings": {"Networks": {name: {} for name in names}, "Ports": {}},
        }  # fmt: skip
        return str(engine.specification(document, "app")["host_config"]["NetworkMode"])

    assert mode("0123abcd", "shop") == "shop" == mode("shop", "shop")
    assert mode("default", "bridge") == "default"


def test_the_way_out_is_the_engines_choice() -> None:
    def out(*closed: str, **attached: dict[str, Any]) -> str:
        return networks.way_out(attached, {*closed})

    back, front = {"IPAddress": "172.18.0.2"}, {"IPAddress": "172.19.0.2"}
    assert out(back=back, front=front) == "172.18.0.2"
    assert out("back", back=back, front=front) == "172.19.0.2"
    assert out(back=back, front=front | {"GwPriority": 1}) == "172.19.0.2"
    assert out("back", back=back) == "172.18.0.2", "it has no other"
    assert out(none={"IPAddress": ""}) == ""
