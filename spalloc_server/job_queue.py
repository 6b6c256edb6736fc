"""Queue jobs for machines, first come first served.

Owns the order in which jobs wait; their boards are in `_queueing.holdings`.
Must not know hardware, clients, keepalives or threads: it talks to its owner
through callbacks only, which must not call back in.

::

    create_job --> queued --on_allocate--> allocated --destroy_job--> going
                     |                        |                         |
                     +--on_cancel--> gone     +--requeue--> queued      free
                                                                        |
                     boards rest, then serve others  <------------------+
"""

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any

from spalloc_server import _clock
from spalloc_server._allocation.board_allocator import Allocation
from spalloc_server._allocation.dead_sets import DeadSet
from spalloc_server._allocation.free_room import UnfinishedError
from spalloc_server._allocation.grid import Link
from spalloc_server._allocation.grid_allocator import GridAllocator
from spalloc_server._allocation.kinds import Request, understand
from spalloc_server._places import Board
from spalloc_server._queueing.holdings import KINDS, Holdings
from spalloc_server._queueing.machine_queue import _Job, _Machine
from spalloc_server._queueing.measures import Measures, measure
from spalloc_server._queueing.overtaking import Hooks, Overtaking
from spalloc_server._queueing.region import RegionRecord
from spalloc_server.coordinates import WrapAround

__all__ = ("JobQueue", "RegionRecord", "_Job", "_Machine")

OnAllocate = Callable[[int, str, set[Board], set[Link], WrapAround], object]
OnEnd = Callable[[int, str | None], object]
OnBlocked = Callable[[int, str, frozenset[Board]], object]
OnRegion = Callable[[int, RegionRecord | None], object]

_NO_MACHINE = "No suitable machines available."
_MACHINE_REMOVED = "Machine removed."


#: Seconds until a region is closed, unless told otherwise.
_PATIENCE = 7200.0


