"""Counting durations by class."""

from __future__ import annotations

from bisect import bisect_left

import pytest

from spalloc_server._wire.tally import BOUNDS, Tally


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("factor", [0.99, 1.0, 1.01])
def test_each_duration_counts_in_the_class_that_ends_with_it_or_above(
    bound: float, factor: float
) -> None:
    tally = Tally()

    tally.note(bound * factor)

    assert tally.counts.index(1) == bisect_left(BOUNDS, bound * factor)
    assert sum(tally.counts) == 1


def test_durations_add_up() -> None:
    tally = Tally()
    for seconds in (0.0, 0.25, 100.0):
        tally.note(seconds)

    assert tally.total == 100.25
    assert (tally.counts[0], tally.counts[-1], sum(tally.counts)) == (1, 1, 3)
