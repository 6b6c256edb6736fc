"""The doors for other programs do the same on the grid as on the tree."""

from __future__ import annotations

import pytest

from spalloc_server._allocation.grid_allocator import GridAllocator
from spalloc_server._allocation.kinds import understand
from spalloc_server.allocator import Allocator
from spalloc_server.links import Links

KINDS = [Allocator, GridAllocator]


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_by_size(kind: type[Allocator] | type[GridAllocator]) -> None:
    allocator = kind(4, 3)

    given = allocator._alloc_triads(2, 1)

    assert given is not None
    assert len(given[1]) == 6
    assert allocator._alloc_triads_possible(4, 3)
    assert not allocator._alloc_triads_possible(5, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_by_number(kind: type[Allocator] | type[GridAllocator]) -> None:
    allocator = kind(4, 3)

    given = allocator._alloc_boards(4)

    assert given is not None
    assert len(given[1]) == 6
    assert allocator._alloc_boards_possible(36)
    assert not allocator._alloc_boards_possible(37)


@pytest.mark.parametrize("kind", KINDS)
def test_single_boards(kind: type[Allocator] | type[GridAllocator]) -> None:
    allocator = kind(2, 2, dead_boards={(0, 0, 0)})

    given = allocator._alloc_board(1, 1, 2)
    other = allocator._alloc_board()

    assert given is not None
    assert other is not None
    assert given[1] == {(1, 1, 2)}
    assert len(other[1]) == 1
    assert not allocator._alloc_board_possible(0, 0, 0)
    assert allocator._alloc_board_possible()


def test_a_machine_without_dead_boards_has_none_in_any_block() -> None:
    assert GridAllocator(4, 3).alloc(4, 3, max_dead_boards=0) is not None


def test_few_requests_are_remembered_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spalloc_server._allocation.grid_allocator._MOST_REQUESTS", 1)
    allocator = GridAllocator(4, 3)

    given = [allocator.alloc(number) for number in (1, 4, 7, 4)]

    assert all(each is not None for each in given)


def test_little_memory_changes_no_answer() -> None:
    links = {(0, 0, 0, Links.north), (2, 1, 1, Links.east)}
    usual = GridAllocator(6, 5, dead_links=set(links))
    small = GridAllocator(6, 5, dead_links=set(links))
    small.grid.remembered = 1

    asked = [(2, 1), (1, 2), (18,), (2, 2), (1, 1), (2, 1), (3, 1)]
    given = [
        [each and sorted(each[1]) for each in (a.alloc(*s, max_dead_links=0) for s in asked)]
        for a in (usual, small)
    ]

    assert given[0] == given[1]
    assert all(given[0])


def test_the_sets_of_an_allocation_are_not_kept_for_the_next_request() -> None:
    allocator = GridAllocator(3, 3)
    request = understand((5,), {})

    allocation = allocator.allocate_beside(request)

    assert allocation is not None
    assert len(allocation[1]) == 6
    blocks = allocator.blocks(request)
    assert blocks is not None
    assert blocks.judge.boards is None
    assert blocks.judge.periphery is None


def test_full_measure_counts_from_the_moment_it_is_set() -> None:
    allocator = GridAllocator(2, 1, {(0, 0, 1)}, seconds_before_free=0)
    request = understand((3,), {})
    allocator.start_searching()
    short = allocator.allocate_beside(request)
    assert short is not None
    assert short[1] == {(0, 0, 0), (0, 0, 2)}
    allocator.free(short[0])
    allocator.check_free()

    allocator.full_measure = True

    full = allocator.allocate_beside(request)
    assert full is not None
    assert full[1] == {(1, 0, 0), (1, 0, 1), (1, 0, 2)}


def test_whether_few_requests_are_possible_is_remembered_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spalloc_server._allocation.grid_allocator._MOST_REQUESTS", 1)
    dead: set[tuple[int, int, int]] = set()
    allocator = GridAllocator(4, 3, dead)
    asked = (36, 4, 37, 36)

    answers = [allocator.alloc_possible(number, max_dead_boards=0) for number in asked]
    dead.add((0, 0, 0))
    answers += [allocator.alloc_possible(number, max_dead_boards=0) for number in asked]

    assert answers == [True, True, False, True, False, True, False, False]
    assert len(allocator._possible) == 1


def test_places_beside_a_region_that_is_taken_are_looked_for_once() -> None:
    allocator = GridAllocator(4, 3)
    room, others = allocator.room, allocator.grid.full ^ allocator.grid.block(0, 0, 2, 2)
    assert room.opening(others) is not room.opening(allocator.grid.full)

    room.take(0, 0, 2, 2)

    assert room.opening(others) is room.opening(allocator.grid.full)
