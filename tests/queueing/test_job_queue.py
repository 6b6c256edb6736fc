"""Jobs that wait for machines."""

from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from spalloc_server._queueing import machine_queue
from spalloc_server.job_queue import JobQueue
from spalloc_server.links import Links
from tests.support.fake_clock import FakeClock
from tests.support.queueing import Owner

NOWHERE = "No suitable machines available."


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock().installed() as clock:
        yield clock


@pytest.fixture
def owner() -> Owner:
    """An owner without machines."""
    return Owner()


@pytest.fixture
def pair() -> Owner:
    """Two machines of two triads: a, which has tag x too, and b."""
    owner = Owner()
    owner.queue.add_machine("a", 2, 1, tags={"default", "x"})
    owner.queue.add_machine("b", 2, 1)
    return owner


class Counted:
    """Counts the calls of a method of one queue, and passes them on."""

    def __init__(self, queue: JobQueue, name: str) -> None:
        self.method: Callable[..., Any] = getattr(queue, name)
        self.calls: list[tuple[Any, ...]] = []
        setattr(queue, name, self)

    def __call__(self, *arguments: Any) -> None:
        self.calls.append(arguments)
        self.method(*arguments)


# --- create ---


def test_a_job_that_fits_is_allocated_at_once(owner: Owner) -> None:
    owner.queue.add_machine("m", 2, 1)

    owner.queue.create_job(1, 1, job_id=10)

    assert owner.news() == [("allocate", 10, "m")]
    assert owner.boards[10] == {(0, 0, z) for z in range(3)}


def test_a_job_that_does_not_fit_now_waits(owner: Owner) -> None:
    owner.queue.add_machine("m", 2, 1)
    owner.queue.create_job(1, 1, job_id=10)
    owner.queue.create_job(2, 1, job_id=11)

    assert owner.news() == [("allocate", 10, "m")]
    owner.finish(10)

    assert owner.news() == [("free", 10, None), ("allocate", 11, "m")]


def test_a_job_that_no_machine_suits_is_cancelled(owner: Owner) -> None:
    owner.queue.create_job(1, job_id=10)
    owner.queue.add_machine("m", 1, 1)
    owner.queue.create_job(2, 1, job_id=11)

    assert owner.news() == [("cancel", 10, NOWHERE), ("cancel", 11, NOWHERE)]
    assert owner.queue._jobs == {}


def test_limits_are_handed_on(owner: Owner) -> None:
    owner.queue.add_machine("m", 1, 1, dead_boards={(0, 0, 1)})

    owner.queue.create_job(1, 1, job_id=10, max_dead_boards=0)
    owner.queue.create_job(1, 1, job_id=11, max_dead_boards=1, min_ratio=None)

    assert owner.news() == [("cancel", 10, NOWHERE), ("allocate", 11, "m")]


@pytest.mark.parametrize(
    ("what", "keywords", "error", "text"),
    [
        ((1,), {}, TypeError, "job_id"),
        ((1,), {"job_id": None}, TypeError, "job_id"),
        (
            (1,),
            {"job_id": 1, "machine": "m", "tags": []},
            TypeError,
            r"Only one of machine and tags may be specified for a job\.",
        ),
        ((1,), {"job_id": 7}, ValueError, "7"),
        ((1,), {"job_id": 1, "require_torus": True}, ValueError, "require_torus"),
        ((), {"job_id": 1, "require_torus": True}, ValueError, "require_torus"),
        ((0, 0, 0), {"job_id": 1, "require_torus": True}, ValueError, "require_torus"),
        ((1.5,), {"job_id": 1}, TypeError, "1.5"),
        (("3",), {"job_id": 1}, TypeError, "3"),
        ((1, 2, 3, 4), {"job_id": 1}, TypeError, "at most 3"),
        ((None, 4), {"job_id": 1}, ValueError, "null"),
        ((2, 2), {"job_id": 1, "zork": 1}, TypeError, "zork"),
        ((5,), {"job_id": 1, "min_ratio": -1.0}, ValueError, "min_ratio"),
        ((5,), {"job_id": 1, "max_dead_links": "1"}, TypeError, "max_dead_links"),
    ],
)
@pytest.mark.parametrize("machines", [0, 2])
def test_a_request_of_bad_form_leaves_nothing(
    what: tuple[Any, ...],
    keywords: dict[str, Any],
    error: type[Exception],
    text: str,
    machines: int,
) -> None:
    owner = Owner()
    for number in range(machines):
        owner.queue.add_machine(f"m{number}", 2, 2)
    with owner.queue:
        owner.queue.create_job(1, job_id=7)
        enqueued = Counted(owner.queue, "_enqueue_job")

        with pytest.raises(error, match=text):
            owner.queue.create_job(*what, **keywords)

        assert enqueued.calls == []
        assert list(owner.queue._jobs) == [7]
        owner.queue.destroy_job(7)
        owner.news()

    assert owner.news() == []
    assert all(not machine.queue for machine in owner.queue._machines.values())


