"""Jobs, and the machines that they wait for.

Owns the order in which a machine serves jobs.  Must not know when a job is
created or ends, nor tell anybody: that is the JobQueue's business.
"""

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from spalloc_server._allocation.kinds import Request
from spalloc_server._places import Board
from spalloc_server.allocator import Allocation, Allocator

#: Queues shorter than this are never searched for jobs that wait no more;
#: arbitrary.
_SHORT_QUEUE = 1000


class _Job:
    """A job that waits for boards or has some.

    Attributes
    ----------
    id : int
        Chosen by the owner.
    pending : bool
        Whether it waits.
    going : bool
        Whether it was destroyed and only its boards are not back yet.
    machine_name : str or None
        The machine asked for.
    tags : set of str
        What its machine must have; empty if a machine was asked for.
    request : Request
        The boards asked for.
    args, kwargs
        The same as the arguments of `Allocator.alloc`; for other programs.
    machine, allocation_id
        Where its boards are; None while it waits.
    order : int
        Rank by time of arrival.
    """

    def __init__(
        self,
        job_id: int,
        request: Request,
        *,
        machine_name: str | None,
        tags: Iterable[str] | None,
        order: int,
    ) -> None:
        self.id = job_id
        self.pending = True
        self.going = False
        self.machine_name = machine_name
        self.request = request
        self.args: tuple[int | None, ...] = request.numbers
        self.kwargs: dict[str, Any] = request.limits.keywords
        self.order = order
        self.machine: _Machine | None = None
        self.allocation_id: int | None = None
        if machine_name is not None:
            self.tags: set[str] = set()
        else:
            self.tags = {"default"} if tags is None else set(tags)

    def plain(self) -> dict[str, Any]:
        """Tell all about the job in plain builtins, but for `order`."""
        return {
            "id": self.id,
            "args": self.args,
            "machine_name": self.machine_name,
            "tags": set(self.tags),
            "kwargs": self.kwargs,
            "pending": self.pending,
            "going": self.going,
            "machine": None if self.machine is None else self.machine.name,
            "allocation_id": self.allocation_id,
        }

    def __repr__(self) -> str:
        return f"<_Job {self.id} {'pending' if self.pending else 'not pending'}>"


class _Machine:
    """A machine and the jobs that wait for it, oldest first."""

    def __init__(self, name: str, tags: set[str], allocator: Allocator) -> None:
        self.name = name
        self.tags = tags
        self.allocator = allocator
        self.queue: deque[_Job] = deque()
        self._tidy_at = _SHORT_QUEUE

    def __repr__(self) -> str:
        return f"<_Machine {self.name}>"

    def suits(self, job: _Job) -> bool:
        """Whether a job could ever run here."""
        if job.machine_name is None:
            wanted = job.tags <= self.tags
        else:
            wanted = job.machine_name == self.name
        return wanted and self.allocator.is_possible(job.request)

    def enqueue(self, job: _Job) -> None:
        """Let a job wait in its place by time of arrival.

        Jobs that were destroyed, or run elsewhere, stay in a queue until they
        come to its head.  Behind a job that waits for long they could pile up
        without end, so a long queue is cleared of them when it has doubled.
        """
        if not self.queue or self.queue[-1].order < job.order:
            self.queue.append(job)
        else:
            insort(self.queue, job, key=lambda other: other.order)
        if len(self.queue) >= self._tidy_at:
            self.queue = deque(other for other in self.queue if other.pending)
            self._tidy_at = max(_SHORT_QUEUE, 2 * len(self.queue))

    def head(self) -> _Job | None:
        """Job that is to be served next."""
        while self.queue and not self.queue[0].pending:
            self.queue.popleft()
        return self.queue[0] if self.queue else None

    def try_jobs(
        self, on_blocked: Callable[[_Job, frozenset[Board]], None]
    ) -> tuple[_Job, Allocation] | None:
        """Take the head out of the queue if it can run now.

        A job that could not run if all others had ended, for boards are in
        quarantine, lets others pass: that may take until an operator comes.

        Parameters
        ----------
        on_blocked : callable
            Called with each job that lets others pass, and these boards.

        Returns
        -------
        (job, allocation) or None
        """
        if self.head() is None:
            return None
        for job in self.queue:
            if not job.pending:
                continue
            allocation = self.allocator.allocate(job.request)
            if allocation is not None:
                if self.queue[0] is job:
                    self.queue.popleft()
                return job, allocation
            missing = self.allocator.awaited_boards(job.request)
            if not missing:
                return None
            on_blocked(job, missing)
        return None

    def blocked(self) -> dict[int, frozenset[Board]]:
        """Tell which jobs wait for which boards in quarantine, by job id."""
        if not self.allocator.quarantined:
            return {}
        waiting = {
            job.id: self.allocator.awaited_boards(job.request) for job in self.queue if job.pending
        }
        return {job_id: missing for job_id, missing in waiting.items() if missing}

    def plain(self) -> dict[str, Any]:
        """Tell all about the machine in plain builtins."""
        return {
            "name": self.name,
            "tags": set(self.tags),
            "allocator": self.allocator.__getstate__(),
            "queue": [job.id for job in self.queue if job.pending],
        }
