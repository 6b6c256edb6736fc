"""Whom jobs belong to: their principals, and the codes by which they change hands.

Owns no state: a job knows its principal and the hash of its code.  Must not know who may ask.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from spalloc_server._access.identity import host_principal, parse_address

if TYPE_CHECKING:
    from spalloc_server._jobs.job_life import JobLife
    from spalloc_server._jobs.records import Records


class Belonging:
    """The principals of jobs, in any thread.

    Parameters
    ----------
    records : Records
    life : JobLife
        Changes jobs, and tells of it.
    """

    def __init__(self, records: Records, life: JobLife) -> None:
        self._lock = records.lock
        self._jobs = records.jobs
        self._life = life

    def principal_of(self, job_id: int) -> str | None:
        """Return the identity that a job belongs to; None for unknown ids."""
        with self._lock:
            job = self._jobs.get(job_id)
            return None if job is None else job.principal

    def settle(self) -> None:
        """Have each job of an older state belong to its keepalive host, or else to ``local``.

        Once and for all, since anybody's sign of life changes the keepalive host.
        """
        with self._lock:
            for job in self._jobs.values():
                if job.principal is None:
                    job.principal = principal_of_host(job.keepalive_host)

    def give_job(self, job_id: int, principal: str) -> None:
        """Make a job another principal's; unknown ids are ignored."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is not None:
                self._life.give(job, principal)

    def takeover_code(self, job_id: int) -> str | None:
        """Return the hash of the code by which a job may be taken over; None if it has none."""
        with self._lock:
            job = self._jobs.get(job_id)
            return None if job is None else job.code

    def set_takeover_code(self, job_id: int, code: str) -> None:
        """Keep the hash of a code by which a job may be taken over; unknown ids are ignored."""
        with self._lock:
            job = self._jobs.get(job_id)
            if job is not None:
                self._life.set_code(job, code)


@lru_cache(maxsize=1024)
def principal_of_host(host: str | None) -> str:
    """Return the principal of a client that is known by its address alone."""
    address = parse_address(host)
    return f"host:{host}" if address is None and host is not None else host_principal(address)
