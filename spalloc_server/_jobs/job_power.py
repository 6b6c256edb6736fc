"""What jobs ask of the hardware, and what becomes of them when it answers.

Owns when a job is ready, and whether one that met a fault is tried elsewhere or ended.
Which faults a board has met is in `_jobs.health`; what a frame does is in
`async_bmp_controller`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from spalloc_server._bmp.requests import FailureReason
from spalloc_server._jobs import job_log
from spalloc_server._jobs.job import JobState, _Job
from spalloc_server._jobs.machine_map import MachineMap
from spalloc_server._jobs.records import Records
from spalloc_server._places import Frame
from spalloc_server.async_bmp_controller import AtomicRequests

log = logging.getLogger(__name__)

#: How often a job that met a fault is tried on other boards (spec 7).
MAX_MOVES = 3


class JobPower(Records):
    """The power and links of jobs' boards; the frames' threads come in here.

    Attributes
    ----------
    on_background_state_change : callable or None
        Called without arguments, from a frame's thread, when a job has become
        ready; it must not call back in.
    """

    on_background_state_change: Callable[[], None] | None

    # --- to be overridden ---

    def destroy_job(self, host: str | None, job_id: int, reason: str | None = None) -> None:
        """End a job."""

    def _let_go(self, job: _Job, machine_name: str, allocation_id: int) -> None:
        """Power off the boards that a job has no more."""

    # --- any thread ---

    def _set_job_power_and_links(
        self, job: _Job, power: bool, link_enable: bool | None = None
    ) -> None:
        """Switch a job's boards, and its peripheral links unless `link_enable` is None."""
        with self._lock:
            assert job.boards is not None
            assert job.allocated_machine is not None
            where = self._maps[job.allocated_machine.name]
            requests: dict[Frame, AtomicRequests] = {}
            for frame, boards in where.by_frame(job.boards).items():
                done = partial(self._bmp_answered, job, job.tenancy, where, frame)
                requests[frame] = AtomicRequests(done)
                requests[frame].job_id = job.id
                for _, number in boards:
                    requests[frame].power(number, power)
            if link_enable is not None:
                for x, y, z, link in job.periphery or ():
                    frame, number = where.in_frame((x, y, z))
                    requests[frame].link(number, link, link_enable)
            job.state = JobState.power
            job.power = power
            job.bmp_requests_until_ready += len(requests)
            job.frames_asked.update(requests.keys())
            self._changed_jobs.add(job.id)
            self._tell("power", job.id, power)
            job_log.powered(job, where, power, link_enable)
            self._fleet.send(where.machine.name, requests)

    def _bmp_answered(  # noqa: PLR0917 - the last two come from the frame
        self,
        job: _Job,
        tenancy: int,
        where: MachineMap,
        frame: Frame,
        success: bool,
        reason: str | None = None,
    ) -> None:
        """Take a frame's answer (a frame's thread); boards that a job gave up are not its own."""
        if success:
            if self._is_awaited(job, tenancy, frame):
                self._bmp_on_request_complete(job, success, reason)
            return
        # Whoever is next in the queue waits until this job is back at its front.
        with self._lock, self._job_queue.holding():
            if self._maps.get(where.machine.name) is where:
                self._health.note(where.machine.name, frame, reason)
            if self._is_awaited(job, tenancy, frame):
                reason = self._health.explain(where, frame, reason)
                self._bmp_on_request_complete(job, success, reason)

    def _is_awaited(self, job: _Job, tenancy: int, frame: Frame) -> bool:
        """Count an answer that a job got; False if it was for boards that it gave up."""
        with self._lock:
            job.frames_asked[frame] -= 1 if job.tenancy == tenancy else 0
            return job.tenancy == tenancy

    def _bmp_on_request_complete(
        self, job: _Job, success: bool, reason: str | None = None
    ) -> None:
        """Count a frame's answer; the last one makes the job ready (a frame's thread)."""
        with self._lock:
            job.bmp_requests_until_ready -= 1
            if self._jobs.get(job.id) is not job:
                return
            if not success:
                self._hardware_failed(job, reason)
                return
            if job.bmp_requests_until_ready != 0:
                return
            job.state = JobState.ready
            job.was_ready = True
            self._changed_jobs.add(job.id)
            self._tell("ready", job.id)
        callback = self.on_background_state_change
        if callback is not None:
            callback()

    def _hardware_failed(self, job: _Job, reason: str | None) -> None:
        """Let a job try other boards, or end it with a reason that says what failed."""
        log.error("job %d: %s", job.id, reason, extra={"job_id": job.id})
        known = isinstance(reason, FailureReason) and (reason.faults or reason.silent)
        if known and self._may_move(job):
            self._requeue(job, str(reason))
        else:
            what = "" if reason is None else reason
            self.destroy_job(None, job.id, f"Machine configuration failed. Error: {what}")

    def _may_move(self, job: _Job) -> bool:
        """Whether a job that met a fault may be tried on other boards.

        Not if its user has worked on these, if it has been tried often enough,
        or if it asks for just these boards: one by name, or all there are.
        """
        if job.was_ready or job.attempts >= MAX_MOVES or job.allocated_machine is None:
            return False
        machine = job.allocated_machine
        if any(name != machine.name for name in self._job_queue.machines_for(job.id)):
            return True
        held = self._job_queue.allocation_of(job.id)
        assert held is not None
        outcome = self._job_queue.outcome_of(*held)
        whole = outcome[0] != "board" and outcome[3:] == (machine.width, machine.height)
        return len(job.request.what) != 3 and not whole

    def _requeue(self, job: _Job, reason: str) -> None:
        """Put a job back to the front of its queue; its boards are switched off."""
        held = self._job_queue.allocation_of(job.id)
        assert held is not None
        job.attempts += 1
        job.tenancy += 1
        self._changed_jobs.add(job.id)
        self._tell("requeued", job.id, job.attempts)
        job_log.note(job.id, f"back in the queue, move {job.attempts} of {MAX_MOVES}: {reason}")
        self._let_go(job, *held)
        job.forget_boards()
        self._job_queue.requeue(job.id, keep_boards=True)

    def _frame_answers(self, where: MachineMap, frame: Frame, answering: bool) -> None:
        """Hear that a frame fell silent or answers again (its thread).

        Jobs that wait for a silent frame need not wait for its last try.
        """
        name = where.machine.name
        with self._lock, self._job_queue.holding():
            if self._maps.get(name) is not where:
                return
            if answering:
                self._health.welcome(name, frame)
                return
            self._health.fall_silent(name, frame)
            text = f"BMP {where.machine.bmp_ips[frame]} does not answer"
            reason = self._health.explain(where, frame, FailureReason(text, silent=True))
            for job in self._jobs_on(where, frame):
                if job.frames_asked[frame] > 0 and self._may_move(job):
                    self._requeue(job, str(reason))

    def _jobs_on(self, where: MachineMap, frame: Frame) -> list[_Job]:
        """Return the jobs that have boards of a frame, oldest first."""
        boards = where.frame_boards(frame)
        ids = {where.job_ids[board] for board in boards if board in where.job_ids}
        return [self._jobs[job_id] for job_id in sorted(ids)]