def test_create_job_enqueues_the_job_once(pair: Owner) -> None:
    enqueued = Counted(pair.queue, "_enqueue_job")

    pair.queue.create_job(1, job_id=1)
    with pair.queue:
        pair.queue.create_job(1, job_id=2)
        assert [job.id for (job,) in enqueued.calls] == [1, 2]

    assert pair.news() == [("allocate", 1, "a"), ("allocate", 2, "a")]


def test_a_job_tells_what_was_asked_for(pair: Owner) -> None:
    queue = pair.queue
    queue.create_job(2, 1, job_id=1, tags=["x", "x"], max_dead_boards=None)
    queue.create_job(2, 1, job_id=2, machine="a", max_dead_links=3)
    queue.create_job(2, 1, job_id=3)
    queue.create_job(None, job_id=4, tags=[])

    first, second, third, fourth = (queue._jobs[number] for number in (1, 2, 3, 4))
    assert (first.id, first.pending, first.machine_name, first.tags) == (1, False, None, {"x"})
    assert (first.args, first.kwargs) == ((2, 1), {"max_dead_boards": None})
    assert (second.id, second.pending, second.machine_name, second.tags) == (2, True, "a", set())
    assert (second.args, second.kwargs) == ((2, 1), {"max_dead_links": 3})
    assert (third.pending, third.tags) == (False, {"default"})
    assert (fourth.machine_name, fourth.tags, fourth.args) == (None, set(), (None,))


# --- which machines ---


def test_a_job_without_tags_wants_a_default_machine(owner: Owner) -> None:
    owner.queue.add_machine("special", 1, 1, tags={"special"})
    owner.queue.add_machine("plain", 1, 1)

    owner.queue.create_job(1, job_id=1)

    assert owner.news() == [("allocate", 1, "plain")]


def test_a_machine_must_have_all_tags(pair: Owner) -> None:
    pair.queue.create_job(1, job_id=1, tags=["default", "x"])
    pair.queue.create_job(1, job_id=2, tags=["x", "y"])

    assert pair.news() == [("allocate", 1, "a"), ("cancel", 2, NOWHERE)]


def test_no_tags_at_all_mean_any_machine(owner: Owner) -> None:
    owner.queue.add_machine("bare", 1, 1, tags=[])

    owner.queue.create_job(1, job_id=1, tags=[])
    owner.queue.create_job(1, job_id=2)

    assert owner.news() == [("allocate", 1, "bare"), ("cancel", 2, NOWHERE)]


def test_a_named_machine_is_used_whatever_its_tags(owner: Owner) -> None:
    owner.queue.add_machine("first", 1, 1)
    owner.queue.add_machine("bare", 1, 1, tags=set())

    owner.queue.create_job(1, job_id=1, machine="bare")
    owner.queue.create_job(1, job_id=2, machine="nowhere")

    assert owner.news() == [("allocate", 1, "bare"), ("cancel", 2, NOWHERE)]


def test_machines_are_offered_work_in_order_of_priority(pair: Owner) -> None:
    for number in range(4):
        pair.queue.create_job(1, 1, job_id=number)

    assert [event[2] for event in pair.news()] == ["a", "a", "b", "b"]


