"""Switching between the orders in which jobs are served, and what is told of regions."""

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from spalloc_server._allocation.grid_allocator import GridAllocator
from spalloc_server._queueing.machine_queue import _Job, _Machine
from spalloc_server._queueing.overtaking import Overtaking
from spalloc_server.allocator import Allocator
from spalloc_server.job_queue import JobQueue, RegionRecord
from tests.support.fake_clock import FakeClock
from tests.support.plain_state import assert_plain
from tests.support.queueing import Owner


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock().installed() as clock:
        yield clock


class RegionOwner(Owner):
    """Notes regions, too: ("region", job_id, machine name or None, place)."""

    def __init__(self, scheduling: str = "overtaking", rest: float = 10) -> None:
        super().__init__(rest)
        self.queue.on_region = self.on_region
        self.queue.scheduling = scheduling

    def on_region(self, job_id: int, record: RegionRecord | None, /) -> None:
        where = (None, None) if record is None else record[:2]
        self.told.append(("region", job_id, *where))

    def end(self, job_id: int, clock: FakeClock) -> None:
        """End a job, and wait until its boards have rested."""
        self.finish(job_id)
        clock.advance(self.queue.seconds_before_free)
        self.queue.check_free()


# --- what each order does ---


@pytest.mark.parametrize(
    ("scheduling", "started"),
    [("fcfs", [1]), ("fcfs-grid", [1]), ("overtaking", [1, 3])],
)
def test_only_overtaking_lets_a_small_job_pass_a_large_one(
    scheduling: str, started: list[int], clock: FakeClock
) -> None:
    owner = RegionOwner(scheduling)
    owner.queue.add_machine("m", 4, 1)

    owner.queue.create_job(1, 1, job_id=1)
    clock.advance(400)
    owner.queue.create_job(4, 1, job_id=2)
    owner.queue.create_job(1, 1, job_id=3)

    assert [event[1] for event in owner.told if event[0] == "allocate"] == started


@pytest.mark.parametrize("scheduling", ["fcfs", "fcfs-grid", "overtaking"])
def test_boards_that_come_back_in_place_are_given_to_jobs_that_wait(
    scheduling: str, clock: FakeClock
) -> None:
    owner = RegionOwner(scheduling, rest=0)
    dead = {(1, 0, 2)}
    owner.queue.add_machine("m", 2, 1, dead_boards=dead)
    for number in (1, 2):
        owner.queue.create_job(1, 1, job_id=number, max_dead_boards=0)
    assert [event[1] for event in owner.told if event[0] == "allocate"] == [1]

    dead.clear()
    owner.queue.create_job(1, 1, job_id=3, max_dead_boards=0)

    assert [event[1] for event in owner.told if event[0] == "allocate"] == [1, 2]
    assert owner.waiting("m") == [3]


@pytest.mark.parametrize(("scheduling", "fits"), [("fcfs", False), ("fcfs-grid", True)])
def test_only_a_tree_stands_in_the_way_of_a_block(
    scheduling: str, fits: bool, clock: FakeClock
) -> None:
    owner = RegionOwner(scheduling, rest=0)
    owner.queue.add_machine("m", 3, 3)
    for number in range(1, 10):
        owner.queue.create_job(1, 1, job_id=number)
    allocator = owner.queue._machines["m"].allocator
    # The tree has cut the machine into columns.
    for number in [n for n, place in allocator.allocations.items() if place[2] == 0]:
        owner.end(number, clock)
    owner.news()

    owner.queue.create_job(3, 1, job_id=20)

    assert (owner.news() == [("allocate", 20, "m")]) is fits


def test_an_unknown_order_is_refused_with_those_there_are() -> None:
    queue = JobQueue(print, print, print)

    with pytest.raises(ValueError, match="'fcfs', 'fcfs-grid', 'overtaking', not 'fifo'"):
        queue.scheduling = "fifo"
    assert queue.scheduling == "fcfs"


@pytest.mark.parametrize("patience", [-1, float("inf"), float("nan")])
def test_patience_that_is_no_time_is_refused(patience: float) -> None:
    queue = JobQueue(print, print, print)

    with pytest.raises(ValueError, match=f"at least 0 seconds, not {patience}"):
        queue.patience = patience
    assert queue.patience == 7200


# --- switching ---


