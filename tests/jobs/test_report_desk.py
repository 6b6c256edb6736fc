"""Users' reports of boards: which count, and the consequence that each is told."""

from collections.abc import Iterator
from typing import Any

import pytest

from spalloc_server._jobs.reports import MOST_REPORTS, SECONDS_OF_REPORTS, Verdict
from tests.support.facility import Facility, machine
from tests.support.reporting import DAY, HOST, OTHER, A, B, ended, report, used


@pytest.fixture
def facility() -> Iterator[Facility]:
    """Four triads on two frames."""
    facility = Facility([machine("m", 4, 1)])
    yield facility
    facility.close()


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
    facility.run(DAY)
    assert report(facility, job_id) == Verdict.noted.value
    facility.run(1.0)
    assert report(facility, job_id).endswith("job 1 ended more than a day ago")


def test_jobs_without_boards_report_nothing(facility: Facility) -> None:
    running = facility.create(4, 1)
    waiting = facility.create(1)
    impossible = facility.create(99)

    for job_id in (waiting, impossible, 77):
        assert report(facility, job_id) == (
            f"nothing is noted: job {job_id} had no boards here, or is forgotten"
        )
    facility.controller.destroy_job(None, waiting)
    assert report(facility, waiting).startswith("nothing is noted")
    facility.controller.job_keepalive(HOST, running)
    assert report(facility, running).endswith(f"as job {running} was never ready")


@pytest.mark.parametrize(
    ("board", "text"), [(5, "x"), ([1, 2], "x"), ([0, 0, "0"], "x"), (A, 7), (A, "x" * 1025)]
)
def test_reports_of_bad_form_are_refused(facility: Facility, board: Any, text: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"board|text"):
        facility.controller.upkeep.report_problem(HOST, 1, board, text)


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


def test_a_call_from_within_is_no_computer_that_keeps_a_job_alive(facility: Facility) -> None:
    job_id = facility.create(*A)
    facility.run(60.0)

    text = facility.controller.upkeep.report_problem(None, job_id, A, "smoke")

    assert text.endswith(f"does not come from the computer that keeps job {job_id} alive")


@pytest.mark.parametrize("board", [(4, 0, 0), (0, 1, 2), (0, 0, 3)])
def test_boards_that_a_machine_does_not_have_are_named(facility: Facility, board: Any) -> None:
    job_id = used(facility)

    text = report(facility, job_id, board=board)

    assert text == f"nothing is noted: machine m has no board {board}"


def test_boards_of_a_machine_that_has_gone_are_not_reported(facility: Facility) -> None:
    job_id = ended(facility)
    facility.controller.machines = {}

    assert report(facility, job_id) == (
        f"nothing is noted: job {job_id} had no boards here, or is forgotten"
    )


@pytest.mark.parametrize("board", [[0, 0], [0, 0, 0, 0], None, 7, {0, 1, 2}])
def test_only_an_address_or_three_coordinates_are_a_board(facility: Facility, board: Any) -> None:
    with pytest.raises(TypeError, match=r"^the board must be an address or \[x, y, z\], not "):
        report(facility, 1, board=board)


def test_a_job_with_a_block_reports_each_board_of_it(facility: Facility) -> None:
    job_id = ended(facility, HOST, 2, 1)

    for board in [(x, 0, z) for x in range(2) for z in range(3)]:
        assert report(facility, job_id, board=board) == Verdict.noted.value
    assert report(facility, job_id, board=(2, 0, 0)).endswith("did not have board (2, 0, 0)")


def test_a_report_is_told_in_the_log_with_its_consequence(
    facility: Facility, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = ended(facility)
    caplog.clear()

    facility.controller.upkeep.report_problem(HOST, job_id, A, "smoke\nand fire")

    (record,) = caplog.records
    assert record.getMessage() == (
        f"job {job_id} reports board (0, 0, 0) of machine m from 10.0.0.1: smoke\\nand fire "
        f"({Verdict.noted.value})"
    )
    assert record.__dict__["job_id"] == job_id