def test_a_machine_moved_to_the_end_is_used_last(pair: Owner) -> None:
    pair.queue.move_machine_to_end("a")

    pair.queue.create_job(1, 1, job_id=1)

    assert pair.news() == [("allocate", 1, "b")]
    assert list(pair.queue._machines) == ["b", "a"]


# --- order ---


def test_a_job_waits_for_every_machine_that_suits_it(pair: Owner) -> None:
    for number, machine in ((1, "a"), (2, "b")):
        pair.queue.create_job(2, 1, job_id=number, machine=machine)

    pair.queue.create_job(2, 1, job_id=3)
    pair.queue.create_job(2, 1, job_id=4, tags=["x"])

    assert pair.waiting("a") == [3, 4]
    assert pair.waiting("b") == [3]


def test_each_machine_serves_only_the_head_of_its_queue(owner: Owner) -> None:
    owner.queue.add_machine("m", 2, 1)
    owner.queue.create_job(1, 1, job_id=1)
    owner.queue.create_job(2, 1, job_id=2)

    owner.queue.create_job(1, 1, job_id=3)

    assert owner.news() == [("allocate", 1, "m")]
    assert owner.waiting("m") == [2, 3]


def test_a_job_that_runs_elsewhere_is_skipped(pair: Owner) -> None:
    queue = pair.queue
    queue.create_job(2, 1, job_id=1, machine="a")
    queue.create_job(2, 1, job_id=2, machine="b")
    queue.create_job(2, 1, job_id=3)
    queue.create_job(2, 1, job_id=4)
    pair.news()

    pair.finish(2)
    assert pair.news() == [("free", 2, None), ("allocate", 3, "b")]

    pair.finish(1)
    assert pair.news() == [("free", 1, None), ("allocate", 4, "a")]
    assert pair.waiting("a") == pair.waiting("b") == []


def test_where_a_head_was_taken_by_another_machine_the_next_one_is_served() -> None:
    owner = Owner()
    owner.queue.add_machine("a", 2, 1)
    owner.queue.add_machine("b", 3, 1)
    owner.queue.create_job(1, 1, job_id=1, machine="a")
    owner.queue.create_job(3, 1, job_id=2, machine="b")
    owner.queue.create_job(2, 1, job_id=3)
    owner.queue.create_job(1, 1, job_id=4)
    owner.news()

    owner.finish(2)

    assert owner.news() == [("free", 2, None), ("allocate", 3, "b"), ("allocate", 4, "a")]


def test_a_queue_is_a_deque_in_which_ended_jobs_stay_until_they_reach_its_head(
    owner: Owner,
) -> None:
    owner.queue.add_machine("m", 1, 1)
    for number in range(1, 5):
        owner.queue.create_job(1, 1, job_id=number)
    queue = owner.queue._machines["m"].queue

    owner.queue.destroy_job(3)
    assert type(queue) is deque
    assert [(job.id, job.pending) for job in queue] == [(2, True), (3, False), (4, True)]

    owner.queue.destroy_job(2)
    assert [(job.id, job.pending) for job in queue] == [(4, True)]


def test_ended_jobs_do_not_pile_up_behind_one_that_waits(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_queue, "_SHORT_QUEUE", 10)
    owner.queue.add_machine("m", 1, 1)
    owner.queue.create_job(1, 1, job_id=1)
    owner.queue.create_job(1, 1, job_id=2)

    for number in range(3, 200):
        owner.queue.create_job(1, 1, job_id=number)
        if number % 50:
            owner.queue.destroy_job(number)
        assert len(owner.queue._machines["m"].queue) <= 2 * 10

    assert owner.waiting("m") == [2, 50, 100, 150]


def test_a_long_queue_is_cleared_only_when_ended_jobs_have_doubled_it(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_queue, "_SHORT_QUEUE", 10)
    owner.queue.add_machine("m", 1, 1)
    for number in range(1, 22):
        owner.queue.create_job(1, 1, job_id=number)

    lengths = []
    for number in range(100, 200):
        owner.queue.create_job(1, 1, job_id=number)
        owner.queue.destroy_job(number)
        lengths.append(len(owner.queue._machines["m"].queue))

    assert 2 * 20 - 2 <= max(lengths) <= 2 * 20 + 2
    cleared = sum(after < before for before, after in pairwise(lengths))
    assert cleared in (4, 5), "each time that about 20 more have come"


