"""Grace: jobs taken over at a start are judged late, until a sign of life comes.

Published clients stop their signs of life when they lose their connection, so a restart would
end the jobs of all users who still work.  A job that was taken over ends by its keepalive only
once the grace is over.  Knows no clock and no lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class Grace:
    """The jobs that live on grace.

    Attributes
    ----------
    seconds : float
        Length of the grace, from the start.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._taken_over: dict[int, float] = {}
        self._told = False

    def __len__(self) -> int:
        return len(self._taken_over)

    def __iter__(self) -> Iterator[int]:
        return iter(self._taken_over)

    def begin(self, job_id: int, now: float) -> None:
        """Take a job over, at a monotonic time."""
        self._taken_over[job_id] = now

    def end(self, job_id: int) -> None:
        """Note a job's first sign of life, or its end."""
        self._taken_over.pop(job_id, None)

    def deadline(self, job_id: int, keepalive: float) -> float:
        """Return the monotonic time at which a job on grace ends."""
        return self._taken_over[job_id] + max(self.seconds, keepalive)

    def suspects(self, holders: Iterable[int]) -> list[int]:
        """Return which of some jobs live on grace; once, then no more."""
        if self._told or not self._taken_over or not self.seconds:
            return []
        found = sorted(self._taken_over.keys() & set(holders))
        self._told = bool(found)
        return found
