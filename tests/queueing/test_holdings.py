"""Records of jobs and machines: putting them back as they were, without deciding anything."""

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from spalloc_server._allocation.kinds import Request, understand
from spalloc_server._queueing import holdings
from spalloc_server.allocator import Allocator
from spalloc_server.job_queue import JobQueue
from tests.support.fake_clock import FakeClock
from tests.support.plain_state import assert_plain
from tests.support.queueing import Owner


def wanted(*what: int, **limits: Any) -> Request:
    return understand(what, limits)


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock().installed() as clock:
        yield clock


@pytest.fixture
def owner() -> Owner:
    """Two machines of two triads, whose boards rest for 30 seconds."""
    owner = Owner(seconds_before_free=30)
    owner.queue.add_machine("a", 2, 1, tags={"default", "x"})
    owner.queue.add_machine("b", 2, 1)
    return owner


def test_a_running_job_is_put_back_where_it_ran(owner: Owner, clock: FakeClock) -> None:
    owner.queue.restore_job(4, wanted(1, 1), allocation=("b", 7, ("triads", 1, 0, 1, 1)))

    assert owner.told == []
    job = owner.queue._jobs[4]
    assert (job.id, job.pending, job.machine_name, job.tags) == (4, False, None, {"default"})
    assert (job.args, job.kwargs) == ((1, 1), {})
    assert owner.queue.allocation_of(4) == ("b", 7)
    assert owner.queue.outcome_of("b", 7) == ("triads", 1, 0, 1, 1)

    owner.queue.destroy_job(4, "done")
    assert owner.news() == [("free", 4, "done")]


def test_jobs_that_waited_wait_again_in_the_order_in_which_they_are_put_back(
    owner: Owner,
) -> None:
    with owner.queue:
        owner.queue.restore_job(1, wanted(2, 1), allocation=("a", 1, ("triads", 0, 0, 2, 1)))
        owner.queue.restore_job(2, wanted(2, 1), allocation=("b", 1, ("triads", 0, 0, 2, 1)))
        owner.queue.restore_job(9, wanted(2, 1, max_dead_boards=0), tags=["x"])
        owner.queue.restore_job(5, wanted(2, 1), machine="b")
        owner.queue.restore_job(7, wanted(2, 1))

    assert owner.told == []
    assert owner.waiting("a") == [9, 7]
    assert owner.waiting("b") == [5, 7]
    assert owner.queue._jobs[9].kwargs == {"max_dead_boards": 0}


def test_alone_a_job_that_waited_is_put_back_without_being_served(owner: Owner) -> None:
    owner.queue.restore_job(1, wanted(2, 1))

    assert owner.told == []
    assert owner.waiting("a") == owner.waiting("b") == [1]
    owner.queue._process_queue()
    assert owner.news() == [("allocate", 1, "a")]


def test_a_job_that_was_going_waits_for_its_boards_only(owner: Owner, clock: FakeClock) -> None:
    owner.queue.restore_job(
        1, wanted(2, 1), machine="a", allocation=("a", 1, ("triads", 0, 0, 2, 1)), going=True
    )
    owner.queue.restore_job(2, wanted(2, 1), machine="a")

    owner.queue.destroy_job(1)
    assert owner.news() == []

    owner.queue.free(1)
    clock.advance(30)
    owner.queue.check_free()
    assert owner.news() == [("allocate", 2, "a")]


def test_boards_that_nobody_has_are_put_back_too(owner: Owner, clock: FakeClock) -> None:
    owner.queue.restore_resting("a", 3, ("triads", 0, 0, 1, 1), 20)
    owner.queue.restore_boards("a", 4, ("board", 1, 0, 0))
    assert owner.queue.resting() == {"a": {3: [["triads", 0, 0, 1, 1], 20]}}

    clock.advance(10)
    owner.queue.check_free()
    owner.queue.free_boards("a", 4)
    clock.advance(30)
    owner.queue.check_free()

    assert owner.told == [("rested", "a", [3]), ("rested", "a", [4])]


def test_what_cannot_have_been_is_not_put_back(owner: Owner) -> None:
    owner.queue.restore_job(1, wanted(1, 1), allocation=("a", 1, ("triads", 0, 0, 1, 1)))

    with pytest.raises(ValueError, match="1 is in use"):
        owner.queue.restore_job(1, wanted(1, 1))
    with pytest.raises(KeyError, match="nowhere"):
        owner.queue.restore_job(2, wanted(1, 1), allocation=("nowhere", 1, ("triads", 0, 0, 1, 1)))
    with pytest.raises(ValueError, match="taken already"):
        owner.queue.restore_job(2, wanted(1, 1), allocation=("a", 2, ("triads", 0, 0, 1, 1)))

    assert list(owner.queue._jobs) == [1]


