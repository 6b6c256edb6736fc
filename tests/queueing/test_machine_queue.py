"""Jobs, and a machine with the queue of those that wait for it."""

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from spalloc_server._allocation import grid_allocator
from spalloc_server._allocation.grid_allocator import GridAllocator
from spalloc_server._allocation.kinds import understand
from spalloc_server._queueing import machine_queue
from spalloc_server._queueing.machine_queue import _Job, _Machine
from spalloc_server._queueing.region import Holder, Region
from spalloc_server.allocator import Allocator
from spalloc_server.links import Links
from tests.support.fake_clock import FakeClock
from tests.support.plain_state import assert_plain

REST = 30


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock().installed() as clock:
        yield clock


def job_for(*what: int, number: int = 1, order: int | None = None, **more: Any) -> _Job:
    """A job that waits; it arrived by its number."""
    limits = {name: more.pop(name) for name in list(more) if name.startswith("max_")}
    given = {"machine_name": None, "tags": None} | more
    order = number if order is None else order
    return _Job(number, understand(what, limits), order=order, **given)


def machine(width: int = 2, height: int = 1, tags: tuple[str, ...] = ("default",)) -> _Machine:
    return _Machine("m", set(tags), GridAllocator(width, height, seconds_before_free=REST))


def start(machine: _Machine, job: _Job, allocated_for: float = 0.0) -> int:
    """Let a job have boards; returns the number of its allocation."""
    allocation = machine.grid.allocate(job.request)
    assert allocation is not None
    machine.settle(job, allocation[0], allocated_for)
    return allocation[0]


# --- jobs ---


@pytest.mark.parametrize(
    ("asked", "tags"),
    [
        ({}, {"default"}),
        ({"tags": ["x", "y", "x"]}, {"x", "y"}),
        ({"tags": []}, set()),
        ({"machine_name": "m"}, set()),
    ],
)
def test_a_job_needs_tags_unless_a_machine_is_named(asked: Any, tags: set[str]) -> None:
    assert job_for(1, **asked).tags == tags


def test_a_job_tells_its_limits_as_they_were_given_or_as_they_were_read() -> None:
    job = job_for(4, max_dead_boards=0)
    assert (job.args, job.kwargs) == ((4,), {"max_dead_boards": 0})

    job.kwargs = {"max_dead_boards": 0, "min_ratio": None}

    assert job.kwargs == {"max_dead_boards": 0, "min_ratio": None}


def test_a_job_is_told_in_plain_builtins(clock: FakeClock) -> None:
    served = machine()
    job = job_for(1, 1, number=7, tags=["default"])
    told = job.plain()
    assert_plain(told)
    assert (told["id"], told["pending"], told["machine"], told["region_age"]) == (
        7, True, None, None,
    )  # fmt: skip
    assert repr(job) == "<_Job 7 pending>"

    number = start(served, job, allocated_for=5)
    job.region_since = clock.now - 9
    clock.advance(3)

    told = job.plain()
    assert (told["machine"], told["allocation_id"], told["allocated_for"]) == ("m", number, 8)
    assert told["region_age"] == 12
    assert repr(job) == "<_Job 7 not pending>"


# --- which jobs suit, and in which order they wait ---


@pytest.mark.parametrize(
    ("asked", "suits"),
    [
        ({}, True),
        ({"tags": ["big"]}, True),
        ({"tags": ["big", "default"]}, True),
        ({"tags": ["big", "fast"]}, False),
        ({"tags": []}, True),
        ({"machine_name": "m"}, True),
        ({"machine_name": "n"}, False),
    ],
)
def test_a_machine_suits_by_name_or_by_tags(asked: Any, suits: bool) -> None:
    served = machine(tags=("default", "big", "old"))

    assert served.suits(job_for(1, **asked)) is suits
    assert not served.suits(job_for(3, 1, **asked))


def test_jobs_wait_by_time_of_arrival_whatever_the_order_in_which_they_queue() -> None:
    jobs = [job_for(1, number=number) for number in range(50)]
    served = machine()

    for job in Random(1).sample(jobs, len(jobs)):
        served.enqueue(job)

    assert list(served.queue) == jobs


