"""Which kernel GRUB boots."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

PROGRAM = Path(__file__).parents[2] / "roles/kernel/files/kernel_boot.py"
MENU = """
menuentry '6.12.9' $menuentry_id_option 'gnulinux-6.12.9-advanced-/dev/vda1' {
menuentry '6.12.9 (recovery mode)' $menuentry_id_option 'gnulinux-6.12.9-recovery-/dev/vda1' {
menuentry '6.1.0-9' $menuentry_id_option 'gnulinux-6.1.0-9-advanced-/dev/vda1' {
"""


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The program, with a menu of two kernels."""
    spec = importlib.util.spec_from_file_location("kernel_boot", PROGRAM)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "grub.cfg").write_text(MENU)
    monkeypatch.setattr(module, "MENU", tmp_path / "grub.cfg")
    return module


@pytest.fixture
def commands(boot: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What the program would run."""
    found: list[list[str]] = []
    monkeypatch.setattr(boot.subprocess, "run", lambda command, check: found.append(command))
    return found


def test_numbers_are_compared_as_numbers(boot: ModuleType) -> None:
    releases = ["6.1.0-9-amd64", "6.1.0-56-amd64", "6.12.9+deb13-amd64", "5.10.0-99-amd64"]
    assert boot.newest(releases) == "6.12.9+deb13-amd64"
    assert boot.newest(releases[:2]) == "6.1.0-56-amd64"


def test_a_trial_names_the_old_kernel_before_the_new(boot: ModuleType, commands: list[list[str]]) -> None:
    """In the other order, a crash between the two could leave a kernel on trial for good."""
    boot.main(["once", "6.12.9", "6.1.0-9"])
    assert commands == [
        ["grub-set-default", "gnulinux-6.1.0-9-advanced-/dev/vda1"],
        ["grub-reboot", "gnulinux-6.12.9-advanced-/dev/vda1"],
    ]


@pytest.mark.parametrize("release", ["6.12", "6.12.99", "6.1.0"])
def test_a_kernel_that_the_menu_has_not_is_refused_and_nothing_is_changed(
    boot: ModuleType, commands: list[list[str]], release: str
) -> None:
    with pytest.raises(SystemExit, match=f"no entry for kernel {release}"):
        boot.main(["once", "6.12.9", release])
    assert commands == []
