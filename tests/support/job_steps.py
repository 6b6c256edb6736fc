"""Steps that tests of jobs take again and again, and questions that they ask."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from spalloc_server._jobs import book as _book
from spalloc_server.controller import Controller, JobMachineInfoTuple, JobState
from tests.support.facility import Facility
from tests.support.fake_frame import Rack
from tests.support.outcomes import hear_outcomes

#: The one frame of the machine that `made` has.
HOST = "10.1.0.0"
NO_BOARDS = JobMachineInfoTuple(None, None, None, None, None)

#: Makes facilities that end with the test.
Build = Callable[..., Facility]


def told(made: Controller) -> tuple[set[int], set[str]]:
    return made.changed_jobs, made.changed_machines


def run_job(made: Controller, rack: Rack, *what: int, **keywords: Any) -> int:
    """Create a job and have its boards come up."""
    job_id = made.create_job(None, *what, owner="me", **keywords)
    rack.answer_all()
    assert made.get_job_state(None, job_id).state is JobState.ready
    return job_id


def is_ready(facility: Facility, job_id: int) -> Callable[[], bool]:
    return lambda: facility.state(job_id) is JobState.ready


def is_over(facility: Facility, job_id: int) -> Callable[[], bool]:
    return lambda: facility.state(job_id) is JobState.destroyed


def reason(facility: Facility, job_id: int) -> str:
    return facility.controller.get_job_state(None, job_id).reason or ""


def json_safe(book: _book.Book) -> _book.Book:
    """Copy a book as if it had been saved."""
    copy: _book.Book = pickle.loads(pickle.dumps(book))
    return copy


def restarted(facility: Facility) -> Controller:
    """What the next start makes of it, after a crash now."""
    after = Controller.__new__(Controller)
    book = facility.controller.__getstate__()
    facility.frames.clear()
    after.__setstate__(json_safe(book))
    hear_outcomes(after, facility._note)
    facility.controller = after
    return after
