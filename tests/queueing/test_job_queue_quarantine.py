"""Boards that fail: jobs that move, and boards that are out for a while."""

from collections.abc import Iterator

import pytest

from tests.support.fake_clock import FakeClock
from tests.support.queueing import Owner

NOWHERE = "No suitable machines available."


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock().installed() as clock:
        yield clock


@pytest.fixture
def owner() -> Owner:
    """One machine of two triads, whose boards do not rest."""
    owner = Owner()
    owner.queue.add_machine("m", 2, 1)
    owner.queue.on_blocked = owner.on_blocked
    return owner


# --- requeue ---


def test_a_job_that_moves_gets_other_boards(clock: FakeClock) -> None:
    owner = Owner(seconds_before_free=30)
    owner.queue.add_machine("m", 2, 1)
    owner.queue.create_job(1, 1, job_id=1)
    owner.news()

    owner.queue.requeue(1)

    assert owner.news() == [("allocate", 1, "m")]
    assert owner.boards[1] == {(1, 0, z) for z in range(3)}
    assert owner.queue.allocation_of(1) == ("m", 2)
    assert owner.queue.resting() == {"m": {1: [["triads", 0, 0, 1, 1], 0]}}


def test_a_job_that_moves_waits_before_all_that_came_later(clock: FakeClock) -> None:
    owner = Owner(seconds_before_free=30)
    owner.queue.add_machine("m", 1, 1)
    for number in (5, 2, 3):
        owner.queue.create_job(1, 1, job_id=number)
    owner.news()

    owner.queue.requeue(5)

    assert owner.news() == []
    assert owner.waiting("m") == [5, 2, 3]
    assert owner.queue._jobs[5].pending is True
    assert owner.queue.allocation_of(5) is None
    clock.advance(30)
    owner.queue.check_free()
    assert owner.news() == [("allocate", 5, "m")]


def test_a_job_that_moves_waits_behind_those_that_came_earlier(clock: FakeClock) -> None:
    owner = Owner(seconds_before_free=30)
    owner.queue.add_machine("a", 1, 1)
    owner.queue.add_machine("b", 1, 1)
    owner.queue.create_job(1, 1, job_id=1, machine="a")
    owner.queue.create_job(1, 1, job_id=2, machine="a")
    owner.queue.create_job(1, 1, job_id=3)
    owner.queue.create_job(1, 1, job_id=4)
    assert owner.waiting("a") == [2, 4]

    owner.queue.requeue(3)

    assert owner.waiting("a") == [2, 3, 4]
    assert owner.waiting("b") == [3, 4]
    assert [job.id for job in owner.queue._machines["a"].queue].count(3) == 1


def test_a_job_that_moves_keeps_its_place_when_queues_are_built_anew(clock: FakeClock) -> None:
    owner = Owner(seconds_before_free=30)
    owner.queue.add_machine("m", 1, 1)
    for number in (1, 2):
        owner.queue.create_job(1, 1, job_id=number)

    with owner.queue:
        owner.queue.requeue(1)

    assert owner.waiting("m") == [1, 2]


def test_a_job_that_cannot_move_anywhere_is_cancelled(owner: Owner) -> None:
    owner.queue.create_job(2, 1, job_id=1, max_dead_boards=0)
    owner.queue.modify_machine("m", dead_boards={(0, 0, 1)})
    owner.news()

    owner.queue.requeue(1)

    assert owner.news() == [("cancel", 1, NOWHERE)]
    assert owner.queue._jobs == {}


def test_only_a_running_job_moves(owner: Owner) -> None:
    owner.queue.create_job(2, 1, job_id=1)
    owner.queue.create_job(2, 1, job_id=2)
    owner.queue.destroy_job(1)
    owner.news()

    for number in (1, 2, 99):
        owner.queue.requeue(number)

    assert owner.news() == []
    assert owner.queue.allocation_of(1) == ("m", 1)
    assert owner.waiting("m") == [2]


def test_a_job_may_move_before_its_boards_are_off(owner: Owner) -> None:
    owner.queue.create_job(1, 1, job_id=1)
    owner.queue.create_job(1, 1, job_id=2)
    owner.queue.create_job(1, 1, job_id=3)
    owner.news()

    owner.queue.requeue(1, keep_boards=True)
    assert owner.news() == []
    assert owner.queue.outcome_of("m", 1) == ("triads", 0, 0, 1, 1)

    owner.queue.free_boards("m", 1)
    assert owner.news() == [("allocate", 1, "m")]
    assert owner.waiting("m") == [3]


