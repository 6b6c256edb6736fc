"""Waits are counted by the size of jobs and by duration."""

import pytest

from spalloc_server._jobs.wait_tally import BOUNDS, SIZES, WaitTally


@pytest.mark.parametrize(
    ("boards", "size"),
    [(1, "1"), (2, "2-3"), (3, "2-3"), (4, "4-24"), (24, "4-24"), (25, "25-120"), (1200, "121+")],
)
def test_each_wait_is_in_one_class_of_size(boards: int, size: str) -> None:
    tally = WaitTally()

    tally.note(boards, 5.0)

    assert {each: sum(tally.counts[each]) for each in SIZES} == {
        each: int(each == size) for each in SIZES
    }
    assert tally.totals[size] == 5.0


@pytest.mark.parametrize(("seconds", "place"), [(-1.0, 0), (1.0, 0), (1.1, 1), (1e9, len(BOUNDS))])
def test_each_wait_is_in_one_class_of_duration(seconds: float, place: int) -> None:
    tally = WaitTally()

    tally.note(1, seconds)

    assert tally.counts["1"][place] == 1
    assert tally.totals["1"] == max(0.0, seconds)