def test_jobs_that_wait_no_more_are_passed_over() -> None:
    served = machine()
    jobs = [job_for(1, number=number) for number in range(5)]
    for job in jobs:
        served.enqueue(job)
    for number in (0, 1, 3):
        jobs[number].pending = False

    assert list(served.waiting()) == [jobs[2], jobs[4]]
    assert served.head() is jobs[2]
    assert list(served.queue) == jobs[2:]
    served.tidy()
    assert list(served.queue) == [jobs[2], jobs[4]]


def test_an_empty_queue_has_no_head() -> None:
    served = machine()
    served.enqueue(job_for(1))
    served.queue[0].pending = False

    assert served.head() is None
    assert not served.queue


def test_only_the_last_leaves_the_end() -> None:
    served = machine()
    first, last = job_for(1, number=1), job_for(1, number=2)
    served.leave_end(last)
    for job in (first, last):
        served.enqueue(job)

    served.leave_end(first)
    assert list(served.queue) == [first, last]
    served.leave_end(last)

    assert list(served.queue) == [first]


def test_a_long_queue_is_cleared_of_jobs_that_wait_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine_queue, "_SHORT_QUEUE", 10)
    served = machine()
    first = job_for(1, number=0)
    served.enqueue(first)

    longest = 0
    for number in range(1, 200):
        job = job_for(1, number=number)
        job.pending = False
        served.enqueue(job)
        longest = max(longest, len(served.queue))

    assert longest < 10
    assert served.head() is first


# --- serving them ---


def serve(served: _Machine) -> tuple[int | None, list[tuple[int, Any]]]:
    """The number of the job that starts, and those that let others pass."""
    passed: list[tuple[int, Any]] = []
    found = served.try_jobs(lambda job, boards: passed.append((job.id, boards)))
    return (None if found is None else found[0].id), passed


@pytest.mark.parametrize("kind", [Allocator, GridAllocator])
def test_the_head_is_served_or_nobody(kind: Callable[[int, int], Allocator]) -> None:
    served = _Machine("m", {"default"}, kind(2, 1))
    assert serve(served) == (None, [])
    for number, what in enumerate([(1, 1), (2, 1), (1, 1)]):
        served.enqueue(job_for(*what, number=number))

    assert serve(served) == (0, [])
    assert [job.id for job in served.queue] == [1, 2]
    assert serve(served) == (None, [])
    assert [job.id for job in served.queue] == [1, 2]


def test_jobs_that_wait_for_quarantine_let_others_pass() -> None:
    served = machine()
    served.allocator.quarantine((1, 0, 2))
    for number, what in enumerate([(2, 1), (1, 1), (1, 1)]):
        served.enqueue(job_for(*what, number=number))
    served.queue[1].pending = False

    assert serve(served) == (2, [(0, {(1, 0, 2)})])
    assert served.blocked() == {0: {(1, 0, 2)}}
    served.release((1, 0, 2))
    assert served.blocked() == {}


def test_where_all_let_others_pass_nobody_is_served() -> None:
    served = machine(1, 1)
    served.allocator.quarantine((0, 0, 0))
    for number in range(2):
        served.enqueue(job_for(1, 1, number=number))

    assert serve(served) == (None, [(0, {(0, 0, 0)}), (1, {(0, 0, 0)})])


def test_alone_a_job_is_tried_at_once_and_an_endless_search_is_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grid_allocator, "_BOARDS_IN_ONE_GO", 0)
    # Board 1 is reached from nowhere, and not dead: the filter has to be asked.
    links = {(x, 0, 1, link) for x in range(2) for link in Links}
    served = _Machine("m", {"default"}, GridAllocator(3, 1, dead_links=links))

    assert served.try_alone(job_for(3, 1, max_dead_boards=2)) is None
    assert served.unfinished
    allocation = served.try_alone(job_for(2, 0, 0))

    assert allocation is not None
    assert allocation[1] == {(2, 0, 0)}
    assert not served.unfinished


# --- quarantine ---


