"""The life of jobs: from a request to boards that are on, and back.

Owns the jobs, the machines, the queue that allocates and the frames' threads,
under one lock.  Knows nothing of sockets, clients or files: what happens is
told as sets of changes, and as outcomes (see `_jobs.book`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

from spalloc_server import _clock
from spalloc_server._jobs import book as _book
from spalloc_server._jobs import job_log
from spalloc_server._jobs.controller_book import impose, plain_allocation, plain_job
from spalloc_server._jobs.deadlines import Deadlines
from spalloc_server._jobs.facility import Facility
from spalloc_server._jobs.fleet import Fleet, Gate
from spalloc_server._jobs.health import Health
from spalloc_server._jobs.job import (
    JobMachineInfoTuple,
    JobState,
    JobStateTuple,
    JobTuple,
    MachineTuple,
    _Job,
    plain_request,
)
from spalloc_server._jobs.job_power import JobPower
from spalloc_server._jobs.job_request import (
    JobRequest,
    keepalive_seconds,
    owner_name,
)
from spalloc_server._jobs.machine_map import MachineMap, from_plain, to_plain
from spalloc_server._jobs.out_of_service import counted
from spalloc_server._jobs.power_downs import PowerDowns
from spalloc_server._jobs.queries import Queries
from spalloc_server._jobs.release import Release
from spalloc_server._jobs.write_ahead import AtOnce, Outlet
from spalloc_server._places import Board
from spalloc_server.async_bmp_controller import AsyncBMPController
from spalloc_server.configuration import Machine
from spalloc_server.job_queue import JobQueue
from spalloc_server.links import Links

__all__ = (
    "Controller",
    "JobMachineInfoTuple",
    "JobState",
    "JobStateTuple",
    "JobTuple",
    "MachineTuple",
    "_Job",
)

log = logging.getLogger(__name__)


#: Jobs that may be queued or running at a time (protocol).
MAX_JOBS = 10_000

_UNKNOWN = JobStateTuple(JobState.unknown, None, None, None, None, None)
_NO_BOARDS = JobMachineInfoTuple(None, None, None, None, None)


class Controller(Queries, Facility, JobPower):
    """Jobs, machines and the frames' hardware behind one lock.

    Every public method may be called from any thread.  Callbacks from the
    frames' threads come in through `_bmp_answered`, and through the rooms that
    the lock is lent to: `Health` and `PowerDowns`.

    Parameters
    ----------
    next_id : int
        Id of the first job.
    max_retired_jobs : int
        How many ended jobs' reasons are remembered.
    on_background_state_change : callable or None
        Called without arguments, from a frame's thread, when a job has become
        ready; it must not call back in.
    seconds_before_free : float
        How long boards rest after power-off before they are given out again.
    outlet : Outlet
        Where outcomes and the frames' requests go; by default requests go to the
        frames at once, and outcomes nowhere.

    Notes
    -----
    What it holds is described in `Records`.  `Queries` only look, `Facility`
    has the machines come and go, `JobPower` is between jobs and hardware; what
    begins and ends jobs is here.
    """

    def __init__(
        self,
        next_id: int = 1,
        max_retired_jobs: int = 1200,
        on_background_state_change: Callable[[], None] | None = None,
        seconds_before_free: float = 30,
        *,
        outlet: Outlet | None = None,
    ) -> None:
        self._set_up(
            next_id, max_retired_jobs, seconds_before_free, on_background_state_change, outlet
        )

    def _set_up(
        self,
        next_id: int,
        max_retired_jobs: int,
        seconds_before_free: float,
        on_background_state_change: Callable[[], None] | None = None,
        outlet: Outlet | None = None,
    ) -> None:
        # Guards everything below; re-entrant, since the queue calls back.
        self._lock = self.undisturbed = threading.RLock()
        self.on_background_state_change = on_background_state_change
        self._outlet: Outlet = outlet or AtOnce()
        self._next_id = next_id
        self._max_retired_jobs = max_retired_jobs
        self._jobs: dict[int, _Job] = {}
        self._retired_jobs: dict[int, str | None] = {}
        self._machines: dict[str, Machine] = {}
        self._maps: dict[str, MachineMap] = {}
        self._fleet = Fleet(_make_frame, self._outlet, self._frame_answers)
        self._bmp_controllers = self._fleet.frames
        self._changed_jobs: set[int] = set()
        self._changed_machines: set[str] = set()
        self._deadlines = Deadlines(self._deadline_of)
        self._due: float | None = None
        self._due_is_stale = True
        self._job_queue = JobQueue(
            self._job_queue_on_allocate,
            self._job_queue_on_free,
            self._job_queue_on_cancel,
            seconds_before_free,
        )
        # Users who get fewer boards than they asked for ought to have said so.
        self._job_queue.full_measure = True
        self._job_queue.on_rested = self._job_queue_on_rested
        self._job_queue.on_blocked = self._job_queue_on_blocked
        self._health = Health(
            lock=self._lock,
            maps=self._maps,
            queue=self._job_queue,
            send=self._fleet.send,
            tell=self._tell,
        )
        self._power_downs = PowerDowns(
            lock=self._lock,
            maps=self._maps,
            fleet=self._fleet,
            queue=self._job_queue,
            health=self._health,
            tell=self._tell,
        )

    # --- settings ---

    @property
    def max_retired_jobs(self) -> int:
        """How many ended jobs' reasons are remembered."""
        return self._max_retired_jobs

    @max_retired_jobs.setter
    def max_retired_jobs(self, value: int) -> None:
        with self._lock:
            self._max_retired_jobs = value
            self._trim_retired()
            self._tell_limits()

    @property
    def seconds_before_free(self) -> float:
        """How long boards rest after power-off before they are given out again."""
        return self._job_queue.seconds_before_free

    @seconds_before_free.setter
    def seconds_before_free(self, value: float) -> None:
        with self._lock:
            self._job_queue.seconds_before_free = value
            self._tell_limits()

    # --- jobs ---

    def create_job(
        self,
        ownerhost: str | None,
        /,
        *what: int | None,
        owner: object = None,
        keepalive: float | None = 60.0,
        **limits: Any,
    ) -> int:
        """Ask for boards.

        Parameters
        ----------
        ownerhost : str or None
            IP address of who asks; None for a call from within.
        *what : int
            Nothing or 1, a number of boards, width and height in triads, or a
            board's x, y and z.
        owner : str
            Whose job it is.
        keepalive : float or None
            Seconds between signs of life; None never expires.
        **limits
            machine, tags, min_ratio, max_dead_boards, max_dead_links,
            require_torus.

        Returns
        -------
        int
            The new job's id, also if it had to be cancelled at once.

        Raises
        ------
        TypeError, ValueError
            If the request is of bad form; nothing was created.
        """
        owner = owner_name(owner)
        keepalive = keepalive_seconds(keepalive)
        request = JobRequest.parse(what, limits)
        with self._lock:
            self._note_dead_changes()
            if len(self._jobs) >= MAX_JOBS:
                raise ValueError(
                    f"{len(self._jobs)} jobs are queued or running already, "
                    f"{MAX_JOBS} are allowed; try again when some have ended"
                )
            job = _Job(
                self._next_id,
                owner,
                _clock.wall(),
                keepalive,
                keepalive_host=_plain_text(ownerhost),
                request=request,
            )
            self._next_id += 1
            self._add_job(job)
            self._enqueue(job)
            return job.id

    def _add_job(self, job: _Job) -> None:
        self._jobs[job.id] = job
        self._keep_alive(job)
        self._changed_jobs.add(job.id)
        self._tell(
            "created",
            job.id,
            plain_request(job),
        )
        job_log.created(job)

    def _enqueue(self, job: _Job) -> None:
        request = job.request
        try:
            self._job_queue.add_job(
                job.id, request.boards, machine=request.machine, tags=request.tags
            )
        except BaseException as e:
            if job.id in self._jobs:
                self._end(job, f"Cancelled: {e}")
            with suppress(KeyError):
                self._job_queue.destroy_job(job.id)
            raise

    def job_keepalive(self, host: str | None, job_id: int) -> None:
        """Begin a job's keepalive period anew; unknown ids are ignored."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is not None:
                self._touch(job, host)

    def get_job_state(self, host: str | None, job_id: int) -> JobStateTuple:
        """Return a job's state, and begin its keepalive period anew."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is not None:
                self._touch(job, host)
                return job.state_row()
            if job_id in self._retired_jobs:
                reason = self._retired_jobs[job_id]
                return JobStateTuple(JobState.destroyed, None, None, reason, None, None)
            return _UNKNOWN

    def get_job_machine_info(self, host: str | None, job_id: int) -> JobMachineInfoTuple:
        """Return which boards a job has, and begin its keepalive period anew."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                return _NO_BOARDS
            self._touch(job, host)
            if job.boards is None:
                return _NO_BOARDS
            return JobMachineInfoTuple(
                job.width, job.height, job.connections, job.allocated_machine_name, job.boards
            )

    def power_on_job_boards(self, host: str | None, job_id: int) -> None:
        """Switch a job's boards on, or off and on if they are; ignored without boards."""
        self._power_job(host, job_id, power=True, link_enable=False)

    def power_off_job_boards(self, host: str | None, job_id: int) -> None:
        """Switch a job's boards off; ignored without boards."""
        self._power_job(host, job_id, power=False, link_enable=None)

    def _power_job(
        self, host: str | None, job_id: int, *, power: bool, link_enable: bool | None
    ) -> None:
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                return
            self._touch(job, host)
            if job.boards is not None:
                self._set_job_power_and_links(job, power=power, link_enable=link_enable)

    def destroy_job(self, host: str | None, job_id: int, reason: str | None = None) -> None:
        """End a job; unknown ids are ignored."""
        with self._lock:
            if job_id in self._jobs:
                self._job_queue.destroy_job(job_id, _plain_text(reason))

    # --- time ---

    def destroy_timed_out_jobs(self, as_of: float | None = None) -> None:
        """End the jobs whose keepalive period was over at `as_of` (monotonic; now)."""
        with self._lock:
            for job_id in self._deadlines.due(_clock.monotonic() if as_of is None else as_of):
                self.destroy_job(None, job_id, "Job timed out.")

    def check_free(self) -> None:
        """Give out again the boards that have rested long enough."""
        with self._lock:
            self._job_queue.check_free()

    def next_due(self, now: float) -> float | None:
        """Return a monotonic time before which there is nothing to do; None for never.

        The earliest of `next_deadline`, `next_rested` and `next_health_check`.  It
        is remembered until it has come, since signs of life only put it off, and
        whatever brings it forward is told (see `_tell`).
        """
        if self._due_is_stale or (self._due is not None and self._due <= now):
            with self._lock:
                self._due_is_stale = False
                times = self._deadlines.next(), self._job_queue.next_rested()
                due = [time for time in (*times, self._health.next_due()) if time is not None]
                self._due = min(due, default=None)
        return self._due

    def next_deadline(self) -> float | None:
        """Return a monotonic time before which no job's keepalive ends; None for never."""
        with self._lock:
            return self._deadlines.next()

    def next_rested(self) -> float | None:
        """Return the monotonic time at which the next boards have rested; None if none rest."""
        with self._lock:
            return self._job_queue.next_rested()

    def _deadline_of(self, job_id: int) -> float | None:
        job = self._jobs.get(job_id)
        return None if job is None else job.deadline

    def _keep_alive(self, job: _Job) -> None:
        before = job.deadline
        job.deadline = None if job.keepalive is None else _clock.monotonic() + job.keepalive
        if job.deadline is not None and (before is None or job.deadline < before):
            # New, or its period was made shorter from outside.
            self._deadlines.add(job.id, job.deadline)
            self._due_is_stale = True

    def _touch(self, job: _Job, host: str | None) -> None:
        self._keep_alive(job)
        if host is not None and host != job.keepalive_host:
            job.keepalive_host = _plain_text(host)
            self._tell("host", job.id, job.keepalive_host)

    # --- callbacks of the queue, under the lock ---

    def _job_queue_on_allocate(
        self,
        job_id: int,
        machine_name: str,
        boards: Collection[Board],
        periphery: Collection[tuple[int, int, int, Links]],
        torus: int,
    ) -> None:
        """Note what a job was given, and power it on."""
        job = self._jobs[job_id]
        self._settle(job, machine_name, boards, periphery, torus)
        self._changed_machines.add(machine_name)
        held = self._job_queue.allocation_of(job_id)
        assert held is not None
        self._tell("allocated", job_id, plain_allocation(job, self._job_queue))
        self._set_job_power_and_links(job, power=True, link_enable=False)

    def _settle(
        self,
        job: _Job,
        machine_name: str,
        boards: Collection[Board],
        periphery: Collection[tuple[int, int, int, Links]],
        torus: int,
    ) -> None:
        """Write a machine's boards into a job, and the job into the machine's map."""
        where = self._maps[machine_name]
        job.tenancy += 1
        job.was_ready = False
        job.waits_for.clear()
        job.allocated_machine = where.machine
        job.boards = set(boards)
        job.periphery = periphery
        job.torus = torus
        job.width, job.height, job.connections, job.origin = where.network(boards, torus)
        where.job_ids.update(dict.fromkeys(boards, job.id))

    def _job_queue_on_free(self, job_id: int, reason: str | None) -> None:
        """Power the boards of a destroyed job off; they are given back afterwards."""
        job = self._jobs[job_id]
        machine_name = job.allocated_machine_name
        assert machine_name is not None
        held = self._job_queue.allocation_of(job_id)
        self._end(job, reason)
        # A machine that is being removed has no allocations any more.
        self._let_go(job, machine_name, -job_id if held is None else held[1])

    def _job_queue_on_cancel(self, job_id: int, reason: str | None) -> None:
        """End a job that never had boards."""
        self._end(self._jobs[job_id], f"Cancelled: {reason or ''}")

    def _job_queue_on_rested(self, machine_name: str, allocation_ids: list[int]) -> None:
        self._tell("rested", machine_name, list(allocation_ids))

    def _job_queue_on_blocked(
        self, job_id: int, machine_name: str, boards: frozenset[Board]
    ) -> None:
        """Say, once, for which boards out of service a job waits."""
        job = self._jobs[job_id]
        if job.waits_for.get(machine_name) != boards:
            job.waits_for[machine_name] = boards
            text = f"waits for {counted(boards)} of machine {machine_name}, out of service"
            log.info("job %d %s", job_id, text, extra={"job_id": job_id})
            job_log.note(job_id, text)

    def _end(self, job: _Job, reason: str | None) -> None:
        """Retire a job, with the reason that its user will be told."""
        del self._jobs[job.id]
        job.state = JobState.destroyed
        job.power = None
        self._retired_jobs[job.id] = reason
        self._trim_retired()
        self._changed_jobs.add(job.id)
        self._tell("ended", job.id, reason)
        job_log.destroyed(job, reason)

    def _trim_retired(self) -> None:
        while len(self._retired_jobs) > self._max_retired_jobs:
            del self._retired_jobs[next(iter(self._retired_jobs))]

    def _let_go(self, job: _Job, machine_name: str, allocation_id: int) -> None:
        """Power off the boards that a job has no more; its record may be gone."""
        where = self._maps[machine_name]
        boards = job.boards or set()
        for board in boards:
            where.job_ids.pop(board, None)
        self._changed_machines.add(machine_name)
        self._power_downs.begin(Release(job.id, machine_name, allocation_id, boards))

    # --- boards out of service ---

    def hold_board(self, machine_name: str, board: Board, reason: str) -> None:
        """Take a board out of service after its present job, until it is released.

        Raises
        ------
        ValueError
            If there is no such machine or board.
        """
        with self._lock:
            self._health.hold(machine_name, board, reason)

    def release_board(self, machine_name: str, board: Board) -> None:
        """Put a board back in service.

        Raises
        ------
        ValueError
            If there is no such machine or board, or it is in service.
        """
        with self._lock:
            self._health.release(machine_name, board)

    def next_health_check(self) -> float | None:
        """Return the monotonic time of the next test of a board; None if none is due."""
        with self._lock:
            return self._health.next_due()

    def check_health(self, now: float | None = None) -> None:
        """Test the boards out of service whose time has come, in the background."""
        with self._lock:
            self._health.tend(_clock.monotonic() if now is None else now)

    # --- the book ---

    def _tell_limits(self) -> None:
        self._tell("limits", self._max_retired_jobs, self.seconds_before_free)

    def __getstate__(self) -> _book.Book:
        """Return all that there is to know, as plain builtins (see `_jobs.book`)."""
        with self._lock:
            return {
                **_book.empty(),
                "next_id": self._next_id,
                "max_retired_jobs": self._max_retired_jobs,
                "seconds_before_free": self.seconds_before_free,
                "machines": {name: to_plain(m) for name, m in self._machines.items()},
                "jobs": {job.id: plain_job(job, self._job_queue) for job in self._jobs.values()},
                "retired": dict(self._retired_jobs),
                "going": self._power_downs.plain_going(),
                "resting": self._job_queue.resting(),
                "orphans": self._power_downs.plain_orphans(),
                "quarantine": self._health.to_plain(),
            }

    def __setstate__(self, book: _book.Book) -> None:
        self._restore(book, None)

    @classmethod
    def restore(cls, book: _book.Book, outlet: Outlet | None = None) -> Controller:
        """Return the controller of a book, with its frames started.

        Jobs that were being powered, and boards that were on their way to off,
        get their commands again; every job gets a fresh keepalive period.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the book contradicts itself; nothing is left running.
        """
        controller = cls.__new__(cls)
        controller._restore(book, outlet)
        return controller

    def _restore(self, book: _book.Book, outlet: Outlet | None) -> None:
        self._set_up(
            book["next_id"],
            book["max_retired_jobs"],
            book["seconds_before_free"],
            outlet=outlet,
        )
        machines = {name: from_plain(plain) for name, plain in book["machines"].items()}
        maps = {name: MachineMap(machine) for name, machine in machines.items()}
        gate = Gate()
        gate.open([])
        with self._lock:
            frames = self._fleet.start(maps, gate)
            try:
                with self._job_queue:
                    self._machines = machines
                    for name, where in maps.items():
                        self._set_up_machine(where, frames[name])
                    impose(self, book)
            except BaseException:
                self.give_up()
                raise


def _plain_text(value: object) -> str | None:
    """Return what a caller from within passes as text that can be saved; None stays None."""
    return None if value is None else str(value)


def _make_frame(host: str, on_thread_start: Callable[[], None]) -> AsyncBMPController:
    """Start a frame's thread; the class is looked up here, so that it can be replaced."""
    return AsyncBMPController(host, on_thread_start=on_thread_start)
