"""The life of jobs: how they begin, get boards, show signs of life and end.

Owns the steps of a job, as drawn in `job_queue`, and the deadlines of those that must show signs
of life; which job is next is the queue's business, the boards' power that of `_jobs.job_power`.
Everything here runs under the controller's lock.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any

from spalloc_server import _clock
from spalloc_server._jobs import job_log
from spalloc_server._jobs.ended_jobs import KEEPALIVE, MACHINE, REQUEST, Ending, plain_row
from spalloc_server._jobs.grace import Grace
from spalloc_server._jobs.job import (
    JobState,
    _Job,
    job_from_plain,
    plain_allocation,
    plain_job,
    plain_region,
    plain_request,
)
from spalloc_server._jobs.out_of_service import counted
from spalloc_server._jobs.waits import ExpectedWaits, Start
from spalloc_server.links import Links

if TYPE_CHECKING:
    from spalloc_server._jobs.job_power import JobPower
    from spalloc_server._jobs.job_request import JobRequest
    from spalloc_server._jobs.power_downs import PowerDowns
    from spalloc_server._jobs.records import Records
    from spalloc_server._places import Board
    from spalloc_server.job_queue import JobQueue, RegionRecord

log = logging.getLogger(__name__)

#: Jobs that may be queued or running at a time (protocol).
MAX_JOBS = 10_000

#: Fewer deadlines than this are never searched for jobs that are gone. # arbitrary
_SHORT = 1000

Periphery = Collection[tuple[int, int, int, Links]]


class Deadlines:
    """Which jobs may have to end, earliest first, so that nobody has to look at every job.

    A job's deadline moves with each sign of life; its entry here is left where it was and moved
    on only when its time comes.  Knows no clock: time is passed in.

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


