"""Boards of jobs are switched, and jobs that meet a fault are moved or ended."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from spalloc_server._bmp.failures import FailureReason
from spalloc_server._bmp.requests import AtomicRequests
from spalloc_server._jobs.job_power import MAX_MOVES
from spalloc_server.controller import Controller, JobState, _Job
from tests.support.facility import Facility
from tests.support.facility import machine as small_frames
from tests.support.fake_frame import Rack
from tests.support.job_steps import HOST, Build, is_over, is_ready, reason, run_job, told
from tests.support.machines import machine
from tests.support.outcomes import hear_outcomes

A = (0, 0, 0)  # board 0 of frame 0
B = (0, 0, 1)
MINUTE, HOUR = 60.0, 3600.0


def test_powering_on_again_shuts_the_links_again(made: Controller, rack: Rack) -> None:
    job_id = run_job(made, rack, 0, 0, 1)
    told(made)

    made.power_on_job_boards(None, job_id)

    requests = rack[HOST].requests[-1]
    assert (requests.power_on_boards, len(requests.link_requests)) == ([1], 6)
    assert not any(request.enable for request in requests.link_requests)
    assert made.get_job_state(None, job_id)[:2] == (JobState.power, True)
    assert told(made) == ({job_id}, set())
    rack.answer_all()
    assert made.get_job_state(None, job_id)[:2] == (JobState.ready, True)
    assert told(made) == ({job_id}, set())


def test_powering_off_leaves_the_links_alone(made: Controller, rack: Rack) -> None:
    job_id = run_job(made, rack, 0, 0, 1)

    made.power_off_job_boards(None, job_id)

    requests = rack[HOST].requests[-1]
    assert (requests.power_off_boards, requests.link_requests) == ([1], [])
    assert made.get_job_state(None, job_id)[:2] == (JobState.power, False)
    rack.answer_all()
    assert made.get_job_state(None, job_id)[:2] == (JobState.ready, False)


def test_power_commands_overtake_each_other_without_getting_lost(
    made: Controller, rack: Rack
) -> None:
    made.create_job(None, owner="me")
    made.power_off_job_boards(None, 1)
    made.power_on_job_boards(None, 1)

    assert made._jobs[1].bmp_requests_until_ready == 3
    rack[HOST].answer()
    rack[HOST].answer()
    assert made.get_job_state(None, 1).state is JobState.power
    rack[HOST].answer()
    assert made.get_job_state(None, 1)[:2] == (JobState.ready, True)


def test_a_queued_job_has_nothing_to_power(made: Controller, rack: Rack) -> None:
    run_job(made, rack, 2, 1)
    made.create_job(None, owner="me")
    asked = len(rack[HOST].requests)
    told(made)

    made.power_on_job_boards(None, 2)
    made.power_off_job_boards(None, 2)

    assert len(rack[HOST].requests) == asked
    assert made.get_job_state(None, 2).state is JobState.queued
    assert told(made) == (set(), set())


def test_power_and_links_are_set_through_a_method_that_may_be_replaced(
    made: Controller, rack: Rack, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_job(made, rack)
    calls = []

    def instead(job: _Job, power: bool, link_enable: bool | None = None) -> None:
        calls.append((job.id, power, link_enable))

    monkeypatch.setattr(made, "_set_job_power_and_links", instead)
    made.power_on_job_boards(None, 1)
    made.power_off_job_boards(None, 1)

    assert calls == [(1, True, False), (1, False, None)]


# --- answers of the frames ---



def test_an_answer_is_counted_down_whatever_the_job_s_state(made: Controller) -> None:
    made.create_job(None, owner="me")
    job = made._jobs[1]
    job.bmp_requests_until_ready = 2
    job.state = JobState.queued

    made._bmp_on_request_complete(job, True)
    assert (job.bmp_requests_until_ready, job.state) == (1, JobState.queued)

    made._bmp_on_request_complete(job, True, None)
    assert (job.bmp_requests_until_ready, job.state) == (0, JobState.ready)


def test_answers_for_a_job_that_is_gone_only_count(made: Controller) -> None:
    calls = []
    made.on_background_state_change = lambda: calls.append(1)
    made.create_job(None, owner="me")
    job = made._jobs[1]
    made.power_off_job_boards(None, 1)
    made.destroy_job(None, 1, "over")
    told(made)

    made._bmp_on_request_complete(job, True)
    made._bmp_on_request_complete(job, False, "too late")

    assert job.bmp_requests_until_ready == 0
    assert made.get_job_state(None, 1).reason == "over"
    assert told(made) == (set(), set())
    assert calls == []


def test_who_waits_for_background_changes_is_called_once_per_ready_job(
    empty: Controller, rack: Rack
) -> None:
    calls = []
    empty.on_background_state_change = lambda: calls.append(1)
    empty.machines = {"m": machine("m", 2, 1, boards_per_frame=3)}
    empty.create_job(None, 2, 1, owner="me")

    rack.frames[0].answer()
    assert calls == []
    rack.frames[1].answer()
    assert calls == [1]

    empty.destroy_job(None, 1)
    rack.answer_all()
    assert calls == [1]


def test_frames_may_answer_at_once_and_without_a_reason(made: Controller, rack: Rack) -> None:
    rack.at_once = True

    job_id = made.create_job(None, owner="me")
    assert made.get_job_state(None, job_id)[:2] == (JobState.ready, True)
    made.power_off_job_boards(None, job_id)
    assert made.get_job_state(None, job_id)[:2] == (JobState.ready, False)
    made.destroy_job(None, job_id)

    assert made._job_queue._jobs == {}
    assert made.get_job_state(None, job_id).state is JobState.destroyed


def test_a_machine_may_go_while_its_frames_answer_at_once(made: Controller, rack: Rack) -> None:
    outcomes: list[tuple[Any, ...]] = []
    made.create_job(None, owner="me")
    rack.at_once = True
    hear_outcomes(made, outcomes.append)

    made.machines = {}

    assert [outcome[0] for outcome in outcomes] == ["ended", "machines"]
    assert made.get_job_state(None, 1).reason == "Machine removed."
    assert (made._power_downs.going, made._power_downs.orphans) == ({}, {})


def test_frames_may_answer_from_many_threads(made: Controller, rack: Rack) -> None:
    for _ in range(6):
        made.create_job(None, owner="me")
    threads = [threading.Thread(target=rack[HOST].answer) for _ in range(6)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {job.state for job in made.list_jobs()} == {JobState.ready}


@pytest.mark.parametrize(
    ("reason", "words"),
    [((), ""), ((None,), ""), (("board 3 on fire",), "board 3 on fire")],
)
def test_a_failure_without_details_ends_the_job(
    made: Controller, rack: Rack, reason: tuple[str | None, ...], words: str
) -> None:
    made.create_job(None, 3, owner="me")

    rack[HOST].answer(False, *reason)

    state = made.get_job_state(None, 1)
    assert state.state is JobState.destroyed
    assert state.reason == f"Machine configuration failed. Error: {words}"
    assert made.changed_jobs == {1}
    assert rack[HOST].power[-1] == ([], [0, 1, 2])


def test_one_frame_s_failure_ends_the_job_once(empty: Controller, rack: Rack) -> None:
    empty.machines = {"m": machine("m", 2, 1, boards_per_frame=3)}
    empty.create_job(None, 2, 1, owner="me")

    rack.frames[0].answer(False, "first")
    rack.frames[1].answer(False, "second")

    assert empty.get_job_state(None, 1).reason == "Machine configuration failed. Error: first"
    assert [frame.power[1:] for frame in rack.frames] == [[([], [0, 1, 2])]] * 2
    rack.answer_all()
    assert empty._job_queue._jobs == {}


def test_a_failed_power_off_ends_a_running_job_too(made: Controller, rack: Rack) -> None:
    job_id = run_job(made, rack)
    made.power_off_job_boards(None, job_id)

    rack[HOST].answer(False, "stuck")

    assert made.get_job_state(None, job_id).reason is not None


# --- jobs that meet a fault ---



def test_a_job_is_moved_three_times_and_then_ended_with_words(build: Build) -> None:
    facility = build([small_frames(width=4, height=2, per_frame=3)])
    facility.inject("all fpga-wrong")

    job = facility.create()
    facility.run_until(is_over(facility, job), HOUR)

    assert facility.moves == [job] * MAX_MOVES
    (last,) = facility.given[-1].boards
    assert f"board {last} of machine m" in reason(facility, job)
    assert "FPGA" in reason(facility, job)
    assert reason(facility, job).startswith("Machine configuration failed. Error: ")


def test_a_moved_job_is_queued_again_and_told(build: Build) -> None:
    facility = build([small_frames(width=1, height=1)])
    facility.inject("0 board 0 fpga-wrong")
    others = [facility.create(), facility.create()]
    facility.run_until(lambda: bool(facility.moves), 300)

    waiting = facility.create()
    facility.controller.changed_jobs  # noqa: B018 - empties it
    facility.run(0)
    states = {job: facility.state(job) for job in [*others, waiting]}

    assert facility.moves == [others[0]]
    # It went before the one that came later.
    assert states[others[0]] is not JobState.queued
    assert states[waiting] is JobState.queued


def test_watchers_are_told_of_the_move(build: Build) -> None:
    facility = build([small_frames(width=1, height=1)])
    facility.inject("0 fpga-wrong")
    job = facility.create()
    facility.run_until(lambda: len(facility.given) == 1, 1)
    facility.controller.changed_jobs  # noqa: B018 - empties it

    told = []
    facility.on_event = lambda: told.append(
        (facility.state(job), job in facility.controller.changed_jobs)
    )
    facility.run(5 * MINUTE)

    assert (JobState.queued, True) in told


def test_a_job_for_that_very_board_is_ended(facility: Facility) -> None:
    facility.inject("0 board 0 fpga-wrong")

    job = facility.create(*A)
    facility.run_until(is_over(facility, job), 300)

    assert facility.moves == []
    assert f"board {A} of machine m" in reason(facility, job)


def test_a_job_for_the_whole_machine_is_ended(facility: Facility) -> None:
    facility.inject("0 board 0 fpga-wrong")

    job = facility.create(2, 2)
    facility.run_until(is_over(facility, job), 300)

    assert facility.moves == []
    assert f"board {A} of machine m" in reason(facility, job)


def test_a_job_for_a_whole_machine_moves_to_another_one(build: Build) -> None:
    facility = build([small_frames("m"), small_frames("n")])
    facility.inject("0 board 0 fpga-wrong")

    job = facility.create(2, 2)
    facility.run_until(is_ready(facility, job), 300)

    assert facility.controller.get_job_machine_info(None, job).machine_name == "n"


@pytest.mark.parametrize(("first", "second"), [("a", "m"), ("m", "a")])
def test_a_job_moves_to_another_machine_of_any_name(first: str, second: str) -> None:
    facility = Facility([small_frames(name, 1, 1, dead_boards=set()) for name in (first, second)])
    facility.inject("0 board 0 refuse-power on", first)

    job_id = facility.create(1, 1)
    facility.run_until(lambda: facility.state(job_id) is JobState.ready, 1200.0)

    assert [given.machine for given in facility.given] == [first, second]
    assert facility.moves == [job_id]
    facility.close()


def test_a_job_that_was_ready_is_ended_when_its_board_fails(facility: Facility) -> None:
    job = facility.create()
    facility.run_until(is_ready(facility, job), 60)
    facility.inject("0 board 0 fpga-wrong")

    facility.controller.power_on_job_boards(None, job)
    facility.run_until(is_over(facility, job), 300)

    assert f"board {A} of machine m" in reason(facility, job)
    assert facility.out == {A}


def test_a_failure_without_details_takes_no_board_out(facility: Facility) -> None:
    job = facility.create()

    facility.controller._bmp_on_request_complete(facility.controller._jobs[job], False)

    assert facility.state(job) is JobState.destroyed
    assert not facility.out


@pytest.mark.parametrize("text", [None, "something", FailureReason("no idea")])
def test_only_what_is_known_moves_a_job(facility: Facility, text: str | None) -> None:
    job = facility.create()
    frame = facility.frames[0]
    asked: AtomicRequests = frame.unfinished[0]

    asked.on_done(False, text)

    assert facility.state(job) is JobState.destroyed
    assert not facility.out


def test_answers_for_boards_that_a_job_gave_up_do_not_count(build: Build) -> None:
    facility = build([small_frames(width=2, height=1, per_frame=3)])
    facility.inject("0 board 0 fpga-wrong")
    facility.inject("1 slow 0.3")
    job = facility.create(3, max_dead_boards=0)
    facility.run_until(lambda: bool(facility.moves), 300)
    record = facility.controller._jobs[job]

    facility.run_until(is_ready(facility, job), 300)

    assert record.bmp_requests_until_ready == 0
    assert facility.boards(job) == {(1, 0, 0), (1, 0, 1), (1, 0, 2)}
