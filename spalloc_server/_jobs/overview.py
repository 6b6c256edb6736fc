"""Everything that can be asked about a whole facility: its boards, queue and past.

Owns no state and changes nothing: each question is answered under the controller's lock, from the
objects behind it.  Questions about one job or one place are the controller's own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spalloc_server import _clock
from spalloc_server._jobs.census import Census, take_census
from spalloc_server._jobs.whereabouts import all_places

if TYPE_CHECKING:
    from spalloc_server._jobs.board_states import Row as BoardRow
    from spalloc_server._jobs.ended_jobs import EndedJob
    from spalloc_server._jobs.grace import JobOnGrace
    from spalloc_server._jobs.health import OutOfService
    from spalloc_server._jobs.parts import Parts
    from spalloc_server._places import Board


class Overview:
    """Answers questions about a controller's facility, in any thread.

    Parameters
    ----------
    parts : Parts
        The objects behind the controller's lock.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._lock = parts.records.lock

    def census(self, timeout: float = -1) -> Census | None:
        """Count jobs, boards and the requests that the frames served.

        Parameters
        ----------
        timeout : float
            Seconds to wait for the lock; -1 for ever.

        Returns
        -------
        Census or None
            None if the lock was not to be had in time.
        """
        if not self._lock.acquire(timeout=timeout):
            return None
        parts = self._parts
        try:
            parts.facility.note_dead_changes()
            return take_census(parts.records, parts.boards, parts.life, parts.queue)
        finally:
            self._lock.release()

    def facility(self) -> dict[str, Any]:
        """Return the jobs' part of ``get_facility``.

        Returns
        -------
        dict
            message (the operator's, or None), accepting (whether new jobs are taken),
            scheduling, patience (seconds).
        """
        notice, queue = self._parts.notice, self._parts.queue
        with self._lock:
            return {
                "message": notice.text,
                "accepting": notice.accepting,
                "scheduling": queue.scheduling,
                "patience": queue.patience,
            }

    # --- boards ---

    def list_boards(self, machine_name: str) -> list[BoardRow] | None:
        """Return the state of every board of a machine; None if there is no such machine.

        Returns
        -------
        list of (x, y, z, state, job id or None, text or None)
            By x, y and z; the states are described in `_jobs.board_states`.  The same
            object until something has changed.
        """
        parts = self._parts
        with self._lock:
            parts.facility.note_dead_changes()
            if machine_name not in parts.records.machines:
                return None
            return parts.boards.of(machine_name).rows

    def list_places(
        self, machine_name: str
    ) -> list[tuple[int, int, int, int, int, int, str | None]] | None:
        """Return where every board of a machine is; None if there is no such machine.

        Returns
        -------
        list of (x, y, z, cabinet, frame, board, host or None)
            By x, y and z; the host is the board's address, as configured.
        """
        with self._lock:
            where = self._parts.records.maps.get(machine_name)
            return None if where is None else all_places(where)

    def out_of_service(self) -> list[OutOfService]:
        """Return the boards that are not handed out because something is wrong with them."""
        with self._lock:
            return self._parts.health.out_of_service()

    # --- jobs that wait ---

    def list_queue(self) -> dict[str, Any]:
        """Return each waiting job's place in line, and why it waits; see `Reasons.list_queue`."""
        with self._lock:
            return self._parts.reasons.list_queue()

    def get_job_outlook(self, job_id: int) -> dict[str, Any] | None:
        """Return one job's dict of `list_queue`; None if it does not wait."""
        with self._lock:
            return self._parts.reasons.outlook(job_id)

    def waiting_jobs(self) -> list[tuple[int, str, frozenset[Board]]]:
        """Return the queued jobs that wait for boards out of service: (id, machine, boards)."""
        with self._lock:
            return [
                (job_id, name, boards)
                for job_id, machines in sorted(self._parts.queue.blocked().items())
                for name, boards in machines.items()
            ]

    # --- other jobs ---

    def list_job_times(self) -> list[dict[str, int | float | None]]:
        """Return when jobs that have boards got them, and when these were first ready.

        Returns
        -------
        list of dict
            By age of the jobs: job_id, allocated, ready (Unix times; None where an older state
            did not know, or it has not been).
        """
        with self._lock:
            return [
                {"job_id": job.id, "allocated": job.allocated_at, "ready": job.ready_at}
                for job in self._parts.records.jobs.values()
                if job.boards is not None
            ]

    def jobs_on_grace(self) -> list[JobOnGrace]:
        """Return the jobs of before the start of which nothing was heard since, oldest first."""
        with self._lock:
            grace, jobs = self._parts.life.grace, self._parts.records.jobs
            return grace.rows(jobs, _clock.monotonic(), _clock.wall())

    def list_ended_jobs(self, limit: int, before: int | None = None) -> list[EndedJob]:
        """Return jobs that have ended, newest first.

        Parameters
        ----------
        limit : int
            Most rows (>= 0).
        before : int, optional
            Id of an ended job: only those that ended before it; none if it is not known.
        """
        with self._lock:
            return self._parts.records.ended.rows(limit, before)
