"""The state of every board."""

import time
from collections.abc import Iterator

import pytest

from spalloc_server._jobs.board_states import FREE, STATES, block, boards_in, clock_time
from spalloc_server.controller import JobState
from tests.support.facility import Facility, machine

A, B = (0, 0, 0), (0, 0, 1)  # boards of frame 0


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


def told(facility: Facility, board: tuple[int, int, int]) -> tuple[str, int | None, str | None]:
    rows = facility.controller.overview.list_boards("m")
    assert rows is not None
    (found,) = [row[3:] for row in rows if row[:3] == board]
    return found


def states(facility: Facility, name: str) -> dict[str, int]:
    census = facility.controller.overview.census()
    assert census is not None
    return census.machines[name].states


def today(facility: Facility, seconds: float = 0.0) -> str:
    return clock_time(facility.time.wall() + seconds)


def test_boards_of_an_idle_machine_are_free(facility: Facility) -> None:
    rows = facility.controller.overview.list_boards("m")

    assert rows is not None
    assert rows == sorted(rows)
    assert {row[3:] for row in rows} == {(FREE, None, None)}
    assert len(rows) == 12


def test_an_unknown_machine_has_no_boards(facility: Facility) -> None:
    assert facility.controller.overview.list_boards("elsewhere") is None


def test_a_board_is_used_then_switched_off_then_rests(facility: Facility) -> None:
    job = facility.create(*A)
    facility.run_until(lambda: facility.state(job) is JobState.ready, 100.0)
    assert told(facility, A) == ("used", job, None)

    facility.controller.destroy_job(None, job)
    assert told(facility, A) == ("resting", None, "being switched off")

    facility.run_until(lambda: told(facility, A)[2] != "being switched off", 100.0)
    assert told(facility, A) == ("resting", None, f"until {today(facility, 30.0)}")

    facility.run(30.0)
    assert told(facility, A) == ("free", None, None)


def test_boards_out_of_service_tell_since_when_and_why(facility: Facility) -> None:
    facility.controller.upkeep.hold_boards("m", [A], "new FPGA")

    assert told(facility, A) == ("out", None, f"since {today(facility)}: new FPGA")


def test_a_used_board_tells_its_later_states(facility: Facility) -> None:
    job = facility.create(*A)
    facility.run_until(lambda: facility.state(job) is JobState.ready, 100.0)
    facility.controller.upkeep.hold_boards("m", [A], "new FPGA")

    assert told(facility, A) == ("used", job, f"draining since {today(facility)}: new FPGA")
    health = facility.controller._health
    health.release_all("m", [A])
    health._of("m").fault(A, "link", "no link", 0.0, facility.time.wall())
    health._changed("m")
    assert told(facility, A) == ("used", job, f"out since {today(facility)}: no link")


def test_boards_that_are_kept_for_a_waiting_job_are_reserved(facility: Facility) -> None:
    facility.controller.set_order("overtaking", 7200.0)
    user = facility.create(*A)
    waiting = facility.create(4, 1)

    states = {row[:3]: row[3:] for row in facility.controller.overview.list_boards("m") or ()}
    assert states[A] == ("used", user, None)
    assert states[B] == states[1, 0, 2] == ("reserved", None, f"kept for job {waiting}")
    counts = facility.controller._parts.boards.of("m").counts
    assert (counts["reserved"], counts["free"]) == (11, 0)

    facility.controller.destroy_job(None, waiting)
    assert told(facility, (1, 0, 2)) == ("free", None, None)


def test_a_board_that_is_kept_for_a_waiting_job_is_reserved(facility: Facility) -> None:
    facility.controller.set_order("overtaking", 7200.0)
    facility.controller.upkeep.hold_boards("m", [(x, 0, 0) for x in range(1, 4)], "new FPGA")
    facility.create(*A)
    facility.create(*A)

    assert facility.controller._parts.boards.of("m").reserved == {A: 2}


