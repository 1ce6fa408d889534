"""The rules of a container host, read by nft itself in a network namespace of their own."""

import shutil
import subprocess

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


@pytest.mark.skipif(
    not shutil.which("nft") or subprocess.run(["unshare", "-rn", "true"], check=False).returncode != 0,
    reason="needs nft and a network namespace",
)
def test_nft_takes_the_rules_and_takes_them_again(script: list[str]) -> None:
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
