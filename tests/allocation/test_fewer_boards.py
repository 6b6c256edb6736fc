"""Fewer boards than asked for are given only where the machine never has as many."""

import pytest

from spalloc_server.allocator import Allocator
from spalloc_server.job_queue import JobQueue
from spalloc_server.links import Links
from tests.support.allocating import full_measure


def boards_of(allocator: Allocator, *what: int, **limits: object) -> int | None:
    allocation = allocator.alloc(*what, **limits)
    return None if allocation is None else len(allocation[1])


def test_a_block_without_dead_boards_is_taken() -> None:
    allocator = full_measure(2, 1, dead_boards={(0, 0, 1)})

    assert boards_of(allocator, 3) == 3


def test_a_larger_block_makes_up_for_dead_boards_in_each_of_the_right_size() -> None:
    allocator = full_measure(3, 1, dead_boards={(0, 0, 1), (1, 0, 1), (2, 0, 1)})

    assert boards_of(allocator, 3) == 4


def test_fewer_are_given_where_the_machine_never_has_as_many() -> None:
    allocator = full_measure(1, 1, dead_boards={(0, 0, 1)})

    assert boards_of(allocator, 3) == 2


def test_a_request_waits_for_a_block_with_enough_boards() -> None:
    allocator = full_measure(2, 1, dead_boards={(0, 0, 1)}, seconds_before_free=0)
    first = allocator.alloc(3)
    assert first is not None

    assert allocator.alloc(3) is None

    allocator.free(first[0])
    assert boards_of(allocator, 3) == 3


def test_boards_that_no_live_link_leads_to_are_missing_too() -> None:
    cut_off = {(0, 0, z, link) for z in range(3) for link in range(6)}
    allocator = full_measure(2, 1, dead_links=cut_off)

    assert boards_of(allocator, 3) == 3
    assert boards_of(full_measure(1, 1, dead_links=cut_off), 3) == 1


def test_what_limits_refuse_is_not_made_possible() -> None:
    dead = {(0, 0, 1), (1, 0, 1), (2, 0, 1)}
    allocator = full_measure(3, 1, dead_boards=dead)

    assert not allocator.alloc_possible(3, max_dead_boards=0)
    assert allocator.alloc(3, max_dead_boards=0) is None


@pytest.mark.parametrize("limits", [{}, {"max_dead_boards": 1}, {"min_ratio": 1.0}])
def test_limits_hold_as_before(limits: dict[str, float]) -> None:
    allocator = full_measure(2, 2, dead_boards={(0, 0, 1)})

    assert boards_of(allocator, 12, **limits) == 11


def test_a_torus_is_the_whole_machine_with_what_it_has() -> None:
    allocator = full_measure(2, 2, dead_boards={(0, 0, 1)})

    assert boards_of(allocator, 12, require_torus=True) == 11


def test_blocks_given_by_size_are_not_changed() -> None:
    allocator = full_measure(2, 1, dead_boards={(0, 0, 1)})

    assert boards_of(allocator, 1, 1) == 2


def test_boards_that_die_are_noticed() -> None:
    dead: set[tuple[int, int, int]] = set()
    allocator = full_measure(2, 1, dead_boards=dead)
    assert boards_of(allocator, 2) == 3

    dead.add((1, 0, 1))
    dead.add((0, 0, 1))

    assert boards_of(allocator, 2) == 2
    assert boards_of(allocator, 3) is None


# --- what waits for boards in quarantine ---


def test_a_request_that_can_do_without_waits_for_none() -> None:
    allocator = Allocator(2, 1)
    allocator.quarantine((0, 0, 1))
    allocator.alloc(1, 0, 0)

    assert allocator.waits_for() == frozenset()
    assert allocator.waits_for(1, 1) == frozenset()
    assert allocator.waits_for(3) == frozenset()
    assert allocator.waits_for(1, 0, 2) == frozenset()


def test_a_request_that_cannot_waits_for_the_boards_that_are_out() -> None:
    allocator = Allocator(2, 1)
    allocator.quarantine((0, 0, 1))
    allocator.alloc(1, 0, 0)

    for what in [(2, 1), (4,), (0, 0, 1)]:
        assert allocator.waits_for(*what) == {(0, 0, 1)}, what


