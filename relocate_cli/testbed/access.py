"""What people and Ansible need to reach the hosts: keys, SSH configuration, inventory, settings."""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from relocate_cli.testbed import children, places
from relocate_cli.testbed.places import Places

CONNECT_SCRIPT = Path(__file__).with_name("connect.py")
# The hosts of one machine share its disk; the namespaced hosts see a directory of it.
SHARED_DIRECTORY = {"storage__kind": "path", "storage__path": places.STORAGE_PATH}


class Reachable(Protocol):
    """A host as far as its access goes, be it a namespace or a machine of its own."""

    @property
    def name(self) -> str: ...
    @property
    def number(self) -> int: ...
    def host_key(self) -> str: ...


def make_key(places_: Places) -> str:
    """The controller's key pair, made anew; returns the public half."""
    key = places_.ssh_config.with_name("id_ed25519")
    key.parent.mkdir(parents=True, mode=0o700)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "relocate-testbed", "-f", str(key)]
    children.run(command, check=True)
    return key.with_name("id_ed25519.pub").read_text()


def write_access(
    places_: Places,
    machines: Sequence[Reachable],
    lan: Path | None = None,
    storage: Mapping[str, str] = SHARED_DIRECTORY,
    daemons: Sequence[str] = (),
    one_wire: bool = False,
) -> None:
    """Write known_hosts, the SSH configuration, the inventory and the settings.

    ``lan`` is the network namespace from which the hosts are reached (None: the testbed's own), ``storage``
    the storage role's variables, ``daemons`` what each machine's daemon.json has beside the role's own.
    ``one_wire``: clients are on the hosts' wire.
    """
    pool = places.ONE_WIRE_POOL if one_wire else places.VIP_POOL
    directory = places_.ssh_config.parent
    places_.sockets.mkdir(mode=0o700, exist_ok=True)
    known = "".join(f"{m.name},{places.lan_address(m.number).ip} {m.host_key()}\n" for m in machines)
    (directory / "known_hosts").write_text(known)
    places_.ssh_config.write_text(_ssh_config(places_, machines, lan or places_.namespace("lan")))
    places_.inventory.parent.mkdir(exist_ok=True)
    places_.inventory.write_text(_inventory(places_, machines, storage, daemons, one_wire))
    # The journal goes with the testbed; the machine's own is for real hosts.
    top = f'inventory = ["{places_.inventory}"]\nstate_dir = "{places_.state / "journal"}"'
    sections = [top, f'[gateway]\npool = "{pool}"']
    # A path in the settings says `storage__kind: path` too.
    if storage["storage__kind"] == "path":
        sections.append(f'[storage]\npath = "{storage["storage__path"]}"')
    places_.settings.write_text("\n\n".join(sections) + "\n")


def close_connections(places_: Places) -> None:
    """End the shared SSH connections, which would outlive the hosts by their ControlPersist."""
    if not places_.sockets.exists():
        return
    for path in places_.sockets.iterdir():
        command = ["ssh", "-F", "none", "-o", f"ControlPath={path}", "-O", "exit", "host"]
        children.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(places_.sockets)


def _ssh_config(places_: Places, machines: Sequence[Reachable], lan: Path) -> str:
    directory = places_.ssh_config.parent
    connect = f"nsenter --net={lan} {sys.executable} -ISE {CONNECT_SCRIPT} %h %p"
    addresses = {machine.name: places.lan_address(machine.number).ip for machine in machines}
    blocks = "".join(f"Host {name} {ip}\n    HostName {ip}\n" for name, ip in addresses.items())
    return blocks + (
        "Host *\n"
        "    User root\n"
        f"    IdentityFile {directory}/id_ed25519\n"
        "    IdentitiesOnly yes\n"
        f"    UserKnownHostsFile {directory}/known_hosts\n"
        "    StrictHostKeyChecking yes\n"
        "    CheckHostIP no\n"
        f"    ProxyCommand {connect}\n"
        "    ProxyUseFdpass yes\n"
        "    ControlMaster auto\n"
        f"    ControlPath {places_.sockets}/%h\n"
        "    ControlPersist 60\n"
        "    ServerAliveInterval 3\n"
        "    ServerAliveCountMax 3\n"
        "    LogLevel ERROR\n"
    )


def _inventory(
    places_: Places,
    machines: Sequence[Reachable],
    storage: Mapping[str, str],
    daemons: Sequence[str],
    one_wire: bool,
) -> str:
    lines = ["---", "# Written by `relocate testbed up`.", "all:", "  vars:"]
    lines += [
        "    ansible_user: root",
        "    ansible_python_interpreter: /usr/bin/python3",
        # Not ansible_ssh_common_args: with these, Ansible leaves the control sockets to the configuration.
        # Its own are named after host, port and user, which another testbed has too.
        f"    ansible_ssh_args: -F {places_.ssh_config}",
        *(f"    {name}: {value}" for name, value in storage.items()),
        f"    gateway__pool: {places.ONE_WIRE_POOL if one_wire else places.VIP_POOL}",
        f"    gateway__client_interface: {'lan0' if one_wire else 'wan0'}",
        "    gateway__host_interface: lan0",
        "  hosts:",
    ]
    for machine in machines:
        address = places.lan_address(machine.number).ip
        lines += [
            f"    {machine.name}:",
            f"      ansible_host: {address}",
            f"      relocate_address: {address}",
            f"      engine__bip: 172.17.{machine.number}.1/24",
            *(f"      engine__daemon: {daemon}" for daemon in daemons[machine.number : machine.number + 1]),
        ]
    lines += ["  children:"]
    groups = {
        "relocate_gateway": machines[:1],
        "relocate_storage": machines[:1],
        "relocate_hosts": machines[1:],
    }
    for group, members in groups.items():
        lines += [f"    {group}:", "      hosts:", *(f"        {machine.name}:" for machine in members)]
    return "\n".join(lines) + "\n"
