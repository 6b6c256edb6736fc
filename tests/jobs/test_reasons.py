"""Why jobs wait, and their places in line."""

import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._allocation.kinds import Request, understand
from spalloc_server._jobs.board_states import clock_time
from spalloc_server._jobs.reasons import (
    MOST_AHEAD,
    AwaitedBoards,
    Line,
    Reason,
    Reasons,
    _boards_wanted,
)
from spalloc_server._places import Board
from spalloc_server.controller import Controller, JobState
from tests.support.facility import Facility, machine
from tests.support.hand_clock import HandClock

A, B = (0, 0, 0), (0, 0, 1)


@pytest.fixture
def facility(monkeypatch: pytest.MonkeyPatch) -> Iterator[Facility]:
    """Four triads on two frames, in UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    facility = Facility([machine("m", 4, 1, dead_boards=set())])
    yield facility
    facility.close()
    monkeypatch.undo()
    time.tzset()


def outlook(facility: Facility, job_id: int) -> dict[str, Any]:
    found = facility.controller.overview.get_job_outlook(job_id)
    assert found is not None
    return found


def why(facility: Facility, job_id: int, machine: str = "m") -> str:
    (text,) = [m["why"] for m in outlook(facility, job_id)["machines"] if m["name"] == machine]
    assert isinstance(text, str)
    return text


def ready(facility: Facility, *what: int, **keywords: Any) -> int:
    job_id = facility.create(*what, **keywords)
    facility.run_until(lambda: facility.state(job_id) is JobState.ready, 100.0)
    return job_id


def test_jobs_behind_the_first_in_line_wait_for_it(facility: Facility) -> None:
    ready(facility, 4, 1)
    first, second, third = (facility.create(4, 1), facility.create(1), facility.create(2))

    assert outlook(facility, first)["position"] == 1
    assert outlook(facility, third) == {
        "job_id": third,
        "position": 3,
        "ahead": 2,
        "first_ahead": [first, second],
        "machines": [
            {"name": "m", "why": f"behind job {first}, which is first in line", "until": None}
        ],
        "expected": None,
    }


def test_jobs_have_the_boards(facility: Facility) -> None:
    ready(facility, 3, 1)

    assert why(facility, facility.create(2, 1)) == "jobs have 9 of 12 boards, 3 are free"


def test_enough_is_free_but_not_side_by_side(facility: Facility) -> None:
    ready(facility, 1, 0, 0)

    whole = facility.create(4, 1)
    assert why(facility, whole) == "jobs have 1 of 12 boards, 11 are free"
    facility.controller.destroy_job(None, whole)
    ready(facility, 2, 0, 0, machine="m")
    fits = facility.create(4)

    assert why(facility, fits) == "10 boards are free, but no place for 4 boards side by side"


def test_boards_rest(facility: Facility) -> None:
    job = ready(facility, 4, 1)
    waiting = facility.create(4, 1)
    facility.controller.destroy_job(None, job)
    facility.time.now += 2.0
    assert why(facility, waiting) == "12 boards are being switched off"

    facility.run(10.0)
    (told,) = outlook(facility, waiting)["machines"]
    until = told["until"]
    assert told["why"] == f"12 boards rest until {clock_time(until)}"
    assert facility.time.wall() < until <= facility.time.wall() + 30.0


def test_a_given_board_tells_its_own_state(facility: Facility) -> None:
    holder = ready(facility, *A)
    waiting = facility.create(*A)
    assert why(facility, waiting) == f"job {holder} has board (0, 0, 0)"

    facility.controller.destroy_job(None, holder)
    facility.time.now += 2.0
    assert why(facility, waiting) == "board (0, 0, 0) is being switched off"

    facility.run(10.0)
    assert why(facility, waiting).startswith("board (0, 0, 0) rests until ")


def test_a_given_board_of_a_triad_that_is_in_a_block(facility: Facility) -> None:
    facility.controller.machines["m"].dead_boards.add(B)  # type: ignore[union-attr]
    ready(facility, 4, 1)
    facility.controller.machines["m"].dead_boards.discard(B)  # type: ignore[union-attr]

    text = why(facility, facility.create(*B))
    assert text == "board (0, 0, 1) is free, but other boards of its triad are in a block"


def test_boards_are_out_of_service(facility: Facility) -> None:
    facility.controller.upkeep.hold_boards("m", [A], "new FPGA")
    since = clock_time(facility.time.wall())
    waiting = facility.create(4, 1)
    assert why(facility, waiting) == (
        f"board (0, 0, 0) is out of service since {since} (new FPGA)"
    )
    assert outlook(facility, waiting)["machines"][0]["until"] is None

    for board in (B, (0, 0, 2), (1, 0, 0)):
        facility.controller.upkeep.hold_boards("m", [board], "drained")
    facility.time.now += 2.0
    text = why(facility, waiting)
    assert text.startswith("boards (0, 0, 0), (0, 0, 1), (0, 0, 2) and 1 more are out of service")


def test_a_board_that_is_tested_again_tells_when(facility: Facility) -> None:
    facility.inject("0 board 0 refuse-power")
    job = facility.create(*A)
    facility.run_until(lambda: facility.state(job) is JobState.destroyed, 100.0)

    waiting = facility.create(*A)
    (told,) = outlook(facility, waiting)["machines"]
    assert told["why"].startswith("board (0, 0, 0) is out of service since ")
    assert 0 < told["until"] - facility.time.wall() <= 60.0


def test_a_board_that_is_being_tested_tells_no_time(facility: Facility) -> None:
    facility.inject("0 board 0 refuse-power")
    job = facility.create(*A)
    facility.run_until(lambda: facility.state(job) is JobState.destroyed, 100.0)
    facility.controller.upkeep.test_board("m", A)  # at once, so that the time is past

    waiting = facility.create(*A)
    assert outlook(facility, waiting)["machines"][0]["until"] is None


def test_a_silent_frame_is_named(facility: Facility) -> None:
    where = facility.controller._records.maps["m"]
    facility.controller._health.fall_silent("m", where.in_frame(A)[0])
    waiting = facility.create(*A)
    assert why(facility, waiting) == "frame c0 f0 does not answer"

    facility.controller._health.fall_silent("m", where.in_frame((3, 0, 0))[0])
    facility.time.now += 2.0
    other = facility.create(4, 1)
    assert why(facility, other) == "frames c0 f0, c0 f1 do not answer"


def test_a_moved_job_tells_what_failed_and_which_try_it_is(facility: Facility) -> None:
    facility.inject("0 board 0 refuse-power")
    job = facility.create(1)
    facility.run_until(lambda: bool(facility.moves), 100.0)

    text = why(facility, job)
    assert text.startswith("try 2 of 4, as boards failed (")
    assert "board (0, 0, 0) of machine m" in text
    facility.run_until(lambda: facility.state(job) is JobState.ready, 100.0)
    assert facility.controller.overview.get_job_outlook(job) is None


def test_only_waiting_jobs_have_an_outlook(facility: Facility) -> None:
    job = facility.create(1)

    assert facility.controller.overview.get_job_outlook(job) is None
    assert facility.controller.overview.get_job_outlook(99) is None
    assert facility.controller.overview.list_queue()["jobs"] == []


def test_the_list_is_made_once_a_second(facility: Facility) -> None:
    ready(facility, 4, 1)
    facility.create(1)
    before = facility.controller.overview.list_queue()
    late = facility.create(1)

    facility.time.now += 0.9
    assert facility.controller.overview.list_queue() is before
    assert outlook(facility, late)["ahead"] == 1

    facility.time.now += 0.1
    after = facility.controller.overview.list_queue()
    assert after["made"] == facility.time.wall()
    assert len(after["jobs"]) == 2


def test_a_job_of_several_machines_has_a_reason_for_each() -> None:
    facility = Facility([machine("m", 4, 1), machine("n", 1, 1)])
    try:
        ready(facility, 4, 1)
        ready(facility, 1, 1, machine="n")
        job = facility.create(1)

        assert why(facility, job, "m") == "jobs have 12 of 12 boards, 0 are free"
        assert why(facility, job, "n") == "jobs have 3 of 3 boards, 0 are free"
    finally:
        facility.close()


@given(st.lists(st.frozensets(st.sampled_from("abc"), min_size=1), max_size=40))
def test_the_jobs_ahead_wait_for_a_common_machine(jobs: list[frozenset[str]]) -> None:
    line = Line()

    for number, machines in enumerate(jobs):
        ahead = [n for n, others in enumerate(jobs[:number]) if others & machines]

        assert line.join(number, machines) == (len(ahead), ahead[:MOST_AHEAD])


def test_jobs_behind_a_region_name_its_job(facility: Facility) -> None:
    queue = facility.controller._job_queue
    queue.scheduling, queue.patience = "overtaking", 0.0
    long, short = ready(facility, 1, 1), ready(facility, 1, 1)
    whole = facility.create(4, 1)
    late = facility.create(1)

    assert facility.state(late) is JobState.queued
    assert why(facility, late) == f"behind job {whole}, which keeps a region for itself"
    assert why(facility, whole) == "jobs have 6 of 12 boards, 6 are free"

    facility.controller.destroy_job(None, long)
    facility.controller.destroy_job(None, short)
    facility.time.now += 2.0
    assert why(facility, whole) == "6 boards are being switched off"


def test_jobs_that_may_overtake_are_not_behind_the_first(facility: Facility) -> None:
    queue = facility.controller._job_queue
    queue.scheduling, queue.patience = "overtaking", 7200.0
    ready(facility, 4, 1)
    facility.create(4, 1)

    assert why(facility, facility.create(2)) == "jobs have 12 of 12 boards, 0 are free"


def test_a_job_is_told_how_long_similar_requests_waited(facility: Facility) -> None:
    for _ in range(12):
        holder, waiting = ready(facility, 4, 1), facility.create(4, 1)
        facility.controller.destroy_job(None, holder)
        facility.run_until(lambda: facility.state(waiting) is JobState.ready, 100.0)  # noqa: B023
        facility.controller.destroy_job(None, waiting)
        facility.run(60.0)
    ready(facility, 4, 1)

    expected = outlook(facility, facility.create(4, 1))["expected"]

    assert expected is not None
    assert 30.0 <= expected["low"] <= expected["high"] < 60.0
    assert expected["made"] == facility.time.wall()
    census = facility.controller.overview.census()
    assert census is not None
    assert (census.spans_judged, census.spans_held) == (0, 0)
    book = facility.controller.__getstate__()
    waiting = facility.controller.list_jobs()[-1].job_id
    again = Controller.restore(book).overview.get_job_outlook(waiting)
    assert again is not None
    assert again["expected"] is not None

    facility.run(60.0)
    assert outlook(facility, waiting)["expected"] is None, "no similar request waited so long"


class Quarantined:
    """Stands for a queue with one machine; each answer takes 4 ms."""

    def __init__(self, clock: HandClock) -> None:
        self.clock = clock
        self.out = frozenset({A})
        self.asked: list[Request] = []
        self.unfinished = False

    def quarantined_on(self, _name: str) -> frozenset[Board]:
        return self.out

    def awaited_boards(self, _name: str, request: Request) -> frozenset[Board] | None:
        self.asked.append(request)
        self.clock.advance(0.004)
        return None if self.unfinished else self.out


def test_what_requests_wait_for_is_found_out_a_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = Quarantined(HandClock(monkeypatch))
    awaited = AwaitedBoards(queue)  # type: ignore[arg-type]
    requests = [understand((n,), {}) for n in range(2, 7)]

    awaited.begin(["m"])
    assert [awaited.of("m", request) for request in requests] == [{A}, {A}, {A}, set(), set()]
    awaited.begin(["m"])
    assert [awaited.of("m", request) for request in requests] == [{A}] * 5
    assert queue.asked == requests

    queue.out = frozenset({B})
    awaited.begin(["m"])
    assert awaited.of("m", requests[0]) == {B}
    queue.out, queue.unfinished = frozenset({A, B}), True
    awaited.begin(["m"])
    assert awaited.of("m", requests[0]) == set()
    queue.out = frozenset()
    awaited.begin(["m"])
    assert awaited.of("m", requests[0]) == set()


def test_a_list_that_takes_long_is_made_less_often(
    facility: Facility, monkeypatch: pytest.MonkeyPatch
) -> None:
    reasons = facility.controller._parts.reasons
    made = []

    def slow(only: int | None = None) -> list[dict[str, Any]]:
        made.append(facility.time.now)
        facility.time.now += 0.2
        return []

    monkeypatch.setattr(reasons, "_outlooks", slow)
    begun = facility.time.now
    for _ in range(50):
        facility.controller.overview.list_queue()
        facility.time.now += 0.1

    assert made == [begun, pytest.approx(begun + 4.0)]


def test_just_enough_boards_rest(facility: Facility) -> None:
    ready(facility, 1, 1)
    resting = ready(facility, 2, 1)
    waiting = facility.create(3, 1)
    assert why(facility, waiting) == "jobs have 9 of 12 boards, 3 are free"

    facility.controller.destroy_job(None, resting)
    facility.run(10.0)

    assert why(facility, waiting).startswith("6 boards rest until ")


def test_just_enough_boards_are_out_though_others_would_do(facility: Facility) -> None:
    ready(facility, 1, 1)
    ready(facility, 2, 1)
    for z in range(3):
        facility.controller.upkeep.hold_boards("m", [(3, 0, z)], "fan")
    waiting = facility.create(1, 1)

    assert why(facility, waiting).startswith("boards (3, 0, 0), (3, 0, 1), (3, 0, 2) are out of ")


def test_just_enough_boards_are_free(facility: Facility) -> None:
    for x in (0, 2):
        ready(facility, x, 0, 0)
    for board in ((0, 0, 1), (0, 0, 2), (2, 0, 1), (2, 0, 2)):
        ready(facility, *board)

    assert why(facility, facility.create(2, 1)) == (
        "6 boards are free, but no place for 2 x 1 triads"
    )


def test_dead_boards_are_not_counted() -> None:
    facility = Facility([machine("m", 4, 1, dead_boards={(3, 0, 2)})])
    try:
        ready(facility, 3, 1)
        waiting = facility.create(2, 1)

        assert why(facility, waiting) == "jobs have 9 of 11 boards, 2 are free"
    finally:
        facility.close()


# --- the words, by the numbers of boards ---


class Boards:
    """So many boards of a machine, by state."""

    def __init__(self, resting: dict[Board, float | None], **counts: int) -> None:
        self.counts = Counter({**counts, "resting": len(resting)})
        self.resting = resting
        self.idle = counts.get("free", 0) + counts.get("reserved", 0)
        self.rows = [()] * self.counts.total()
        self.out_of_service = frozenset({A})


def no_room(monkeypatch: pytest.MonkeyPatch, wanted: int, boards: Any) -> str:
    monkeypatch.setattr(Reasons, "_out_of_service", lambda *_: Reason("out of service"))
    nobody: Any = None
    reasons = Reasons(nobody, nobody, nobody, nobody, nobody)
    return reasons._no_room(understand((wanted,), {}), "m", boards).why


@pytest.mark.parametrize(
    ("wanted", "counts", "text"),
    [
        (6, {"free": 6, "used": 3}, "6 boards are free, but no place for 6 boards side by side"),
        (1, {"free": 1, "used": 3}, "1 board is free, but no place for one board"),
        (6, {"free": 5, "used": 3}, "1 board rests until "),
        (7, {"free": 5, "used": 3}, "jobs have 3 of 9 boards, 5 are free"),
        (7, {"free": 5}, "1 board rests until "),
        (7, {"free": 5, "used": 3, "out": 1}, "out of service"),
        (7, {"free": 5, "used": 3, "unknown": 1}, "out of service"),
        (9, {"free": 5, "used": 3, "out": 1, "unknown": 2}, "out of service"),
        (10, {"free": 5, "used": 3, "out": 1, "unknown": 2}, "jobs have 3 of 12 boards, 5 are"),
        (7, {"free": 3, "reserved": 2, "used": 2, "dead": 4}, "jobs have 2 of 8 boards, 5 are"),
        (8, {"free": 0, "used": 2, "dead": 4}, "jobs have 2 of 3 boards, 0 are free"),
    ],
)
def test_the_first_state_that_would_do_is_the_reason(
    monkeypatch: pytest.MonkeyPatch, wanted: int, counts: dict[str, int], text: str
) -> None:
    assert no_room(monkeypatch, wanted, Boards({B: 1.6e9}, **counts)).startswith(text)


@pytest.mark.parametrize(
    ("resting", "text"),
    [
        ({A: None}, "1 board is being switched off"),
        ({A: 1.6e9, B: None}, "2 boards are being switched off"),
        ({A: 1.6e9, B: 1.7e9}, f"2 boards rest until {clock_time(1.7e9)}"),
    ],
)
def test_boards_rest_until_the_last_one_has(
    monkeypatch: pytest.MonkeyPatch, resting: dict[Board, float | None], text: str
) -> None:
    boards = Boards(resting, used=3)

    assert no_room(monkeypatch, len(resting), boards) == text


@pytest.mark.parametrize(
    ("what", "limits", "dead", "boards"),
    [
        ((2, 3), {}, 0, 18), ((2, 3), {}, 4, 14), ((2, 3), {"max_dead_boards": 1}, 4, 17),
        ((2, 3), {"max_dead_boards": 9}, 4, 14), ((2, 3), {"max_dead_boards": 0}, 4, 18),
        ((1, 1), {}, 3, 1), ((1, 1), {}, 50, 1), ((5,), {}, 4, 5), ((), {}, 4, 1),
        ((0, 0, 1), {}, 4, 1),
    ],
)  # fmt: skip
def test_a_request_needs_so_many_boards(
    what: tuple[int, ...], limits: dict[str, int], dead: int, boards: int
) -> None:
    assert _boards_wanted(understand(what, limits), dead) == boards
