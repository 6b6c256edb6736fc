"""Boards that fail, one at a time: what is done about each kind of fault, and when."""

import json
import logging
from pathlib import Path

import pytest

from spalloc_server._bmp.failures import BoardFault, FailureReason
from spalloc_server._jobs import book as _book
from spalloc_server._jobs import health, job_log
from spalloc_server._places import Frame
from spalloc_server.controller import JobState
from tests.support.facility import Facility, machine
from tests.support.job_steps import Build, is_over, is_ready, json_safe, reason, restarted

A = (0, 0, 0)  # board 0 of frame 0
B = (0, 0, 1)
MINUTE, HOUR = 60.0, 3600.0


# --- the board ---


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("refuse-power on", "power_on"),
        ("fpga-wrong", "fpga"),
        ("mute", "power_on"),
        ("error ARG write", "link"),
        ("error ARG read", "fpga"),
        ("error ARG version", "fpga"),
    ],
)
def test_a_board_that_fails_goes_out_of_service_and_its_job_moves(
    facility: Facility, fault: str, kind: str
) -> None:
    facility.inject(f"0 board 1 {fault}")
    facility.run_until(lambda: True, 0)
    fillers = [facility.create(), facility.create()]

    facility.run_until(lambda: all(facility.state(j) is JobState.ready for j in fillers), 300)

    assert B not in facility.boards(fillers[0]) | facility.boards(fillers[1])
    assert facility.moves == [fillers[1]]
    (row,) = facility.controller.overview.out_of_service()
    assert (row.machine, row.board, row.physical) == ("m", B, (0, 0, 1))
    assert (row.kind, row.faults, row.tests, row.job_id) == (kind, 1, 0, None)


def test_it_is_tried_after_1_5_15_60_minutes_and_then_hourly(facility: Facility) -> None:
    facility.inject("0 board 0 fpga-wrong")
    job = facility.create()
    facility.run_until(lambda: facility.out == {A}, 300)
    begun = facility.time.now
    tested: list[float] = []
    seen = 0

    def watch() -> None:
        nonlocal seen
        (row,) = facility.controller.overview.out_of_service()
        if row.tests > seen:
            seen = row.tests
            tested.append(facility.time.now)

    facility.on_event = watch
    facility.run(4 * HOUR)

    # A test of a board with a wrong FPGA switches it on three times, 5 s each.
    waits = [round((b - a) / MINUTE) for a, b in zip([begun, *tested], tested, strict=False)]
    assert waits == [1, 5, 15, 60, 60, 60]
    assert facility.state(job) is JobState.ready
    assert not facility.is_on(A)


def test_it_comes_back_when_its_test_succeeds(facility: Facility) -> None:
    facility.inject("0 board 0 fpga-wrong")
    facility.create()
    facility.run_until(lambda: facility.out == {A}, 300)

    facility.inject("0 clear")
    took = facility.run_until(lambda: not facility.out, 120)

    assert MINUTE <= took < 2 * MINUTE
    assert not facility.is_on(A)
    assert facility.boards(facility.create(*A)) == {A}


def test_the_third_fault_in_a_day_keeps_it_out_until_it_is_released(facility: Facility) -> None:
    for _ in range(3):
        facility.inject("0 board 0 fpga-wrong")
        job = facility.create(*A)
        facility.run_until(is_over(facility, job), 300)
        facility.inject("0 clear")
        facility.run(2 * MINUTE)

    facility.run(3 * 24 * HOUR)

    (row,) = facility.controller.overview.out_of_service()
    assert (row.board, row.next_test) == (A, None)
    facility.controller.upkeep.release_boards("m", [A])
    assert facility.boards(facility.create(*A)) == {A}


def test_one_refusal_of_many_boards_makes_suspects_that_are_tested_at_once(
    facility: Facility,
) -> None:
    facility.inject("0 board 0 refuse-power on")
    job = facility.create(2, 1)

    facility.run_until(lambda: bool(facility.moves), 60)
    assert len(facility.out) == 6
    took = facility.run_until(lambda: facility.out == {A}, 60)

    assert took <= 6 * 6
    facility.run_until(is_ready(facility, job), 60)
    (row,) = facility.controller.overview.out_of_service()
    assert row.faults == 1


