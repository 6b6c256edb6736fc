"""Rows of one job, kept until something in them changes."""

from typing import Any

import pytest

from spalloc_server._jobs.job import JobState, _Job, job_from_plain, plain_request
from spalloc_server._jobs.job_request import JobRequest
from tests.support.machines import machine


@pytest.fixture
def job() -> _Job:
    return _Job(
        3, "me", 5.0, 60.0, keepalive_host="h", request=JobRequest((1, 2), tags=frozenset("ab"))
    )


def test_states_have_the_protocol_s_numbers() -> None:
    numbers = {state.name: state.value for state in JobState}

    assert numbers == {"unknown": 0, "queued": 1, "power": 2, "ready": 3, "destroyed": 4}


def test_a_new_job_is_queued(job: _Job) -> None:
    assert job.state_row() == (JobState.queued, None, 60.0, None, 5.0, "h")
    assert job.row() == (
        3, "me", 5.0, 60.0, JobState.queued, None, (1, 2), {"tags": {"a", "b"}}, None, None, "h",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("start_time", 9.0),
        ("keepalive", None),
        ("keepalive_host", None),
        ("state", JobState.ready),
        ("power", True),
        ("boards", {(0, 0, 0)}),
        ("allocated_machine", machine()),
    ],
)
def test_a_row_is_the_same_until_something_in_it_changes(job: _Job, name: str, value: Any) -> None:
    row, state = job.row(), job.state_row()
    assert job.row() is row
    assert job.state_row() is state

    setattr(job, name, value)

    assert job.row() != row


def test_a_job_may_forget_its_boards(job: _Job) -> None:
    before = job.row()
    job.boards, job.allocated_machine, job.power = {(0, 0, 0)}, machine(), True
    job.state, job.bmp_requests_until_ready, job.was_ready = JobState.ready, 2, True

    job.forget_boards()

    assert job.row() == before
    assert (job.bmp_requests_until_ready, job.was_ready) == (0, False)


def test_a_job_survives_as_plain_builtins(job: _Job) -> None:
    plain = plain_request(job)

    again = job_from_plain(3, {**plain, "attempts": 2, "fault": "broken", "code": "c"})

    assert plain["kwargs"] == {"tags": ["a", "b"]}
    assert again.row() == job.row()
    assert (again.attempts, again.fault) == (2, "broken")
    assert (again.principal, again.code) == (job.principal, "c")
