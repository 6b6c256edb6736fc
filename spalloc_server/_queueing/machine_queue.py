"""Jobs, and the machines that they wait for.

Owns the order in which a machine serves jobs.  Must not know when a job is
created or ends, nor tell anybody: that is the JobQueue's business.
"""

from bisect import insort
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from spalloc_server import _clock
from spalloc_server._allocation.board_allocator import Allocation, BoardAllocator
from spalloc_server._allocation.free_room import UnfinishedError
from spalloc_server._allocation.grid_allocator import GridAllocator
from spalloc_server._allocation.kinds import Request
from spalloc_server._places import Board
from spalloc_server._queueing.lifetimes import Lifetimes
from spalloc_server._queueing.region import Holder, Region

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
    wish : int
        The same for jobs with equal requests, or at least different for others.
    waits_for : list of _Machine
        The machines that suit it, by priority, while it waits.
    allocated_at : float
        When it got its boards, monotonic seconds.
    region_since : float or None
        When it first got a region, monotonic seconds.
    overtaken : int
        Jobs that started on a machine while this one was the first in line there.
    """

    def __init__(
        self,
        job_id: int,
        request: Request,
        *,
        machine_name: str | None,
        tags: Iterable[str] | None,
        order: int,
        wish: int = 0,
    ) -> None:
        self.id = job_id
        self.pending = True
        self.going = False
        self.machine_name = machine_name
        self.request = request
        self.args: tuple[int | None, ...] = request.numbers
        self._kwargs: dict[str, Any] | None = None
        self.order = order
        self.machine: _Machine | None = None
        self.allocation_id: int | None = None
        self.waits_for: list[_Machine] = []
        self.allocated_at = 0.0
        self.region_since: float | None = None
        self.overtaken = 0
        if machine_name is not None:
            self.tags: set[str] = set()
        else:
            self.tags = {"default"} if tags is None else set(tags)
        self.wish = wish

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments that were given, or those of the request."""
        return self.request.limits.keywords if self._kwargs is None else self._kwargs

    @kwargs.setter
    def kwargs(self, kwargs: dict[str, Any]) -> None:
        self._kwargs = kwargs

    def plain(self) -> dict[str, Any]:
        """Tell all about the job in plain builtins, but for `order`."""
        now = _clock.monotonic()
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
            "allocated_for": now - self.allocated_at,
            "region_age": None if self.region_since is None else now - self.region_since,
        }

    def __repr__(self) -> str:
        return f"<_Job {self.id} {'pending' if self.pending else 'not pending'}>"


