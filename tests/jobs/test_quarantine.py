"""Which boards are out of service, and when they are tried again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._jobs.quarantine import FAULT_WINDOW, FAULTS_TO_LOCK, TEST_AFTER, Quarantine
from spalloc_server._places import Frame

BOARD = (1, 2, 0)
OTHER = (1, 2, 1)
WALL = 1.6e9
MINUTE, HOUR = 60.0, 3600.0


def fault(quarantine: Quarantine, now: float, *, kind: str = "fpga", sure: bool = True) -> bool:
    return quarantine.fault(BOARD, kind, "it broke", now, WALL + now, sure=sure)


def fault_and_recover(quarantine: Quarantine, now: float, kind: str = "fpga") -> None:
    fault(quarantine, now, kind=kind)
    quarantine.passed(BOARD, WALL)


def test_a_board_is_tested_after_1_5_15_60_minutes_then_hourly() -> None:
    quarantine = Quarantine()
    fault(quarantine, 1000.0)
    now = 1000.0
    waits = []

    for _ in range(7):
        due = quarantine.next_due()
        assert due is not None
        assert quarantine.due(due - 0.01) == []
        assert [case.board for case in quarantine.due(due)] == [BOARD]
        waits.append(due - now)
        now = due
        quarantine.failed(BOARD, "still", now)

    assert [wait / MINUTE for wait in waits] == [1, 5, 15, 60, 60, 60, 60]
    assert quarantine.cases[BOARD].tests == 7
    assert quarantine.cases[BOARD].what == "still"


def test_a_board_under_test_is_not_due_again() -> None:
    quarantine = Quarantine()
    fault(quarantine, 0.0)

    quarantine.cases[BOARD].testing = True

    assert quarantine.due(1e6) == []
    assert quarantine.next_due() is None


def test_failed_tests_do_not_lock_a_board() -> None:
    quarantine = Quarantine()
    fault(quarantine, 0.0)

    for hour in range(10):
        quarantine.failed(BOARD, "still", hour * HOUR)

    assert quarantine.faults_of(BOARD, 10 * HOUR) == 1
    assert quarantine.next_due() is not None


@pytest.mark.parametrize("kind", ["power_on", "fpga", "link"])
def test_the_third_fault_in_a_day_keeps_a_board_out_until_it_is_released(kind: str) -> None:
    quarantine = Quarantine()
    fault_and_recover(quarantine, 0.0, kind)
    fault_and_recover(quarantine, HOUR, kind)

    fault(quarantine, 23 * HOUR, kind=kind)

    assert quarantine.next_due() is None
    assert quarantine.faults_of(BOARD, 23 * HOUR) == 3
    assert quarantine.release(BOARD)
    fault(quarantine, 23.5 * HOUR)
    assert quarantine.next_due() == 23.5 * HOUR + TEST_AFTER[0]


def test_faults_of_yesterday_do_not_count() -> None:
    quarantine = Quarantine()
    fault_and_recover(quarantine, 0.0)
    fault_and_recover(quarantine, HOUR)

    fault(quarantine, FAULT_WINDOW)

    assert quarantine.faults_of(BOARD, FAULT_WINDOW) == 2
    assert quarantine.next_due() == FAULT_WINDOW + TEST_AFTER[0]


def test_a_board_that_is_not_switched_off_is_never_locked() -> None:
    quarantine = Quarantine()

    for hour in range(5):
        fault_and_recover(quarantine, hour * HOUR, "power_off")
    fault(quarantine, 5 * HOUR, kind="power_off")

    assert quarantine.next_due() == 5 * HOUR + TEST_AFTER[0]
    assert quarantine.faults_of(BOARD, 5 * HOUR) == 6


def test_what_else_goes_wrong_with_a_board_that_is_out_is_no_news() -> None:
    quarantine = Quarantine()
    fault(quarantine, 0.0)
    quarantine.failed(BOARD, "still", 60.0)

    assert not fault(quarantine, 70.0, kind="power_off")

    assert quarantine.cases[BOARD].kind == "fpga"
    assert quarantine.next_due() == 60.0 + 300.0
    assert quarantine.faults_of(BOARD, 70.0) == 1


def test_a_suspect_is_tested_at_once_and_is_not_to_blame_if_it_passes() -> None:
    quarantine = Quarantine()

    assert fault(quarantine, 10.0, sure=False)

    assert [case.board for case in quarantine.due(10.0)] == [BOARD]
    quarantine.passed(BOARD, WALL)
    assert quarantine.faults_of(BOARD, 10.0) == 0


def test_a_suspect_that_fails_its_test_has_a_fault() -> None:
    quarantine = Quarantine()
    fault(quarantine, 10.0, sure=False)

    quarantine.failed(BOARD, "refused", 12.0)

    assert quarantine.faults_of(BOARD, 12.0) == 1
    assert quarantine.next_due() == 12.0 + TEST_AFTER[0]
    assert quarantine.cases[BOARD].sure
    assert quarantine.cases[BOARD].tests == 0


def test_a_board_suspected_again_within_a_day_counts_as_failed() -> None:
    quarantine = Quarantine()
    fault(quarantine, 0.0, sure=False)
    quarantine.passed(BOARD, WALL)

    fault(quarantine, HOUR, sure=False)

    assert quarantine.next_due() == HOUR + TEST_AFTER[0]
    assert quarantine.faults_of(BOARD, HOUR) == 1


def test_a_suspect_that_is_found_out_is_sure() -> None:
    quarantine = Quarantine()
    fault(quarantine, 0.0, sure=False)

    assert fault(quarantine, 1.0)

    assert quarantine.next_due() == 1.0 + TEST_AFTER[0]


def test_what_an_operator_took_out_is_never_tested() -> None:
    quarantine = Quarantine()

    quarantine.hold(BOARD, "new FPGA", WALL)

    assert quarantine.next_due() is None
    assert not fault(quarantine, 0.0)
    assert quarantine.cases[BOARD].what == "new FPGA"


def test_an_operator_takes_over_a_board_that_is_out() -> None:
    quarantine = Quarantine()
    fault(quarantine, 0.0)

    quarantine.hold(BOARD, "for repair", WALL + 100)

    assert quarantine.next_due() is None
    assert quarantine.cases[BOARD].since == WALL


def test_a_release_forgets_faults_and_says_whether_the_board_was_out() -> None:
    quarantine = Quarantine()
    fault(quarantine, 0.0)

    assert quarantine.release(BOARD)

    assert quarantine.faults_of(BOARD, 0.0) == 0
    assert not quarantine.release(BOARD)
    assert not quarantine


def test_a_postponed_test_keeps_its_distance() -> None:
    quarantine = Quarantine()
    fault(quarantine, 0.0)
    quarantine.failed(BOARD, "still", 60.0)

    quarantine.postpone(BOARD, 400.0)
    assert quarantine.next_due() == 700.0

    quarantine.postpone(BOARD, 700.0, 5.0)
    assert quarantine.next_due() == 705.0
    assert quarantine.cases[BOARD].tests == 1


def busy() -> Quarantine:
    quarantine = Quarantine()
    quarantine.fault(BOARD, "fpga", "it broke", 100.0, WALL + 100.0)
    quarantine.failed(BOARD, "FPGA 2 says 0", 160.0)
    quarantine.fault(OTHER, "power_on", "refused", 150.0, WALL + 150.0, sure=False)
    quarantine.hold((0, 0, 0), "drained", WALL + 1.0)
    quarantine.silent[Frame((0, 3))] = WALL + 2.0
    return quarantine


def test_all_of_it_survives_json_and_time_goes_on_meanwhile() -> None:
    before = busy()

    plain = json.loads(json.dumps(before.to_plain(200.0, WALL + 200.0)))
    after = Quarantine.from_plain(plain, 7.0, WALL + 230.0)

    assert after.silent == before.silent
    assert after.cases.keys() == before.cases.keys()
    assert after.cases[BOARD].due == 7.0 + (160.0 + 300.0 - 230.0)
    assert after.cases[BOARD].tests == 1
    assert not after.cases[OTHER].sure
    assert after.cases[OTHER].due == 7.0
    assert after.cases[0, 0, 0].due is None
    assert after.faults_of(BOARD, 7.0) == 1
    assert after.faults_of(BOARD, 7.0 + FAULT_WINDOW - 131.0) == 1
    assert after.faults_of(BOARD, 7.0 + FAULT_WINDOW - 130.0) == 0


@given(wall=st.floats(0.0, 4e9), now=st.floats(0.0, 1e8))
def test_no_step_of_the_wall_clock_puts_a_test_off(wall: float, now: float) -> None:
    plain = busy().to_plain(200.0, WALL + 200.0)

    after = Quarantine.from_plain(plain, now, wall)

    due = after.cases[BOARD].due
    assert due is not None
    assert now <= due <= now + TEST_AFTER[1] + 1e-6
    assert after.faults_of(BOARD, now + FAULT_WINDOW) == 0


def test_faults_long_ago_are_not_saved() -> None:
    quarantine = Quarantine()
    fault_and_recover(quarantine, 0.0)

    assert quarantine.to_plain(HOUR, WALL)["faults"]
    assert not quarantine.to_plain(FAULT_WINDOW, WALL)["faults"]


def test_a_board_takes_its_history_along() -> None:
    here, there = busy(), Quarantine()
    here.cases[BOARD].testing = True

    here.part(BOARD, there, (0, 0, 2))

    case = there.cases[0, 0, 2]
    assert (case.board, case.kind, case.due, case.testing) == ((0, 0, 2), "fpga", 460.0, False)
    assert there.faults_of((0, 0, 2), 200.0) == 1
    assert here.cases[BOARD].board == BOARD


def test_a_board_in_service_takes_its_faults_along() -> None:
    here, there = Quarantine(), Quarantine()
    fault_and_recover(here, 0.0)

    here.part(BOARD, there, (0, 0, 2))

    assert there.cases == {}
    assert there.faults_of((0, 0, 2), HOUR) == 1


def test_a_second_suspicion_is_no_news() -> None:
    quarantine = Quarantine()
    assert fault(quarantine, 0.0, sure=False)

    assert not fault(quarantine, 5.0, sure=False)

    assert quarantine.cases[BOARD].since == WALL
    assert fault(quarantine, 6.0)
    assert not fault(quarantine, 7.0)
    assert not fault(quarantine, 7.0, sure=False)


def test_each_fault_beyond_those_that_lock_a_board_locks_it_again() -> None:
    quarantine = Quarantine()
    for number in range(FAULTS_TO_LOCK + 2):
        fault(quarantine, float(number))
        assert (quarantine.cases[BOARD].due is None) == (number + 1 >= FAULTS_TO_LOCK)
        quarantine.passed(BOARD, WALL)


def test_faults_of_a_moment_ago_keep_their_time_over_a_restart() -> None:
    plain = Quarantine().to_plain(0.0, WALL)
    plain["faults"] = [[list(BOARD), [[WALL - 0.5, "fpga"]]]]

    quarantine = Quarantine.from_plain(plain, 1000.0, WALL)

    assert quarantine.faults_of(BOARD, 999.5 + FAULT_WINDOW - 0.01) == 1
    assert quarantine.faults_of(BOARD, 999.5 + FAULT_WINDOW) == 0