@pytest.mark.parametrize("boards", [1, 3])
def test_a_board_that_is_not_switched_off_is_out_until_it_is(
    facility: Facility, boards: int
) -> None:
    job = facility.create(boards) if boards > 1 else facility.create()
    facility.run_until(is_ready(facility, job), 60)
    facility.inject("0 board 0 refuse-power off")

    facility.controller.destroy_job(None, job)
    facility.run(HOUR)

    (row,) = facility.controller.overview.out_of_service()
    assert (row.board, row.kind) == (A, "power_off")
    assert facility.is_on(A)
    facility.inject("0 clear")
    facility.run_until(lambda: not facility.out, HOUR + 1)
    assert not facility.is_on(A)


def test_boards_of_a_moved_job_rest_from_when_they_are_off(facility: Facility) -> None:
    facility.inject("0 board 0 fpga-wrong")
    job = facility.create(3)

    facility.run_until(lambda: bool(facility.moves), 300)
    facility.create(*B)
    facility.run(29)

    assert facility.given[-1].boards != {B}
    facility.run_until(lambda: facility.given[-1].boards == {B}, 10)
    assert facility.state(job) is JobState.ready


def test_a_job_does_not_meet_one_bad_board_after_the_other(build: Build) -> None:
    facility = build([machine(width=4, height=2, per_frame=12)])
    facility.inject("0 fpga-wrong")

    jobs = [facility.create(), facility.create(2), facility.create(3)]
    facility.run_until(lambda: all(facility.state(j) is JobState.ready for j in jobs), HOUR)

    assert len(facility.out) == 12
    facility.inject("0 clear")
    facility.run_until(lambda: not facility.out, 2 * HOUR)


def test_suspecting_a_frame_is_held_against_no_board(facility: Facility) -> None:
    facility.inject("0 board 0,1 fpga-wrong")
    for _ in range(2):
        facility.create()
    facility.run_until(lambda: len(facility.out) > 2, 300)

    facility.run_until(lambda: facility.out == {A, B}, 120)

    quarantine = facility.controller._health._of("m")
    assert quarantine.known == {A, B}


# --- the frame ---


def test_a_silent_frame_is_out_at_once_and_its_jobs_leave_before_the_last_try(
    facility: Facility,
) -> None:
    facility.inject("0 silent")
    jobs = [facility.create(), facility.create()]

    took = facility.run_until(lambda: all(facility.state(j) is JobState.ready for j in jobs), 60)

    assert took < 40
    assert len(facility.out) == 6
    assert {row.kind for row in facility.controller.overview.out_of_service()} == {"silent"}
    assert sorted(facility.moves) == jobs


def test_a_frame_that_answers_again_is_switched_off_and_back_within_seconds(
    facility: Facility,
) -> None:
    job = facility.create()
    facility.run_until(is_ready(facility, job), 60)
    facility.inject("0 silent")
    facility.controller.destroy_job(None, job)
    facility.run(5 * MINUTE)
    assert facility.is_on(A)

    facility.inject("0 clear")
    took = facility.run_until(lambda: not facility.out, 20)

    assert took <= 10
    assert not facility.is_on(A)


def test_jobs_that_are_ready_on_a_frame_that_falls_silent_are_left_alone(
    facility: Facility,
) -> None:
    job = facility.create()
    facility.run_until(is_ready(facility, job), 60)
    facility.inject("0 silent")
    facility.controller.destroy_job(None, facility.create(0, 0, 1))
    facility.run(5 * MINUTE)
    assert facility.out

    facility.inject("0 clear")
    facility.run(5 * MINUTE)

    assert facility.state(job) is JobState.ready
    assert facility.is_on(A)
    assert not facility.out


def test_one_frame_of_silence_in_the_middle_of_a_large_job(facility: Facility) -> None:
    facility.inject("1 silent")
    job = facility.create(2, 2, machine="m")

    facility.run(3 * MINUTE)
    assert facility.state(job) is JobState.destroyed
    assert "machine m" in reason(facility, job)
    assert "frame 1" in reason(facility, job)
    assert len(facility.out) == 6


def test_a_board_of_its_own_trouble_stays_out_when_its_frame_is_back(facility: Facility) -> None:
    facility.inject("0 board 0 fpga-wrong")
    facility.run_until(is_ready(facility, facility.create()), 300)
    facility.inject("0 silent")
    facility.run_until(lambda: len(facility.out) == 6, 100 * HOUR)

    facility.inject("0 clear silent")
    facility.run_until(lambda: facility.out == {A}, 60)

    assert facility.controller.overview.out_of_service()[0].kind == "fpga"