class _Machine:
    """A machine and the jobs that wait for it, oldest first.

    Attributes
    ----------
    tenants : dict of {allocation_id: _Job}
        The jobs that have boards.
    lifetimes : Lifetimes
        Of the jobs that ended here.
    region : Region or None
        A place that is kept for one of the jobs that wait.
    failed : dict of {bool: set}
        The wishes that were tried in vain since anything became free: False, outside
        the region; True, inside too.
    came_free : bool
        Whether boards became free since the jobs were gone through.
    unfinished : bool
        Whether the search for a place goes on at the next opportunity.
    """

    def __init__(self, name: str, tags: set[str], allocator: BoardAllocator) -> None:
        self.name = name
        self.tags = tags
        self.allocator = allocator
        self.queue: deque[_Job] = deque()
        self.tenants: dict[int, _Job] = {}
        self.lifetimes = Lifetimes()
        self.region: Region | None = None
        self.failed: dict[bool, set[int]] = {False: set(), True: set()}
        self.came_free = False
        self.unfinished = False
        self.faults_seen = -1
        #: Allocations with boards of a region, which is noted beside them.
        self._within: set[int] = set()
        self._within_region: Region | None = None
        self._tidy_at = _SHORT_QUEUE

    def __repr__(self) -> str:
        return f"<_Machine {self.name}>"

    @property
    def grid(self) -> GridAllocator:
        """The allocator, which is one by masks."""
        assert isinstance(self.allocator, GridAllocator)
        return self.allocator

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
            self.tidy()
            self._tidy_at = max(_SHORT_QUEUE, 2 * len(self.queue))

    def leave_end(self, job: _Job) -> None:
        """Let a job that came last wait no more."""
        if self.queue and self.queue[-1] is job:
            self.queue.pop()

    def tidy(self) -> None:
        """Forget the jobs in the queue that wait no more."""
        self.queue = deque(job for job in self.queue if job.pending)

    def head(self) -> _Job | None:
        """Job that is to be served next."""
        while self.queue and not self.queue[0].pending:
            self.queue.popleft()
        return self.queue[0] if self.queue else None

    def waiting(self) -> Iterator[_Job]:
        """Jobs that wait, oldest first."""
        return (job for job in self.queue if job.pending)

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

        Raises
        ------
        UnfinishedError
            If a search would take too long, see `GridAllocator.start_searching`.
        """
        if self.head() is None:
            return None
        for job in self.queue:
            if not job.pending:
                continue
            allocation = self._allocate(job.request)
            if allocation is not None:
                if self.queue[0] is job:
                    self.queue.popleft()
                return job, allocation
            missing = self.allocator.awaited_boards(job.request)
            if not missing:
                return None
            on_blocked(job, missing)
        return None

    def try_alone(self, job: _Job) -> Allocation | None:
        """Find boards for a job while no other waits; note if the search is to go on."""
        self.grid.start_searching()
        self.unfinished = False
        try:
            return self.grid.allocate_beside(job.request)
        except UnfinishedError:
            self.unfinished = True
            return None

    def _allocate(self, request: Request) -> Allocation | None:
        if isinstance(self.allocator, GridAllocator):
            return self.allocator.allocate_beside(request)
        return self.allocator.allocate(request)

    def blocked(self) -> dict[int, frozenset[Board]]:
        """Tell which jobs wait for which boards in quarantine, by job id."""
        if not self.allocator.quarantined:
            return {}
        waiting = {job.id: self.allocator.awaited_boards(job.request) for job in self.waiting()}
        return {job_id: missing for job_id, missing in waiting.items() if missing}

    # --- who has its boards, and for how long ---

    def settle(self, job: _Job, allocation_id: int, allocated_for: float = 0.0) -> None:
        """Note that a job has boards here, and for how many seconds."""
        job.pending = False
        job.machine = self
        job.allocation_id = allocation_id
        job.allocated_at = _clock.monotonic() - allocated_for
        job.waits_for = []
        self.tenants[allocation_id] = job
        region = self._within_region
        if region is not None and region.is_held_by(self.allocator.describe(allocation_id)):
            self._within.add(allocation_id)

    def leave(self, allocation_id: int) -> None:
        """Note that no job has these boards any more; they may be going."""
        self.tenants.pop(allocation_id, None)

    def holders(self, now: float) -> list[Holder]:
        """List all allocations, and how long each is expected to keep its boards.

        Parameters
        ----------
        now : float
            Monotonic seconds.
        """
        rest = self.allocator.seconds_before_free
        holders = [
            Holder(self._remaining(allocation_id, now), footprint)
            for allocation_id, footprint in self.allocator.in_use().items()
        ]
        for _, footprint, rested in self.allocator.resting:
            holders.append(Holder(max(0.0, rest - rested), footprint))
        return holders

    def slowest(self, now: float) -> float:
        """Seconds until the last holder of the region is expected to be gone; 0 if it is free."""
        in_use, resting = self.allocator.in_use(), None
        slowest = 0.0
        for allocation_id in self._region_holders():
            if allocation_id in in_use:
                remaining = self._remaining(allocation_id, now)
            else:
                if resting is None:
                    resting = {number: rested for number, _, rested in self.allocator.resting}
                if allocation_id not in resting:
                    self._within.remove(allocation_id)
                    continue
                remaining = self.allocator.seconds_before_free - resting[allocation_id]
            slowest = max(slowest, remaining)
        return slowest

    def _region_holders(self) -> list[int]:
        """Allocations that have boards of the region, and perhaps some that had."""
        if self._within_region is not self.region:
            assert self.region is not None
            self._within_region = self.region
            self._within = {
                number
                for number, footprint in self.allocator.in_use().items()
                if self.region.is_held_by(footprint)
            }
            self._within.update(
                number
                for number, footprint, _ in self.allocator.resting
                if self.region.is_held_by(footprint)
            )
        return list(self._within)

    def _remaining(self, allocation_id: int, now: float) -> float:
        job = self.tenants.get(allocation_id)
        if job is None or job.going:
            # Its boards are being switched off.
            return self.allocator.seconds_before_free
        return self.lifetimes.remaining(now - job.allocated_at)

    def forget_failures(self) -> None:
        """Let each job be tried again."""
        self.failed[False].clear()
        self.failed[True].clear()

    def note_free_boards(self) -> None:
        """Note that boards became free, or may have."""
        self.came_free = True
        self.forget_failures()

    # --- quarantine ---

    def release(self, board: Board) -> None:
        """End the quarantine of a board, see `Allocator.release`."""
        self.allocator.release(board)
        self.note_free_boards()

    def set_quarantine(self, boards: Collection[Board]) -> None:
        """Have just these boards in quarantine."""
        before = self.allocator.quarantined
        for board in sorted(before.difference(boards)):
            self.release(board)
        for board in sorted(set(boards) - before):
            self.allocator.quarantine(board)

    def plain(self) -> dict[str, Any]:
        """Tell all about the machine in plain builtins."""
        region = self.region
        return {
            "name": self.name,
            "tags": set(self.tags),
            "allocator": self.allocator.__getstate__(),
            "queue": [job.id for job in self.waiting()],
            "region": None if region is None else [region.job.id, list(region.place)],
        }
