"""relocate.toml: its schema, which is also its documentation, and where each value came from.

Precedence, highest first: command-line flag, ``RELOCATE_*`` in the environment, the project's
``relocate.toml``, ``$XDG_CONFIG_HOME/relocate/relocate.toml``, ``/etc/relocate/relocate.toml``, default.
A key ``rate`` of section ``[clock]`` is ``RELOCATE_CLOCK_RATE`` in the environment.
"""

import difflib
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from relocate_cli import values
from relocate_cli.errors import UsageError

PROJECT_FILE = Path("relocate.toml")
SYSTEM_FILE = Path("/etc/relocate/relocate.toml")


def _weights(value: object) -> "Weights":
    if isinstance(value, str):  # the environment: C=1,N=1,S=1
        value = dict(pair.split("=", 1) for pair in value.split(",") if "=" in pair)
    if isinstance(value, Weights):
        return value
    if not isinstance(value, Mapping) or set(value) - {"C", "N", "S"}:
        raise ValueError("a table of C, N and S, such as {C = 1.0, N = 1.0, S = 1.0}")
    weights = Weights(**{key: values.number(item) for key, item in value.items()})
    if min(weights.C, weights.N, weights.S) < 0 or weights.C + weights.N + weights.S == 0:
        raise ValueError("weights of zero or more, not all zero")
    return weights


def _setting(default: Any, read: Callable[[object], Any], about: str) -> Any:
    return field(default=default, metadata={"read": read, "about": about})


@dataclass(frozen=True)
class Weights:
    """How much the feature groups C, N and S count in Δ: wc, wn, ws of Eq. 3.3."""

    C: float = 1.0
    N: float = 1.0
    S: float = 1.0


_EQUAL = Weights()


@dataclass(frozen=True)
class Gateway:
    """host0, which gives every container its stable address."""

    pool: str = _setting(
        "", values.text, "Addresses from which containers get their VIP, in CIDR; empty: the role's."
    )


@dataclass(frozen=True)
class Storage:
    """The shared storage through which images travel."""

    path: str = _setting(
        "", values.text, "A directory that all hosts share already; empty: the role provides one."
    )
    keep: bool = _setting(
        False, values.flag, "Keep the images of a finished relocation instead of shredding them."
    )
    verify: bool = _setting(
        True, values.flag, "Refuse images that were changed on the storage: their digests travel over SSH."
    )
    encrypt: bool = _setting(
        False, values.flag, "Encrypt what lies on the shared storage; to be decided before provisioning."
    )


@dataclass(frozen=True)
class Clock:
    """When a container moves (Eq. 3.1, 3.2). Labels relocate.rate and relocate.threshold override."""

    kind: str = _setting(
        "truncated",
        values.one_of("truncated", "threshold", "cumulative", "exponential", "periodic", "static"),
        "truncated, threshold (the paper's words), cumulative, exponential, periodic or static.",
    )
    rate: float = _setting(
        10.0, values.positive(values.number), "λ: the mean number of ticks between relocations."
    )
    threshold: float = _setting(0.05, values.positive(values.number), "T: how improbable a gap may be.")
    tick: float = _setting(
        60.0, values.positive(values.duration), "The length of one tick, in seconds or as 1m, 2h."
    )


@dataclass(frozen=True)
class Heterogeneity:
    """How different two hosts are (Eq. 3.3)."""

    measure: str = _setting(
        "gower",
        values.one_of("gower", "signed", "entropy", "cve"),
        "gower, signed (the paper), entropy or cve.",
    )
    weights: Weights = field(
        default=_EQUAL, metadata={"read": _weights, "about": "Weights of the feature groups."}
    )


@dataclass(frozen=True)
class Selection:
    """How the target is drawn from the feasible hosts."""

    choice: str = _setting(
        "softmax",
        values.one_of("softmax", "equaliser", "argmax", "random"),
        "softmax, equaliser, argmax (predictable) or random.",
    )
    temperature: float = _setting(
        0.1, values.positive(values.number), "Of softmax, in units of Δ; higher is more random."
    )
    max_share: float = _setting(
        0.7, values.share, "No host is chosen more often than this, whatever it says of itself; 1: no bound."
    )


@dataclass(frozen=True)
class Policy:
    """What `relocate tick` may do."""

    max_moves_per_hour: int = _setting(0, values.count, "Budget of the whole fleet; 0: no limit.")
    max_parallel: int = _setting(4, values.count, "Relocations at the same time; 0: no limit.")
    quiet_hours: tuple[str, ...] = _setting(
        (), values.hours, 'Local times without relocations: ["22:00-06:00"].'
    )


@dataclass(frozen=True)
class Relocation:
    """One relocation."""

    deadline: float = _setting(
        15.0,
        values.positive(values.duration),
        "How long dump and restore each may take before a roll-back, in seconds.",
    )
    inventory: str = _setting(
        "full",
        values.one_of("full", "sockets", "off"),
        "What of the copy is compared with what was frozen before it may run: full, sockets or off.",
    )


