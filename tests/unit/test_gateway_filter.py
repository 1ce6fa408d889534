"""What host0 lets through, as the role writes it and nft reads it."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, StrictUndefined

TEMPLATE = Path(__file__).parents[2] / "roles/gateway/templates/gateway.nft.j2"
TWO_WIRES: dict[str, Any] = {
    "ansible_managed": "managed",
    "gateway__pool": "203.0.113.64/26",
    "gateway__towards_hosts": "lan0",
    "gateway__towards_clients": "wan0",
    "gateway__from_outside": 'iifname != "lan0" ',
    "gateway__let": [],
    "gateway__guards": [111, 2049, 5000],
    "gateway__members": ["198.18.0.10", "198.18.0.11"],
    "gateway__own": "198.18.0.10",
    "gateway__mark": "0x52454c4f",
}
ONE_WIRE = TWO_WIRES | {
    "gateway__towards_clients": "lan0",
    "gateway__from_outside": "",
    "gateway__let": ["192.0.2.0/24", "198.18.0.10", "198.18.0.11"],
    "gateway__guards": [],
}


def written(variables: dict[str, Any]) -> str:
    environment = Environment(undefined=StrictUndefined, trim_blocks=True)
    return environment.from_string(TEMPLATE.read_text()).render(variables)


def test_with_a_wire_for_clients_only_what_comes_from_beyond_is_filtered() -> None:
    rules = written(TWO_WIRES)
    assert 'oifname "lan0" iifname != "lan0" jump to_hosts' in rules
    assert "elements" not in rules


def test_with_one_wire_members_pass_and_a_machine_without_storage_guards_no_ports() -> None:
    rules = written(ONE_WIRE)
    assert 'oifname "lan0" jump to_hosts' in rules
    assert "elements = { 192.0.2.0/24, 198.18.0.10, 198.18.0.11 }" in rules
    assert "dport {" not in rules


@pytest.mark.skipif(
    not shutil.which("nft") or subprocess.run(["unshare", "-rn", "true"], check=False).returncode != 0,
    reason="needs nft and a network namespace",
)
@pytest.mark.parametrize("variables", [TWO_WIRES, ONE_WIRE], ids=["two wires", "one wire"])
def test_nft_takes_the_filter_again_and_again_and_leaves_others_alone(variables: dict[str, Any]) -> None:
    shell = 'nft add table ip operator; for n in 1 2; do printf %s "$1" | nft -f - || exit 1; done'
    ended = subprocess.run(
        ["unshare", "-rn", "sh", "-c", f"{shell}; nft list ruleset", "sh", written(variables)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "table ip operator" in ended.stdout
    assert ended.stdout.count("jump to_hosts") == 1