# --- destroy and free ---


def test_a_queued_job_that_is_destroyed_is_cancelled_and_forgotten(owner: Owner) -> None:
    owner.queue.add_machine("m", 1, 1)
    owner.queue.create_job(1, 1, job_id=1)
    owner.queue.create_job(1, 1, job_id=2)
    owner.news()

    owner.queue.destroy_job(2, "not needed")

    assert owner.news() == [("cancel", 2, "not needed")]
    assert list(owner.queue._jobs) == [1]


def test_the_queues_advance_when_their_head_is_destroyed(owner: Owner) -> None:
    owner.queue.add_machine("m", 2, 1)
    owner.queue.create_job(1, 1, job_id=1)
    owner.queue.create_job(2, 1, job_id=2)
    owner.queue.create_job(1, 1, job_id=3)
    owner.news()

    owner.queue.destroy_job(2)

    assert owner.news() == [("cancel", 2, None), ("allocate", 3, "m")]


def test_boards_of_a_destroyed_job_are_its_own_until_they_are_freed(owner: Owner) -> None:
    owner.queue.add_machine("m", 1, 1)
    owner.queue.create_job(1, 1, job_id=1)
    owner.queue.create_job(1, 1, job_id=2)
    owner.news()

    owner.queue.destroy_job(1, "done")
    assert owner.news() == [("free", 1, "done")]
    assert list(owner.queue._jobs) == [1, 2]

    owner.queue.free(1)
    assert owner.news() == [("allocate", 2, "m")]
    assert list(owner.queue._jobs) == [2]


def test_a_job_is_destroyed_once(owner: Owner) -> None:
    owner.queue.add_machine("m", 1, 1)
    owner.queue.create_job(1, 1, job_id=1)
    owner.queue.destroy_job(1)
    owner.news()

    owner.queue.destroy_job(1)
    owner.queue.destroy_job(99)

    assert owner.news() == []


def test_freeing_what_has_no_boards_does_nothing(owner: Owner) -> None:
    owner.queue.add_machine("m", 1, 1)
    owner.queue.create_job(1, 1, job_id=1)
    owner.queue.create_job(1, 1, job_id=2)
    owner.news()

    owner.queue.free(99)
    owner.queue.free(2)

    assert owner.news() == []
    assert owner.waiting("m") == [2]


def test_boards_rest_before_the_next_job_gets_them(clock: FakeClock) -> None:
    owner = Owner(seconds_before_free=30)
    owner.queue.add_machine("m", 1, 1)
    owner.queue.create_job(1, 1, job_id=1)
    owner.queue.create_job(1, 1, job_id=2)
    owner.finish(1)
    owner.told.clear()

    clock.advance(29)
    owner.queue.check_free()
    assert owner.told == []

    clock.advance(1)
    owner.queue.check_free()
    assert owner.told == [("rested", "m", [1]), ("allocate", 2, "m")]


@pytest.mark.parametrize("name", ["a", "b"])
def test_boards_that_come_back_on_any_machine_let_its_queue_advance(
    name: str, clock: FakeClock
) -> None:
    owner = Owner(seconds_before_free=30)
    owner.queue.add_machine("a", 1, 1)
    owner.queue.add_machine("b", 1, 1)
    for number, machine in enumerate("ababab"):
        owner.queue.create_job(1, 1, job_id=number, machine=machine)
    owner.finish("ab".index(name))
    owner.news()

    clock.advance(30)
    owner.queue.check_free()

    assert owner.news() == [("allocate", "ab".index(name) + 2, name)]


def test_thirty_seconds_are_the_time_to_rest_if_nothing_else_is_said() -> None:
    queue = JobQueue(print, print, print)

    queue.add_machine("m", 1, 1)

    assert queue.seconds_before_free == 30
    assert queue._machines["m"].allocator.seconds_before_free == 30


