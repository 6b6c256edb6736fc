"""The power and links of jobs' boards: requests to the frames, and their answers.

Owns two decisions: when a job is ready, and whether a job that met a fault is tried on other
boards or ended.  The faults of each board are in `_jobs.health`; the work of a frame is in
`async_bmp_controller`.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from spalloc_server import _clock
from spalloc_server._bmp.failures import FailureReason
from spalloc_server._bmp.requests import LinkRequest
from spalloc_server._jobs import job_log
from spalloc_server._jobs.ended_jobs import FAULT, Ending
from spalloc_server._jobs.health import Health, KnownFailure
from spalloc_server._jobs.job import JobState, _Job
from spalloc_server._places import Frame
from spalloc_server.async_bmp_controller import AtomicRequests

if TYPE_CHECKING:
    from spalloc_server._jobs.power_downs import PowerDowns
    from spalloc_server._jobs.records import MachineMap, Records
    from spalloc_server.job_queue import JobQueue

log = logging.getLogger(__name__)

#: So many times a job that met a fault is tried on other boards.
MAX_MOVES = 3


class JobPower:
    """The power and links of jobs' boards.

    Parameters
    ----------
    records : Records
    queue : JobQueue
        Takes back the jobs that are tried on other boards.
    health : Health
        Told of faults.
    power_downs : PowerDowns
        Switches off the boards of jobs that are moved.
    """

    def __init__(
        self,
        records: Records,
        queue: JobQueue,
        health: Health,
        power_downs: PowerDowns,
    ) -> None:
        self._records = records
        self._lock = records.lock
        self._queue = queue
        self._health = health
        self._power_downs = power_downs

    # --- under the lock ---

    def switch(self, job: _Job, power: bool, link_enable: bool | None = None) -> None:
        """Switch a job's boards, and its peripheral links unless `link_enable` is None."""
        assert job.boards is not None
        assert job.allocated_machine is not None
        where = self._records.maps[job.allocated_machine.name]
        requests: dict[Frame, AtomicRequests] = {}
        frames = where.by_frame(job.boards)
        for frame, boards in frames.items():
            done = partial(self._answered, job, job.tenancy, where, frame)
            request = requests[frame] = AtomicRequests(done)
            request.job_id = job.id
            for _, number in boards:
                request.power(number, power)
        if link_enable is not None:
            in_frame = where.in_frame
            for x, y, z, link in job.periphery or ():
                frame, number = in_frame((x, y, z))
                links = requests[frame].link_requests
                links.append(LinkRequest(number, link, link_enable))
        job.state = JobState.power
        job.power = power
        job.bmp_requests_until_ready += len(requests)
        job.frames_asked.update(requests.keys())
        self._records.changed_jobs.add(job.id)
        self._records.tell("power", job.id, power)
        on = job_log.Where(where.machine.name, where.hosts, frames)
        words = partial(job_log.powered, on, power, job.periphery or (), link_enable)
        self._records.log(job.id, words)
        self._records.ask(where.machine.name, requests)

    # --- frames' threads ---

    def _answered(  # noqa: PLR0917 - the last two come from the frame
        self,
        job: _Job,
        tenancy: int,
        where: MachineMap,
        frame: Frame,
        success: bool,
        reason: str | None = None,
    ) -> None:
        """Take a frame's answer; it counts only for the boards that the job has now."""
        if success:
            if self._is_awaited(job, tenancy, frame):
                self.count_answer(job, success, reason)
            return
        # Until this job is back at the front of its queue, no other is served.
        with self._lock, self._queue.holding():
            if self._records.maps.get(where.machine.name) is where:
                self._health.note(where.machine.name, frame, reason, job_id=job.id)
            if self._is_awaited(job, tenancy, frame):
                reason = self._health.explain(where, frame, reason)
                self.count_answer(job, success, reason)

    def _is_awaited(self, job: _Job, tenancy: int, frame: Frame) -> bool:
        """Count an answer that a job got; False if it was for boards that it gave up."""
        with self._lock:
            job.frames_asked[frame] -= 1 if job.tenancy == tenancy else 0
            return job.tenancy == tenancy

    def count_answer(self, job: _Job, success: bool, reason: str | None = None) -> None:
        """Count a frame's answer; the last one makes the job ready."""
        records = self._records
        with self._lock:
            job.bmp_requests_until_ready -= 1
            if records.jobs.get(job.id) is not job:
                return
            if not success:
                self._hardware_failed(job, reason)
                return
            if job.bmp_requests_until_ready != 0:
                return
            now = _clock.wall()
            job.state = JobState.ready
            records.changed_jobs.add(job.id)
            records.tell("ready", job.id, now)
            if not job.was_ready:
                job.was_ready, job.ready_at = True, now
                records.log(job.id, partial(job_log.note, "ready"))
        if records.on_background_state_change is not None:
            records.on_background_state_change()

    def _hardware_failed(self, job: _Job, reason: str | None) -> None:
        """Try a job on other boards, or end it with a reason that names the fault."""
        log.error("job %d: %s", job.id, reason, extra={"job_id": job.id})
        known = isinstance(reason, KnownFailure) and (reason.faults or reason.silent)
        if known and self._may_move(job):
            assert isinstance(reason, KnownFailure)
            self._move(job, reason)
        else:
            text = "" if reason is None else reason
            job.ending = Ending(FAULT)
            self._queue.destroy_job(job.id, f"Machine configuration failed. Error: {text}")

    def _may_move(self, job: _Job) -> bool:
        """Whether a job that met a fault may be tried on other boards.

        Not if its user has worked on these, if it has been tried often enough,
        or if it asks for just these boards: one by name, or all there are.
        """
        if job.was_ready or job.attempts >= MAX_MOVES or job.allocated_machine is None:
            return False
        machine = job.allocated_machine
        if any(name != machine.name for name in self._queue.machines_for(job.id)):
            return True
        allocation = self._queue.allocation_of(job.id)
        assert allocation is not None
        outcome = self._queue.outcome_of(*allocation)
        whole = outcome[0] != "board" and outcome[3:] == (machine.width, machine.height)
        return len(job.request.what) != 3 and not whole

    def _move(self, job: _Job, reason: KnownFailure) -> None:
        """Put a job back to the front of its queue; its boards are switched off."""
        allocation = self._queue.allocation_of(job.id)
        assert allocation is not None
        job.attempts += 1
        job.tenancy += 1
        self._records.changed_jobs.add(job.id)
        job.fault = str(reason)
        fault: dict[str, Any] = {"text": job.fault, "board": None, "physical": None}
        if reason.board is not None and reason.place is not None:
            fault.update(board=list(reason.board), physical=list(reason.place))
        self._records.tell("requeued", job.id, job.attempts, fault)
        text = f"back in the queue, move {job.attempts} of {MAX_MOVES}: {reason}"
        self._records.log(job.id, partial(job_log.note, text))
        self._power_downs.take_back(job, *allocation)
        job.forget_boards()
        self._queue.requeue(job.id, keep_boards=True)

    def frame_answers(self, where: MachineMap, frame: Frame, answering: bool) -> None:
        """Note that a frame fell silent or answers again (its thread).

        Jobs that wait for a silent frame need not wait for its last try.
        """
        name = where.machine.name
        with self._lock, self._queue.holding():
            if self._records.maps.get(name) is not where:
                return
            if answering:
                self._health.welcome(name, frame)
                return
            self._health.fall_silent(name, frame)
            text = f"BMP {where.hosts[frame]} does not answer"
            reason = self._health.explain(where, frame, FailureReason(text, silent=True))
            assert isinstance(reason, KnownFailure)
            for job in self._jobs_on(where, frame):
                if job.frames_asked[frame] > 0 and self._may_move(job):
                    self._move(job, reason)

    def _jobs_on(self, where: MachineMap, frame: Frame) -> list[_Job]:
        """Return the jobs that have boards of a frame, oldest first."""
        boards = where.frame_boards(frame)
        ids = {where.job_ids[board] for board in boards if board in where.job_ids}
        return [self._records.jobs[job_id] for job_id in sorted(ids)]
