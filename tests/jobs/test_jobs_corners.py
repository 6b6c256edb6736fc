"""Rare turns of the jobs' modules: unknown ids, machines that are gone, boards in service."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from spalloc_server._allocation.kinds import understand
from spalloc_server._jobs import book as _book
from spalloc_server._jobs import waits
from spalloc_server._jobs.book import BookError
from spalloc_server._jobs.events import EventMaker
from spalloc_server._jobs.quarantine import Quarantine
from spalloc_server._jobs.reasons import _described
from spalloc_server._jobs.reports import Reports, Verdict
from spalloc_server._jobs.waits import LEAST_WAITS, ExpectedWaits, Span
from spalloc_server.controller import Controller
from tests.support.facility import Facility, machine
from tests.support.fake_frame import Rack
from tests.support.hand_clock import HandClock
from tests.support.machines import machine as plain_machine

A, B = (0, 0, 0), (0, 0, 1)
RECORD = {
    "owner": "me", "start_time": 5.0, "keepalive": 60.0, "host": None, "args": [3], "kwargs": {},
}  # fmt: skip


@pytest.fixture
def facility() -> Iterator[Facility]:
    """Four triads on two frames."""
    facility = Facility([machine("m", 4, 1, dead_boards=set())])
    yield facility
    facility.close()


def test_a_job_of_another_principal_has_no_code_in_the_book() -> None:
    book = _book.empty()
    for outcome in (("created", 7, RECORD), ("code", 7, "hash"), ("principal", 7, "unix:5")):
        _book.apply(book, outcome)

    assert book["jobs"][7]["principal"] == "unix:5"
    assert book["jobs"][7]["code"] is None


def test_an_order_without_its_author_is_no_outcome() -> None:
    book = _book.empty()
    entry: dict[str, Any] = {"order": "end", "by": "unix:0", "told": "", "at": 1.0}
    _book.apply(book, ("order", entry))
    del entry["by"]

    with pytest.raises(BookError):
        _book.apply(book, ("order", entry))


def test_boards_out_on_a_machine_that_is_gone_make_no_event() -> None:
    maker = EventMaker(_book.empty())
    plain = {"cases": [{"board": [0, 0, 0]}], "silent": [[0, 0]]}

    assert list(maker.make(("quarantine", "gone", plain), 7.0)) == []


def test_reports_go_with_a_board_to_another_machine() -> None:
    reports, other = Reports(), Reports()
    reports.add(A, "10.0.0.1", 5.0)
    reports.passed(B, 5.0)

    reports.part(A, other, B)
    reports.part(B, other, A)

    assert other.add(B, "10.0.0.2", 6.0) is Verdict.suspect
    assert other.add(A, "10.0.0.2", 6.0) is Verdict.locked


def test_sorted_waits_are_forgotten_if_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    known = ExpectedWaits()
    for wait in range(LEAST_WAITS):
        known.note("m", 3, float(wait))
    first = known.span(1, ["m"], 3, -1.0, 0.0)
    monkeypatch.setattr(waits, "MOST_WAITS", 0)

    # The other request has the first one's waits forgotten, so they are sorted anew.
    assert known.span(2, ["n"], 3, -1.0, 1.0) is None
    again = known.span(3, ["m"], 3, -1.0, 2.0)

    assert first == Span(1.0, 9.0, 0.0)
    assert again == Span(1.0, 9.0, 2.0)


def test_a_board_in_service_is_not_hastened() -> None:
    assert not Quarantine().hasten(A, 5.0)


def test_a_board_in_service_cannot_be_tested(facility: Facility) -> None:
    with pytest.raises(ValueError, match="is not out of service"):
        facility.controller._health.test_now("m", A)


def test_an_answer_for_a_machine_that_is_gone_leaves_nothing(facility: Facility) -> None:
    health = facility.controller._health

    health.ask_silent_frames("gone")

    assert "gone" not in health._quarantines


def test_the_grace_is_shown_as_it_was_set(facility: Facility) -> None:
    facility.controller.takeover_grace = 25.0

    assert facility.controller.takeover_grace == 25.0


def test_waiting_jobs_that_ask_for_the_same_have_one_reason(facility: Facility) -> None:
    facility.create(4, 1)
    waiting = [facility.create(4, 1) for _ in range(3)]

    rows = {row["job_id"]: row for row in facility.controller.overview.list_queue()["jobs"]}

    behind = f"behind job {waiting[0]}, which is first in line"
    for job_id in waiting[1:]:
        assert [told["why"] for told in rows[job_id]["machines"]] == [behind]


def test_a_moved_job_that_waits_is_told_so(facility: Facility) -> None:
    facility.create(4, 1)
    waiting = facility.create(4, 1)
    facility.controller._jobs[waiting].fault = "board 1 is silent"

    found = facility.controller.overview.get_job_outlook(waiting)

    assert found is not None
    (told,) = found["machines"]
    assert told["why"].startswith("try 1 of 4, as boards failed (board 1 is silent); ")


def test_a_request_for_any_board_is_described_as_one_board() -> None:
    assert _described(understand((), {})) == "one board"


def test_a_board_of_a_silent_frame_is_tested_by_asking_the_frame(
    facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    facility.inject("0 silent")
    facility.create()
    facility.run(60.0)
    assert {row.kind for row in facility.controller.overview.out_of_service()} == {"silent"}
    health = facility.controller._health
    asked: list[tuple[str, tuple[int, int]]] = []
    monkeypatch.setattr(health, "welcome", lambda name, frame: asked.append((name, frame)))

    health.test_now("m", A)

    assert asked == [("m", (0, 0))]


def test_the_grace_leaves_jobs_alone_that_no_longer_expire(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    HandClock(monkeypatch)
    rack = Rack(monkeypatch)
    before = Controller()
    before.machines = {"m": plain_machine("m", 2, 1)}
    before.create_job("10.0.0.1", 1, 1, owner="me", keepalive=60)
    rack.answer_all()
    after = Controller.restore(before.__getstate__())
    job = after._jobs[1]
    job.keepalive = None
    deadline = job.deadline

    after.takeover_grace = 3600.0

    assert job.deadline == deadline