def test_another_time_to_rest_applies_to_all_machines(pair: Owner) -> None:
    pair.queue.seconds_before_free = 7
    pair.queue.add_machine("c", 1, 1)

    allocators = [machine.allocator for machine in pair.queue._machines.values()]
    assert [allocator.seconds_before_free for allocator in allocators] == [7, 7, 7]


def test_next_rested_is_the_earliest_of_all_machines(clock: FakeClock) -> None:
    owner = Owner(seconds_before_free=30)
    for name in "abc":
        owner.queue.add_machine(name, 1, 1)
        owner.queue.create_job(1, 1, job_id=ord(name))
    assert owner.queue.next_rested() is None

    owner.finish(ord("b"))
    clock.advance(5)
    owner.finish(ord("a"))

    assert owner.queue.next_rested() == clock.now + 25
    assert owner.queue.resting() == {
        "a": {1: [["triads", 0, 0, 1, 1], 0]},
        "b": {1: [["triads", 0, 0, 1, 1], 5]},
    }


# --- machines ---


def test_a_new_machine_has_these_defaults(owner: Owner) -> None:
    owner.queue.add_machine("m", 3, 4)

    machine = owner.queue._machines["m"]
    assert machine.tags == {"default"}
    assert (machine.allocator.width, machine.allocator.height) == (3, 4)
    assert machine.allocator.dead_boards == machine.allocator.dead_links == frozenset()
    assert machine.queue == deque()


def test_a_machine_gets_the_very_dead_sets(owner: Owner) -> None:
    dead_boards, dead_links = {(0, 0, 0)}, {(0, 0, 1, Links.east)}

    owner.queue.add_machine("m", 1, 1, {"t"}, dead_boards, dead_links)

    machine = owner.queue._machines["m"]
    assert machine.tags == {"t"}
    assert machine.allocator.dead_boards is dead_boards
    assert machine.allocator.dead_links is dead_links


def test_a_name_is_used_once(owner: Owner) -> None:
    owner.queue.add_machine("m", 1, 1)

    with pytest.raises(ValueError, match="'m'"):
        owner.queue.add_machine("m", 2, 2)

    assert owner.queue._machines["m"].allocator.width == 1


def test_unknown_machines_cannot_be_changed(owner: Owner) -> None:
    for change in (
        owner.queue.modify_machine,
        owner.queue.remove_machine,
        owner.queue.move_machine_to_end,
    ):
        regenerated = Counted(owner.queue, "_regenerate_queues")
        with pytest.raises(KeyError, match="nowhere"):
            change("nowhere")
        assert regenerated.calls == []


def test_each_change_of_machines_builds_the_queues_once(owner: Owner) -> None:
    regenerated = Counted(owner.queue, "_regenerate_queues")

    owner.queue.add_machine("m", 1, 1)
    assert len(regenerated.calls) == 1
    owner.queue.modify_machine("m")
    assert len(regenerated.calls) == 2
    owner.queue.modify_machine("m", tags={"x"}, dead_boards=set(), dead_links=set())
    assert len(regenerated.calls) == 3
    owner.queue.remove_machine("m")
    assert len(regenerated.calls) == 4


def test_a_job_that_waits_may_run_on_a_new_machine(owner: Owner) -> None:
    owner.queue.add_machine("m", 1, 1)
    owner.queue.create_job(1, 1, job_id=1)
    owner.queue.create_job(1, 1, job_id=2)
    owner.news()

    owner.queue.add_machine("n", 1, 1)

    assert owner.news() == [("allocate", 2, "n")]


def test_what_is_not_given_stays_when_a_machine_is_modified(pair: Owner) -> None:
    machine = pair.queue._machines["a"]
    dead_boards, dead_links = machine.allocator.dead_boards, machine.allocator.dead_links

    pair.queue.modify_machine("a")

    assert machine.tags == {"default", "x"}
    assert machine.allocator.dead_boards is dead_boards
    assert machine.allocator.dead_links is dead_links

    new_boards, new_links = {(0, 0, 1)}, {(0, 0, 0, Links.east)}
    pair.queue.modify_machine("a", [], new_boards, new_links)

    assert machine.tags == set()
    assert machine.allocator.dead_boards is new_boards
    assert machine.allocator.dead_links is new_links


