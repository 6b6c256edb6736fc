"""Jobs that were taken over at a start, and what ends them."""

import logging
from collections.abc import Callable

import pytest

from spalloc_server.controller import Controller, JobState
from tests.support.fake_frame import Rack
from tests.support.hand_clock import HandClock
from tests.support.machines import machine


@pytest.fixture
def taken_over(rack: Rack, clock: HandClock) -> Controller:
    """A controller after a restart: job 1 has a triad, job 2 never expires, job 3 the rest."""
    before = Controller()
    before.machines = {"m": machine("m", 3, 1)}
    before.create_job("10.0.0.1", 1, 1, owner="me", keepalive=60)
    before.create_job("10.0.0.2", 1, 1, owner="you", keepalive=None)
    before.create_job("10.0.0.3", 1, 1, owner="she", keepalive=60)
    rack.answer_all()
    after = Controller.restore(before.__getstate__())
    after.takeover_grace = 3600.0
    return after


def lives(controller: Controller, clock: HandClock, job_id: int) -> bool:
    controller.destroy_timed_out_jobs()
    return job_id in controller._jobs


def test_a_job_that_was_taken_over_lives_for_the_grace(
    taken_over: Controller, clock: HandClock
) -> None:
    assert taken_over.next_due(clock.now) == clock.now + 3600.0

    clock.advance(3600.0)
    assert lives(taken_over, clock, 1)

    clock.advance(0.1)
    assert not lives(taken_over, clock, 1)
    assert lives(taken_over, clock, 2)
    reason = taken_over.get_job_state(None, 1).reason
    assert reason == "Job timed out."


@pytest.mark.parametrize(
    "renew",
    [
        lambda controller: controller.job_keepalive("10.0.0.1", 1),
        lambda controller: controller.get_job_state("10.0.0.1", 1),
        lambda controller: controller.get_job_machine_info("10.0.0.1", 1),
        lambda controller: controller.power_on_job_boards("10.0.0.1", 1),
        lambda controller: controller.power_off_job_boards("10.0.0.1", 1),
    ],
)
def test_a_sign_of_life_ends_the_grace(
    taken_over: Controller, clock: HandClock, renew: Callable[[Controller], object]
) -> None:
    clock.advance(1000.0)
    renew(taken_over)

    assert [job.job_id for job in taken_over.overview.jobs_on_grace()] == [3]
    clock.advance(60.0)
    assert lives(taken_over, clock, 1)
    clock.advance(0.1)
    assert not lives(taken_over, clock, 1)
    assert lives(taken_over, clock, 3)


def test_a_keepalive_longer_than_the_grace_counts(
    taken_over: Controller, clock: HandClock
) -> None:
    taken_over.takeover_grace = 10.0

    clock.advance(60.0)
    assert lives(taken_over, clock, 1)
    clock.advance(0.1)
    assert not lives(taken_over, clock, 1)


def test_without_grace_the_keepalive_counts_from_the_start(
    taken_over: Controller, clock: HandClock
) -> None:
    taken_over.takeover_grace = 0.0

    clock.advance(60.1)
    assert not lives(taken_over, clock, 1)


def test_the_grace_may_change_meanwhile(taken_over: Controller, clock: HandClock) -> None:
    clock.advance(100.0)
    taken_over.takeover_grace = 200.0
    assert taken_over.next_due(clock.now) == clock.now + 100.0

    clock.advance(100.1)
    assert not lives(taken_over, clock, 1)


def test_an_operator_sees_the_jobs_on_grace_and_may_end_them(
    taken_over: Controller, clock: HandClock
) -> None:
    assert taken_over.overview.jobs_on_grace() == [
        (1, "me", "10.0.0.1", "m", 3, clock.today + 3600.0),
        (3, "she", "10.0.0.3", "m", 3, clock.today + 3600.0),
    ]
    census = taken_over.overview.census()
    assert census is not None
    assert census.jobs_on_grace == 2

    taken_over.end_job(3, "gone home", "unix:0")
    assert [job.job_id for job in taken_over.overview.jobs_on_grace()] == [1]
    (row,) = taken_over.overview.list_ended_jobs(1)
    assert (row.reason, row.by, row.by_host) == ("gone home", "operator", None)
    assert row.by_principal == "unix:0"


def test_the_log_says_once_that_a_new_job_waits_for_them(
    taken_over: Controller, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)

    waiting = taken_over.create_job(None, 1, 1, owner="late")
    taken_over.create_job(None, 1, 1, owner="later")

    assert taken_over.get_job_state(None, waiting).state is JobState.queued
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "job 4 waits, and 2 jobs of before the start have boards though nothing was heard of "
        "them since: 1, 3; "
    )


def test_jobs_of_this_start_have_no_grace(taken_over: Controller, clock: HandClock) -> None:
    job_id = taken_over.create_job(None, owner="me", keepalive=60, machine="m")

    assert job_id not in [job.job_id for job in taken_over.overview.jobs_on_grace()]
    clock.advance(60.1)
    assert not lives(taken_over, clock, job_id)