def test_jobs_go_on_where_they_are_when_the_order_changes(clock: FakeClock) -> None:
    owner = RegionOwner("fcfs")
    queue = owner.queue
    queue.add_machine("m", 4, 2)
    queue.create_job(2, 1, job_id=1)
    queue.create_job(job_id=2)
    queue.create_job(2, job_id=3)
    queue.finish = owner.finish  # type: ignore[attr-defined]
    owner.finish(3)
    queue.quarantine("m", (3, 1, 0))
    before = queue._machines["m"].allocator
    clock.advance(3)

    for scheduling in ("overtaking", "fcfs-grid", "fcfs"):
        queue.scheduling = scheduling

        now = queue._machines["m"].allocator
        assert type(now) is (Allocator if scheduling == "fcfs" else GridAllocator)
        assert now.allocations == before.allocations
        assert now.resting == before.resting
        assert now.quarantined == before.quarantined
        assert now.next_id == before.next_id
        assert now.dead_boards is before.dead_boards
    clock.advance(7)
    queue.check_free()
    assert ("rested", "m", [3]) in owner.told


def test_waiting_jobs_start_when_the_order_lets_them(clock: FakeClock) -> None:
    owner = RegionOwner("fcfs")
    owner.queue.add_machine("m", 4, 1)
    owner.queue.create_job(1, 1, job_id=1)
    owner.queue.create_job(4, 1, job_id=2)
    owner.queue.create_job(1, 1, job_id=3)
    owner.news()

    owner.queue.scheduling = "overtaking"

    assert owner.news() == [
        ("allocate", 3, "m"),
        ("region", 2, "m", (0, 0, 4, 1)),
    ]


def test_blocks_that_no_tree_has_are_held_when_going_back_to_it(clock: FakeClock) -> None:
    owner = RegionOwner("overtaking", rest=0)
    queue = owner.queue
    queue.add_machine("m", 3, 3)
    pinwheel = [(0, 0, 2, 1), (2, 0, 1, 2), (1, 2, 2, 1), (0, 1, 1, 2)]
    for number, block in enumerate(pinwheel, start=1):
        queue.restore_job(
            number, request(block[2:]), allocation=("m", number, ("triads", *block))
        )

    queue.scheduling = "fcfs"
    queue.create_job(2, 1, job_id=10)
    assert owner.news() == []
    for number in range(1, 5):
        owner.end(number, clock)
    queue.create_job(3, 3, job_id=11)
    owner.end(10, clock)

    assert ("allocate", 10, "m") in owner.told
    assert ("allocate", 11, "m") in owner.told


def request(what: tuple[int, ...]) -> Any:
    from spalloc_server._allocation.kinds import understand

    return understand(what, {})


def test_a_region_ends_with_the_order_that_has_regions(clock: FakeClock) -> None:
    owner = RegionOwner()
    owner.queue.add_machine("m", 2, 1)
    owner.queue.create_job(1, 1, job_id=1)
    owner.queue.create_job(2, 1, job_id=2)
    assert owner.queue.region_of(2) is not None

    owner.queue.scheduling = "fcfs"

    assert owner.queue.region_of(2) is None
    assert owner.queue.region_age(2) is None
    assert owner.news()[-1] == ("region", 2, None, None)


# --- the life of a region ---


@pytest.fixture
def owner(clock: FakeClock) -> RegionOwner:
    """A machine of four triads in a row, on which job 1 has the first and job 2 waits for all."""
    owner = RegionOwner()
    owner.queue.patience = 100
    owner.queue.add_machine("m", 4, 1)
    owner.queue.create_job(1, 1, job_id=1)
    owner.queue.create_job(4, 1, job_id=2)
    return owner


def test_the_first_job_that_fails_gets_a_region(owner: RegionOwner, clock: FakeClock) -> None:
    assert owner.news() == [("allocate", 1, "m"), ("region", 2, "m", (0, 0, 4, 1))]
    clock.advance(5)
    assert owner.queue.region_of(2) == RegionRecord("m", (0, 0, 4, 1), 5, False)
    owner.queue.create_job(4, 1, job_id=3)
    assert owner.queue.region_of(3) is None