def test_running_jobs_go_on_when_their_machine_is_modified(owner: Owner) -> None:
    owner.queue.add_machine("m", 1, 1)
    owner.queue.create_job(1, 1, job_id=1)
    owner.news()

    owner.queue.modify_machine("m", tags={"x"}, dead_boards={(0, 0, 0)})

    assert owner.news() == []
    assert owner.queue.allocation_of(1) == ("m", 1)


def test_a_queued_job_that_became_impossible_is_cancelled_and_all_others_stay(
    pair: Owner,
) -> None:
    queue = pair.queue
    for number, machine in ((1, "a"), (2, "b")):
        queue.create_job(2, 1, job_id=number, machine=machine)
    queue.create_job(2, 1, job_id=3, max_dead_boards=0, machine="a")
    queue.create_job(2, 1, job_id=4)
    queue.create_job(2, 1, job_id=5, tags=["x"], max_dead_boards=0)
    queue.create_job(2, 1, job_id=6)
    pair.news()

    queue.modify_machine("a", dead_boards={(0, 0, 1)})

    assert pair.news() == [("cancel", 3, NOWHERE), ("cancel", 5, NOWHERE)]
    assert pair.waiting("a") == pair.waiting("b") == [4, 6]


def test_tags_that_change_move_jobs_to_other_queues_in_order_of_arrival(pair: Owner) -> None:
    queue = pair.queue
    for number, machine in ((1, "a"), (2, "b")):
        queue.create_job(2, 1, job_id=number, machine=machine)
    queue.create_job(2, 1, job_id=9, tags=["x"])
    queue.create_job(2, 1, job_id=4)
    queue.create_job(2, 1, job_id=7, tags=["x"])

    queue.modify_machine("b", tags={"x", "default"})
    assert pair.waiting("b") == [9, 4, 7]

    queue.modify_machine("a", tags={"x"})
    assert pair.waiting("a") == [9, 7]
    assert pair.waiting("b") == [9, 4, 7]


def test_jobs_of_a_removed_machine_are_freed_and_forgotten(pair: Owner) -> None:
    queue = pair.queue
    queue.create_job(2, 1, job_id=1, machine="a")
    queue.create_job(2, 1, job_id=2, machine="b")
    pair.news()

    queue.remove_machine("a")

    assert pair.news() == [("free", 1, "Machine removed.")]
    assert list(queue._jobs) == [2]
    queue.free(1)
    assert list(queue._machines) == ["b"]


def test_a_job_that_was_going_already_is_not_ended_again(pair: Owner) -> None:
    pair.queue.create_job(2, 1, job_id=1, machine="a")
    pair.queue.destroy_job(1, "done")
    pair.news()

    pair.queue.remove_machine("a")

    assert pair.news() == []
    assert pair.queue._jobs == {}


def test_jobs_that_waited_for_a_removed_machine_only_are_cancelled(pair: Owner) -> None:
    queue = pair.queue
    for number, machine in ((1, "a"), (2, "b"), (3, "a")):
        queue.create_job(2, 1, job_id=number, machine=machine)
    queue.create_job(2, 1, job_id=4)
    pair.news()

    queue.remove_machine("a")

    assert pair.news() == [("free", 1, "Machine removed."), ("cancel", 3, NOWHERE)]
    assert pair.waiting("b") == [4]


# --- all changes as one ---


def test_nothing_is_decided_until_the_outermost_end(owner: Owner) -> None:
    queue = owner.queue
    regenerated = Counted(queue, "_regenerate_queues")

    with queue as same:
        assert same is queue
        queue.add_machine("a", 1, 1)
        queue.create_job(1, 1, job_id=1)
        queue.create_job(9, 9, job_id=2)
        with queue:
            queue.add_machine("b", 1, 1)
            queue.create_job(1, 1, job_id=3)
        queue.move_machine_to_end("a")
        queue.check_free()
        assert owner.told == []
        assert regenerated.calls == []

    assert len(regenerated.calls) == 1
    assert sorted(owner.news()) == [
        ("allocate", 1, "b"),
        ("allocate", 3, "a"),
        ("cancel", 2, NOWHERE),
    ]


