"""A server gives no fewer boards than asked for where the machine could have as many."""

import pickle

import pytest

from spalloc_server._places import Board
from spalloc_server.allocator import Allocator
from spalloc_server.controller import Controller
from spalloc_server.job_queue import JobQueue
from tests.support.allocating import block, boards_of, full_measure, triad


def test_a_block_with_all_boards_is_preferred_to_one_with_fewer() -> None:
    allocator = full_measure(3, 1, {(0, 0, 1)})

    assert boards_of(allocator, 3) == triad(2, 0)


def test_who_could_have_all_boards_waits_for_them() -> None:
    allocator = full_measure(2, 1, {(0, 0, 1)})
    allocator.alloc(1, 0, 0)

    assert allocator.alloc(3) is None
    assert boards_of(allocator, 2) == {(0, 0, 0), (0, 0, 2)}


def test_a_larger_block_makes_up_for_dead_boards() -> None:
    allocator = full_measure(2, 1, {(0, 0, 1), (1, 0, 1)})

    assert boards_of(allocator, 3) == block(0, 0, 2, 1) - {(0, 0, 1), (1, 0, 1)}


@pytest.mark.parametrize(("allowed", "given"), [(None, 4), (2, 4), (1, None)])
def test_fewer_are_given_where_there_are_not_so_many(
    allowed: int | None, given: int | None
) -> None:
    allocator = full_measure(2, 1, {(0, 0, 1), (1, 0, 1)})

    boards = boards_of(allocator, 6, max_dead_boards=allowed)

    assert (None if boards is None else len(boards)) == given


def test_who_says_how_many_dead_boards_will_do_gets_the_first_such_block() -> None:
    allocator = full_measure(3, 1, {(0, 0, 1)})

    assert boards_of(allocator, 3, max_dead_boards=1) == triad(0, 0) - {(0, 0, 1)}


def test_a_block_of_triads_is_what_was_asked_for_dead_boards_or_not() -> None:
    allocator = full_measure(3, 1, {(0, 0, 1)})

    assert boards_of(allocator, 1, 1) == {(0, 0, 0), (0, 0, 2)}


@pytest.mark.parametrize("limits", [{}, {"max_dead_boards": None}])
@pytest.mark.parametrize(
    ("dead", "given"),
    [
        ({(0, 0, 1)}, triad(0, 0) - {(0, 0, 1)}),
        ({(0, 0, 1), (0, 0, 2), (2, 0, 1)}, {(0, 0, 0)}),
        ({(0, 0, 0), (2, 0, 1)}, triad(2, 0) - {(2, 0, 1)}),
    ],
)
def test_otherwise_any_number_of_dead_boards_will_do(
    dead: set[Board], given: set[Board], limits: dict[str, None]
) -> None:
    allocator = Allocator(3, 1, dead)

    boards = boards_of(allocator, 3, **limits)

    assert boards == given


def test_an_allocator_that_was_saved_keeps_to_it() -> None:
    for allocator in (full_measure(3, 1, {(0, 0, 1)}), Allocator(3, 1, {(0, 0, 1)})):
        copy = pickle.loads(pickle.dumps(allocator))

        assert copy.alloc(3)[1] == boards_of(allocator, 3)


def test_a_queue_has_its_machines_do_likewise() -> None:
    given: dict[int, set[Board]] = {}
    queue = JobQueue(print, print, print)
    queue.add_machine("before", 3, 1, dead_boards={(0, 0, 1)})
    queue.full_measure = True
    queue.add_machine("after", 3, 1, dead_boards={(0, 0, 1)})
    queue = pickle.loads(pickle.dumps(queue))
    queue.on_allocate = lambda job_id, _, boards, *__: given.update({job_id: boards})

    queue.create_job(3, job_id=1, machine="before")
    queue.create_job(3, job_id=2, machine="after")

    assert queue.full_measure
    assert given == {1: triad(2, 0), 2: triad(2, 0)}


def test_the_server_gives_full_measure() -> None:
    assert Controller()._job_queue.full_measure