# --- tests and users ---


def test_a_test_gives_way_to_what_a_user_asks_of_the_board(facility: Facility) -> None:
    facility.inject("0 board 0 fpga-wrong")
    facility.run_until(is_ready(facility, facility.create()), 300)
    facility.inject("0 clear")
    facility.time.now = facility.controller.next_health_check() or 0.0
    facility.controller.check_health()  # the test waits in the frame's queue
    facility.controller.upkeep.release_boards("m", [A])

    job = facility.create(*A)
    facility.run_until(is_ready(facility, job), 60)
    facility.run(HOUR)

    assert facility.state(job) is JobState.ready
    assert facility.is_on(A)


def test_boards_that_somebody_has_are_not_tested(facility: Facility) -> None:
    job = facility.create()
    facility.run_until(is_ready(facility, job), 60)
    where = facility.controller._records.maps["m"]
    text = FailureReason("it fell off", [], silent=False)
    facility.controller._health.note("m", Frame((0, 0)), text)
    assert not facility.out
    facility.controller._health._of("m").fault(A, "link", "x", facility.time.now, 0.0)
    facility.controller._health._changed("m")

    facility.run(3 * HOUR)

    assert where.job_ids == {A: job}
    assert facility.is_on(A)
    assert facility.out == {A}


# --- waiting for boards out of service ---


def test_a_whole_machine_job_waits_and_says_for_what(
    facility: Facility, caplog: pytest.LogCaptureFixture
) -> None:
    facility.controller.upkeep.hold_boards("m", [B], "new FPGA")

    with caplog.at_level(logging.INFO):
        job = facility.create(2, 2)
        facility.create()

    assert facility.state(job) is JobState.queued
    assert facility.controller.overview.waiting_jobs() == [(job, "m", frozenset({B}))]
    said = [r.getMessage() for r in caplog.records if "waits for" in r.getMessage()]
    assert said == [f"job {job} waits for board {B} of machine m, out of service"]


def test_others_pass_a_job_that_waits_for_boards_out_of_service(facility: Facility) -> None:
    facility.controller.upkeep.hold_boards("m", [B], "new FPGA")
    whole = facility.create(2, 2)

    small = facility.create(3)

    assert facility.state(small) is JobState.power
    facility.controller.upkeep.release_boards("m", [B])
    behind = facility.create()
    assert facility.state(whole) is JobState.queued
    assert facility.state(behind) is JobState.queued
    facility.controller.destroy_job(None, small)
    facility.run(120)
    assert facility.state(whole) is JobState.ready


def test_a_queue_that_waited_for_a_job_goes_on_when_a_board_goes_out(facility: Facility) -> None:
    facility.create()
    whole = facility.create(2, 2)
    small = facility.create()
    assert facility.state(small) is JobState.queued

    facility.controller.upkeep.hold_boards("m", [(1, 1, 2)], "new FPGA")

    assert facility.state(whole) is JobState.queued
    assert facility.state(small) is JobState.power


# --- the operator ---


def test_a_drained_board_stays_with_its_job_and_goes_to_no_other(facility: Facility) -> None:
    job = facility.create()
    facility.run_until(is_ready(facility, job), 60)

    facility.controller.upkeep.hold_boards("m", [A], "new FPGA")

    (row,) = facility.controller.overview.out_of_service()
    assert (row.board, row.kind, row.what, row.job_id) == (A, "operator", "new FPGA", job)
    assert facility.state(job) is JobState.ready
    facility.controller.destroy_job(None, job)
    facility.run(48 * HOUR)
    others = [facility.create() for _ in range(12)]
    facility.run(60)
    assert sum(facility.state(other) is JobState.ready for other in others) == 11
    facility.controller.upkeep.release_boards("m", [A])
    facility.run(60)
    assert all(facility.state(other) is JobState.ready for other in others)


@pytest.mark.parametrize(
    ("name", "board", "said"),
    [
        ("x", A, "no machine 'x'; there are m"),
        ("m", (7, 0, 0), "machine 'm' has no board (7, 0, 0)"),
    ],
)
def test_boards_that_do_not_exist_are_refused(
    facility: Facility, name: str, board: tuple[int, int, int], said: str
) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace(")", r"\)")):
        facility.controller.upkeep.hold_boards(name, [board], "x")


