"""One client's refusals are one line a second, and none is missing from the counts."""

from __future__ import annotations

import logging

import pytest

from spalloc_server import _clock
from spalloc_server._wire.refusals import Refusal, Refusals

LOG = logging.getLogger("test")
REFUSED = Refusal("client 10.0.0.7: create_job refused", "no\nowner", 3)


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(_clock, "monotonic", lambda: now[0])
    return now


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    told = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return told


def test_the_first_is_told_at_once(now: list[float], caplog: pytest.LogCaptureFixture) -> None:
    refusals = Refusals(LOG)

    refusals.note("me", REFUSED, ValueError())
    refusals.note("you", REFUSED, TypeError())

    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]
    assert caplog.records[0].job_id == 3  # type: ignore[attr-defined]
    assert lines(caplog) == [r"client 10.0.0.7: create_job refused: no\nowner"] * 2


def test_others_within_a_second_are_counted(
    now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(LOG)
    for _ in range(1000):
        refusals.note("me", REFUSED, ValueError())
    assert len(lines(caplog)) == 1
    assert refusals.seconds_left(now[0] + 0.25) == 0.75
    assert refusals.seconds_left(now[0] + 1.5) == 0.0

    now[0] += 1
    refusals.tell(now[0])

    words = r"client 10.0.0.7: create_job refused, the last of 999 more within a second: no\nowner"
    assert lines(caplog) == [words]


def test_the_line_after_a_count_comes_a_second_later(
    now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(LOG)
    for _ in range(10):
        for _ in range(50):
            refusals.note("me", REFUSED, ValueError())
            now[0] += 0.02
        refusals.tell(now[0])

    assert len(lines(caplog)) <= 11
    now[0] += 1
    refusals.tell(now[0])
    refusals.tell(now[0] + 1)
    assert not refusals.quiet


def test_the_next_refusal_is_told_with_the_count(
    now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(LOG)
    refusals.note("me", REFUSED, ValueError())
    refusals.note("me", REFUSED, ValueError())
    now[0] += 2

    refusals.note("me", REFUSED, ValueError())

    assert [" 2 more " in line for line in lines(caplog)] == [False, True]


def test_a_count_is_told_when_its_client_goes(
    now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(LOG)
    for _ in range(3):
        refusals.note("me", REFUSED, ValueError())
    caplog.clear()

    refusals.forget("me")
    refusals.forget("me")
    refusals.forget("you")

    assert [" 2 more " in line for line in lines(caplog)] == [True]
    assert not refusals.quiet


def test_a_fault_of_ours_is_not_lost_behind_a_client_s_own(
    now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(LOG)
    refusals.note("me", REFUSED, ValueError())
    refusals.note("me", REFUSED, KeyError("ours"))
    refusals.note("me", REFUSED, KeyError("ours"))

    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]
    assert caplog.records[1].exc_info


def test_a_refusal_a_second_later_is_told_at_once(
    now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(LOG)
    refusals.note("me", REFUSED, ValueError())
    now[0] += 1

    refusals.note("me", REFUSED, ValueError())

    assert lines(caplog) == [r"client 10.0.0.7: create_job refused: no\nowner"] * 2


def test_a_count_is_told_with_the_refusal_that_comes_a_second_later(
    now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    refusals = Refusals(LOG)
    for _ in range(2):
        refusals.note("me", REFUSED, ValueError())
    now[0] += 1

    refusals.note("me", REFUSED, ValueError())

    assert [" 2 more " in line for line in lines(caplog)] == [False, True]