def test_single_boards_wait_where_all_are_out() -> None:
    allocator = Allocator(1, 1, dead_boards={(0, 0, 0)})
    allocator.quarantine((0, 0, 1))
    assert allocator.waits_for() == frozenset()

    allocator.quarantine((0, 0, 2))

    assert allocator.waits_for() == {(0, 0, 1), (0, 0, 2)}


def test_on_an_idle_machine_what_cannot_be_given_waits_for_boards_that_are_out() -> None:
    """However the room is cut up, it does not hold up others for ever."""
    allocator = Allocator(4, 4)
    allocator.quarantine((0, 0, 1))
    what = (4, 3)

    given = allocator.alloc(*what)

    assert given is not None or allocator.waits_for(*what) == {(0, 0, 1)}


def test_dead_boards_are_not_waited_for() -> None:
    allocator = Allocator(2, 1, dead_boards={(0, 0, 1)})
    allocator.quarantine((0, 0, 1))

    assert allocator.waits_for(2, 1) == frozenset()


class Owner:
    def __init__(self) -> None:
        self.given: list[int] = []
        self.blocked: list[tuple[int, str, frozenset[tuple[int, int, int]]]] = []
        self.queue = JobQueue(
            lambda job_id, *_: self.given.append(job_id), lambda *_: None, lambda *_: None, 0
        )
        self.queue.on_blocked = lambda *args: self.blocked.append(args)


def test_others_pass_a_job_that_waits_for_quarantine_but_no_other() -> None:
    owner = Owner()
    owner.queue.add_machine("m", 2, 1)
    owner.queue.quarantine("m", (0, 0, 1))
    owner.queue.create_job(2, 1, job_id=1)
    owner.queue.create_job(1, 1, job_id=2)
    owner.queue.create_job(1, 1, job_id=3)
    owner.queue.create_job(job_id=4)

    assert owner.given == [2]
    assert owner.blocked[0] == (1, "m", frozenset({(0, 0, 1)}))
    assert owner.queue.blocked() == {1: {"m": frozenset({(0, 0, 1)})}}

    owner.queue.destroy_job(2)
    owner.queue.free(2)
    owner.queue.check_free()
    assert owner.given == [2, 3, 4]


def test_a_quarantine_is_set_as_a_whole() -> None:
    owner = Owner()
    owner.queue.add_machine("m", 1, 1)
    owner.queue.set_quarantine("m", {(0, 0, 0), (0, 0, 1)})
    owner.queue.create_job(job_id=1)
    owner.queue.create_job(job_id=2)
    assert owner.given == [1]

    owner.queue.set_quarantine("m", {(0, 0, 1)})

    assert owner.given == [1, 2]
    assert owner.queue._machines["m"].allocator.quarantined == {(0, 0, 1)}


def test_nothing_is_given_while_held() -> None:
    owner = Owner()
    owner.queue.add_machine("m", 1, 1)

    with owner.queue.holding():
        owner.queue.create_job(job_id=1)
        assert owner.given == []

    assert owner.given == [1]


def test_boards_may_stay_taken_when_a_job_is_moved() -> None:
    owner = Owner()
    owner.queue.add_machine("m", 1, 1)
    owner.queue.create_job(3, job_id=1)
    held = owner.queue.allocation_of(1)
    assert held is not None

    owner.queue.requeue(1, keep_boards=True)
    assert owner.given == [1]

    owner.queue.free_boards(*held)
    owner.queue.check_free()
    assert owner.given == [1, 1]




@pytest.mark.parametrize("asked", [4, 5, 6])
def test_the_most_boards_are_given_where_there_are_not_as_many(asked: int) -> None:
    alone = {(0, 0, 0, link) for link in Links}
    allocator = full_measure(2, 1, dead_links=alone)

    assert boards_of(allocator, asked) == 3


def test_a_limit_on_dead_links_holds_for_the_block_with_the_most_boards_too() -> None:
    alone = {(0, 0, 0, link) for link in Links}
    dead = {*alone, (1, 0, 0, Links.north)}

    strict, free = (full_measure(2, 1, dead_links=dead) for _ in range(2))

    assert boards_of(strict, 5, max_dead_links=0) == 1
    assert boards_of(free, 5) == 3


def test_a_smaller_block_is_no_better_where_the_larger_one_has_as_many() -> None:
    allocator = full_measure(2, 2, dead_boards={(0, 0, 1), (1, 1, 2)})

    assert boards_of(allocator, 12) == 10
