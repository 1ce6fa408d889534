"""What a target creates of a specification: nothing that a source has made up reaches the engine."""

from typing import Any

import pytest
from relocate_proxy.host import admission
from relocate_proxy.survey.confinement import NOTHING, SpecificationError

OPTIONS = {"DriverConfig": {"Options": {"type": "none", "o": "bind", "device": "/etc"}}}
SPECIFICATION: dict[str, Any] = {
    "name": "web",
    "image": f"198.18.0.10:5000/relocate/{'a' * 32}@sha256:{'b' * 64}",
    "image_name": "shop/web:1.2",
    "config": {"Labels": {"relocate.enable": "true"}, "Env": ["A=b"], "Tty": False, "Image": "shop/web:1.2"},
    "host_config": {"NetworkMode": "bridge", "Memory": 1 << 26, "RestartPolicy": {"Name": "always"}},
    "networks": {"bridge": {"Aliases": None, "Links": None, "DriverOpts": None}},
    "descriptors": ["/dev/null", "pipe:[1]", "pipe:[2]"],
}


CREATED = SPECIFICATION | {"bridges": [], "volumes": {}, "attached": ["bridge"]}
LABELLED = {"Labels": {"relocate.enable": "true"}}


def admitted(**changes: Any) -> dict[str, Any]:
    said = SPECIFICATION | changes
    return admission.admitted(said, "web", NOTHING, lambda volume: "", {"bridge", "app"})


def test_what_an_honest_source_sends_is_what_is_created() -> None:
    assert admitted() == CREATED


def test_what_comes_along_is_let_in() -> None:
    said = {
        "networks": {"shop_default": {}, "bridge": {}},
        "bridges": [{"name": "shop_default", "labels": [{"key": "a", "value": "b"}]}],
        "attached": ["shop_default", "bridge"],
        "volumes": {
            "carried": [{"destination": "/data", "name": "data"}, {"destination": "/spool", "name": ""}],
            "shared": [{"name": "media", "driver": "local"}],
        },
        "host_config": {
            "NetworkMode": "shop_default",
            "Binds": ["data:/data", "media:/media:ro"],
            "Mounts": [{"Type": "volume", "Target": "/spool"}],
        },
    }
    found = admitted(**said)
    assert {key: found[key] for key in said if key != "networks"} == {
        k: v for k, v in said.items() if k != "networks"
    }


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": "db"}, "a container db, not of web"),
        ({"name": None}, "its name is None"),
        ({"image": "evil.example/x@sha256:" + "b" * 64}, "its image is"),
        ({"image": "198.18.0.10:5000/relocate/web:latest"}, "its image is"),
        ({"image_name": "debian:13\n"}, "its image_name is"),
        ({"config": {"Labels": {}}}, "no label"),
        ({"config": {"Labels": {"relocate.enable": True}}}, "not the engine's"),
        ({"config": []}, "no object config"),
        ({"config": LABELLED | {"hostconfig": {"privileged": True}}}, "'hostconfig' is not known"),
        ({"config": LABELLED | {"OfALaterEngine": 1}}, "'OfALaterEngine' is not known"),
        ({"host_config": {"Privileged": True}}, "privileged"),
        ({"host_config": {"NetworkMode": "host"}}, "host's network"),
        ({"host_config": {"NetworkMode": "container:db"}}, "another container's network"),
        ({"host_config": {"NetworkMode": "lan"}}, "none of its networks"),
        ({"host_config": {"PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1"}]}}}, "127.0.0.1 only"),
        ({"host_config": {"PortBindings": ["80/tcp"]}}, "not the engine's"),
        ({"host_config": {"RestartPolicy": {"Name": "for ever"}}}, "restart policy"),
        ({"host_config": {"RestartPolicy": "always"}}, "restart policy"),
        ({"networks": {}}, "no network"),
        ({"attached": ["app"]}, "the list of its networks"),
        ({"attached": {"bridge": 1}}, "no list of its networks"),
        ({"bridges": [{"name": "../x"}]}, "of what it brings along name"),
        ({"bridges": [{"name": "x", "driver": "macvlan"}]}, "of what it brings along"),
        ({"volumes": {"carried": [{"destination": "/d", "name": "a", "path": "/etc"}]}}, "brings along"),
        ({"volumes": [], "host_config": {"Binds": ["data:/d"]}}, "of what it brings along"),
        ({"host_config": {"Binds": ["data:/d"]}}, "local volume data"),
        (
            {"host_config": {"Mounts": [{"Type": "volume", "Target": "/d", "VolumeOptions": OPTIONS}]}},
            "options",
        ),
        ({"networks": {"lan": {}}}, "no bridge network 'lan'"),
        ({"networks": {"bridge": {"IPAMConfig": {"IPv4Address": "172.17.0.9"}}}}, "fixed"),
        ({"networks": {"bridge": {"DriverOpts": {"parent": "eth0"}}}}, "not an endpoint's"),
        ({"networks": {"bridge": []}}, "in a network is no object"),
        ({"descriptors": "/dev/null"}, "no list of descriptors"),
        ({"descriptors": ["a\nb"]}, "no word"),
        ({"descriptors": ["x"] * 9}, "no list of descriptors"),
    ],
)
def test_what_a_source_has_made_up_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(SpecificationError, match=reason):
        admitted(**changes)


def test_what_is_not_known_does_not_reach_the_engine() -> None:
    """It reads keys in whatever case: a second `maskedpaths` beside ours would be read too."""
    config = SPECIFICATION["config"] | {"hostconfig": {}, "HostConfig": None, "tty": False}
    host = SPECIFICATION["host_config"] | {"maskedpaths": []}
    networks = {
        "bridge": {"Aliases": None, "ipamconfig": {"ipv4address": "172.17.0.9"}, "MacAddress": "02::"}
    }
    assert admitted(config=config, host_config=host, networks=networks, more=1) == CREATED


@pytest.mark.parametrize("missing", sorted(SPECIFICATION))
def test_nothing_may_be_missing(missing: str) -> None:
    said = {key: value for key, value in SPECIFICATION.items() if key != missing}
    with pytest.raises(SpecificationError):
        admission.admitted(said, "web", NOTHING, lambda volume: "", {"bridge"})
