"""Users' reports of boards: which count, and what they lead to."""

from collections.abc import Iterator
from typing import Any

import pytest

from spalloc_server._jobs import book as _book
from spalloc_server._jobs.reports import (
    MOST_REPORTS,
    SECONDS_AFTER_TEST,
    SECONDS_OF_REPORTS,
    Ration,
    Reports,
    Verdict,
    most_out,
)
from spalloc_server.controller import Controller, JobState
from tests.support.facility import Facility, machine

A, B = (0, 0, 0), (0, 0, 1)
HOST, OTHER = "10.0.0.1", "10.0.0.2"
DAY = 86400.0


@pytest.fixture
def facility() -> Iterator[Facility]:
    """Four triads on two frames."""
    facility = Facility([machine("m", 4, 1)])
    yield facility
    facility.close()


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
    return facility.controller.upkeep.report_problem(host, job_id, board, "chips do not answer")


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


def test_a_board_is_reported_by_its_address_or_place(facility: Facility) -> None:
    job_id = used(facility)
    address = facility.controller.machines["m"].spinnaker_ips[A]

    assert report(facility, job_id, board=address) == Verdict.noted.value
    assert report(facility, job_id, board=[0, 0, 0]) == Verdict.noted.value
    text = report(facility, job_id, board="10.99.99.99")
    assert text == "nothing is noted: machine m has no board '10.99.99.99'"


@pytest.mark.parametrize(
    ("host", "board", "why"),
    [
        (OTHER, A, "it does not come from the computer that keeps job 1 alive"),
        (None, A, "it does not come from the computer that keeps job 1 alive"),
        (HOST, B, "job 1 did not have board (0, 0, 1)"),
    ],
)
def test_reports_of_others_are_only_noted(
    facility: Facility, host: str | None, board: Any, why: str
) -> None:
    job_id = used(facility)

    text = facility.controller.upkeep.report_problem(host, job_id, board, "smoke")

    assert text == f"noted for the operator; it does not count, as {why}"
    assert facility.outcomes[-1] == (
        "event",
        {
            "event": "report",
            "machine": "m",
            "board": list(board),
            "physical": [0, 0, board[2]],
            "job": job_id,
            "host": host,
            "text": "smoke",
            "done": text,
        },
    )


def test_a_job_reports_within_a_day_of_its_end(facility: Facility) -> None:
    job_id = used(facility)
    facility.run(3 * DAY)
    assert report(facility, job_id) == Verdict.noted.value

    facility.controller.destroy_job(None, job_id)
    facility.run(DAY + 1.0)
    assert report(facility, job_id).endswith("job 1 ended more than a day ago")


def test_jobs_without_boards_report_nothing(facility: Facility) -> None:
    running = facility.create(4, 1)
    waiting = facility.create(1)
    impossible = facility.create(99)

    for job_id in (waiting, impossible, 77):
        assert report(facility, job_id) == (
            f"nothing is noted: job {job_id} had no boards here, or is forgotten"
        )
    facility.controller.job_keepalive(HOST, running)
    assert report(facility, running).endswith(f"as job {running} was never ready")


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


@pytest.mark.parametrize(
    ("board", "text"), [(5, "x"), ([1, 2], "x"), ([0, 0, "0"], "x"), (A, 7), (A, "x" * 1025)]
)
def test_reports_of_bad_form_are_refused(facility: Facility, board: Any, text: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"board|text"):
        facility.controller.upkeep.report_problem(HOST, 1, board, text)


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


def test_old_reports_are_forgotten_with_their_computers() -> None:
    reports = Reports()
    reports._hosts = {A: {"10.0.0.1": 5.0, "10.0.0.2": 15.0}, (1, 0, 0): {"10.0.0.1": 5.0}}

    assert reports.forget_before(10.0)
    assert reports._hosts == {A: {"10.0.0.2": 15.0}}
    assert not reports.forget_before(10.0)


def test_a_computer_that_floods_is_told_so_and_fills_neither_log_nor_events(
    facility: Facility, caplog: pytest.LogCaptureFixture
) -> None:
    job_id, other = ended(facility), ended(facility, OTHER)
    caplog.clear()

    told = [report(facility, job_id) for _ in range(MOST_REPORTS + 50)]

    assert told[MOST_REPORTS - 1] == Verdict.noted.value
    assert all(text.startswith("nothing is noted: your computer") for text in told[MOST_REPORTS:])
    assert len([line for line in caplog.messages if "reports board" in line]) == MOST_REPORTS
    assert report(facility, other, OTHER) == Verdict.suspect.value
    facility.run(SECONDS_OF_REPORTS)
    assert not report(facility, job_id).startswith("nothing")


def test_the_ration_remembers_a_bounded_number_of_computers() -> None:
    ration = Ration()

    for number in range(5000):
        assert ration.has_one_more(f"host {number}", 0.0)

    assert len(ration._minutes) == 1024
    assert "host 4999" in ration._minutes