# --- machines_for ---


def test_a_job_tells_where_it_could_run_ever(owner: Owner) -> None:
    owner.queue.add_machine("n", 2, 2)
    owner.queue.add_machine("special", 2, 2, tags={"special"})
    owner.queue.create_job(2, 1, job_id=1)
    owner.queue.create_job(2, 2, job_id=2)
    owner.queue.create_job(1, job_id=3, machine="special")

    assert owner.queue.machines_for(1) == ["m", "n"]
    assert owner.queue.machines_for(2) == ["n"]
    assert owner.queue.machines_for(3) == ["special"]
    assert owner.queue.machines_for(99) == []


# --- quarantine ---


def test_a_job_that_fits_but_for_quarantine_waits_instead_of_being_refused(
    owner: Owner,
) -> None:
    owner.queue.quarantine("m", (0, 0, 0))

    owner.queue.create_job(2, 1, job_id=1)
    assert owner.news() == [("blocked", 1, "m", {(0, 0, 0)})]

    owner.queue.release("m", (0, 0, 0))
    assert owner.news() == [("allocate", 1, "m")]


def test_unknown_machines_have_no_quarantine(owner: Owner) -> None:
    with pytest.raises(KeyError, match="nowhere"):
        owner.queue.quarantine("nowhere", (0, 0, 0))
    with pytest.raises(KeyError, match="nowhere"):
        owner.queue.release("nowhere", (0, 0, 0))


def test_who_waits_for_boards_in_quarantine_holds_up_nobody_else(owner: Owner) -> None:
    owner.queue.quarantine("m", (0, 0, 0))
    owner.queue.create_job(2, 1, job_id=1)
    owner.news()

    owner.queue.create_job(1, 1, job_id=2)

    news = owner.news()
    assert news[:2] == [("blocked", 1, "m", {(0, 0, 0)}), ("allocate", 2, "m")]
    assert owner.waiting("m") == [1]


def test_who_waits_for_others_as_well_holds_up_who_comes_later(owner: Owner) -> None:
    owner.queue.quarantine("m", (1, 0, 0))
    owner.queue.create_job(1, 1, job_id=1)
    owner.queue.create_job(1, 1, job_id=2)
    owner.news()

    owner.queue.create_job(job_id=3)

    # Job 2 gets the left triad when job 1 ends, whatever becomes of the right.
    assert owner.news() == []
    assert owner.waiting("m") == [2, 3]
    assert owner.queue.blocked() == {}


def test_a_job_for_a_given_board_waits_for_that_board(owner: Owner) -> None:
    owner.queue.quarantine("m", (0, 0, 0))
    owner.queue.quarantine("m", (0, 0, 1))

    owner.queue.create_job(0, 0, 1, job_id=1)

    assert owner.news() == [("blocked", 1, "m", {(0, 0, 1)})]
    assert owner.queue.blocked() == {1: {"m": {(0, 0, 1)}}}


def test_a_job_for_any_board_waits_for_quarantine_only_where_all_are_out(owner: Owner) -> None:
    boards = {(x, 0, z) for x in range(2) for z in range(3)}
    owner.queue.set_quarantine("m", boards - {(1, 0, 2)})
    owner.queue.create_job(job_id=1)
    owner.queue.create_job(job_id=2)
    assert owner.news() == [("allocate", 1, "m")]
    assert owner.queue.blocked() == {}

    owner.queue.set_quarantine("m", boards)
    assert owner.queue.blocked() == {2: {"m": boards}}


def test_a_set_of_boards_is_put_in_quarantine_at_once(owner: Owner) -> None:
    owner.queue.set_quarantine("m", {(0, 0, 0), (1, 0, 1)})
    assert owner.queue._machines["m"].allocator.quarantined == {(0, 0, 0), (1, 0, 1)}

    owner.queue.create_job(1, 1, job_id=1)
    owner.news()
    owner.queue.set_quarantine("m", {(1, 0, 1), (1, 0, 2)})

    assert owner.queue._machines["m"].allocator.quarantined == {(1, 0, 1), (1, 0, 2)}
    assert owner.news() == [("allocate", 1, "m")]
