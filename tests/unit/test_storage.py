"""A relocation's directory on the shared storage: who may write there is not believed."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from relocate_proxy import paths
from relocate_proxy.kernel.flows import Flow
from relocate_proxy.protocol import shapes
from relocate_proxy.protocol.messages import Dumped, RestartPolicy, Vote
from relocate_proxy.storage import images, shared
from relocate_proxy.storage.layer import Packed
from relocate_proxy.storage.shared import StorageArea, StorageError

FLOW = Flow(
    *("tcp", "ESTABLISHED", 300, "203.0.113.2", "203.0.113.64", 4000, 80),
    *("172.17.1.2", "203.0.113.2", 8080, 4000),
)
DUMPED = Dumped("172.17.1.2", "172.17.2.2", "0" * 64, RestartPolicy("always"), Packed("1" * 64))
VOTE, KEY = Vote("3" * 64, DUMPED, "2" * 64), "5" * 64


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
        "vote.json": lambda: area.read_vote(KEY),
        "log-0": lambda: area.append_log(0, tmp_path / "log"),
    }
    with pytest.raises(OSError):
        reads[name]()
    (area.directory / f"{name}.partial").symlink_to(secret)
    with pytest.raises(OSError):
        area._write(name, b"x")
    assert secret.read_text() == "{}"


def test_a_vote_is_what_was_voted_or_nothing(area: StorageArea) -> None:
    assert area.read_vote(KEY) is None
    area.write_vote(VOTE, KEY)
    assert area.read_vote(KEY) == VOTE
    document = json.loads((area.directory / "vote.json").read_text())
    document["vote"]["dumped"]["new_ip"] = "172.17.2.2; reboot"
    (area.directory / "vote.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="new_ip"):
        area.read_vote(KEY)


@pytest.mark.parametrize(
    "change",
    [{"configuration": "4" * 64}, {"images": ""}, {"dumped": {**shapes.write(DUMPED), "layer": None}}],
)
def test_a_vote_that_another_has_written_is_none(area: StorageArea, change: dict[str, object]) -> None:
    area.write_vote(VOTE, KEY)
    document = json.loads((area.directory / "vote.json").read_text())
    document["vote"] |= change
    (area.directory / "vote.json").write_text(json.dumps(document))
    with pytest.raises(StorageError, match="changed"):
        area.read_vote(KEY)
    area.write_vote(VOTE, "6" * 64)
    with pytest.raises(StorageError, match="changed"):
        area.read_vote(KEY)
    area.write_vote(VOTE, "")
    with pytest.raises(StorageError, match="changed"):
        area.read_vote("")


def test_no_image_and_no_log_is_reached_through_a_link(area: StorageArea, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("(00.1) Error (a.c:1): of another file")
    for name in ("images/files.img", "images/pages-1.img", "work-dump/dump.log", "images/descriptors.json"):
        (area.directory / name).symlink_to(secret)
    acts = [
        lambda: images.rewrite_addresses(area.images / "files.img", {"172.17.1.2": "172.17.2.2"}),
        lambda: images.take_over(area.images, {"172.17.1.2": "172.17.2.2"}),
        lambda: images.Follower(area.images).digests(),
        lambda: area.digest([]),
    ]
    for act in acts:
        with pytest.raises(OSError):
            act()
    assert area.dump_error() == ""
    area.write_descriptors(["/dev/null"])
    assert not (area.images / "descriptors.json").is_symlink()
    assert secret.read_text() == "(00.1) Error (a.c:1): of another file"


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


def test_a_directory_where_nothing_is_mounted_is_not_the_storage(
    area: StorageArea, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageError, match=f"mount {tmp_path}$"):
        shared.require()
    (tmp_path / shared.MARKER).touch()
    with pytest.raises(StorageError, match="with nosymfollow"):
        shared.require()
    monkeypatch.setattr("os.statvfs", lambda path: SimpleNamespace(f_flag=0x2000))
    shared.require()