def busy_queue(owner: Owner) -> JobQueue:
    """Jobs of all kinds on two machines of two triads."""
    queue = owner.queue
    queue.create_job(1, 1, job_id=1)
    queue.create_job(2, 1, job_id=2, max_dead_boards=3)
    queue.create_job(job_id=3, machine="a")
    queue.create_job(2, 1, job_id=4, tags=["x"])
    queue.create_job(1, 1, job_id=5)
    queue.create_job(1, 1, job_id=6)
    queue.destroy_job(1)
    queue.destroy_job(5)
    queue.quarantine("a", (1, 0, 2))
    return queue


def test_a_pickled_queue_goes_on_where_it_was(owner: Owner, clock: FakeClock) -> None:
    queue = busy_queue(owner)
    data = pickle.dumps(queue)
    clock.now = 5.0

    again = pickle.loads(data)

    assert_plain(queue.__getstate__())
    assert list(again._machines) == ["a", "b"]
    assert again.seconds_before_free == 30
    for name, machine in queue._machines.items():
        copy = again._machines[name]
        assert (copy.name, copy.tags) == (machine.name, machine.tags)
        assert [job.id for job in copy.queue] == [job.id for job in machine.queue if job.pending]
        assert copy.allocator.allocations == machine.allocator.allocations
        assert copy.allocator.quarantined == machine.allocator.quarantined
    for number, job in queue._jobs.items():
        copy = again._jobs[number]
        for name in ("id", "pending", "going", "machine_name", "tags", "args", "kwargs"):
            assert getattr(copy, name) == getattr(job, name)
        assert again.allocation_of(number) == queue.allocation_of(number)


def test_callbacks_are_dropped_and_put_back_by_the_owner(owner: Owner, clock: FakeClock) -> None:
    again: JobQueue = pickle.loads(pickle.dumps(busy_queue(owner)))
    owner.news()

    assert again.on_allocate is None
    assert again.on_free is None
    assert again.on_cancel is None
    assert again.on_rested is None
    again.on_allocate, again.on_free = owner.on_allocate, owner.on_free
    again.on_cancel, again.on_rested = owner.on_cancel, owner.on_rested

    again.free(1)
    clock.advance(30)
    again.check_free()
    assert ("rested", "a", [1]) in owner.told
    again.destroy_job(2, "over")
    assert ("free", 2, "over") in owner.told


def test_a_queue_without_callbacks_works(owner: Owner, clock: FakeClock) -> None:
    again: JobQueue = pickle.loads(pickle.dumps(busy_queue(owner)))

    again.free(1)
    clock.advance(30)
    again.check_free()
    again.create_job(9, 9, job_id=20)
    for number in list(again._jobs):
        again.destroy_job(number)
        again.free(number)

    assert again._jobs == {}


def test_a_thousand_jobs_are_put_back_one_by_one(clock: FakeClock) -> None:
    allocator = Allocator(20, 20)
    while len(allocator.allocations) < 1000 and allocator.alloc():
        pass
    owner = Owner()
    owner.queue.add_machine("m", 20, 20)

    with owner.queue:
        for number, outcome in reversed(allocator.allocations.items()):
            owner.queue.restore_job(number, wanted(), allocation=("m", number, outcome))

    assert owner.told == []
    assert owner.queue._machines["m"].allocator.allocations == allocator.allocations


# --- equal requests are known by a number, for a while ---


def test_requests_beyond_the_most_are_told_apart_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(holdings, "_MOST_WISHES", 2)
    owner = Owner()
    owner.queue.scheduling = "overtaking"
    owner.queue.add_machine("m", 3, 1)
    owner.queue.create_job(1, 0, 0, job_id=0)
    # The first gets a region; the second fails, and so would all that were taken for the same.
    owner.queue.create_job(2, 1, job_id=1)
    owner.queue.create_job(2, 1, job_id=2)

    for z in range(3):
        owner.queue.create_job(2, 0, z, job_id=3 + z)

    assert owner.news() == [("allocate", job_id, "m") for job_id in (0, 3, 4, 5)]


def test_an_unknown_job_has_no_boards() -> None:
    queue = Owner().queue

    assert queue.allocated_for(99) is None
    assert queue.allocation_of(99) is None
