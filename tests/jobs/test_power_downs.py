"""Boards on their way to off, and what comes back when."""

from __future__ import annotations

import pytest

from spalloc_server._bmp.requests import AtomicRequests
from spalloc_server.controller import Controller, JobState
from tests.support.facility import Facility
from tests.support.facility import machine as small_frames
from tests.support.fake_frame import Rack
from tests.support.hand_clock import HandClock
from tests.support.job_steps import HOST, NO_BOARDS, is_ready, restarted, run_job, told
from tests.support.machines import machine

A = (0, 0, 0)  # board 0 of frame 0
B = (0, 0, 1)
MINUTE, HOUR = 60.0, 3600.0


def test_destroying_powers_off_at_once_also_during_a_power_on(
    made: Controller, rack: Rack
) -> None:
    made.create_job(None, 3, owner="me")
    told(made)

    made.destroy_job("10.0.0.9", 1, "enough")

    assert rack[HOST].power == [([0, 1, 2], []), ([], [0, 1, 2])]
    assert rack[HOST].requests[1].link_requests == []
    assert made.get_job_state(None, 1) == (
        JobState.destroyed, None, None, "enough", None, None,
    )  # fmt: skip
    assert made.get_job_machine_info(None, 1) == NO_BOARDS
    assert told(made) == ({1}, {"m"})


def test_boards_are_given_out_again_when_they_are_off_and_have_rested(
    made: Controller, rack: Rack, clock: HandClock
) -> None:
    run_job(made, rack, 2, 1)
    waiting = made.create_job(None, owner="me", keepalive=None)
    made.destroy_job(None, 1)
    told(made)

    clock.advance(1000)
    made.check_free()
    assert made.get_job_state(None, waiting).state is JobState.queued
    rack.answer_all()
    assert told(made) == (set(), set())
    clock.advance(29.9)
    made.check_free()
    assert made.get_job_state(None, waiting).state is JobState.queued
    assert told(made) == (set(), set())

    clock.advance(0.2)
    made.check_free()

    assert made.get_job_state(None, waiting).state is JobState.power
    assert told(made) == ({waiting}, {"m"})


def test_boards_come_back_although_their_job_is_forgotten(
    made: Controller, rack: Rack, clock: HandClock
) -> None:
    made.max_retired_jobs = 0
    run_job(made, rack, 2, 1)
    made.destroy_job(None, 1)

    rack.answer_all()
    clock.advance(31)
    made.check_free()

    assert made.get_job_state(None, made.create_job(None, 2, 1, owner="me"))[:1] == (2,)


def test_the_last_frame_to_switch_off_gives_the_boards_back(
    empty: Controller, rack: Rack, clock: HandClock
) -> None:
    empty.seconds_before_free = 0
    empty.machines = {"m": machine("m", 2, 1, boards_per_frame=3)}
    run_job(empty, rack, 2, 1)
    waiting = empty.create_job(None, owner="me")
    empty.destroy_job(None, 1)

    rack.frames[0].answer()
    clock.advance(1)
    empty.check_free()
    assert empty.get_job_state(None, waiting).state is JobState.queued

    rack.frames[1].answer()
    clock.advance(1)
    empty.check_free()
    assert empty.get_job_state(None, waiting).state is JobState.power


def test_an_earlier_power_off_may_be_answered_while_its_machine_is_removed(
    made: Controller, rack: Rack, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, running = run_job(made, rack), run_job(made, rack)
    made.destroy_job(None, ended)
    frame = rack.frames[0]

    def answer_everything(requests: AtomicRequests) -> None:
        frame.waiting.append(requests)
        rack.answer_all()

    monkeypatch.setattr(frame, "add_requests", answer_everything)

    made.machines = {}

    assert made.machines == {}
    assert made.get_job_state(None, running).reason == "Machine removed."
    assert made.__getstate__()["going"] == made.__getstate__()["orphans"] == {}
    made.machines = {"m": machine("m")}
    assert run_job(made, rack, 1, 1) == running + 1


def test_boards_that_were_going_off_do_not_come_back_to_another_machine(
    made: Controller, rack: Rack
) -> None:
    run_job(made, rack, 2, 1)
    made.destroy_job(None, 1)
    old = rack[HOST]
    made.machines = {"m": machine("m", 2, 1, net=2)}
    new = made.create_job(None, 2, 1, owner="me")

    old.answer()

    assert made.get_job_state(None, new).state is JobState.power
    assert made._power_downs.going == {}


def test_a_board_that_nobody_has_and_that_stays_on_is_out(
    facility: Facility, caplog: pytest.LogCaptureFixture
) -> None:
    facility.inject("0 board 1 refuse-power off")

    facility.controller.power_off_unowned_boards()
    facility.run(10 * MINUTE)

    assert "machine m, frame (0, 0): boards not switched off: " in caplog.text
    (row,) = facility.controller.overview.out_of_service()
    assert (row.board, row.kind) == (B, "power_off")


def test_boards_of_a_machine_that_is_remade_meanwhile_are_not_judged(
    facility: Facility, caplog: pytest.LogCaptureFixture
) -> None:
    facility.inject("0 board 1 refuse-power off")
    facility.controller.power_off_unowned_boards()

    facility.controller.machines = {"m": small_frames(per_frame=3)}
    facility.run(10 * MINUTE)

    assert "boards not switched off: " in caplog.text
    assert facility.out == set()


def test_boards_of_a_machine_that_is_gone_are_let_go_although_they_stay_on(
    facility: Facility, caplog: pytest.LogCaptureFixture
) -> None:
    job = facility.create()
    facility.run_until(is_ready(facility, job), 300)
    host = facility.controller.machines["m"].bmp_ips[0, 0]
    facility.inject("0 refuse-power off")
    facility.controller.destroy_job(None, job)
    facility.controller.machines = {}
    assert facility.controller._power_downs.plain_orphans() == {host: [0]}

    after = restarted(facility)
    facility.run(10 * MINUTE)

    assert f"boards [0] of {host} not powered off: " in caplog.text
    assert after._power_downs.plain_orphans() == {}
