"""The rules of a container host, read by nft itself in a network namespace of their own."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from relocate_proxy.kernel import vips


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What nft is told."""
    told: list[str] = []

    def run(command: list[str], stdin: str = "") -> str:
        if command[0] == "nft":
            told.append(stdin)
        return "[]"

    monkeypatch.setattr(vips, "run", run)
    return told


def test_bridges_with_names_of_their_own_are_named(script: list[str]) -> None:
    vips.enrol({"172.18.0.2": "203.0.113.64"}, {"shop0", "a-b.c"})
    assert 'add element ip relocate bridges { "shop0" }' in script[0]
    assert 'add element ip relocate bridges { "a-b.c" }' in script[0]


def test_containers_are_kept_from_the_storage_and_arp_for_vips_is_not_the_hosts(
    script: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(vips, "KEPT", tmp_path / "kept.json")
    monkeypatch.setattr(vips, "ARP_DIRECTORY", tmp_path)
    (tmp_path / "arp_ignore").write_text("0\n")
    (tmp_path / "arp_announce").write_text("2\n")
    vips.guard()
    assert "add element ip relocate storage" not in script[0], "the role has not written anything yet"
    kept = {"addresses": ["198.18.0.10"], "ports": [111, "2049", 5000], "here": False}
    vips.KEPT.write_text(json.dumps(kept))
    vips.guard()
    assert "add element ip relocate storage { 198.18.0.10 }" in script[1]
    assert "add element ip relocate kept { 111, 2049, 5000 }" in script[1]
    assert "add element ip relocate kept_here" not in script[1]
    vips.KEPT.write_text(json.dumps(kept | {"here": True}))
    vips.enrol({})
    assert "add element ip relocate kept_here { 111, 2049, 5000 }" in script[2]
    assert [(tmp_path / name).read_text() for name in vips.ARP_SETTINGS] == ["1\n", "2\n"]


@pytest.mark.skipif(
    not shutil.which("nft") or subprocess.run(["unshare", "-rn", "true"], check=False).returncode != 0,
    reason="needs nft and a network namespace",
)
def test_nft_takes_the_rules_and_takes_them_again(
    script: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(vips, "KEPT", tmp_path / "kept.json")
    vips.KEPT.write_text('{"addresses": ["198.18.0.10"], "ports": [111, 2049, 5000], "here": true}')
    vips.enrol({"172.18.0.2": "203.0.113.64"}, {"shop0"})
    vips.expect("172.18.0.3", "203.0.113.65")
    vips.enrol({"172.18.0.3": "203.0.113.65"}, {"else0"})
    shell = "for rules; do printf '%s' \"$rules\" | nft -f - || exit 1; done; nft list ruleset"
    ended = subprocess.run(
        ["unshare", "-rn", "sh", "-c", shell, "sh", *script], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert '"else0"' in ended.stdout and "shop0" not in ended.stdout
    assert "172.18.0.3 : 203.0.113.65" in ended.stdout and "172.18.0.2" not in ended.stdout
