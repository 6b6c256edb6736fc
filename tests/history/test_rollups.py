"""Sums over days and blocks of days."""

from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._history.rollups import (
    ALL,
    DAY,
    LENGTHS,
    Rollups,
    blocks_of,
    day_of,
    month_of,
    next_month,
    split_by_day,
)

DAYS = st.integers(0, 30000)


@given(DAYS, st.integers(0, 4000))
def test_blocks_cover_each_day_of_a_span_once(first: int, length: int) -> None:
    covered: list[int] = []
    for blocks in blocks_of(first, first + length):
        assert blocks.first % blocks.length == 0
        assert blocks.end % blocks.length == 0
        for begin in range(blocks.first, blocks.end, blocks.length):
            covered += range(begin, begin + blocks.length)

    assert sorted(covered) == list(range(first, first + length))


@given(DAYS, st.integers(1, 4000))
def test_few_blocks_are_enough(first: int, length: int) -> None:
    blocks = blocks_of(first, first + length)

    assert sum((each.end - each.first) // each.length for each in blocks) <= 6 * 5 + 4


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_time_is_split_by_days_without_loss(began: float, length: float) -> None:
    parts = list(split_by_day(began, began + length))

    assert abs(sum(seconds for _, seconds in parts) - length) < 1e-3
    assert all(0 < seconds <= DAY for _, seconds in parts)
    assert [day for day, _ in parts] == sorted({day for day, _ in parts})


def test_what_was_gathered_is_told_in_rows() -> None:
    sums = Rollups()
    sums.count_job([ALL, ("owner", 7)], 5 * DAY)
    sums.count_wait([ALL], 5 * DAY, 30.0)
    sums.count_use([ALL], 3, 5 * DAY, 5 * DAY + 10)

    rows = list(sums.rows())

    assert len(rows) == 2 * len(LENGTHS)
    (day,) = (row for row in rows if row["kind"] == "all" and row["length"] == 1)
    assert (day["since"], day["jobs"], day["board_seconds"]) == (5, 1, 30.0)
    assert day["waits"] == "[36, 1]"


def test_months_begin_on_their_first_day() -> None:
    leap_day = day_of(951_782_400.0)  # 2000-02-29

    assert month_of(leap_day) == leap_day - 28
    assert next_month(month_of(leap_day)) == leap_day + 1
    assert next_month(next_month(month_of(leap_day))) == leap_day + 1 + 31
