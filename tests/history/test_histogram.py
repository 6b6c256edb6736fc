"""Histograms of waits."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._history import histogram

WAITS = st.floats(0.0, 1e8)


@given(WAITS)
def test_a_wait_lies_in_its_bucket(seconds: float) -> None:
    low, high = histogram.bounds(histogram.bucket_of(seconds))

    assert low * (1 - 1e-9) <= seconds <= high * (1 + 1e-9)


@given(st.floats(1.0, 1e8))
def test_what_is_told_of_a_wait_is_within_5_percent(seconds: float) -> None:
    told = histogram.told(histogram.bucket_of(seconds))

    assert told == pytest.approx(seconds, rel=0.05)


@given(st.lists(st.floats(1.0, 1e7), min_size=1, max_size=200), st.sampled_from([0.5, 0.95]))
def test_quantiles_are_within_5_percent(waits: list[float], part: float) -> None:
    counted = histogram.added({histogram.bucket_of(wait): 1} for wait in waits)
    exact = sorted(waits)[max(1, math.ceil(part * len(waits) - 1e-9)) - 1]

    assert histogram.quantile(counted, part) == pytest.approx(exact, rel=0.05)


@given(st.lists(WAITS))
def test_histograms_are_read_as_they_were_written(waits: list[float]) -> None:
    counted = histogram.added({histogram.bucket_of(wait): 1} for wait in waits)

    assert histogram.from_text(histogram.to_text(counted)) == counted
    assert sum(counted.values()) == len(waits)


@pytest.mark.parametrize("seconds", [-5.0, 0.0, 0.999, math.nan])
def test_the_first_bucket_has_what_is_below_a_second(seconds: float) -> None:
    assert histogram.bucket_of(seconds) == 0


def test_the_last_bucket_has_the_longest() -> None:
    assert histogram.bucket_of(1e30) == histogram.LAST


def test_no_waits_have_no_quantile() -> None:
    assert histogram.quantile({}, 0.5) is None


def test_the_median_of_three_is_the_second() -> None:
    assert histogram.quantile({0: 1, 50: 1, 90: 1}, 0.5) == histogram.told(50)
    assert statistics.median([0, 50, 90]) == 50
