"""Users' reports of boards: which count, and what they lead to."""

from collections.abc import Iterator

import pytest

from spalloc_server._jobs import book as _book
from spalloc_server._jobs import reports as reports_module
from spalloc_server._jobs.reports import (
    SECONDS_AFTER_TEST,
    Ration,
    Reports,
    Verdict,
    most_out,
)
from spalloc_server.controller import Controller, JobState
from tests.support.facility import Facility, machine
from tests.support.reporting import DAY, HOST, OTHER, A, B, ended, report, used


@pytest.fixture
def facility() -> Iterator[Facility]:
    """Four triads on two frames."""
    facility = Facility([machine("m", 4, 1)])
    yield facility
    facility.close()


def test_two_reports_from_different_hosts_have_a_board_tested(facility: Facility) -> None:
    first, second = ended(facility), ended(facility, OTHER)

    assert report(facility, first) == Verdict.noted.value
    assert report(facility, first) == Verdict.noted.value
    assert facility.out == set()
    assert report(facility, second, OTHER) == Verdict.suspect.value

    (row,) = facility.controller.overview.out_of_service()
    assert (row.board, row.kind) == (A, "reported")
    assert row.what == "reported by users: chips do not answer"
    facility.run(60.0)
    assert facility.out == set()


def test_a_used_board_is_tested_when_it_is_free(facility: Facility) -> None:
    first, second = ended(facility), used(facility, OTHER)
    report(facility, first)
    report(facility, second, OTHER)

    facility.run(600.0)
    assert facility.state(second) is JobState.ready
    assert facility.out == {A}

    facility.controller.destroy_job(None, second)
    facility.run(600.0)
    assert facility.out == set()


def test_a_board_that_passed_and_is_reported_again_waits_for_an_operator(
    facility: Facility,
) -> None:
    first, second = ended(facility), ended(facility, OTHER)
    report(facility, first)
    report(facility, second, OTHER)
    facility.run(60.0)
    third = ended(facility)

    assert report(facility, third) == Verdict.locked.value
    (row,) = facility.controller.overview.out_of_service()
    assert (row.board, row.next_test) == (A, None)

    facility.controller.upkeep.release_boards("m", [A])
    assert report(facility, third) == Verdict.noted.value


def test_a_board_that_fails_its_test_stays_out(facility: Facility) -> None:
    first, second = ended(facility), ended(facility, OTHER)
    facility.inject("0 board 0 refuse-power on")
    report(facility, first)
    report(facility, second, OTHER)

    facility.run(30.0)
    (row,) = facility.controller.overview.out_of_service()
    assert (row.board, row.kind, row.next_test is None) == (A, "reported", False)
    assert report(facility, first).startswith("the board is out of service already")


def test_only_so_many_boards_are_out_by_reports(facility: Facility) -> None:
    first, second = ended(facility), used(facility, OTHER)
    report(facility, first)
    report(facility, second, OTHER)  # A is out, and cannot be tested while it is used
    first, second = ended(facility, HOST, *B), ended(facility, OTHER, *B)
    report(facility, first, HOST, B)

    assert report(facility, second, OTHER, B) == (
        "noted for the operator: as many boards as may be are out of service because of reports"
    )
    assert facility.out == {A}


def test_no_more_boards_go_out_by_reports_after_fewer_may_be_than_are() -> None:
    facility = Facility([machine("m", 34, 1)])
    board = (5, 0, 0)
    jobs = {each: used(facility, HOST, *each) for each in (A, B, board)}
    told = [
        facility.controller._health.report("m", each, host, "smoke")
        for each in (A, B)
        for host in (HOST, OTHER)
    ]
    assert told == [Verdict.noted.value, Verdict.suspect.value] * 2
    assert facility.out == {A, B}

    dead = {(33, 0, z) for z in range(3)}
    smaller = facility.controller.machines["m"]._replace(dead_boards=dead)
    facility.controller.machines = {"m": smaller}
    assert report(facility, jobs[board], HOST, board) == Verdict.noted.value
    done = facility.controller._health.report("m", board, OTHER, "smoke")

    assert done.startswith("noted for the operator: as many boards as may be")
    assert facility.out == {A, B}
    facility.close()