def test_only_what_is_out_can_be_released(facility: Facility) -> None:
    facility.controller.upkeep.hold_boards("m", [B], "new FPGA")

    assert facility.controller.upkeep.release_boards("m", [A, B]) == [B]
    assert facility.controller.upkeep.release_boards("m", [A, B]) == []


def test_boards_of_a_silent_frame_come_back_by_themselves(facility: Facility) -> None:
    facility.inject("0 silent")
    facility.create()
    facility.run(MINUTE)

    assert facility.controller.upkeep.release_boards("m", [A]) == []
    assert A in facility.out


# --- the configuration ---


def test_what_is_known_of_a_board_goes_with_its_hardware(facility: Facility) -> None:
    facility.controller.upkeep.hold_boards("m", [A], "new FPGA")
    moved = machine("n", width=1, height=4, base_ip=machine().bmp_ips[0, 0])

    facility.controller.machines = {"n": moved}

    (row,) = facility.controller.overview.out_of_service()
    assert (row.machine, row.physical, row.what) == ("n", (0, 0, 0), "new FPGA")
    assert facility.controller._job_queue._machines["n"].allocator.quarantined == {A}


def test_hardware_that_the_new_machine_does_not_have_is_forgotten(facility: Facility) -> None:
    facility.controller.upkeep.hold_boards("m", [A], "new FPGA")
    facility.controller.upkeep.hold_boards("m", [(1, 0, 2)], "new fan")  # board 5 of frame 0
    smaller = machine("n", width=1, height=1, base_ip=machine().bmp_ips[0, 0])

    facility.controller.machines = {"n": smaller}

    assert [row.what for row in facility.controller.overview.out_of_service()] == ["new FPGA"]


def test_a_frame_that_is_still_silent_is_out_in_its_new_machine(facility: Facility) -> None:
    facility.inject("0 silent")
    facility.create()
    facility.run(2 * MINUTE)
    assert len(facility.out) == 6

    facility.controller.machines = {"m": machine(per_frame=3)}
    assert len(facility.out) == 3
    facility.run(5 * MINUTE)
    assert len(facility.out) == 3

    facility.inject("0 clear")
    facility.run_until(lambda: not facility.out, 60)


def test_dead_boards_are_the_operators_word(facility: Facility) -> None:
    facility.inject("0 board 0 fpga-wrong")
    facility.run_until(is_ready(facility, facility.create()), 300)
    assert facility.out == {A}

    facility.controller.machines = {"m": machine(dead_boards={A})}
    assert not facility.out
    facility.inject("0 clear")
    facility.controller.machines = {"m": machine()}
    facility.run(MINUTE)

    assert facility.boards(facility.create(*A)) == {A}


def test_a_machine_that_is_gone_has_no_boards_out_of_service(facility: Facility) -> None:
    facility.controller.upkeep.hold_boards("m", [A], "new FPGA")

    facility.controller.machines = {}

    assert facility.controller.overview.out_of_service() == []


# --- the book ---


def folded(facility: Facility) -> _book.Book:
    """The book that the journal of all outcomes makes."""
    book = _book.empty()
    for outcome in facility.outcomes:
        _book.apply(book, tuple(json.loads(json.dumps(outcome))))
    return book


def test_the_journal_says_what_the_controller_says(facility: Facility) -> None:
    facility.outcomes.insert(0, ("limits", 1200, 30.0))
    facility.inject("0 board 0 fpga-wrong")
    facility.create(3)
    facility.create()
    facility.controller.upkeep.hold_boards("m", [(1, 1, 1)], "new FPGA")

    def compare() -> None:
        told, known = folded(facility), json_safe(facility.controller.__getstate__())
        for book in (told, known):
            del book["told_at"]
            book["resting"] = {name: list(each) for name, each in book["resting"].items()}
            for each in book["quarantine"].values():
                each["faults"] = [board for board, _ in each["faults"]]
                for case in each["cases"]:
                    del case["due"]
        assert told == known

    facility.on_event = compare
    facility.run(HOUR)


def test_a_restart_keeps_boards_out_and_their_next_tests(facility: Facility) -> None:
    facility.inject("0 board 0 fpga-wrong")
    job = facility.create()
    facility.run_until(is_ready(facility, job), 300)
    facility.run(10 * MINUTE)
    before = facility.controller.overview.out_of_service()

    facility.time.now += MINUTE
    after = restarted(facility).overview.out_of_service()

    assert [row._replace(next_test=None) for row in after] == [
        row._replace(next_test=None) for row in before
    ]
    assert after[0].next_test == pytest.approx((before[0].next_test or 0) - MINUTE)
    assert facility.state(job) is JobState.ready
    facility.inject("0 clear")
    facility.run_until(lambda: not facility.out, HOUR)


