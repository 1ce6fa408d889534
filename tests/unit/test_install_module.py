"""The module that installs the program: idempotent, true in check mode, nothing stale left."""

import gzip
import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args

ROLES = Path(__file__).parents[2] / "roles"


def load(path: Path) -> ModuleType:
    """A program that is not in a package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


install = load(ROLES.parent / "playbooks" / "library" / "relocate_install.py")
kernel_check = load(ROLES / "kernel" / "files" / "kernel_check.py")


class Host:
    """A directory that stands for a host's root."""

    def __init__(self, root: Path, capture: pytest.CaptureFixture[str]) -> None:
        self.root, self.capture = root, capture

    def run(
        self, files: dict[str, Any], check: bool = False, objects: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Run the module as Ansible does and return what it answers."""
        arguments = {
            "files": {str(self.root / name): content for name, content in files.items()},
            "owned": [str(self.root / "lib")],
            "objects": {
                str(self.root / made): str(self.root / source) for made, source in (objects or {}).items()
            },
            "_ansible_check_mode": check,
        }
        with patch_module_args(arguments), pytest.raises(SystemExit):
            install.main()
        answer: dict[str, Any] = json.loads(self.capture.readouterr().out)
        return answer


@pytest.fixture
def host(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Host:
    return Host(tmp_path, capsys)


FILES = {"lib/a.py": "X = 1\n", "bin/run": "#!/bin/sh\n", "etc/host.json": {"name": "host1", "role": "host"}}


def test_a_second_run_changes_nothing(host: Host) -> None:
    assert host.run(FILES)["changed"]
    assert not host.run(FILES)["changed"]


def test_files_are_as_asked(host: Host) -> None:
    host.run(FILES)
    assert (host.root / "lib/a.py").read_text() == "X = 1\n"
    assert (host.root / "lib/a.py").stat().st_mode & 0o777 == 0o644
    assert (host.root / "bin/run").stat().st_mode & 0o777 == 0o755
    assert json.loads((host.root / "etc/host.json").read_text()) == FILES["etc/host.json"]
    assert list((host.root / "lib/__pycache__").glob("a.*.pyc"))


def test_check_mode_says_the_same_and_writes_nothing(host: Host) -> None:
    answer = host.run(FILES, check=True)
    assert answer["changed"]
    assert {Path(entry["after_header"]).name for entry in answer["diff"]} == {"a.py", "run", "host.json"}
    assert list(host.root.iterdir()) == []


def test_a_changed_file_is_written_and_compiled_anew(host: Host) -> None:
    host.run(FILES)
    answer = host.run({**FILES, "lib/a.py": "X = 2\n"})
    assert answer["changed"]
    assert (host.root / "lib/a.py").read_text() == "X = 2\n"
    assert not host.run({**FILES, "lib/a.py": "X = 2\n"})["changed"]


def test_a_changed_mode_is_put_right(host: Host) -> None:
    host.run(FILES)
    (host.root / "bin/run").chmod(0o777)
    assert host.run(FILES)["changed"]
    assert (host.root / "bin/run").stat().st_mode & 0o777 == 0o755


def test_what_an_earlier_version_left_is_removed_from_owned_directories_alone(host: Host) -> None:
    host.run({**FILES, "lib/old.py": "", "etc/other": ""})
    assert host.run(FILES)["changed"]
    assert not (host.root / "lib/old.py").exists()
    assert (host.root / "etc/other").exists()
    assert not host.run(FILES)["changed"]


def test_python_that_does_not_compile_fails(host: Host) -> None:
    assert "SyntaxError" in host.run({"lib/a.py": "def\n"})["msg"]


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_shared_objects_follow_their_source(host: Host) -> None:
    files, objects = {"src/a.c": "int a(void) { return 1; }\n"}, {"a.so": "src/a.c"}
    assert host.run(files, objects=objects)["changed"]
    before = (host.root / "a.so").read_bytes()
    assert not host.run(files, objects=objects)["changed"]
    assert host.run({"src/a.c": "int a(void) { return 2; }\n"}, objects=objects)["changed"]
    assert (host.root / "a.so").read_bytes() != before


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_a_compiler_that_fails_is_heard_and_asked_again(host: Host) -> None:
    """The source is in place after the failure; the object still has to be made by the next run."""
    files, objects = {"src/a.c": "int a(void) { return x; }\n"}, {"a.so": "src/a.c"}
    assert host.run(files, objects=objects)["msg"].startswith("gcc: ")
    assert host.run(files, objects=objects)["failed"]


CONFIG = "CONFIG_NAMESPACES=y\nCONFIG_UNIX_DIAG=m\n# CONFIG_KCMP is not set\nCONFIG_HZ=250\n"


@pytest.mark.parametrize("name", ["config", "config.gz"])
def test_the_kernel_is_told_what_it_lacks(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(CONFIG.encode()) if name.endswith(".gz") else CONFIG.encode())
    wanted, nice = ["NAMESPACES", "UNIX_DIAG", "NET_NS"], ["KCMP", "HZ"]
    assert kernel_check.report(wanted, nice, "6.1", [tmp_path / "absent", path]) == {
        "kernel": "6.1",
        "source": str(path),
        "missing_required": ["NET_NS"],
        "missing_optional": ["KCMP", "HZ"],
    }


def test_a_kernel_that_does_not_tell_lacks_nothing_that_we_know_of(tmp_path: Path) -> None:
    found = kernel_check.report(["NET_NS"], ["KCMP"], "6.1", [tmp_path / "absent"])
    assert (found["source"], found["missing_required"], found["missing_optional"]) == ("", [], [])


@pytest.mark.parametrize(
    ("version", "release", "fault"),
    [
        ("4.1.1", "6.16.0-1", True),
        ("4.2", "6.18.44-fc", False),
        ("4.1.1", "6.12.107+deb13", False),
        ("3.17", "7.0", True),
    ],
)
def test_a_criu_that_its_kernel_has_outgrown_is_refused(version: str, release: str, fault: bool) -> None:
    assert bool(kernel_check.outgrown(version, release)) is fault
