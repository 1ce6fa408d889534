"""Tools that refuse."""

import pytest
from relocate_proxy.kernel import shell, units


def test_what_a_tool_prints_is_returned_and_what_it_reads_is_given() -> None:
    assert shell.run(["cat"], "a\nb\n") == "a\nb\n"


@pytest.mark.parametrize(
    ("script", "line", "code"),
    [
        ("echo one >&2; echo two >&2; exit 3", "two", 3),
        ("echo '1:1: Error: no such set' >&2; echo '^^^' >&2; exit 1", "1:1: Error: no such set", 1),
        ("exit 4", "exit 4", 4),
    ],
)
def test_a_refusal_has_a_name_a_code_and_the_line_that_says_why(script: str, line: str, code: int) -> None:
    with pytest.raises(shell.ToolError) as refused:
        shell.run(["sh", "-c", script])
    assert (refused.value.tool, refused.value.code, refused.value.line) == ("sh", code, line)
    assert str(refused.value) == f"sh: {line}"
    assert not shell.succeeds(["sh", "-c", script])


def test_a_tool_that_is_not_installed_is_a_refusal_too() -> None:
    with pytest.raises(shell.ToolError) as refused:
        shell.run(["no-such-tool"])
    assert (refused.value.tool, refused.value.code) == ("no-such-tool", 127)


def test_units_say_what_systemd_said(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def refuse(command: list[str]) -> str:
        asked.append(command)
        raise shell.ToolError("systemctl", 1, "Failed to start")

    monkeypatch.setattr(units, "run", refuse)
    with pytest.raises(shell.ToolError, match="Failed to start"):
        units.begin("relocate-coordinator@move-1")
    assert asked == [["systemctl", "start", "--no-block", "relocate-coordinator@move-1.service"]]