class JobLife:
    """Begins and ends jobs.

    Parameters
    ----------
    records : Records
    queue : JobQueue
        Gives boards to jobs; its callbacks come here.
    power : JobPower
        Switches boards on.
    power_downs : PowerDowns
        Takes boards back.
    """

    def __init__(
        self, records: Records, queue: JobQueue, power: JobPower, power_downs: PowerDowns
    ) -> None:
        self._records = records
        self._queue = queue
        self._power = power
        self._power_downs = power_downs
        self.deadlines = Deadlines(self._deadline_of)
        self.grace = Grace()
        self.waits = ExpectedWaits()
        queue.on_allocate = self._allocated
        queue.on_free = self._freed
        queue.on_cancel = self._cancelled
        queue.on_rested = self._rested
        queue.on_blocked = self._blocked
        queue.on_region = self._region_changed

    # --- beginning ---

    def create(
        self,
        host: str | None,
        owner: str,
        keepalive: float | None,
        request: JobRequest,
        principal: str,
    ) -> int:
        """Begin a job, and return its id.

        Raises
        ------
        ValueError
            If there are `MAX_JOBS` already.
        """
        records = self._records
        if len(records.jobs) >= MAX_JOBS:
            raise ValueError(
                f"{len(records.jobs)} jobs are queued or running already, "
                f"{MAX_JOBS} are allowed; try again when some have ended"
            )
        job = _Job(
            records.next_id,
            owner,
            _clock.wall(),
            keepalive,
            keepalive_host=host,
            request=request,
            principal=principal,
        )
        records.next_id += 1
        records.jobs[job.id] = job
        self._keep_alive(job)
        records.changed_jobs.add(job.id)
        records.tell("created", job.id, plain_request(job))
        words = partial(job_log.created, job.args, job.kwargs, owner, keepalive, host)
        records.log(job.id, words)
        self._enqueue(job)
        if job.state is JobState.queued and len(self.grace):
            self._say_who_is_on_grace(job.id)
        return job.id

    def _enqueue(self, job: _Job) -> None:
        request = job.request
        try:
            self._queue.add_job(job.id, request.boards, machine=request.machine, tags=request.tags)
        except BaseException as e:
            if job.id in self._records.jobs:
                self._end(job, f"Cancelled: {e}", Ending(REQUEST))
            with suppress(KeyError):
                self._queue.destroy_job(job.id)
            raise

    # --- signs of life ---

    def touch(self, job: _Job, host: str | None) -> None:
        """Begin a job's keepalive period anew; None keeps the keepalive host."""
        if self.grace:
            self.grace.end(job.id)
        self._keep_alive(job)
        if host is not None and host != job.keepalive_host:
            job.keepalive_host = str(host)
            self._records.tell("host", job.id, job.keepalive_host)

    def give(self, job: _Job, principal: str) -> None:
        """Make a job another principal's; its code is void from then on."""
        job.principal, job.code = principal, None
        self._records.tell("principal", job.id, principal)

    def set_code(self, job: _Job, code: str) -> None:
        """Let the holder of a code take a job over; `code` is its hash."""
        job.code = code
        self._records.tell("code", job.id, code)

    def _keep_alive(self, job: _Job) -> None:
        before = job.deadline
        job.deadline = None if job.keepalive is None else _clock.monotonic() + job.keepalive
        if job.deadline is not None and (before is None or job.deadline < before):
            # New, or its period was made shorter from outside.
            self.deadlines.add(job.id, job.deadline)
            self._records.due_is_stale = True

    def set_grace(self, seconds: float) -> None:
        """Judge the jobs that were taken over at the start only after so many seconds."""
        self.grace.seconds = seconds
        for job_id in self.grace:
            job = self._records.jobs[job_id]
            if job.keepalive is not None:
                job.deadline = self.grace.deadline(job_id, job.keepalive)
                self.deadlines.add(job_id, job.deadline)
        self._records.due_is_stale = True

    def _say_who_is_on_grace(self, waiting: int) -> None:
        """Say, once, that jobs on grace have boards that a new job waits for."""
        holders: set[int] = set()
        for name in self._queue.machines_for(waiting):
            holders.update(self._records.maps[name].job_ids.values())
        self.grace.say_for_whom_a_job_waits(waiting, holders)

    def _deadline_of(self, job_id: int) -> float | None:
        job = self._records.jobs.get(job_id)
        return None if job is None else job.deadline

    def end_timed_out(self, as_of: float) -> None:
        """End the jobs with a keepalive period that was over at `as_of` (monotonic)."""
        for job_id in self.deadlines.due(as_of):
            self.destroy(job_id, "Job timed out.", Ending(KEEPALIVE))

    # --- callbacks of the queue ---

    def _allocated(
        self,
        job_id: int,
        machine_name: str,
        boards: Collection[Board],
        periphery: Periphery,
        torus: int,
    ) -> None:
        """Note the boards that a job was given, and power them on."""
        job = self._records.jobs[job_id]
        self._settle(job, machine_name, boards, periphery, torus)
        self._records.changed_machines.add(machine_name)
        job.allocated_at = _clock.wall()
        plain = self._plain_allocation(job)
        assert plain is not None
        job.place = plain["outcome"][1:]
        if not job.attempts:
            waited = job.allocated_at - job.start_time
            self.waits.starts.append(Start(job_id, machine_name, len(boards), waited))
        self._records.tell("allocated", job_id, plain, job.allocated_at)
        self._power.switch(job, power=True, link_enable=False)

    def _settle(
        self,
        job: _Job,
        machine_name: str,
        boards: Collection[Board],
        periphery: Periphery,
        torus: int,
    ) -> None:
        """Write a machine's boards into a job, and the job into the machine's map."""
        where = self._records.maps[machine_name]
        job.tenancy += 1
        job.was_ready = False
        job.waits_for.clear()
        job.allocated_machine = where.machine
        job.boards = set(boards)
        job.periphery = periphery
        job.torus = torus
        job.width, job.height, job.connections, job.origin = where.network(boards, torus)
        where.job_ids.update(dict.fromkeys(boards, job.id))

    def _freed(self, job_id: int, reason: str | None) -> None:
        """End a job that has boards; they are switched off, then given back."""
        job = self._records.jobs[job_id]
        machine_name = job.allocated_machine_name
        assert machine_name is not None
        allocation = self._queue.allocation_of(job_id)
        self._end(job, reason, job.ending or Ending(MACHINE))
        # A machine that is being removed has no allocations any more.
        allocation_id = -job_id if allocation is None else allocation[1]
        self._power_downs.take_back(job, machine_name, allocation_id)

    def _cancelled(self, job_id: int, reason: str | None) -> None:
        """End a job that never had boards."""
        job = self._records.jobs[job_id]
        self._end(job, f"Cancelled: {reason or ''}", job.ending or Ending(REQUEST))

    def _rested(self, machine_name: str, allocation_ids: list[int]) -> None:
        self._records.tell("rested", machine_name, list(allocation_ids))

    def _region_changed(self, job_id: int, record: RegionRecord | None) -> None:
        """Note the place that is kept for a job that waits; None if it has ended."""
        plain = plain_region(record, self._queue.region_age(job_id))
        self._records.tell("region", job_id, plain)

    def _blocked(self, job_id: int, machine_name: str, boards: frozenset[Board]) -> None:
        """Say, once, for which boards out of service a job waits."""
        job = self._records.jobs[job_id]
        if job.waits_for.get(machine_name) != boards:
            job.waits_for[machine_name] = boards
            text = f"waits for {counted(boards)} of machine {machine_name}, out of service"
            log.info("job %d %s", job_id, text, extra={"job_id": job_id})
            self._records.log(job_id, partial(job_log.note, text))

    # --- the end ---

    def destroy(self, job_id: int, reason: str | None, ending: Ending) -> None:
        """End a job; unknown ids are ignored."""
        job = self._records.jobs.get(job_id)
        if job is not None:
            job.ending = ending
            self._queue.destroy_job(job_id, reason)

    def _end(self, job: _Job, reason: str | None, ending: Ending) -> None:
        """Retire a job, with the reason that its user will be told."""
        records = self._records
        plain_ending = {**ending._asdict(), "at": _clock.wall()}
        where = None
        if job.boards is not None and job.place is not None:
            where = job.allocated_machine_name or "", job.place, len(job.boards)
        row = plain_row(
            {
                "owner": job.owner,
                "host": job.keepalive_host,
                "start_time": job.start_time,
                "allocated_at": job.allocated_at,
                "ready_at": job.ready_at,
            },
            where,
            plain_ending,
        )
        job.state = JobState.destroyed
        job.power = None
        del records.jobs[job.id]
        self.grace.end(job.id)
        self.waits.forget(job.id)
        records.ended.add(job.id, reason, row)
        records.changed_jobs.add(job.id)
        records.tell("ended", job.id, reason, plain_ending)
        records.log(job.id, partial(job_log.destroyed, reason, ending))

    # --- the book ---

    def learn_waits(self) -> None:
        """Take the waits of similar requests from the jobs that have ended."""
        ended = self._records.ended
        for row in reversed(ended.rows(len(ended.reasons))):
            if (
                row.created is not None
                and row.allocated is not None
                and row.machine
                and row.boards
            ):
                self.waits.note(row.machine, row.boards, row.allocated - row.created)

    def plain_jobs(self) -> dict[int, dict[str, Any]]:
        """Return all jobs as a book has them, oldest first."""
        return {
            job.id: plain_job(
                job,
                self._plain_allocation(job),
                plain_region(self._queue.region_of(job.id), self._queue.region_age(job.id)),
            )
            for job in self._records.jobs.values()
        }

    def _plain_allocation(self, job: _Job) -> dict[str, Any] | None:
        allocation = self._queue.allocation_of(job.id)
        if allocation is None:
            return None
        return plain_allocation(job, *allocation, self._queue.outcome_of(*allocation))

    def impose(self, job_id: int, record: dict[str, Any], told_at: float | None) -> None:
        """Put a job back as a book has it, and finish its power command if one was under way.

        Parameters
        ----------
        job_id : int
        record : dict
        told_at : float or None
            The last time (Unix) that is known of the book's own life.
        """
        job = job_from_plain(job_id, record)
        self._records.jobs[job_id] = job
        self._keep_alive(job)
        if job.keepalive is not None:
            self.grace.begin(job_id, _clock.monotonic())
        request = job.request
        plain = record["allocation"]
        allocation = None
        if plain is not None:
            allocation = (plain["machine"], plain["id"], tuple(plain["outcome"]))
        began, region = record["allocated_at"], record["region"]
        self._queue.restore_job(
            job_id,
            request.boards,
            machine=request.machine,
            tags=request.tags,
            allocation=allocation,
            allocated_for=0.0 if began is None else max(0.0, _clock.wall() - began),
            region_age=None if region is None else _region_age(region, told_at),
        )
        if plain is not None:
            self._impose_boards(job, record)
        elif region is not None and region["machine"] is not None:
            self._queue.restore_region(
                job_id, region["machine"], region["place"], closed=region["closed"]
            )

    def _impose_boards(self, job: _Job, record: dict[str, Any]) -> None:
        plain = record["allocation"]
        boards = [(x, y, z) for x, y, z in plain["boards"]]
        periphery = [(x, y, z, Links(link)) for x, y, z, link in plain["periphery"]]
        known = self._records.maps[plain["machine"]].machine.board_locations
        for board in (*boards, *(place[:3] for place in periphery)):
            if board not in known:
                raise ValueError(f"job {job.id} has board {board}, machine {plain['machine']} not")
        self._settle(job, plain["machine"], boards, periphery, plain["torus"])
        job.place = plain["outcome"][1:]
        job.was_ready = record["was_ready"]
        job.allocated_at, job.ready_at = record["allocated_at"], record["ready_at"]
        if record["state"] == JobState.ready:
            job.state, job.power = JobState.ready, record["power"]
        else:
            power = record["power"] is not False
            self._power.switch(job, power, link_enable=False if power else None)


def _region_age(region: dict[str, Any], told_at: float | None) -> float:
    """Return a region's age, seconds, when the last thing was told; downtime does not count."""
    age: float = region["age"]
    return age if told_at is None else age + max(0.0, told_at - region["at"])
