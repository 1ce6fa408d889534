"""Survey documents as docs/developers.md has them, and fleets built from them."""

import os
import time
from collections.abc import Callable
from typing import Any

import hypothesis
import pytest

from relocate_cli import fleet, hearing
from relocate_cli.journal import Survey

# Each run of `make test` has the same cases; `pytest --hypothesis-profile=search` looks for new ones.
hypothesis.settings.register_profile("default", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", max_examples=1000, deadline=None)
hypothesis.settings.load_profile("default")


@pytest.fixture(autouse=True)
def no_settings_of_the_operator(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Tests must neither depend on this machine's settings nor write into its journal."""
    for name in os.environ:
        if name.startswith("RELOCATE_"):
            monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(home / "state"))


@pytest.fixture
def container() -> Callable[..., dict[str, Any]]:
    """Make a container's part of a survey document; keywords replace what it says."""

    def make(name: str, **changes: Any) -> dict[str, Any]:
        made = {
            "name": name,
            "id": f"id-of-{name}",
            "image": "app:1",
            "labels": {"relocate.enable": "true"},
            "started_at": 100.0,
            "ip": "172.17.0.2",
            "ports": ["tcp/80"],
            "memory_bytes": 64 << 20,
            "obstacles": [],
            **changes,
        }
        if made["labels"].get(fleet.LABEL) != "true":
            made["obstacles"] = [{"reason": f"it has no label {fleet.LABEL}=true", "hint": "label it"}]
        return made

    return make


@pytest.fixture
def survey() -> Callable[..., Survey]:
    """Make a host's survey; ``age`` is in seconds, unnamed keywords go into its capacity."""

    def make(
        host: str,
        *containers: dict[str, Any],
        variables: dict[str, Any] | None = None,
        age: float = 0.0,
        error: str = "",
        criu: dict[str, Any] | None = None,
        clock: float = 0.0,
        **capacity: Any,
    ) -> Survey:
        taken_at = time.time() - age
        document = {
            "taken_at": taken_at,
            "clock_seconds": clock,
            "features": {"C": {"kernel": "6.12"}, "N": {"bridges": ["docker0"]}, "S": {"ssh": "10.0"}},
            "capacity": {
                "cpus": 2,
                "memory_bytes": 4 << 30,
                "memory_free_bytes": 2 << 30,
                "disk_free_bytes": 9 << 30,
                "storage_free_bytes": 9 << 30,
                "mtu": 1500,
                "published_ports": [port for entry in containers for port in entry["ports"]],
                **capacity,
            },
            "criu": {
                "version": "4.2.1",
                "check": "ok",
                "kernel": "6.12",
                "arch": "x86_64",
                "cpu_flags": ["avx2"],
            }
            | (criu or {}),
            "containers": list(containers),
        }
        return Survey(host, taken_at, document, variables or {}, error)

    return make


@pytest.fixture
def build(survey: Callable[..., Survey]) -> Callable[..., fleet.Fleet]:
    """Make a fleet of surveys."""

    def make(*surveys: Survey, drained: tuple[str, ...] = ()) -> fleet.Fleet:
        return hearing.build(surveys, {"web": "203.0.113.5"}, drained)

    return make
