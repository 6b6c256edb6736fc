"""The doors by which boards are asked for do the same on the grid as on the tree."""

from __future__ import annotations

import pytest

from spalloc_server._allocation.grid_allocator import GridAllocator
from spalloc_server.allocator import Allocator

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