def test_a_newcomer_alone_is_tried_while_nothing_comes_free(
    owner: RegionOwner, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []
    before = Overtaking._try

    def note(self: Overtaking, machine: _Machine, job: _Job) -> Any:
        tried.append(job.id)
        return before(self, machine, job)

    monkeypatch.setattr(Overtaking, "_try", note)

    for job_id in (3, 4, 5):
        owner.queue.create_job(4, 1, job_id=job_id)

    assert tried == [3, 4, 5]


def test_the_region_of_a_given_board_stays(clock: FakeClock) -> None:
    owner = RegionOwner()
    owner.queue.add_machine("m", 3, 1)
    for job_id, x in enumerate((0, 1, 2), start=1):
        owner.queue.create_job(x, 0, 0, job_id=job_id)
    owner.queue.create_job(1, 0, 0, job_id=4)
    owner.news()
    clock.advance(50)

    owner.end(1, clock)
    owner.queue.create_job(2, 0, 0, job_id=5)

    assert owner.news() == [("free", 1, None)]
    assert owner.queue.region_of(4) == RegionRecord("m", (1, 0, 0), 60, False)


def test_a_job_gets_its_closed_region_although_other_places_are_free_too(
    clock: FakeClock,
) -> None:
    owner = RegionOwner()
    owner.queue.patience = 0
    owner.queue.add_machine("m", 6, 1)
    for job_id in (1, 2, 3):
        owner.queue.create_job(2, 1, job_id=job_id)
        clock.advance(100)
    owner.queue.create_job(2, 1, job_id=4)
    region = owner.queue.region_of(4)
    assert region is not None
    assert (region.place, region.closed) == ((4, 0, 2, 1), True)

    for job_id in (1, 2, 3):
        owner.finish(job_id)
    clock.advance(owner.queue.seconds_before_free)
    owner.queue.check_free()

    assert owner.queue.outcome_of("m", 4) == ("triads", 4, 0, 2, 1)


def test_a_region_leaks_until_its_job_has_lost_patience(
    owner: RegionOwner, clock: FakeClock
) -> None:
    owner.queue.patience = 1000
    clock.advance(400)
    owner.queue.create_job(1, 1, job_id=3)
    clock.advance(600)
    owner.queue.create_job(1, 1, job_id=4)
    owner.queue.create_job(job_id=5)

    assert [event[:2] for event in owner.news()] == [
        ("allocate", 1), ("region", 2), ("allocate", 3), ("region", 2)
    ]  # fmt: skip
    record = owner.queue.region_of(2)
    assert record is not None
    assert record.closed
    assert record.age == 1000


def test_a_region_that_is_soon_free_does_not_leak(owner: RegionOwner, clock: FakeClock) -> None:
    owner.queue.patience = 1000
    clock.advance(400)
    owner.news()
    owner.queue.destroy_job(1)

    owner.queue.create_job(job_id=3)

    assert owner.news() == [("free", 1, None)]
    owner.queue.free(1)
    clock.advance(10)
    owner.queue.check_free()
    assert owner.news() == [("allocate", 2, "m")]
    assert owner.queue.region_of(2) is None


@pytest.mark.parametrize(
    ("age", "leaks"),
    [
        # The lives that are longer tell that job 1 stays for 301 s, or for 599 s.
        (399, False),
        (401, True),
    ],
)
def test_a_region_leaks_unless_its_jobs_go_within_half_a_usual_life(
    age: float, leaks: bool, owner: RegionOwner, clock: FakeClock
) -> None:
    # The usual life is 700 s.
    for life in [*[400.0] * 10, *[1000.0] * 10]:
        owner.queue._machines["m"].lifetimes.add(life)
    owner.queue.patience = 5000
    owner.news()

    clock.advance(age)
    owner.queue.create_job(1, 1, job_id=3)

    assert owner.news() == [("allocate", 3, "m")] * leaks


def test_spare_boards_of_triads_opened_before_the_region_are_not_handed_out(
    clock: FakeClock,
) -> None:
    owner = RegionOwner()
    owner.queue.add_machine("m", 2, 1)
    owner.queue.create_job(job_id=1)
    owner.queue.create_job(2, 1, job_id=2)
    clock.advance(400)

    owner.queue.create_job(job_id=3)
    owner.queue.create_job(job_id=4)

    allocator = owner.queue._machines["m"].allocator
    assert allocator.allocations == {
        1: ("board", 0, 0, 0),
        2: ("board", 1, 0, 0),
        3: ("board", 1, 0, 1),
    }  # fmt: skip


def test_a_region_moves_where_its_job_can_start_sooner(clock: FakeClock) -> None:
    owner = RegionOwner()
    owner.queue.add_machine("m", 6, 1)
    for number in range(1, 7):
        owner.queue.create_job(1, 1, job_id=number)
    places = [owner.queue._machines["m"].allocator.describe(n)[1] for n in range(1, 7)]
    at = {x: number for number, x in enumerate(places, start=1)}
    owner.queue.create_job(2, 1, job_id=7)
    owner.news()
    clock.advance(400)

    owner.queue.destroy_job(at[4])
    owner.end(at[3], clock)

    assert owner.queue.region_of(7) == RegionRecord("m", (3, 0, 2, 1), 410, False)
    assert ("region", 7, "m", (3, 0, 2, 1)) in owner.news()
    owner.queue.free(at[4])
    clock.advance(10)
    owner.queue.check_free()
    assert owner.news() == [("allocate", 7, "m")]


@pytest.mark.parametrize(("seconds", "moves"), [(0.75, False), (1.0, True), (1.25, True)])
def test_a_region_that_was_looked_at_a_moment_ago_stays(
    clock: FakeClock, seconds: float, moves: bool
) -> None:
    owner = RegionOwner()
    owner.queue.add_machine("m", 6, 1)
    for number in range(1, 7):
        owner.queue.create_job(1, 1, job_id=number)
    places = [owner.queue._machines["m"].allocator.describe(n)[1] for n in range(1, 7)]
    at = {x: number for number, x in enumerate(places, start=1)}
    owner.queue.create_job(2, 1, job_id=7)
    before = owner.queue.region_of(7)
    region = owner.queue._machines["m"].region
    assert region is not None
    assert before is not None
    clock.advance(400)
    region.looked_at = clock.now + owner.queue.seconds_before_free - seconds

    owner.queue.destroy_job(at[4])
    owner.end(at[3], clock)

    after = owner.queue.region_of(7)
    assert after is not None
    assert (after.place != before.place) == moves


def test_a_region_is_chosen_anew_when_a_board_of_it_fails(clock: FakeClock) -> None:
    owner = RegionOwner()
    owner.queue.add_machine("m", 3, 1)
    owner.queue.create_job(3, 1, job_id=1)
    owner.queue.create_job(1, 1, job_id=2)
    owner.news()

    owner.queue.quarantine("m", (0, 0, 1))
    owner.queue.quarantine("m", (1, 0, 1))
    owner.queue.quarantine("m", (2, 0, 1))
    owner.queue.release("m", (1, 0, 1))

    assert owner.news() == [
        ("region", 2, "m", (1, 0, 1, 1)),
        ("region", 2, "m", (2, 0, 1, 1)),
        ("region", 2, None, None),
        ("region", 2, "m", (1, 0, 1, 1)),
    ]


def test_the_age_of_a_region_is_kept_when_its_job_is_requeued(
    owner: RegionOwner, clock: FakeClock
) -> None:
    clock.advance(90)
    owner.end(1, clock)
    assert owner.queue.allocation_of(2) == ("m", 2)

    owner.queue.requeue(2)

    record = owner.queue.region_of(2)
    assert record is not None
    assert record.age == 100


@pytest.mark.parametrize(
    ("seconds", "closed"), [(99, False), (100, True), (101, True), (5000, True)]
)
def test_a_region_given_again_is_closed_if_its_job_has_lost_patience(
    owner: RegionOwner, clock: FakeClock, seconds: float, closed: bool
) -> None:
    owner.end(1, clock)
    clock.advance(seconds - 10)  # That long the boards have rested.

    owner.queue.requeue(2)

    assert owner.queue.region_of(2) == RegionRecord("m", (0, 0, 4, 1), seconds, closed)


def test_the_last_holder_of_a_region_is_gone_when_its_boards_have_rested(
    owner: RegionOwner, clock: FakeClock
) -> None:
    machine = owner.queue._machines["m"]
    assert machine.slowest(clock.now) > 10

    owner.finish(1)

    assert machine.slowest(clock.now) == 10
    clock.advance(4)
    assert machine.slowest(clock.now) == 6


def test_a_region_ends_with_its_job(owner: RegionOwner, clock: FakeClock) -> None:
    owner.queue.create_job(3, 1, job_id=3)
    owner.queue.patience = 0
    owner.queue.create_job(4, 1, job_id=4)
    owner.news()

    owner.queue.destroy_job(2)

    assert owner.news() == [
        ("cancel", 2, None),
        ("allocate", 3, "m"),
        ("region", 4, "m", (0, 0, 4, 1)),
    ]


def test_a_given_board_is_kept_without_its_neighbours(clock: FakeClock) -> None:
    owner = RegionOwner()
    owner.queue.patience = 0
    owner.queue.add_machine("m", 1, 1)
    owner.queue.create_job(0, 0, 1, job_id=1)
    owner.queue.create_job(0, 0, 1, job_id=2)
    owner.news()

    owner.queue.create_job(job_id=3)
    owner.queue.create_job(job_id=4)
    owner.queue.create_job(job_id=5)
    owner.end(1, clock)

    assert owner.news() == [
        ("allocate", 3, "m"), ("allocate", 4, "m"), ("free", 1, None), ("allocate", 2, "m")
    ]  # fmt: skip


def test_the_machine_that_is_free_first_keeps_the_region(clock: FakeClock) -> None:
    owner = RegionOwner()
    owner.queue.add_machine("a", 2, 1)
    owner.queue.add_machine("b", 2, 1)
    owner.queue.create_job(2, 1, job_id=1, machine="a")
    clock.advance(400)
    owner.queue.create_job(2, 1, job_id=2, machine="b")

    owner.queue.create_job(2, 1, job_id=3)
    owner.queue.create_job(2, 1, job_id=4)

    # Job 1 has run for 400 s and is expected to run as long again.
    assert owner.queue.region_of(3) == RegionRecord("b", (0, 0, 2, 1), 0, False)
    assert owner.queue.region_of(4) == RegionRecord("a", (0, 0, 2, 1), 0, False)


def test_a_job_that_waits_for_quarantine_gets_no_region(clock: FakeClock) -> None:
    owner = RegionOwner()
    owner.queue.on_blocked = owner.on_blocked
    owner.queue.add_machine("m", 2, 1)
    owner.queue.quarantine("m", (0, 0, 0))

    owner.queue.create_job(2, 1, job_id=1)
    owner.queue.create_job(job_id=2)
    owner.queue.create_job(1, 1, job_id=3)

    assert owner.news() == [
        ("blocked", 1, "m", {(0, 0, 0)}), ("allocate", 2, "m"), ("allocate", 3, "m")
    ]  # fmt: skip


def test_overtaken_jobs_are_counted_for_the_first_in_line(
    owner: RegionOwner, clock: FakeClock
) -> None:
    owner.queue.patience = 1000
    clock.advance(400)
    owner.queue.create_job(1, 1, job_id=3)
    owner.queue.create_job(1, 1, job_id=4)

    assert owner.queue._jobs[2].overtaken == 2


# --- put back ---


def test_a_queue_with_regions_goes_on_after_pickling(
    owner: RegionOwner, clock: FakeClock
) -> None:
    clock.advance(60)
    assert_plain(owner.queue.__getstate__())

    again: JobQueue = pickle.loads(pickle.dumps(owner.queue))

    assert (again.scheduling, again.patience) == ("overtaking", 100)
    assert again.region_of(2) == owner.queue.region_of(2)
    assert again.allocated_for(1) == 60


def test_a_region_is_put_back_deciding_nothing(clock: FakeClock) -> None:
    owner = RegionOwner()
    with owner.queue:
        owner.queue.add_machine("m", 4, 1)
        owner.queue.restore_job(
            1, request((1, 1)), allocation=("m", 7, ("triads", 2, 0, 1, 1)), allocated_for=33
        )
        owner.queue.restore_job(2, request((2, 1)), region_age=70)
        owner.queue.restore_job(3, request((4, 1)), region_age=10)
        owner.queue.restore_region(2, "m", [1, 0, 2, 1])

    assert owner.queue.allocated_for(1) == 33
    # It is served at once, for there is room elsewhere.
    assert owner.news() == [("allocate", 2, "m"), ("region", 3, "m", (0, 0, 4, 1))]
    record = owner.queue.region_of(3)
    assert record is not None
    assert record.age == 10


def test_a_region_that_cannot_have_been_is_not_put_back(owner: RegionOwner) -> None:
    with pytest.raises(KeyError):
        owner.queue.restore_region(9, "m", [0, 0, 1, 1])
    with pytest.raises(ValueError, match="'m' can be kept for job 1"):
        owner.queue.restore_region(1, "m", [0, 0, 1, 1])
    with pytest.raises(ValueError, match="'m' can be kept for job 2"):
        owner.queue.restore_region(2, "m", [0, 0, 1, 1])
    owner.queue.scheduling = "fcfs"
    owner.queue.restore_region(2, "m", [0, 0, 1, 1])
    assert owner.queue.region_of(2) is None
