"""How long jobs waited for boards, counted by size and duration.

Owns the classes.  Knows no clock, and none of the jobs after they are counted.
"""

from __future__ import annotations

from bisect import bisect_left

#: Upper bounds of the classes of waits, seconds; one more class is open above.
BOUNDS = (1.0, 10.0, 60.0, 300.0, 900.0, 3600.0, 4 * 3600.0, 12 * 3600.0, 86400.0, 3 * 86400.0)
#: Upper bounds of the classes of sizes, boards; one more class is open above.
_SIZES = (1, 3, 24, 120)
#: Words for the classes of sizes.
SIZES = ("1", "2-3", "4-24", "25-120", "121+")


class WaitTally:
    """Counts of waits.

    Attributes
    ----------
    counts : dict
        {word of `SIZES`: [number for each of `BOUNDS`, and for all above]}.
    totals : dict
        {word of `SIZES`: seconds of all waits together}.
    """

    def __init__(self) -> None:
        self.counts = {size: [0] * (len(BOUNDS) + 1) for size in SIZES}
        self.totals = dict.fromkeys(SIZES, 0.0)

    def note(self, boards: int, seconds: float) -> None:
        """Count the wait of a job for some boards."""
        size = SIZES[bisect_left(_SIZES, boards)]
        self.counts[size][bisect_left(BOUNDS, max(0.0, seconds))] += 1
        self.totals[size] += max(0.0, seconds)