@pytest.mark.parametrize(("boards", "most"), [(3, 1), (99, 1), (100, 2), (1200, 24)])
def test_two_percent_may_be_out_and_at_least_one(boards: int, most: int) -> None:
    assert most_out(boards) == most


def test_reports_survive_a_restart(facility: Facility) -> None:
    first, second = ended(facility), ended(facility, OTHER)
    report(facility, first)
    book = facility.controller.__getstate__()
    assert _book.upgrade(book, _book.FORMAT) == book

    again = Controller.restore(book)
    assert again.upkeep.report_problem(OTHER, second, A, "still") == Verdict.suspect.value


def test_what_is_known_survives_as_plain_builtins_while_it_counts() -> None:
    reports = Reports()
    reports.add(A, HOST, 1000.0)
    reports.passed(B, 1000.0)

    again = Reports.from_plain(reports.to_plain(2000.0))
    assert again.known() == {A, B}
    assert again.add(A, OTHER, 2000.0) is Verdict.suspect
    assert again.add(B, HOST, 2000.0) is Verdict.locked
    later = Reports.from_plain(reports.to_plain(1000.0 + SECONDS_AFTER_TEST))
    assert not later


def test_old_reports_and_tests_count_no_more() -> None:
    reports = Reports()
    reports.add(A, HOST, 0.0)
    reports.passed(B, 0.0)

    assert reports.add(A, OTHER, 8 * DAY) is Verdict.noted
    assert reports.add(B, HOST, 8 * DAY) is Verdict.noted


def test_reports_and_tests_count_for_seven_days() -> None:
    reports = Reports()
    for board in (A, B):
        reports.add(board, HOST, 0.0)
    assert reports.add(A, OTHER, 7 * DAY - 1) is Verdict.suspect
    assert reports.add(B, OTHER, 7 * DAY) is Verdict.noted
    for board in (A, B):
        reports.forget(board)
        reports.passed(board, 0.0)

    assert reports.add(A, HOST, 7 * DAY - 1) is Verdict.locked
    assert reports.add(B, HOST, 7 * DAY) is Verdict.noted


def test_old_reports_are_forgotten_with_their_computers() -> None:
    reports = Reports()
    reports._hosts = {A: {"10.0.0.1": 5.0, "10.0.0.2": 15.0}, (1, 0, 0): {"10.0.0.1": 5.0}}

    assert reports.forget_before(10.0)
    assert reports._hosts == {A: {"10.0.0.2": 15.0}}
    assert not reports.forget_before(10.0)


def test_each_minute_of_reports_begins_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports_module, "MOST_REPORTS", 2)
    ration = Ration()
    times = [0.0, 59.0, 59.9, 60.0, 70.0, 119.9, 500.0, 559.0, 559.9]

    taken = [ration.has_one_more(HOST, now) for now in times]

    assert taken == [True, True, False, True, True, False, True, True, False]


def test_the_computers_whose_minutes_began_first_are_forgotten_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reports_module, "MOST_REPORTS", 1)
    monkeypatch.setattr(reports_module, "_MOST_HOSTS", 3)
    ration = Ration()
    for host, now in ((HOST, 0.0), (OTHER, 1.0), (HOST, 60.0), ("10.0.0.3", 60.5)):
        assert ration.has_one_more(host, now)

    assert ration.has_one_more("10.0.0.4", 60.5)

    assert not ration.has_one_more(HOST, 60.5)
    assert ration.has_one_more(OTHER, 60.5)


def test_the_ration_remembers_a_bounded_number_of_computers() -> None:
    ration = Ration()

    for number in range(5000):
        assert ration.has_one_more(f"host {number}", 0.0)

    assert len(ration._minutes) == 1024
    assert "host 4999" in ration._minutes
