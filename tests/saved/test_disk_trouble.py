"""Trouble with the disk: when to try again, and how often to complain."""

import errno
import os
from collections.abc import Iterator

import pytest

from spalloc_server._saved.disk_trouble import DiskTrouble
from tests.support.fake_clock import FakeClock

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock().installed() as clock:
        yield clock


def test_all_is_well_at_first(clock: FakeClock) -> None:
    trouble = DiskTrouble()

    assert trouble.due
    assert trouble.text is None


def test_the_first_failure_is_tried_again_at_once_and_later_ones_ever_more_rarely(
    clock: FakeClock,
) -> None:
    trouble = DiskTrouble()
    waits = []
    for _ in range(8):
        trouble.met("cannot write", FULL)
        wait = 0.0
        while not trouble.due:
            clock.advance(0.5)
            wait += 0.5
        waits.append(wait)

    assert waits == [0, 1, 2, 4, 8, 15, 15, 15]
    clock.advance(3600)
    assert trouble.due


def test_after_it_is_over_it_begins_anew(clock: FakeClock) -> None:
    trouble = DiskTrouble()
    for _ in range(5):
        trouble.met("cannot write", FULL)

    trouble.over()

    assert trouble.text is None
    assert trouble.due
    trouble.met("cannot write", FULL)
    assert trouble.due


@pytest.mark.parametrize(
    ("error", "reason"),
    [(FULL, "No space left on device"), (ValueError("odd"), "ValueError: odd"),
     (OSError("odd"), "OSError: odd")],
)
def test_the_text_tells_the_act_and_the_reason(
    clock: FakeClock, error: Exception, reason: str
) -> None:
    trouble = DiskTrouble()

    trouble.met("cannot write", error)

    assert trouble.text == f"cannot write: {reason}"


def test_the_same_complaint_is_made_once_a_minute(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    trouble = DiskTrouble()
    complained = []
    for _ in range(9):
        trouble.met("cannot write", FULL)
        complained.append(len(caplog.records))
        caplog.clear()
        clock.advance(15)

    assert complained == [1, 0, 0, 0, 1, 0, 0, 0, 1]


def test_another_complaint_is_made_at_once(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    trouble = DiskTrouble()
    for doing in ("cannot write", "cannot rename", "cannot write"):
        trouble.met(doing, FULL)

    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "cannot write", "cannot rename",
    ]


def test_its_end_is_told_with_the_seconds_since_the_first_failure(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    trouble = DiskTrouble()
    trouble.over()
    assert not caplog.records
    for _ in range(3):
        trouble.met("cannot write", FULL)
        clock.advance(7)

    trouble.over()
    trouble.over()

    assert caplog.messages[1:] == ["the state is being saved again, after 21 s of trouble"]
    trouble.met("cannot write", FULL)
    assert len(caplog.messages) == 3, "it may complain of the same again"
