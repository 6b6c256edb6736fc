"""Logarithmic histograms of waits.

Pure.  A bucket's bounds are 10 % apart, so that the wait told for it, its geometric mean, is
within 5 % of every wait in it.  Waits below a second are told as 0.

::

    bucket   0        1           2            3
          |-----|-----------|------------|------------|---
          0 s   1 s       1.1 s        1.21 s      1.331 s
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import accumulate

#: Ratio of a bucket's bounds.
RATIO = 1.1
#: The last bucket, for waits of 3 years and more.
LAST = math.ceil(math.log(1e8) / math.log(RATIO))

#: {bucket: number of waits}.
Histogram = dict[int, int]


def bucket_of(seconds: float) -> int:
    """Return the bucket of a wait; negative waits, of a clock that was set back, count as 0."""
    if not seconds >= 1.0:
        return 0
    return min(LAST, int(math.log(seconds) / math.log(RATIO)) + 1)


def bounds(bucket: int) -> tuple[float, float]:
    """Return the least wait of a bucket and the least of the next, seconds."""
    if bucket <= 0:
        return 0.0, 1.0
    return RATIO ** (bucket - 1), RATIO**bucket


def told(bucket: int) -> float:
    """Return the wait that is told for all of a bucket, seconds."""
    low, high = bounds(bucket)
    return math.sqrt(low * high)


def quantile(histogram: Mapping[int, int], part: float) -> float | None:
    """Return the wait that a part of all waits does not exceed.

    Parameters
    ----------
    histogram : mapping
        {bucket: number}.
    part : float
        0 to 1.

    Returns
    -------
    float or None
        Seconds, within 5 %; None without waits.
    """
    buckets = sorted(histogram)
    seen = list(accumulate(histogram[bucket] for bucket in buckets))
    if not seen or not seen[-1]:
        return None
    rank = max(1, math.ceil(part * seen[-1] - 1e-9))
    return told(buckets[bisect_left(seen, rank)])


def added(histograms: Iterable[Mapping[int, int]]) -> Histogram:
    """Return the sum of histograms."""
    total: Histogram = {}
    for histogram in histograms:
        for bucket, number in histogram.items():
            total[bucket] = total.get(bucket, 0) + number
    return total


def to_text(histogram: Mapping[int, int]) -> str:
    """Write a histogram for the database: bucket, number, bucket, number ..., as JSON."""
    return json.dumps([part for pair in sorted(histogram.items()) for part in pair])


def from_text(text: str) -> Histogram:
    """Read a histogram from the database."""
    parts = iter(json.loads(text))
    return dict(zip(parts, parts, strict=True))