def test_a_restart_in_the_middle_of_a_move_goes_on_with_it(facility: Facility) -> None:
    facility.inject("0 board 0 fpga-wrong")
    facility.inject("0 slow 0.3")
    job = facility.create(3)
    facility.run_until(lambda: bool(facility.moves), 300)
    assert facility.controller._power_downs.going

    restarted(facility)
    facility.run(MINUTE)

    assert facility.controller._jobs[job].attempts == 1
    assert facility.state(job) is JobState.ready
    assert not facility.controller._power_downs.going
    facility.run(MINUTE)
    assert not facility.is_on(B)


def test_a_frame_that_was_silent_is_asked_after_a_restart(facility: Facility) -> None:
    facility.inject("0 silent")
    facility.create()
    facility.run(2 * MINUTE)

    restarted(facility)
    facility.run(2 * MINUTE)
    assert len(facility.out) == 6
    facility.inject("0 clear")

    facility.run_until(lambda: not facility.out, 60)


def test_a_fault_of_a_board_that_is_not_the_machine_s_is_passed_over(facility: Facility) -> None:
    faults = [BoardFault(23, "FPGA 2 mute", "fpga"), BoardFault(1, "FPGA 0 mute", "fpga")]

    facility.controller._health.note("m", Frame((0, 0)), FailureReason("two", faults))

    assert facility.out == {B}


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (FailureReason("x", [BoardFault(1, "a", "fpga"), BoardFault(1, "b", "fpga")]), "a; b"),
        ("the frame was busy", "the frame was busy"),
        (None, "its test failed"),
    ],
)
def test_what_a_failed_test_found_is_said(found: object, said: str) -> None:
    assert health._what(found) == said


def test_the_job_log_tells_of_moves_and_waits(facility: Facility, tmp_path: Path) -> None:
    writer = job_log.open_file(str(tmp_path / "jobs.log"), 1)
    facility.inject("0 board 0 fpga-wrong")

    job = facility.create()
    facility.run_until(is_ready(facility, job), 300)
    whole = facility.create(2, 2)
    job_log.close_file(writer)

    lines = (tmp_path / "jobs.log").read_text().splitlines()
    (moved,) = [line for line in lines if "back in the queue" in line]
    assert f"job {job}: back in the queue, move 1 of 3: " in moved
    assert f"board {A} of machine m" in moved
    (waits,) = [line for line in lines if "waits for" in line]
    assert f"job {whole}: waits for board {A} of machine m, out of service" in waits


def test_a_round_of_tests_is_one_line_in_the_log(
    facility: Facility, caplog: pytest.LogCaptureFixture
) -> None:
    facility.inject("0 board 0 refuse-power on")
    facility.inject("0 board 1 refuse-power on")
    for board in (A, B):
        facility.create(*board)
    facility.run_until(lambda: facility.out == {A, B}, 100.0)
    caplog.clear()
    caplog.set_level(logging.INFO)

    overview = facility.controller.overview
    facility.run_until(lambda: any(row.tests for row in overview.out_of_service()), 90)
    facility.run(10.0)
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert len(lines) == 1
    assert lines[0].startswith(
        "machine m, cabinet 0, frame 0: tests of boards out of service: "
        "2 boards (0, 0, 0), (0, 0, 1) failed again ("
    )

    facility.inject("0 clear")
    caplog.clear()
    facility.run_until(lambda: not facility.out, 400.0)
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.INFO]
    assert lines == [
        "machine m, cabinet 0, frame 0: tests of boards out of service: "
        "2 boards (0, 0, 0), (0, 0, 1) passed and may be given out again"
    ]


def test_a_test_that_ends_after_its_machine_has_gone_leaves_nothing(facility: Facility) -> None:
    facility.inject("0 board 0 refuse-power on")
    facility.create(*A)
    facility.run_until(lambda: facility.out == {A}, 100.0)
    due = facility.controller.next_health_check()
    assert due is not None
    facility.time.now = due
    facility.controller.check_health()  # the test waits in the frame's queue

    facility.controller.machines = {}
    facility.run(60.0)
    facility.controller.check_health()

    assert facility.controller._health._quarantines == {}
