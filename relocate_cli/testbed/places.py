"""Where the testbed keeps things, and the addresses and names that it uses on the machine."""

import hashlib
import os
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

LAN = IPv4Network("198.18.0.0/24")
WAN = IPv4Network("203.0.113.0/24")
VIP_POOL = IPv4Network("203.0.113.64/26")
# Where clients are on the hosts' own wire: addresses of it, beyond those of the hosts.
ONE_WIRE_POOL = IPv4Network("198.18.0.192/26")
MAX_HOSTS = 99

NETNS_DIR = Path("/run/netns")
STORAGE_PATH = "/srv/relocate-storage"


def lan_address(number: int) -> IPv4Interface:
    """Address of host ``number`` (0 is the gateway) towards the other hosts."""
    return IPv4Interface((int(LAN.network_address) + 10 + number, LAN.prefixlen))


CONTROLLER_ADDRESS = IPv4Interface((int(LAN.network_address) + 1, LAN.prefixlen))
GATEWAY_WAN_ADDRESS = IPv4Interface((int(WAN.network_address) + 1, WAN.prefixlen))
CLIENT_ADDRESS = IPv4Interface((int(WAN.network_address) + 2, WAN.prefixlen))
ONE_WIRE_CLIENT_ADDRESS = IPv4Interface((int(LAN.network_address) + 2, LAN.prefixlen))


@dataclass(frozen=True)
class Places:
    """Directories of one testbed, and the names it has on the machine. Several can be up at once: the names
    of their namespaces and cgroups come from where their state is, and their addresses exist only inside
    those namespaces. ``RELOCATE_TESTBED_DIR`` puts the state elsewhere.
    """

    cache: Path
    state: Path

    @classmethod
    def of_user(cls) -> "Places":
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "relocate"
        if override := os.environ.get("RELOCATE_TESTBED_DIR"):
            return cls(cache, Path(override).absolute() / "state")
        state = os.environ.get("XDG_STATE_HOME")
        return cls(cache, Path(state) / "relocate" / "testbed" if state else _default_state())

    def named(self, name: str) -> "Places":
        """Another testbed beside this one, with the same cache."""
        return Places(self.cache, self.state.with_name(f"{self.state.name}-{name}"))

    @property
    def label(self) -> str:
        if self.state == _default_state():
            return "relocate"
        return "relocate" + hashlib.sha256(str(self.state).encode()).hexdigest()[:6]

    def netns(self, name: str) -> str:
        """Network namespace of a host, of ``lan`` (the switch and the controller) or of ``client``."""
        return f"{self.label}-{name}"

    def namespace(self, name: str) -> Path:
        """The same as a path, which nsenter and setns(2) take."""
        return NETNS_DIR / self.netns(name)

    @property
    def cgroup_name(self) -> str:
        return f"{self.label}-testbed"

    @property
    def roots(self) -> Path:
        return self.cache / "roots"

    @property
    def lock(self) -> Path:
        return self.cache / f"{self.label}.lock"

    @property
    def sockets(self) -> Path:
        """Shared SSH connections; not with the state, since a socket's path has room for 107 characters."""
        return Path("/run") / f"{self.label}-ssh"

    @property
    def storage(self) -> Path:
        """Shared by all hosts; stands in for the export of a storage server."""
        return self.state / "storage"

    @property
    def record(self) -> Path:
        return self.state / "testbed.json"

    @property
    def ssh_config(self) -> Path:
        return self.state / "ssh" / "config"

    @property
    def inventory(self) -> Path:
        return self.state / "inventory" / "hosts.yml"

    @property
    def settings(self) -> Path:
        return self.state / "relocate.toml"

    def host(self, name: str) -> Path:
        return self.state / "hosts" / name


def _default_state() -> Path:
    return Path.home() / ".local" / "state" / "relocate" / "testbed"