def test_a_quarantine_is_set_as_a_whole_and_free_boards_are_noted() -> None:
    served = machine()

    served.set_quarantine({(0, 0, 0), (1, 0, 1)})
    assert served.allocator.quarantined == {(0, 0, 0), (1, 0, 1)}
    assert not served.came_free
    served.failed[False].add(1)
    served.failed[True].add(2)
    served.set_quarantine({(1, 0, 1), (1, 0, 2)})

    assert served.allocator.quarantined == {(1, 0, 1), (1, 0, 2)}
    assert served.came_free
    assert served.failed == {False: set(), True: set()}


# --- who has its boards, and for how long ---


def test_a_job_settles_and_leaves(clock: FakeClock) -> None:
    served, job = machine(), job_for(1, 1)
    job.waits_for = [served]

    number = start(served, job, allocated_for=4)

    assert (job.pending, job.machine, job.allocation_id) == (False, served, number)
    assert job.allocated_at == clock.now - 4
    assert job.waits_for == []
    assert served.tenants == {number: job}
    served.leave(number)
    served.leave(number)
    assert served.tenants == {}


def test_holders_are_expected_to_stay_by_their_kind(clock: FakeClock) -> None:
    served = machine(4, 1)
    running, going, gone = (job_for(1, 1, number=number) for number in range(3))
    start(served, running, allocated_for=400)
    start(served, going)
    going.going = True
    served.allocator.free(start(served, gone))
    clock.advance(10)
    nobody = served.grid.allocate(understand((1, 1), {}))
    assert nobody is not None

    holders = served.holders(clock.now)

    # As long again; being switched off; the same, with no job; resting.
    assert [holder.remaining for holder in holders] == [410, REST, REST, REST - 10]
    assert all(isinstance(holder, Holder) for holder in holders)
    clock.advance(REST)
    assert served.holders(clock.now)[-1].remaining == 0


def test_the_slowest_holder_of_a_region_counts_and_no_other(clock: FakeClock) -> None:
    served = machine(4, 1)
    jobs = [job_for(x, 0, 0, number=x) for x in range(4)]
    numbers = [
        start(served, job, age) for job, age in zip(jobs, (900, 500, 2000, 0), strict=True)
    ]
    waiting = job_for(2, 1, number=9)
    waiting.region_since = clock.now
    served.region = Region(waiting, (0, 0, 2, 1), served.grid, clock.now)

    assert served.slowest(clock.now) == 900
    served.leave(numbers[0])
    served.allocator.free(numbers[0])
    assert served.slowest(clock.now) == 500
    jobs[1].going = True
    clock.advance(10)
    assert served.slowest(clock.now) == REST
    served.leave(numbers[1])
    served.allocator.free(numbers[1])
    clock.advance(REST - 1)
    assert served.slowest(clock.now) == 1
    clock.advance(1)
    served.allocator.check_free()
    assert served.slowest(clock.now) == 0

    # A newcomer within, one outside; then the region moves.
    start(served, job_for(1, 0, 0, number=10), 700)
    assert served.slowest(clock.now) == 700
    start(served, job_for(3, 0, 1, number=11), 5000)
    assert served.slowest(clock.now) == 700
    served.region = Region(waiting, (2, 0, 2, 1), served.grid, clock.now)
    assert served.slowest(clock.now) == 5000


def test_lives_that_ended_here_tell_how_long_others_will_stay(clock: FakeClock) -> None:
    served = machine()
    start(served, job_for(1, 1), allocated_for=10)
    for _ in range(10):
        served.lifetimes.add(50)

    assert [holder.remaining for holder in served.holders(clock.now)] == [40]


# --- telling ---


def test_a_machine_is_told_in_plain_builtins(clock: FakeClock) -> None:
    served = machine(tags=("a", "b"))
    waiting, over = job_for(2, 1, number=3), job_for(2, 1, number=4)
    for job in (waiting, over):
        served.enqueue(job)
    over.pending = False
    assert served.plain()["region"] is None
    waiting.region_since = clock.now
    served.region = Region(waiting, (0, 0, 2, 1), served.grid, clock.now)

    told = served.plain()

    assert_plain(told)
    assert (told["name"], told["tags"], told["queue"]) == ("m", {"a", "b"}, [3])
    assert told["region"] == [3, [0, 0, 2, 1]]
    assert repr(served) == "<_Machine m>"