def test_jobs_among_other_changes_get_the_machines_that_they_would_get_one_by_one(
    owner: Owner,
) -> None:
    with owner.queue as queue:
        queue.add_machine("first", 2, 1)
        queue.add_machine("second", 2, 1)
        for job_id in (1, 2, 3):
            queue.create_job(1, 1, job_id=job_id)

    assert owner.news() == [
        ("allocate", 1, "first"),
        ("allocate", 2, "first"),
        ("allocate", 3, "second"),
    ]


def test_who_came_first_is_served_first_also_by_another_machine(owner: Owner) -> None:
    with owner.queue as queue:
        queue.add_machine("small", 1, 1)
        queue.add_machine("large", 2, 1)
        queue.create_job(2, 1, job_id=1)
        queue.create_job(1, 1, job_id=2)

    assert owner.news() == [("allocate", 1, "large"), ("allocate", 2, "small")]


def test_a_machine_may_be_removed_and_added_anew_without_cancelling_who_waits(
    owner: Owner,
) -> None:
    owner.queue.add_machine("m", 1, 1)
    owner.queue.create_job(1, 1, job_id=1)
    owner.queue.create_job(1, 1, job_id=2)
    owner.news()

    with owner.queue:
        owner.queue.remove_machine("m")
        owner.queue.add_machine("m", 2, 2)

    assert owner.news() == [("free", 1, "Machine removed."), ("allocate", 2, "m")]


def test_jobs_destroyed_among_other_changes_are_served_no_more(owner: Owner) -> None:
    with owner.queue:
        owner.queue.add_machine("m", 1, 1)
        owner.queue.create_job(1, 1, job_id=1)
        owner.queue.create_job(1, 1, job_id=2)
        owner.queue.destroy_job(1, "changed my mind")

    assert owner.news() == [("cancel", 1, "changed my mind"), ("allocate", 2, "m")]


def test_an_error_among_changes_is_passed_on_and_the_queues_are_built(owner: Owner) -> None:
    with pytest.raises(ZeroDivisionError), owner.queue:
        owner.queue.add_machine("m", 1, 1)
        owner.queue.create_job(1, 1, job_id=1)
        raise ZeroDivisionError

    assert owner.news() == [("allocate", 1, "m")]


def test_queues_are_built_from_the_jobs_alone(pair: Owner) -> None:
    queue = pair.queue
    for number, machine in ((1, "a"), (2, "b")):
        queue.create_job(2, 1, job_id=number, machine=machine)
    for number in (8, 3, 5):
        queue.create_job(2, 1, job_id=number)
    queue._machines["a"].queue.clear()
    queue._machines["b"].queue.reverse()

    queue._regenerate_queues()

    assert pair.waiting("a") == pair.waiting("b") == [8, 3, 5]


# --- holding ---


def test_while_holding_jobs_queue_but_none_is_served(owner: Owner) -> None:
    owner.queue.add_machine("m", 1, 1)

    with owner.queue.holding():
        owner.queue.create_job(1, 1, job_id=1)
        with owner.queue.holding():
            owner.queue.create_job(9, 9, job_id=2)
        assert owner.news() == [("cancel", 2, NOWHERE)]
        assert owner.waiting("m") == [1]

    assert owner.news() == [("allocate", 1, "m")]


def test_jobs_and_machines_are_named_where_they_are_printed() -> None:
    queue = JobQueue(lambda *_: None, lambda *_: None, lambda *_: None)
    queue.add_machine("m", 1, 1)
    queue.create_job(1, 1, job_id=7)
    queue.create_job(1, 1, job_id=8)

    assert repr(queue._machines["m"]) == "<_Machine m>"
    assert [repr(queue._jobs[job_id]) for job_id in (7, 8)] == [
        "<_Job 7 not pending>",
        "<_Job 8 pending>",
    ]