@dataclass(frozen=True)
class Settings:
    """All settings. ``origins`` maps a dotted key to where its value came from."""

    inventory: tuple[str, ...] = _setting(
        (), values.texts, "Ansible inventories: files, directories or scripts."
    )
    state_dir: str = _setting(
        "", values.text, "Where the journal and the locks are; empty: the XDG or system place."
    )
    facts_ttl: float = _setting(
        900.0, values.positive(values.duration), "After how long a host's facts are stale, in seconds."
    )
    gateway: Gateway = field(default=Gateway())
    storage: Storage = field(default=Storage())
    clock: Clock = field(default=Clock())
    heterogeneity: Heterogeneity = field(default=Heterogeneity())
    selection: Selection = field(default=Selection())
    policy: Policy = field(default=Policy())
    relocation: Relocation = field(default=Relocation())
    origins: Mapping[str, str] = field(default_factory=dict, compare=False)

    @property
    def state(self) -> Path:
        """The state directory: as set, else /var/lib/relocate for root, else below XDG_STATE_HOME."""
        if self.state_dir:
            return Path(self.state_dir)
        if os.geteuid() == 0 and "XDG_STATE_HOME" not in os.environ:
            return Path("/var/lib/relocate")
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "relocate"

    def value(self, name: str) -> Any:
        """The value of a dotted key."""
        section, _, key = name.rpartition(".")
        return getattr(getattr(self, section) if section else self, key)

    def role_variables(self) -> dict[str, str | bool]:
        """Variables of roles that these settings set; what they leave empty, the inventory may say."""
        variables: dict[str, str | bool] = {
            "gateway__pool": self.gateway.pool,
            "storage__path": self.storage.path,
            "storage__encrypt": self.storage.encrypt,
        }
        if self.storage.path:
            variables["storage__kind"] = "path"
        return {name: value for name, value in variables.items() if value}


SECTIONS: dict[str, type] = {
    "gateway": Gateway,
    "storage": Storage,
    "clock": Clock,
    "heterogeneity": Heterogeneity,
    "selection": Selection,
    "policy": Policy,
    "relocation": Relocation,
}
_PATHS = ("inventory", "state_dir")  # relative ones are relative to the file that names them


@dataclass(frozen=True)
class Key:
    """One documented setting: dotted name, default, converter, what it is for."""

    name: str
    default: Any
    read: Callable[[object], Any]
    about: str

    @property
    def variable(self) -> str:
        """Its name in the environment."""
        return "RELOCATE_" + self.name.replace(".", "_").upper()


def schema() -> Iterator[Key]:
    """Every setting, top level first, in the order of the documentation."""
    for prefix, holder in (("", Settings), *((f"{name}.", cls) for name, cls in SECTIONS.items())):
        for entry in fields(holder):
            if "read" in entry.metadata:
                yield Key(prefix + entry.name, entry.default, entry.metadata["read"], entry.metadata["about"])


def _flatten(document: Mapping[str, Any], path: Path) -> dict[str, Any]:
    known = {key.name for key in schema()}
    flat: dict[str, Any] = {}
    for name, value in document.items():
        if name in SECTIONS and isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": item for inner, item in value.items()}
        else:
            flat[name] = value
    for name in flat:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            raise UsageError(f"{path}: unknown key {name}", f"did you mean {near[0]}?")
    for name in _PATHS:
        if name in flat:
            flat[name] = _beside(flat[name], path.parent)
    return flat


def _beside(value: Any, folder: Path) -> Any:
    """Make relative paths absolute: those of a file mean "beside this file"."""
    if isinstance(value, list | tuple):
        return tuple(_beside(item, folder) for item in value)
    # An inventory such as "host1,host2," is a list of hosts, not a path.
    return (
        str((folder / value).absolute()) if isinstance(value, str) and value and "," not in value else value
    )


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return _flatten(tomllib.loads(path.read_text()), path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", "give an existing file to --config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {error}", "see `relocate init` for a commented example") from None


def load(
    flags: Mapping[str, Any] | None = None,
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
    system_file: Path = SYSTEM_FILE,
) -> Settings:
    """Read all layers. ``flags`` maps dotted keys to values; None means "not given".

    ``config`` stands in for ./relocate.toml. Raises UsageError for an unknown key, an unreadable file or a
    value of the wrong kind; its line names the origin.
    """
    environment = os.environ if environment is None else environment
    xdg = Path(environment.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "relocate/relocate.toml"
    layers: list[tuple[str, Mapping[str, Any]]] = [
        (str(path), _read_file(path)) for path in (system_file, xdg) if path.is_file()
    ]
    if config is not None or PROJECT_FILE.is_file():
        project = config or PROJECT_FILE
        layers.append((str(project), _read_file(project)))
    variables = {key.name: environment[key.variable] for key in schema() if environment.get(key.variable)}
    layers += [("environment", variables), ("flag", flags or {})]

    found: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for key in schema():
        found[key.name], origins[key.name] = key.default, "default"
        for origin, layer in layers:
            if layer.get(key.name) is not None:
                origin = key.variable if origin == "environment" else origin
                found[key.name], origins[key.name] = _convert(key, layer[key.name], origin), origin
        if key.name in _PATHS:
            found[key.name] = _beside(found[key.name], Path.cwd())
    return _build(found, origins)


def _convert(key: Key, value: object, origin: str) -> Any:
    try:
        return key.read(value)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{origin}: {key.name} = {value!r} is not valid", f"it must be {error}") from None


def _build(found: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    sections = {
        name: cls(**{entry.name: found[f"{name}.{entry.name}"] for entry in fields(cls)})
        for name, cls in SECTIONS.items()
    }
    top = {name: value for name, value in found.items() if "." not in name}
    return Settings(**top, **sections, origins=dict(origins))
