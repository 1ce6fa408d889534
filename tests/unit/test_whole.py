from pathlib import Path

import pytest

from relocate_cli import whole
from relocate_cli.errors import ExitCode, UsageError


def write(path: Path, content: str = "new", secret: bool = True) -> None:
    whole.write(path, content, secret=secret, hint="name another")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_file_is_replaced_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    place = tmp_path / "page.html"
    place.write_text("old")
    write(place)
    assert place.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_secret_is_its_owners_unless_the_operator_gave_it_to_a_group(tmp_path: Path) -> None:
    told, secret, shared = (tmp_path / name for name in ("told", "secret", "shared"))
    shared.write_text("old")
    shared.chmod(0o644)
    write(told, secret=False)
    write(secret)
    write(shared)
    assert [mode(told), mode(secret), mode(shared)] == [0o644, 0o600, 0o640]


def test_what_fails_half_way_leaves_the_old_file_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "page.html"
    place.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UsageError, match=r"page\.html: No space left on device"):
        write(place)
    assert place.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize("place", ["missing/page.html", "file/page.html", ".", "/dev/null"])
def test_what_cannot_be_a_file_is_a_wrong_argument(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError) as caught:
        write(tmp_path / place)
    assert caught.value.exit_code == ExitCode.USAGE
    assert caught.value.hint == "name another"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
