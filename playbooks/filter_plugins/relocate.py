"""What playbooks make of answers, and of the inventory's addresses, before they hand them on."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

# Package lists and the like make most of a survey; host0 would be sent every host's.
PUBLISHED = ("taken_at", "containers")

HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?([.][A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*\Z"
)
NUMBERS = re.compile(r"[0-9.]+\Z")
PUBLIC_KEY = re.compile(r"(?P<key>ssh-ed25519 [A-Za-z0-9+/]{68})( [!-~]{1,255})?\n?\Z")


def address_of(hostvars: Mapping[str, Mapping[str, Any]], host: str) -> str:
    """Where the fleet's machines reach ``host``: ``relocate_address``, else ``ansible_host``, else its name.

    It goes into exports, known_hosts and names of files, so it is an IPv4 address or a host's name, and
    nothing else besides. Raises AnsibleFilterError.
    """
    known = hostvars[host]
    found = str(known.get("relocate_address") or known.get("ansible_host") or host)
    if NUMBERS.match(found):
        try:
            return str(ipaddress.IPv4Address(found))
        except ValueError:
            pass
    elif HOST_NAME.match(found):
        return found
    raise AnsibleFilterError(
        f"{host}: {found[:80]!r} is neither an IPv4 address nor a host's name: give it a relocate_address"
    )


def public_key(answer: str, host: str) -> str:
    """The key of an Ed25519 .pub file that ``host`` has printed, without its comment: one line, that of one
    key. Raises AnsibleFilterError."""
    found = PUBLIC_KEY.match(answer)
    if found is None:
        raise AnsibleFilterError(f"{host}: {answer[:80]!r} is not an Ed25519 key of SSH")
    return found["key"]


def containers_of(survey: str) -> str:
    """A survey document without what host0 does not read.

    What is no document stays as it is: whoever reads it says what is wrong, and of one host only.
    """
    try:
        document = json.loads(survey)
    except (ValueError, RecursionError):
        return survey
    if not isinstance(document, dict):
        return survey
    return json.dumps({part: document[part] for part in PUBLISHED if part in document})


class FilterModule:
    """Ansible's way to the filters."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by the names that templates use."""
        return {
            "relocate_address": address_of,
            "relocate_containers_of": containers_of,
            "relocate_public_key": public_key,
        }
