"""Jobs whose users report boards."""

from __future__ import annotations

from typing import Any

from spalloc_server.controller import JobState
from tests.support.facility import Facility

A, B = (0, 0, 0), (0, 0, 1)
HOST, OTHER = "10.0.0.1", "10.0.0.2"
DAY = 86400.0


def used(facility: Facility, host: str = HOST, *what: int) -> int:
    """A job that is ready on board A, kept alive from a host."""
    job_id = facility.create(*(what or A))
    facility.run_until(lambda: facility.state(job_id) is JobState.ready, 100.0)
    facility.controller.job_keepalive(host, job_id)
    return job_id


def ended(facility: Facility, host: str = HOST, *what: int) -> int:
    """A job that was ready on board A, and whose boards are free again."""
    job_id = used(facility, host, *what)
    facility.controller.destroy_job(None, job_id)
    facility.run(60.0)
    return job_id


def report(facility: Facility, job_id: int, host: str = HOST, board: Any = A) -> str:
    """Report a board as a job's user does."""
    return facility.controller.upkeep.report_problem(host, job_id, board, "chips do not answer")
