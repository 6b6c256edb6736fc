"""Jobs and machines behind one lock: the interface that everything above uses.

Owns the use of the lock; the objects behind it are put together in `_jobs.parts`::

    Controller ─┬─ JobLife ──── JobPower ──┬── Health
                ├─ Facility ─── Fleet      └── PowerDowns
                └─ JobQueue
                           all of them share Records

Must not know sockets, clients or files: changes are told as sets, and as outcomes (see
`_jobs.book`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from spalloc_server import _clock
from spalloc_server._jobs import book as _book
from spalloc_server._jobs.belonging import Belonging, principal_of_host
from spalloc_server._jobs.ended_jobs import CLIENT, OPERATOR, Ending
from spalloc_server._jobs.job import (
    JobMachineInfoTuple,
    JobState,
    JobStateTuple,
    JobTuple,
    MachineTuple,
    _Job,
)
from spalloc_server._jobs.job_request import (
    JobRequest,
    keepalive_seconds,
    owner_name,
)
from spalloc_server._jobs.outlet import AtOnce, Outlet
from spalloc_server._jobs.overview import Overview
from spalloc_server._jobs.parts import Parts
from spalloc_server._jobs.records import Records
from spalloc_server._jobs.upkeep import Upkeep
from spalloc_server._jobs.whereabouts import where_is
from spalloc_server._places import Board, Place
from spalloc_server.async_bmp_controller import AsyncBMPController
from spalloc_server.configuration import Machine

__all__ = (
    "Controller",
    "JobMachineInfoTuple",
    "JobState",
    "JobStateTuple",
    "JobTuple",
    "MachineTuple",
    "_Job",
)

_UNKNOWN = JobStateTuple(JobState.unknown, None, None, None, None, None)
_NO_BOARDS = JobMachineInfoTuple(None, None, None, None, None)


class Controller:
    """Jobs, machines and the frames' hardware behind one lock.

    Every public method may be called from any thread.

    Parameters
    ----------
    next_id : int
        Id of the first job.
    max_retired_jobs : int
        Number of ended jobs that are remembered.
    on_background_state_change : callable or None
        Called without arguments, from a frame's thread, when a job has become
        ready; it must not call back in.
    seconds_before_free : float
        Seconds that boards rest after power-off before they are given out again.
    outlet : Outlet
        Takes outcomes and the frames' requests; by default requests go to the
        frames at once, and outcomes nowhere.

    Attributes
    ----------
    undisturbed : context manager
        Keeps other threads out, for several calls in a row.
    notice : Notice
        The operator's message, and whether new jobs are accepted.
    belonging : Belonging
        The principals of jobs, and how jobs change hands.
    overview : Overview
        Answers questions about the whole facility.
    upkeep : Upkeep
        Takes boards out of service, puts them back, tests them.
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
        records = Records(
            next_id, max_retired_jobs, outlet or AtOnce(), on_background_state_change
        )
        parts = Parts(records, _make_frame, seconds_before_free)
        self._parts = parts
        self._records = records
        self._job_queue = parts.queue
        self._fleet = parts.fleet
        self._health = parts.health
        self._power_downs = parts.power_downs
        self._power = parts.power
        self._life = parts.life
        self._facility = parts.facility
        self.notice = parts.notice
        self.belonging = Belonging(records, parts.life)
        self.overview = Overview(parts)
        self.upkeep = Upkeep(parts)
        self._due: float | None = None
        self._lock = self.undisturbed = records.lock
        # The very tables, for other programs and for the commands that are asked most.
        self._jobs = records.jobs
        self._retired_jobs = records.ended.reasons
        self._machines = records.machines
        self._bmp_controllers = records.frames

    # --- settings ---

    @property
    def on_background_state_change(self) -> Callable[[], None] | None:
        """Called without arguments, from a frame's thread, when a job has become ready."""
        return self._records.on_background_state_change

    @on_background_state_change.setter
    def on_background_state_change(self, callback: Callable[[], None] | None) -> None:
        self._records.on_background_state_change = callback

    @property
    def max_retired_jobs(self) -> int:
        """Number of ended jobs that are remembered."""
        return self._records.ended.most

    @max_retired_jobs.setter
    def max_retired_jobs(self, value: int) -> None:
        with self._lock:
            self._records.ended.most = value
            self._tell_limits()

    @property
    def seconds_before_free(self) -> float:
        """Seconds that boards rest after power-off before they are given out again."""
        return self._job_queue.seconds_before_free

    @seconds_before_free.setter
    def seconds_before_free(self, value: float) -> None:
        with self._lock:
            self._job_queue.seconds_before_free = value
            self._tell_limits()

    @property
    def takeover_grace(self) -> float:
        """Seconds for which jobs of before a start live without signs of life.

        0, the default, judges them by their keepalive alone.  The first sign of life of a job
        ends its grace.
        """
        return self._life.grace.seconds

    @takeover_grace.setter
    def takeover_grace(self, seconds: float) -> None:
        with self._lock:
            self._life.set_grace(seconds)

    @property
    def scheduling(self) -> str:
        """Order in which jobs get boards, see `JobQueue`."""
        return self._job_queue.scheduling

    @property
    def patience(self) -> float:
        """Seconds after which a job's region is closed to others."""
        return self._job_queue.patience

    def set_order(self, scheduling: str, patience: float) -> None:
        """Change the order in which jobs get boards, and the patience of those that wait.

        Raises
        ------
        ValueError
            If there is no such order, or `patience` is no time; nothing changes.
        """
        queue = self._job_queue
        with self._lock:
            if (scheduling, patience) == (queue.scheduling, queue.patience):
                return
            # Jobs that can start now do so at the end, when the change has been told.
            with queue:
                queue.set_order(scheduling, patience)
                self._records.tell("scheduling", scheduling, patience)

    def _tell_limits(self) -> None:
        self._records.tell("limits", self.max_retired_jobs, self.seconds_before_free)

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
            IP address of the client; None for a call from within.
        *what : int
            Nothing or 1, a number of boards, width and height in triads, or a
            board's x, y and z.
        owner : str
            The name that the job is shown under.
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
        host = _plain_text(ownerhost)
        principal = principal_of_host(host)
        return self.create_job_for(
            principal, host, *what, owner=owner, keepalive=keepalive, **limits
        )

    def create_job_for(
        self,
        principal: str,
        ownerhost: str | None,
        /,
        *what: int | None,
        owner: object = None,
        keepalive: float | None = 60.0,
        **limits: Any,
    ) -> int:
        """Ask for boards in the name of a principal; otherwise as `create_job`."""
        owner = owner_name(owner)
        keepalive = keepalive_seconds(keepalive)
        request = JobRequest.parse(what, limits)
        with self._lock:
            if not self.notice.accepting:
                self.notice.check_accepting()
            if any(where.is_dead_stale() for where in self._records.maps.values()):
                self._facility.note_dead_changes()
            return self._life.create(ownerhost, owner, keepalive, request, principal)

    def job_keepalive(self, host: str | None, job_id: int) -> None:
        """Begin a job's keepalive period anew; unknown ids are ignored."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is not None:
                self._life.touch(job, host)

    def get_job_state(self, host: str | None, job_id: int, *, renew: bool = True) -> JobStateTuple:
        """Return a job's state, and begin its keepalive period anew unless told not to."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is not None:
                if renew:
                    self._life.touch(job, host)
                return job.state_row()
            if job_id in self._retired_jobs:
                reason = self._retired_jobs[job_id]
                return JobStateTuple(JobState.destroyed, None, None, reason, None, None)
            return _UNKNOWN

    def get_job_machine_info(
        self, host: str | None, job_id: int, *, renew: bool = True
    ) -> JobMachineInfoTuple:
        """Return a job's boards, and begin its keepalive period anew unless told not to."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is None:
                return _NO_BOARDS
            if renew:
                self._life.touch(job, host)
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
            self._life.touch(job, host)
            if job.boards is not None:
                self._set_job_power_and_links(job, power=power, link_enable=link_enable)

    def _set_job_power_and_links(
        self, job: _Job, power: bool, link_enable: bool | None = None
    ) -> None:
        """Switch a job's boards, and its peripheral links unless `link_enable` is None."""
        with self._lock:
            self._power.switch(job, power, link_enable)

    def _bmp_on_request_complete(
        self, job: _Job, success: bool, reason: str | None = None
    ) -> None:
        """Count a frame's answer; the last one makes the job ready."""
        self._power.count_answer(job, success, reason)

    def destroy_job(self, host: str | None, job_id: int, reason: str | None = None) -> None:
        """End a job for a client; unknown ids are ignored.

        Parameters
        ----------
        host : str or None
            IP address of the client; None for a call from within.
        job_id : int
        reason : str, optional
            The reason to be shown.
        """
        host = _plain_text(host)
        self.destroy_job_for(principal_of_host(host), host, job_id, reason)

    def destroy_job_for(
        self, principal: str, host: str | None, job_id: int, reason: str | None = None
    ) -> None:
        """End a job in the name of a principal; otherwise as `destroy_job`."""
        with self._lock:
            ending = Ending(CLIENT, host, principal)
            self._life.destroy(job_id, _plain_text(reason), ending)

    def end_job(
        self, job_id: int, reason: str | None = None, principal: str | None = None
    ) -> None:
        """End a job for an operator, of that principal; unknown ids are ignored."""
        with self._lock:
            self._life.destroy(job_id, reason, Ending(OPERATOR, None, principal))

    # --- machines ---

    @property
    def machines(self) -> dict[str, Machine]:
        """The machines by name, highest priority first; a copy."""
        with self._lock:
            return dict(self._machines)

    @machines.setter
    def machines(self, machines: Mapping[str, Machine]) -> None:
        with self._lock:
            self._facility.change(machines)

    def power_off_unowned_boards(self) -> None:
        """Ask each frame to switch off all its boards that no job has, in one request.

        For a start after which nobody knows which boards are on.
        """
        with self._lock:
            self._facility.power_off_unowned_boards()

    # --- questions ---

    def list_jobs(self) -> list[JobTuple]:
        """Return the jobs, oldest first; a row is the same object until its job changes."""
        with self._lock:
            return [job.row() for job in self._jobs.values()]

    def list_machines(self) -> list[MachineTuple]:
        """Return the machines, highest priority first."""
        with self._lock:
            self._facility.note_dead_changes()
            return [
                MachineTuple(
                    machine.name,
                    set(machine.tags),
                    machine.width,
                    machine.height,
                    set(machine.dead_boards),
                    set(machine.dead_links),
                )
                for machine in self._machines.values()
            ]

    def get_board_position(self, machine_name: str, x: int, y: int, z: int) -> Place | None:
        """Return the (cabinet, frame, board) of a board, None if there is none."""
        with self._lock:
            where = self._records.maps.get(machine_name)
            return None if where is None else where.locate((x, y, z))

    def get_board_at_position(self, machine_name: str, x: int, y: int, z: int) -> Board | None:
        """Return the logical place of the board at cabinet x, frame y, board z."""
        with self._lock:
            where = self._records.maps.get(machine_name)
            return None if where is None else where.at(Place((x, y, z)))

    def where_is(self, /, **keywords: Any) -> dict[str, Any] | None:
        """Find a board or chip and tell every way of naming it.

        Exactly one of these sets of keywords: machine, x, y, z; machine,
        cabinet, frame, board; machine, chip_x, chip_y; machine, address (of a board, or
        of a BMP: its first board); job_id, chip_x, chip_y.

        Returns
        -------
        dict or None
            machine, logical, physical, chip, board_chip, job_id, job_chip;
            None if there is no such thing.

        Raises
        ------
        TypeError
            For any other set of keywords, or a value that is not a whole number.
        """
        with self._lock:
            return where_is(self._records.maps, self._jobs, keywords)

    # --- changes for watchers ---

    @property
    def changed_jobs(self) -> set[int]:
        """Ids of the jobs that changed since this was last read; hands them over."""
        return self._records.take_changed_jobs()

    @property
    def changed_machines(self) -> set[str]:
        """Names of the machines that changed since this was last read; hands them over."""
        return self._records.take_changed_machines()

    def take_changes(self) -> tuple[set[int], set[str]] | None:
        """Hand over both sets of changes at once; None if there are none."""
        return self._records.take_changes()

    # --- time ---

    def destroy_timed_out_jobs(self, as_of: float | None = None) -> None:
        """End the jobs with a keepalive period that was over at `as_of` (monotonic; now)."""
        with self._lock:
            self._life.end_timed_out(_clock.monotonic() if as_of is None else as_of)

    def check_free(self) -> None:
        """Give out again the boards that have rested long enough."""
        with self._lock:
            self._job_queue.check_free()

    def check_health(self, now: float | None = None) -> None:
        """Test the boards out of service that are due, in the background."""
        with self._lock:
            self._health.tend(_clock.monotonic() if now is None else now)

    def next_due(self, now: float) -> float | None:
        """Return a monotonic time before which there is nothing to do; None for never.

        The earliest of `next_deadline`, `next_rested` and `next_health_check`.  It
        is remembered until it has come: signs of life only put it off, and every
        event that brings it forward makes it stale.
        """
        if self._records.due_is_stale or (self._due is not None and self._due <= now):
            with self._lock:
                self._records.due_is_stale = False
                times = self.next_deadline(), self.next_rested(), self.next_health_check()
                self._due = min((time for time in times if time is not None), default=None)
        return self._due

    def next_deadline(self) -> float | None:
        """Return a monotonic time before which no job's keepalive ends; None for never."""
        with self._lock:
            return self._life.deadlines.next()

    def next_rested(self) -> float | None:
        """Return the monotonic time at which the next boards have rested; None if none rest."""
        with self._lock:
            return self._job_queue.next_rested()

    def next_health_check(self) -> float | None:
        """Return the monotonic time of the next test of a board; None if none is due."""
        with self._lock:
            return self._health.next_due

    # --- the end ---

    @property
    def frames(self) -> list[AsyncBMPController]:
        """All frames that may have something to do, those no longer configured first."""
        with self._lock:
            return self._fleet.all

    def stop(self) -> None:
        """Tell the frames to finish their requests and end; see `join`."""
        with self._lock:
            self._fleet.stop()

    def join(self) -> None:
        """Wait until the frames' threads have ended, however long it takes."""
        for bmp in self.frames:
            bmp.join()

    def give_up(self) -> None:
        """End the frames; requests that have not begun are dropped."""
        with self._lock:
            self._fleet.give_up()

    # --- the book ---

    @classmethod
    def restore(cls, book: _book.Book, outlet: Outlet | None = None) -> Controller:
        """Return the controller of a book, with its frames started.

        Jobs that were being powered, and boards that were on their way to off,
        get their commands again; every job gets a fresh keepalive period.  A job of an older
        state belongs from now on to its keepalive host, or without one to ``local``.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the book contradicts itself; nothing is left running.
        """
        controller = cls(
            book["next_id"],
            book["max_retired_jobs"],
            seconds_before_free=book["seconds_before_free"],
            outlet=outlet,
        )
        with controller._lock:
            controller._parts.impose(book)
            controller.belonging.settle()
        return controller

    def __getstate__(self) -> _book.Book:
        """Return the whole state, as plain builtins (see `_jobs.book`)."""
        with self._lock:
            return self._parts.plain()

    def __setstate__(self, book: _book.Book) -> None:
        """Impose a book, see `restore`."""
        self.__dict__ = type(self).restore(book).__dict__


def _plain_text(value: object) -> str | None:
    """Return a value from a call within as text that can be saved; None stays None."""
    return None if value is None else str(value)


def _make_frame(host: str, on_thread_start: Callable[[], None]) -> AsyncBMPController:
    """Start a frame's thread; the class is looked up here, so that it can be replaced."""
    return AsyncBMPController(host, on_thread_start=on_thread_start)
