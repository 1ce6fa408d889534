"""How host0 listens to a host."""

import time

import pytest
from relocate_proxy.host0.channel import Pace


def test_what_a_relocation_says_is_heard_at_once_and_talk_without_end_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(time, "sleep", sleep)
    pace = Pace(most=100, per_second=10.0)

    def said(reports: int) -> float:
        begun = clock[0]
        for _ in range(reports):
            pace.wait()
        return clock[0] - begun

    assert said(100) == 0.0
    assert said(50) == pytest.approx(5.0)
    clock[0] += 3.0  # silence
    assert said(30) == pytest.approx(0.0, abs=0.2)
    clock[0] += 1e6
    assert said(100) == 0.0 and said(10) == pytest.approx(1.0)
