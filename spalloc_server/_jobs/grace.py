"""Grace: jobs taken over at a start are judged late, until a sign of life comes.

Published clients stop their signs of life when they lose their connection, so a restart would
end the jobs of all users who still work.  A job that was taken over ends by its keepalive only
once the grace is over.  Knows no clock and no lock; of jobs it only reads.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from spalloc_server._jobs.job import _Job

log = logging.getLogger(__name__)

#: Ids in a log line. # arbitrary
_MOST_NAMED = 10


class JobOnGrace(NamedTuple):
    """A job of before the start of which nothing was heard since.

    `machine` is None and `boards` 0 if it is queued; it ends at the Unix time `until`.
    """

    job_id: int
    owner: str
    host: str | None
    machine: str | None
    boards: int
    until: float


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

    def rows(self, jobs: Mapping[int, _Job], now: float, wall: float) -> list[JobOnGrace]:
        """Return the jobs that live on grace, oldest first, at a monotonic and Unix time."""
        found = []
        for job_id in sorted(self._taken_over):
            job = jobs[job_id]
            assert job.deadline is not None
            until = wall + job.deadline - now
            boards = len(job.boards or ())
            machine = job.allocated_machine_name
            found.append(JobOnGrace(job_id, job.owner, job.keepalive_host, machine, boards, until))
        return found

    def say_for_whom_a_job_waits(self, waiting: int, holders: Iterable[int]) -> None:
        """Say, once, that jobs on grace have boards that a new job waits for.

        Parameters
        ----------
        waiting : int
            The new job.
        holders : iterable of int
            The jobs that have boards of machines that it may use.
        """
        if self._told or not self._taken_over or not self.seconds:
            return
        suspects = sorted(self._taken_over.keys() & set(holders))
        if suspects:
            self._told = True
            log.warning(
                "job %d waits, and %d jobs of before the start have boards though nothing was "
                "heard of them since: %s; `spalloc-state jobs` lists them, `spalloc-state end` "
                "ends one",
                waiting,
                len(suspects),
                ", ".join(map(str, suspects[:_MOST_NAMED])),
                extra={"job_id": waiting},
            )
