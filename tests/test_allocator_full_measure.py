"""A request for n boards is not given fewer where the machine could have n."""

import pytest

from spalloc_server.allocator import Allocator
from tests.allocating import block, boards_of, triad


def test_a_block_with_all_boards_is_preferred_to_one_with_fewer() -> None:
    allocator = Allocator(3, 1, {(0, 0, 1)})

    assert boards_of(allocator, 3) == triad(2, 0)


def test_who_could_have_all_boards_waits_for_them() -> None:
    allocator = Allocator(2, 1, {(0, 0, 1)})
    allocator.alloc(1, 0, 0)

    assert allocator.alloc(3) is None
    assert boards_of(allocator, 2) == {(0, 0, 0), (0, 0, 2)}


def test_a_larger_block_makes_up_for_dead_boards() -> None:
    allocator = Allocator(2, 1, {(0, 0, 1), (1, 0, 1)})

    assert boards_of(allocator, 3) == block(0, 0, 2, 1) - {(0, 0, 1), (1, 0, 1)}


@pytest.mark.parametrize(("allowed", "given"), [(None, 4), (2, 4), (1, None)])
def test_fewer_are_given_where_there_are_not_so_many(
    allowed: int | None, given: int | None
) -> None:
    allocator = Allocator(2, 1, {(0, 0, 1), (1, 0, 1)})

    boards = boards_of(allocator, 6, max_dead_boards=allowed)

    assert (None if boards is None else len(boards)) == given


def test_who_says_how_many_dead_boards_will_do_gets_the_first_such_block() -> None:
    allocator = Allocator(3, 1, {(0, 0, 1)})

    assert boards_of(allocator, 3, max_dead_boards=1) == triad(0, 0) - {(0, 0, 1)}


def test_a_block_of_triads_is_what_was_asked_for_dead_boards_or_not() -> None:
    allocator = Allocator(3, 1, {(0, 0, 1)})

    assert boards_of(allocator, 1, 1) == {(0, 0, 0), (0, 0, 2)}
