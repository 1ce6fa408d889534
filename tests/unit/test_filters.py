"""What goes into exports, known_hosts and names of files: an address of the inventory, one key of a host."""

import pytest
from ansible.errors import AnsibleFilterError
from test_install_module import ROLES, load

filters = load(ROLES.parent / "playbooks/filter_plugins/relocate.py")
KEY = "ssh-ed25519 " + "A" * 68


@pytest.mark.parametrize(
    ("known", "address"),
    [
        ({"relocate_address": "192.0.2.1", "ansible_host": "198.51.100.1"}, "192.0.2.1"),
        ({"ansible_host": "host1.example.org"}, "host1.example.org"),
        ({}, "host1"),
        ({"relocate_address": ""}, "host1"),
    ],
)
def test_a_host_is_reached_where_the_inventory_says(known: dict[str, str], address: str) -> None:
    assert filters.address_of({"host1": known}, "host1") == address


@pytest.mark.parametrize(
    "address",
    ["192.0.2", "1.2.3.4.5", "192.0.2.0/24", "x(ro) *", "x(ro)\n/ *", "*", "@netgroup", "a b", "-x", "a..b",
     "a,b", "192.0.2.1\n", "host1\n", ".", "a" * 300, "::1", "a/../b", "a:b"],
)  # fmt: skip
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(AnsibleFilterError, match=r"host1: .* is neither an IPv4 address nor a host's name"):
        filters.address_of({"host1": {"relocate_address": address}}, "host1")


@pytest.mark.parametrize("comment", ["", " root@host1", " root@host1\n", "\n"])
def test_a_key_is_taken_without_what_is_said_of_it(comment: str) -> None:
    assert filters.public_key(KEY + comment, "host1") == KEY


@pytest.mark.parametrize(
    "answer",
    ["", "ssh-ed25519", f"@cert-authority * {KEY}", f"{KEY}\n192.0.2.3 {KEY}", f"{KEY} x\n* {KEY}\n",
     KEY[:-1], f"* {KEY}", KEY.replace(" ", "\t"), f"{KEY[:-1]}\n", KEY.replace("ssh-ed25519", "ssh-rsa")],
)  # fmt: skip
def test_what_is_not_one_key_is_refused(answer: str) -> None:
    with pytest.raises(AnsibleFilterError, match=r"host1: .* is not an Ed25519 key"):
        filters.public_key(answer, "host1")
