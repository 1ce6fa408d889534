"""Which cable leads to a container, by what the host sees of it alone."""

import shutil
import subprocess
import sys

import pytest
from relocate_proxy.kernel import links

LISTING = [
    {"ifname": "veth1", "ifindex": 7, "master": "docker0", "link_index": 2, "link_netnsid": 0},
    {"ifname": "veth2", "ifindex": 8, "master": "docker0", "link_index": 2, "link_netnsid": 1},
    {"ifname": "veth3", "ifindex": 9, "master": "br-lan", "link_index": 2, "link_netnsid": 1},
    {"ifname": "veth4", "ifindex": 10, "link_index": 3, "link_netnsid": 1},
    {"ifname": "veth5", "ifindex": 11, "master": "docker0", "link_index": 12},
]


def test_a_link_is_known_by_its_bridge_and_by_the_namespace_of_its_other_end() -> None:
    assert links.leading_to(LISTING, "docker0", 1) == ["veth2"]
    assert links.leading_to(LISTING, "br-lan", 1) == ["veth3"]
    assert links.leading_to(LISTING, "br-lan", 0) == []


def test_a_namespace_to_which_nothing_leads_is_not_that_of_a_link_without_one() -> None:
    assert (
        links.leading_to([{"ifname": "veth5", "master": "docker0", "link_netnsid": -1}], "docker0", -1) == []
    )


SCENE = """
set -e
ip link add docker0 type bridge
for name in one two; do
    unshare --net sleep 60 & eval "$name=$!"
done
while [ "$(readlink /proc/$one/ns/net)" = "$(readlink /proc/self/ns/net)" ] ||
      [ "$(readlink /proc/$two/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
ip link add to1 master docker0 index 101 type veth peer name eth0 index 201 netns $one
ip link add to2 master docker0 index 102 type veth peer name eth0 index 202 netns $two
# Tenant two lays a cable of his own, whose other end has the number of tenant one's.
nsenter --net=/proc/$two/ns/net unshare --net sleep 60 & nested=$!
while [ "$(readlink /proc/$nested/ns/net)" = "$(readlink /proc/$two/ns/net)" ]; do sleep 0.01; done
nsenter --net=/proc/$two/ns/net ip link set eth0 name away
nsenter --net=/proc/$nested/ns/net ip link add x index 101 type veth peer name eth0 netns $two
"$1" -c "$2" /proc/$one/ns/net /proc/$two/ns/net /proc/$nested/ns/net
kill $one $two $nested
"""
ASK = """
import sys
sys.path.insert(0, {path!r})
from relocate_proxy.kernel import links
print(links.of_container(sys.argv[1], "docker0"), links.of_container(sys.argv[2], "docker0"))
try:
    print(links.of_container(sys.argv[3], "docker0"))
except links.LinkError as error:
    print(error)
"""


@pytest.mark.skipif(
    not shutil.which("ip") or subprocess.run(["unshare", "-rnpf", "true"], check=False).returncode != 0,
    reason="needs ip and namespaces",
)
def test_a_tenant_cannot_have_anothers_link_taken_for_his() -> None:
    path = str(links.__file__).rpartition("/relocate_proxy/")[0]
    ended = subprocess.run(
        ["unshare", "-rnpf", "--mount-proc", "sh", "-c", SCENE, "sh", sys.executable, ASK.format(path=path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.stdout.splitlines() == ["to1 to2", "0 links lead from docker0 to it"], ended.stderr