def test_boards_of_a_silent_frame_are_unknown(
    facility: Facility, caplog: pytest.LogCaptureFixture
) -> None:
    user = facility.create(*B)
    facility.run_until(lambda: facility.state(user) is JobState.ready, 100.0)
    health, frame = facility.controller._health, facility.controller._records.maps["m"]
    health.fall_silent("m", frame.in_frame(A)[0])

    text = f"since {today(facility)}: BMP 127.109.0.0 does not answer"
    assert told(facility, A) == ("unknown", None, text)
    assert told(facility, B) == ("used", user, f"unknown {text}")
    assert facility.state(user) is JobState.ready
    assert caplog.messages[-1].endswith(f"does not answer, its boards are out; jobs on it: {user}")


def test_dead_boards_are_dead_also_if_they_are_marked_in_place(facility: Facility) -> None:
    dead = facility.controller.machines["m"].dead_boards
    assert isinstance(dead, set)
    dead.add(A)

    assert told(facility, A) == ("dead", None, None)


def test_rows_are_made_anew_only_after_a_change(facility: Facility) -> None:
    before = facility.controller.overview.list_boards("m")
    facility.controller.get_job_state(None, 99)
    assert facility.controller.overview.list_boards("m") is before

    facility.create(*A)
    assert facility.controller.overview.list_boards("m") is not before


def test_every_state_is_counted(facility: Facility) -> None:
    facility.create(*A)
    facility.controller.upkeep.hold_boards("m", [B], "new FPGA")

    counts = facility.controller._parts.boards.of("m").counts
    assert list(counts) == list(STATES)
    assert {state: n for state, n in counts.items() if n} == {"used": 1, "out": 1, "free": 10}


def test_times_of_other_days_have_a_date(facility: Facility) -> None:
    now = facility.time.wall()

    assert clock_time(now) == time.strftime("%H:%M UTC", time.gmtime(now))
    assert clock_time(now + 86400) == time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now + 86400))


def test_boards_of_a_footprint() -> None:
    assert list(boards_in(["board", 3, 2, 1])) == [(3, 2, 1)]
    assert list(boards_in(("triads", 1, 0, 1, 2))) == [
        (1, y, z) for y in range(2) for z in range(3)
    ]


def test_a_block_has_three_boards_a_triad() -> None:
    assert list(block(1, 3, 2, 1)) == [
        (1, 3, 0), (1, 3, 1), (1, 3, 2), (2, 3, 0), (2, 3, 1), (2, 3, 2)
    ]  # fmt: skip
    assert {board[:2] for board in block(3, 1, 2, 3)} == {
        (3, 1), (3, 2), (3, 3), (4, 1), (4, 2), (4, 3)
    }  # fmt: skip
    assert list(boards_in(("board", 4, 5, 2))) == [(4, 5, 2)]
    for kind in ("triads", "boards"):
        assert list(boards_in((kind, 1, 3, 2, 1))) == list(block(1, 3, 2, 1))


def test_boards_rest_on_their_own_machine_alone() -> None:
    facility = Facility([machine(name, 1, 1, dead_boards=set()) for name in ("a", "b", "c")])
    job_id = facility.create(machine="b")
    facility.run_until(lambda: facility.state(job_id) is JobState.ready, 100.0)
    for seconds in (0.0, 10.0):
        facility.controller.destroy_job(None, job_id)
        facility.run(seconds)

        assert [states(facility, name)["resting"] for name in "abc"] == [0, 1, 0]
    facility.close()


@pytest.mark.parametrize(
    ("board", "counted"),
    [
        ((0, 0, 0), 1), ((2, 1, 2), 1), ((3, 0, 0), 0), ((0, 2, 0), 0), ((-1, 0, 0), 0),
        ((0, -1, 0), 0), ((0, 0, 3), 0), ((0, 0, -1), 0),
    ],
)  # fmt: skip
def test_dead_boards_are_counted_on_the_machine(
    board: tuple[int, int, int], counted: int
) -> None:
    dead: set[tuple[int, int, int]] = set()
    facility = Facility([machine("m", 3, 2, dead_boards=dead)])
    dead.add(board)

    counts = states(facility, "m")
    assert (counts["dead"], counts["free"]) == (counted, 18 - counted)
    facility.close()