class JobQueue(Holdings):
    """Gives jobs to machines.

    Parameters
    ----------
    on_allocate : callable
        Called with (job_id, machine_name, boards, periphery, torus).
    on_free : callable
        Called with (job_id, reason) when a job that has boards is destroyed;
        they stay its own until `free`.
    on_cancel : callable
        Called with (job_id, reason) when a queued job is destroyed.
    seconds_before_free : float
        Seconds that boards rest after use; may be assigned.

    Attributes
    ----------
    on_rested : callable or None
        See `Holdings`.
    on_blocked : callable or None
        Called with (job_id, machine_name, boards) whenever others pass a job
        that waits for these boards in quarantine.
    on_region : callable or None
        Called with (job_id, record) when a region was given, moved or closed;
        with (job_id, None) when it has ended though the job still waits.  That
        it ends because its job starts or ends is not told.

    Notes
    -----
    As a context manager (nestable) it makes all changes as one: nothing is
    given to or taken from a machine until the outermost end.
    """

    def __init__(
        self,
        on_allocate: OnAllocate | None,
        on_free: OnEnd | None,
        on_cancel: OnEnd | None,
        seconds_before_free: float = 30,
    ) -> None:
        super().__init__(seconds_before_free)
        self.on_allocate = on_allocate
        self.on_free = on_free
        self.on_cancel = on_cancel
        self.on_blocked: OnBlocked | None = None
        self.on_region: OnRegion | None = None
        self._postponed = 0
        self._pauses = 0

        self._overtaking = Overtaking(
            self._machines.values,
            Hooks(self._start, self._let_pass, self._region_changed),
            _PATIENCE,
        )

    @property
    def scheduling(self) -> str:
        """Order in which jobs are served; may be assigned.

        "fcfs": first come first served, blocks where the cuts of a tree allow them;
        "fcfs-grid": the same, but blocks may be anywhere; "overtaking": each job
        that fits starts, blocks may be anywhere, and a region is kept for a job that
        would be overtaken for ever.
        """
        return self._scheduling

    @scheduling.setter
    def scheduling(self, scheduling: str) -> None:
        self.set_order(scheduling, self.patience)

    @property
    def patience(self) -> float:
        """Seconds from which on others may not use a job's region; may be assigned."""
        return self._overtaking.patience

    @patience.setter
    def patience(self, patience: float) -> None:
        self.set_order(self._scheduling, patience)

    def set_order(self, scheduling: str, patience: float) -> None:
        """Change `scheduling` and `patience` at once.

        Raises
        ------
        ValueError
            If there is no such order, or `patience` is no time; nothing changes.
        """
        if scheduling not in KINDS:
            allowed = ", ".join(map(repr, KINDS))
            raise ValueError(f"scheduling must be one of {allowed}, not {scheduling!r}")
        if not 0 <= patience < math.inf:
            raise ValueError(f"patience must be finite and at least 0 seconds, not {patience!r}")
        self._overtaking.patience = patience
        if scheduling != self._scheduling:
            self._scheduling = scheduling
            with self:
                self._change_kinds()
                if scheduling != "overtaking":
                    for job in self._jobs.values():
                        job.region_since = None
            return
        for machine in self._machines.values():
            machine.note_free_boards()
        self._process_queue()

    def measures(self) -> dict[str, Measures]:
        """Measure how each machine is shared out just now, by its name."""
        now = _clock.monotonic()
        return {
            name: measure(machine, self.patience, now) for name, machine in self._machines.items()
        }

    def __enter__(self) -> "JobQueue":
        self._postponed += 1
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._postponed -= 1
        if not self._postponed:
            self._regenerate_queues()

    # --- machines ---

    def add_machine(  # noqa: PLR0917 - the signature is fixed by spec
        self,
        name: str,
        width: int,
        height: int,
        tags: Iterable[str] | None = None,
        dead_boards: DeadSet = frozenset(),
        dead_links: DeadSet = frozenset(),
    ) -> None:
        """Add a machine, last in priority.

        Parameters
        ----------
        name : str
            Not in use yet.
        width, height : int
            Size, triads.
        tags : iterable of str, optional
            None stands for "default" alone.
        dead_boards, dead_links : container
            See `Allocator`.

        Raises
        ------
        ValueError
            If the name is in use.
        """
        if name in self._machines:
            raise ValueError(f"machine name {name!r} is in use already")
        with self:
            allocator = self._new_allocator(width, height, dead_boards, dead_links)
            self._attach(name, {"default"} if tags is None else set(tags), allocator)

    def modify_machine(
        self,
        name: str,
        tags: Iterable[str] | None = None,
        dead_boards: DeadSet | None = None,
        dead_links: DeadSet | None = None,
    ) -> None:
        """Change a machine in place; its jobs go on.

        Parameters
        ----------
        name : str
            Of a known machine.
        tags, dead_boards, dead_links : optional
            The new ones.

        Raises
        ------
        KeyError
            If there is no such machine.
        """
        machine = self._machines[name]
        with self:
            if tags is not None:
                machine.tags = set(tags)
            if dead_boards is not None:
                machine.allocator.dead_boards = dead_boards
            if dead_links is not None:
                machine.allocator.dead_links = dead_links

    def remove_machine(self, name: str) -> None:
        """Remove a machine and forget the jobs that have its boards.

        Parameters
        ----------
        name : str
            Of a known machine.

        Raises
        ------
        KeyError
            If there is no such machine.
        """
        machine = self._machines[name]
        with self:
            del self._machines[name]
            ended = [job for job in self._jobs.values() if job.machine is machine]
            for job in ended:
                del self._jobs[job.id]
            for job in ended:
                if not job.going:
                    self._tell(self.on_free, job, _MACHINE_REMOVED)

    def move_machine_to_end(self, name: str) -> None:
        """Make a machine the last in priority.

        Parameters
        ----------
        name : str
            Of a known machine.

        Raises
        ------
        KeyError
            If there is no such machine.
        """
        self._machines[name] = self._machines.pop(name)

    def quarantine(self, machine_name: str, board: Board) -> None:
        """Hand out a board no more, see `Allocator.quarantine`."""
        self._machines[machine_name].allocator.quarantine(board)
        self._process_queue()

    def release(self, machine_name: str, board: Board) -> None:
        """End the quarantine of a board and let the queues advance."""
        self._machines[machine_name].release(board)
        self._process_queue()

    def set_quarantine(self, machine_name: str, boards: Collection[Board]) -> None:
        """Have just these boards of a machine in quarantine, and let the queues advance."""
        self._machines[machine_name].set_quarantine(boards)
        self._process_queue()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Give nothing to any machine until the end, then let the queues advance."""
        self._pauses += 1
        try:
            yield
        finally:
            self._pauses -= 1
            self._process_queue()

    # --- jobs ---

    def create_job(
        self,
        *what: int | None,
        job_id: int | None = None,
        machine: str | None = None,
        tags: Iterable[str] | None = None,
        **limits: Any,
    ) -> None:
        """Queue a job for every machine that suits it.

        Parameters
        ----------
        *what, **limits
            See `Allocator.alloc`.
        job_id : int
            Not in use yet.
        machine : str, optional
            Use this machine only.
        tags : iterable of str, optional
            Those that the machine must have; None stands for "default" alone.

        Raises
        ------
        TypeError, ValueError
            If the request has no meaning; then there is no job.
        """
        if job_id is None:
            raise TypeError("job_id must be specified")
        if machine is not None and tags is not None:
            raise TypeError("Only one of machine and tags may be specified for a job.")
        job = self._enter(job_id, understand(what, limits), machine, tags)
        job.args, job.kwargs = what, dict(limits)
        self._serve_newcomer(job)

    def add_job(
        self,
        job_id: int,
        request: Request,
        *,
        machine: str | None = None,
        tags: Iterable[str] | None = None,
    ) -> None:
        """Queue a job for every machine that suits it, as `create_job` does.

        Parameters
        ----------
        job_id : int
            Not in use yet.
        request : Request
            The boards asked for.
        machine : str, optional
            Use this machine only.
        tags : iterable of str, optional
            Those that the machine must have; None stands for "default" alone.

        Raises
        ------
        ValueError
            If `job_id` is in use.
        """
        self._serve_newcomer(self._enter(job_id, request, machine, tags))

    def _serve_newcomer(self, job: _Job) -> None:
        if self._scheduling != "fcfs":
            # The other kind of allocator looks for itself.
            for machine in self._machines.values():
                machine.allocator.check_free()
        self._enqueue_job(job)
        self._process_queue(job)

    def destroy_job(self, job_id: int, reason: str | None = None) -> None:
        """End a job, if it has not ended already.

        Parameters
        ----------
        job_id : int
            Of a job; others do nothing.
        reason : str, optional
            Handed on to the callback.
        """
        job = self._jobs.get(job_id)
        if job is None or job.going:
            return
        if job.pending:
            self._cancel(job, reason)
        else:
            job.going = True
            assert job.machine is not None
            job.machine.lifetimes.add(_clock.monotonic() - job.allocated_at)
            self._tell(self.on_free, job, reason)
        self._process_queue()

    def free(self, job_id: int) -> None:
        """Forget a job whose boards are off; they begin to rest.

        Parameters
        ----------
        job_id : int
            Of a job that has boards; others do nothing.
        """
        job = self._jobs.get(job_id)
        if job is None or job.machine is None or job.allocation_id is None:
            return
        del self._jobs[job_id]
        job.machine.leave(job.allocation_id)
        job.machine.allocator.free(job.allocation_id)
        self._process_queue()

    def requeue(self, job_id: int, *, keep_boards: bool = False) -> None:
        """Take a job's boards away and let it wait for others.

        The boards begin to rest.  The job keeps its place by time of arrival;
        it is cancelled if no machine suits it any more.

        Parameters
        ----------
        job_id : int
            Of a job that runs; others do nothing.
        keep_boards : bool
            Leave the boards taken, to be given back by `free_boards`.
        """
        job = self._jobs.get(job_id)
        if job is None or job.going or job.machine is None or job.allocation_id is None:
            return
        for machine in self._machines.values():
            if job in machine.queue:
                machine.queue.remove(job)
        job.machine.leave(job.allocation_id)
        if not keep_boards:
            job.machine.allocator.free(job.allocation_id)
        job.machine = None
        job.allocation_id = None
        job.pending = True
        self._enqueue_job(job)
        self._process_queue()

    def free_boards(self, machine_name: str, allocation_id: int) -> None:
        """Let boards rest that no job has any more, see `requeue` and `restore_boards`.

        Nothing happens if their machine is gone.
        """
        machine = self._machines.get(machine_name)
        if machine is not None:
            machine.allocator.free(allocation_id)
            self._process_queue()

    def check_free(self) -> None:
        """Let the queues advance if boards came back from resting, or a search goes on."""
        machines = self._machines.values()
        returned = [machine.allocator.check_free() for machine in machines]
        if any(returned) or any(machine.unfinished for machine in machines):
            self._process_queue()

    def next_rested(self) -> float | None:
        """When `check_free` has something to do next (monotonic seconds); None for never."""
        if any(machine.unfinished for machine in self._machines.values()):
            return _clock.monotonic()
        return super().next_rested()

    # --- decide ---

    def _enqueue_job(self, job: _Job) -> None:
        """Let a job wait for all machines that suit it, or cancel it."""
        if self._postponed:
            return
        job.waits_for = self._suitable_machines(job)
        for machine in job.waits_for:
            machine.enqueue(job)
        if not job.waits_for:
            self._cancel(job, _NO_MACHINE)

    def _process_queue(self, newcomer: _Job | None = None) -> None:
        """Give jobs to machines until no more can start.

        If they are served first come first served, in each pass every machine, in
        order of priority, is offered its head, or the next job behind those that
        wait for boards in quarantine.

        Parameters
        ----------
        newcomer : _Job, optional
            If given, nothing has changed but that this job has come.
        """
        if self._postponed or self._pauses:
            return
        if self._scheduling == "overtaking":
            if newcomer is None or (newcomer.pending and not self._has_served_alone(newcomer)):
                self._overtaking.run(newcomer)
            return
        for machine in self._machines.values():
            machine.unfinished = False
            if isinstance(machine.allocator, GridAllocator):
                machine.allocator.start_searching()
        changed = True
        while changed:
            changed = False
            for machine in list(self._machines.values()):
                changed |= self._serve(machine)

    def _has_served_alone(self, job: _Job) -> bool:
        """Serve a newcomer if no other job waits: then nobody can be overtaken.

        Returns
        -------
        bool
            False if it is to be decided who is next, or where a region is to be.
        """
        machines = self._machines.values()
        if any(machine.head() not in {None, job} for machine in machines):
            return False
        for machine in job.waits_for:
            allocation = machine.try_alone(job)
            if allocation is not None:
                for each in job.waits_for:
                    each.leave_end(job)
                self._start(machine, job, allocation)
                return True
        return any(machine.unfinished for machine in job.waits_for)

    def _serve(self, machine: _Machine) -> bool:
        """Give a machine the first job of its queue, if it can run it now."""
        if machine.unfinished:
            return False
        try:
            served = machine.try_jobs(partial(self._let_pass, machine))
        except UnfinishedError:
            machine.unfinished = True
            return False
        if served is None:
            return False
        self._start(machine, *served)
        return True

    def _start(self, machine: _Machine, job: _Job, allocation: Allocation) -> None:
        """Let a job have its boards."""
        allocation_id, boards, periphery, torus = allocation
        machine.settle(job, allocation_id)
        if self.on_allocate is not None:
            self.on_allocate(job.id, machine.name, boards, periphery, torus)

    def _region_changed(self, job: _Job) -> None:
        if self.on_region is not None:
            self.on_region(job.id, self.region_of(job.id))

    def _let_pass(self, machine: _Machine, job: _Job, missing: frozenset[Board]) -> None:
        if self.on_blocked is not None:
            self.on_blocked(job.id, machine.name, missing)

    def _regenerate_queues(self) -> None:
        """Build all queues from the jobs, in order of arrival.

        Each job is served before the next one queues, as if they came now: it
        gets the best machine that can run it, without regard to the jobs behind it.
        """
        for machine in self._machines.values():
            machine.queue = deque()
            machine.note_free_boards()
        one_by_one = self._scheduling != "overtaking"
        for job in list(self._jobs.values()):
            if job.pending:
                self._enqueue_job(job)
                # Where it is not the head nothing has changed for anybody.
                heads = (m.queue and m.queue[0] is job for m in self._machines.values())
                if one_by_one and any(heads):
                    self._process_queue()
        self._overtaking.end_stray_regions(allowed=self._scheduling == "overtaking")
        self._process_queue()

    # --- helpers ---

    def _cancel(self, job: _Job, reason: str | None) -> None:
        job.pending = False
        del self._jobs[job.id]
        self._overtaking.end_region_of(job)
        self._tell(self.on_cancel, job, reason)

    @staticmethod
    def _tell(callback: OnEnd | None, job: _Job, reason: str | None) -> None:
        if callback is not None:
            callback(job.id, reason)

    # --- pickling: plain builtins only, no callbacks ---

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(None, None, None, state["seconds_before_free"])  # type: ignore[misc]
        self._overtaking.patience = state["patience"]
        self._put_back(state)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "patience": self.patience}
