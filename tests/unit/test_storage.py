"""A relocation's directory on the shared storage: who may write there is not believed."""

import json
from pathlib import Path

import pytest
from relocate_proxy import paths
from relocate_proxy.kernel.flows import Flow
from relocate_proxy.protocol.messages import Dumped, RestartPolicy
from relocate_proxy.storage import shared
from relocate_proxy.storage.layer import Packed
from relocate_proxy.storage.shared import StorageArea, StorageError, Vote

FLOW = Flow(
    *("tcp", "ESTABLISHED", 300, "203.0.113.2", "203.0.113.64", 4000, 80),
    *("172.17.1.2", "203.0.113.2", 8080, 4000),
)
DUMPED = Dumped("172.17.1.2", "172.17.2.2", "0" * 64, RestartPolicy("always"), Packed("1" * 64))


@pytest.fixture
def area(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StorageArea:
    monkeypatch.setattr(paths, "STORAGE", tmp_path)
    area = StorageArea("move-1")
    area.create()
    return area


def test_only_root_may_look_into_it(area: StorageArea) -> None:
    area.write_configuration({"name": "web"})
    modes = [path.stat().st_mode & 0o777 for path in (area.directory, area.directory / "spec.json")]
    assert modes == [0o700, 0o600]


def test_what_was_written_comes_back_with_the_digest_of_what_was_read(area: StorageArea) -> None:
    digest = area.write_configuration({"name": "web"})
    assert area.read_configuration() == ({"name": "web"}, digest)
    (area.directory / "spec.json").write_text('{"name": "another"}')
    assert area.read_configuration()[1] != digest


def test_flows_are_those_of_the_digest_and_of_their_shape(area: StorageArea) -> None:
    digest = area.write_flows([FLOW])
    assert area.read_flows(digest) == [FLOW]
    with pytest.raises(StorageError, match="changed"):
        area.read_flows("0" * 64)


def test_flows_that_would_be_a_command_are_refused(area: StorageArea) -> None:
    """`conntrack -R` reads lines: whoever writes one more adds what he likes."""
    evil = Flow(**{**vars(FLOW), "state": "A\n-F"})
    with pytest.raises(ValueError, match="state"):
        area.read_flows(area.write_flows([evil]))


@pytest.mark.parametrize("name", ["spec.json", "vote.json", "log-0"])
def test_no_link_is_followed(area: StorageArea, name: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("{}")
    (area.directory / name).symlink_to(secret)
    reads = {
        "spec.json": area.read_configuration,
        "vote.json": area.read_vote,
        "log-0": lambda: area.append_log(0, tmp_path / "log"),
    }
    with pytest.raises(OSError):
        reads[name]()
    (area.directory / f"{name}.partial").symlink_to(secret)
    with pytest.raises(OSError):
        area._write(name, b"x")
    assert secret.read_text() == "{}"


def test_a_vote_is_what_was_voted_or_nothing(area: StorageArea) -> None:
    assert area.read_vote() is None
    area.write_vote(Vote(DUMPED, "2" * 64))
    assert area.read_vote() == Vote(DUMPED, "2" * 64)
    document = json.loads((area.directory / "vote.json").read_text())
    document["dumped"]["new_ip"] = "172.17.2.2; reboot"
    (area.directory / "vote.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="new_ip"):
        area.read_vote()


def test_a_log_goes_on_where_it_was_left_and_no_driver_gets_one_that_has_none(
    area: StorageArea, tmp_path: Path
) -> None:
    source, target = tmp_path / "source.log", tmp_path / "target.log"
    assert area.copy_log(source, 0) == 0
    area.append_log(0, target)
    assert not target.exists()
    source.write_text("one\n")
    length = area.copy_log(source, 0)
    source.write_text("one\ntwo\n")
    area.copy_log(source, 1, length)
    area.append_log(0, target)
    area.append_log(1, target)
    assert target.read_text() == "one\ntwo\n"


def test_a_storage_that_takes_nothing_says_why(area: StorageArea) -> None:
    assert area.dump_error() == ""
    assert "No such file or directory" in StorageArea("move-2").dump_error()


def test_nothing_is_left_of_it_and_nothing_is_fine(area: StorageArea) -> None:
    area.write_configuration({"name": "web"})
    area.remove()
    area.remove()
    assert not area.is_there


def test_a_directory_where_nothing_is_mounted_is_not_the_storage(area: StorageArea, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="mount"):
        shared.require()
    (tmp_path / shared.MARKER).touch()
    shared.require()
