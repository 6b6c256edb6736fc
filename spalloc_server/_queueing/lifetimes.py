"""How long jobs have run lately, and how long others may still run.

Owns the guess; must not know jobs, machines or clocks.
"""

from bisect import bisect_right, insort
from collections import deque

#: Lifetimes remembered, the latest.
_REMEMBERED = 400

#: Fewer lifetimes than this tell nothing of a job that has run for some time, or of jobs at all.
_FEW_LONGER, _FEW = 6, 10

#: Seconds that a job of which nothing is known is taken to run.
_UNKNOWN = 300.0


class Lifetimes:
    """Seconds that a machine's jobs had their boards."""

    def __init__(self) -> None:
        self._latest: deque[float] = deque()
        self._sorted: list[float] = []
        self._typical: float | None = None

    def __len__(self) -> int:
        return len(self._latest)

    def add(self, seconds: float) -> None:
        """Note how long a job had its boards."""
        self._latest.append(seconds)
        insort(self._sorted, seconds)
        if len(self._latest) > _REMEMBERED:
            self._sorted.pop(bisect_right(self._sorted, self._latest.popleft()) - 1)
        self._typical = None

    def remaining(self, age: float) -> float:
        """Guess how long a job will still run.

        Parameters
        ----------
        age : float
            Seconds that it has had its boards.

        Returns
        -------
        float
            Seconds, from the median of the jobs that ran for longer; as long again
            if there were too few of those.
        """
        longer = bisect_right(self._sorted, age)
        number = len(self._sorted) - longer
        if number < _FEW_LONGER:
            return max(age, _UNKNOWN)
        return self._median(longer) - age

    @property
    def typical(self) -> float:
        """Median of the lifetimes, seconds."""
        if self._typical is None:
            self._typical = self._median(0) if len(self._sorted) >= _FEW else _UNKNOWN
        return self._typical

    @property
    def idle_at_most(self) -> float:
        """Seconds for which boards had better lie idle than serve one more job, at most.

        Half of `typical`.  Boards that a big job needs, and others leave in s seconds, lie idle
        for s, or serve a job that keeps the big one waiting for about `typical` - s longer: the
        loss is smaller if s is more than half of `typical`.  300 with few lifetimes.
        """
        return self.typical / 2 if len(self._sorted) >= _FEW else _UNKNOWN

    def _median(self, first: int) -> float:
        """Median of the lifetimes from one on, of which there are some, by size."""
        # Not that of `statistics`, which sorts again, and takes 6 ms of a start to import.
        number = len(self._sorted) - first
        middle = first + number // 2
        if number % 2:
            return self._sorted[middle]
        return (self._sorted[middle - 1] + self._sorted[middle]) / 2
