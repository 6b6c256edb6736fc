"""How jobs begin, show signs of life and end."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._allocation.kinds import Request
from spalloc_server._jobs import job_life
from spalloc_server._jobs.job_life import Deadlines
from spalloc_server.controller import Controller, JobState
from tests.support.fake_frame import Rack
from tests.support.hand_clock import HandClock
from tests.support.job_steps import HOST, NO_BOARDS, run_job, told


def test_nothing_is_due_where_nothing_is_watched() -> None:
    times: dict[int, float] = {}
    deadlines = Deadlines(times.get)
    deadlines.add(1, None)

    assert deadlines.next() is None
    assert deadlines.due(1e9) == []


def test_those_that_have_passed_are_due_earliest_first() -> None:
    times = {1: 30.0, 2: 10.0, 3: 20.0, 4: 40.0}
    deadlines = Deadlines(times.get)
    for job_id, time in times.items():
        deadlines.add(job_id, time)

    assert deadlines.due(30.0) == [2, 3]
    assert deadlines.next() == 30.0
    assert deadlines.due(30.1) == [1]


def test_a_deadline_that_has_moved_is_seen_when_its_old_time_comes() -> None:
    times = {1: 10.0, 2: 20.0}
    deadlines = Deadlines(times.get)
    for job_id, time in times.items():
        deadlines.add(job_id, time)
    times[1] = 50.0
    del times[2]

    assert deadlines.due(30.0) == []
    assert deadlines.next() == 50.0
    assert deadlines.due(51.0) == [1]
    assert deadlines.next() is None


def test_jobs_that_are_gone_do_not_pile_up() -> None:
    times: dict[int, float] = {0: 5.0}
    deadlines = Deadlines(times.get)
    deadlines.add(0, 5.0)
    for job_id in range(1, 20 * job_life._SHORT):
        times[job_id] = 1e9
        deadlines.add(job_id, 1e9)
        del times[job_id]

    assert len(deadlines._heap) <= job_life._SHORT
    assert deadlines.due(6.0) == [0]


def test_many_deadlines_are_gone_through_only_when_they_have_doubled() -> None:
    kept = 2 * job_life._SHORT
    times = dict.fromkeys(range(kept), 5.0)
    asked = 0

    def deadline_of(job_id: int) -> float | None:
        nonlocal asked
        asked += 1
        return times.get(job_id)
    deadlines = Deadlines(deadline_of)
    for job_id in times:
        deadlines.add(job_id, 5.0)

    asked = 0
    for job_id in range(kept, 2 * kept):
        deadlines.add(job_id, 1e9)

    assert asked == 2 * kept
    assert len(deadlines._heap) == kept


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "move", "drop", "ask"]), st.integers(0, 9)), max_size=60
    )
)
def test_nobody_is_late_or_early(steps: list[tuple[str, int]]) -> None:
    times: dict[int, float] = {}
    deadlines = Deadlines(times.get)
    now, next_id = 0.0, 0
    for step, number in steps:
        now += number / 3
        if step == "add":
            times[next_id] = now + number
            deadlines.add(next_id, times[next_id])
            next_id += 1
        elif step == "move" and times:
            times[sorted(times)[number % len(times)]] = now + 10
        elif step == "drop" and times:
            del times[sorted(times)[number % len(times)]]
        else:
            late = {job_id for job_id, time in times.items() if time < now}
            assert set(deadlines.due(now)) == late
            for job_id in late:
                del times[job_id]
            upcoming = deadlines.next()
            if times:
                assert upcoming is not None
                assert upcoming <= min(times.values())
            else:
                assert upcoming is None


def test_a_job_goes_from_power_to_ready(made: Controller, rack: Rack, clock: HandClock) -> None:
    job_id = made.create_job("10.0.0.1", owner="me")

    assert job_id == 1
    assert made.get_job_state(None, 1) == (
        JobState.power, True, 60.0, None, clock.today, "10.0.0.1",
    )  # fmt: skip
    assert told(made) == ({1}, {"m"})

    rack[HOST].answer()

    assert made.get_job_state(None, 1).state is JobState.ready
    assert made.get_job_state(None, 1).power is True
    assert told(made) == ({1}, set())


def test_a_job_that_finds_no_room_is_queued(made: Controller, rack: Rack) -> None:
    run_job(made, rack, 2, 1)
    job_id = made.create_job(None, owner="me")

    assert made.get_job_state(None, job_id)[:2] == (JobState.queued, None)
    assert made.get_job_machine_info(None, job_id) == NO_BOARDS
    assert made.where_is(job_id=job_id, chip_x=0, chip_y=0) is None


def test_what_no_machine_can_give_gets_an_id_and_is_cancelled(made: Controller) -> None:
    job_id = made.create_job(None, 1000, owner="me")

    state = made.get_job_state(None, job_id)
    assert state == (
        JobState.destroyed, None, None, "Cancelled: No suitable machines available.", None, None,
    )  # fmt: skip
    assert made.changed_jobs == {job_id}
    assert made.list_jobs() == []


def test_at_most_so_many_jobs_live_at_a_time(
    made: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_life, "MAX_JOBS", 3)
    for _ in range(3):
        made.create_job(None, owner="me")

    with pytest.raises(ValueError, match="3 are allowed"):
        made.create_job(None, owner="me")

    made.destroy_job(None, 1)
    assert made.create_job(None, owner="me") == 4


@pytest.mark.parametrize(
    "command",
    [
        "job_keepalive",
        "get_job_state",
        "get_job_machine_info",
        "power_on_job_boards",
        "power_off_job_boards",
    ],
)
@pytest.mark.parametrize("host", ["10.0.0.2", None])
def test_signs_of_life(made: Controller, clock: HandClock, command: str, host: str | None) -> None:
    made.create_job("10.0.0.1", owner="me")
    clock.advance(59)

    getattr(made, command)(host, 1)
    clock.advance(59)
    made.destroy_timed_out_jobs()

    assert made.list_jobs()[0].keepalivehost == (host or "10.0.0.1")
    clock.advance(2)
    made.destroy_timed_out_jobs()
    assert made.get_job_state(None, 1)[:4] == (JobState.destroyed, None, None, "Job timed out.")


def test_looking_around_is_no_sign_of_life(made: Controller, clock: HandClock) -> None:
    made.create_job("10.0.0.1", owner="me")
    clock.advance(59)

    made.list_jobs()
    made.where_is(job_id=1, chip_x=0, chip_y=0)
    made.where_is(machine="m", x=0, y=0, z=0)
    clock.advance(2)
    made.destroy_timed_out_jobs()

    assert made.list_jobs() == []


def test_a_job_ends_only_after_its_whole_period(made: Controller, clock: HandClock) -> None:
    made.create_job(None, owner="me", keepalive=10)
    clock.advance(10)
    made.destroy_timed_out_jobs()
    assert len(made.list_jobs()) == 1

    clock.advance(0.1)
    made.destroy_timed_out_jobs()

    assert made.list_jobs() == []


@pytest.mark.parametrize("before", [60, None])
def test_a_period_made_shorter_from_outside_counts_from_the_next_sign_of_life(
    made: Controller, clock: HandClock, before: float | None
) -> None:
    made.create_job(None, owner="me", keepalive=before)
    made.next_due(clock.now)
    made._jobs[1].keepalive = 10.0
    made.job_keepalive(None, 1)
    assert made.next_due(clock.now) == clock.now + 10

    clock.advance(11)
    made.destroy_timed_out_jobs()

    assert made.get_job_state(None, 1).reason == "Job timed out."


def test_a_queued_job_that_times_out_is_cancelled(made: Controller, clock: HandClock) -> None:
    made.create_job(None, 2, 1, owner="me", keepalive=None)
    made.create_job(None, owner="me", keepalive=10)
    clock.advance(11)

    made.destroy_timed_out_jobs()

    assert made.get_job_state(None, 2).reason == "Cancelled: Job timed out."


def test_the_wall_clock_ends_no_job(made: Controller, clock: HandClock) -> None:
    made.create_job(None, owner="me")

    clock.today += 1e6
    made.destroy_timed_out_jobs()
    clock.today -= 2e6
    made.destroy_timed_out_jobs()

    assert made.get_job_state(None, 1).state is JobState.power


def test_deadlines_may_be_judged_as_of_earlier(made: Controller, clock: HandClock) -> None:
    made.create_job(None, owner="me", keepalive=10)
    clock.advance(11)

    made.destroy_timed_out_jobs(clock.now - 2)
    assert len(made.list_jobs()) == 1

    made.destroy_timed_out_jobs(clock.now)
    assert made.list_jobs() == []


@pytest.mark.parametrize(
    ("reason", "told_reason"),
    [("", "Cancelled: "), (None, "Cancelled: "), ("bored", "Cancelled: bored")],
)
def test_a_queued_job_is_cancelled(
    made: Controller, rack: Rack, reason: str | None, told_reason: str
) -> None:
    run_job(made, rack, 2, 1)
    made.create_job(None, owner="me")

    made.destroy_job(None, 2, reason)

    assert made.get_job_state(None, 2).reason == told_reason


def test_a_job_that_had_boards_may_end_without_a_reason(made: Controller, rack: Rack) -> None:
    run_job(made, rack)

    made.destroy_job(None, 1)

    assert made.get_job_state(None, 1)[:4] == (JobState.destroyed, None, None, None)


def test_a_second_end_changes_nothing(made: Controller, rack: Rack) -> None:
    run_job(made, rack)
    made.destroy_job(None, 1, "first")
    told(made)

    made.destroy_job(None, 1, "second")

    assert made.get_job_state(None, 1).reason == "first"
    assert told(made) == (set(), set())


def test_a_job_that_the_queue_fails_at_is_ended_and_told(
    made: Controller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("surprise")

    add_job = made._job_queue.add_job

    def cancel_and_fail(job_id: int, request: Request, **keywords: Any) -> None:
        add_job(job_id, request, **keywords)
        made._job_queue.destroy_job(2, "cancelled")
        raise RuntimeError("surprise")

    for failure in (fail, cancel_and_fail):
        with monkeypatch.context() as patch:
            patch.setattr(made._job_queue, "add_job", failure)
            with pytest.raises(RuntimeError, match="surprise"):
                made.create_job(None, owner="me")

    assert made.list_jobs() == []
    states = [made.get_job_state(None, job_id) for job_id in (1, 2)]
    assert [state.state for state in states] == [JobState.destroyed] * 2
    assert [state.reason for state in states] == ["Cancelled: surprise", "cancelled"]
    assert made.create_job(None, owner="me") == 3
