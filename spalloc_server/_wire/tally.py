"""Plain counters that the loop keeps of its own work, to be read by anybody.

Each is written by one thread and read by others without a lock: a reader may
see a turn's numbers half written, never a wrong one.  Knows nothing of metrics'
names or of readers.
"""

from __future__ import annotations

from bisect import bisect_left

#: Upper bounds of the classes, seconds; one more class is open above.
BOUNDS = (0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_FIRST = BOUNDS[0]


class Tally:
    """How long something took, each time: counts by class of duration.

    Attributes
    ----------
    counts : list of int
        One for each of `BOUNDS`, and one for all above; not cumulative.
    total : float
        Seconds, of all together.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def note(self, seconds: float) -> None:
        """Count one duration."""
        # Most commands fall into the first class.
        self.counts[0 if seconds <= _FIRST else bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds
