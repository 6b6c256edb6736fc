"""Keepalive deadlines in order, so that nobody has to look at every job.

A job's deadline moves with each sign of life; its entry here is left where it
was and moved on only when its time comes.  Knows no clock: time is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush

#: Fewer entries than this are never searched for jobs that are gone. # arbitrary
_SHORT = 1000


class Deadlines:
    """Which jobs may have to end, earliest first.

    Parameters
    ----------
    deadline_of : callable
        job id → its deadline now (monotonic seconds), None if it has none or
        is gone.
    """

    def __init__(self, deadline_of: Callable[[int], float | None]) -> None:
        self._deadline_of = deadline_of
        self._heap: list[tuple[float, int]] = []
        self._tidy_at = _SHORT

    def add(self, job_id: int, deadline: float | None) -> None:
        """Watch a job, or expect its end earlier than so far; None is never due."""
        if deadline is None:
            return
        heappush(self._heap, (deadline, job_id))
        if len(self._heap) >= self._tidy_at:
            self._tidy()

    def _tidy(self) -> None:
        """Drop the jobs that are gone; their time may be years away."""
        ids = (job_id for _, job_id in self._heap)
        moved = ((self._deadline_of(job_id), job_id) for job_id in ids)
        self._heap = [(deadline, job_id) for deadline, job_id in moved if deadline is not None]
        heapify(self._heap)
        self._tidy_at = max(_SHORT, 2 * len(self._heap))

    def next(self) -> float | None:
        """Return a time before which nothing is due; None if nothing ever is."""
        while self._heap:
            seen, job_id = self._heap[0]
            deadline = self._deadline_of(job_id)
            if deadline is not None and deadline <= seen:
                return seen
            heappop(self._heap)
            if deadline is not None:
                heappush(self._heap, (deadline, job_id))
        return None

    def due(self, now: float) -> list[int]:
        """Take out the jobs past their deadline, earliest first; some may come twice."""
        ids: list[int] = []
        while True:
            deadline = self.next()
            if deadline is None or deadline >= now:
                return ids
            ids.append(heappop(self._heap)[1])
