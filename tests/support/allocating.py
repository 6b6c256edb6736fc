"""What tests of allocators say again and again."""

from typing import Any

from spalloc_server._places import Board
from spalloc_server.allocator import Allocator


def triad(x: int, y: int) -> set[Board]:
    return {(x, y, z) for z in range(3)}


def block(x: int, y: int, width: int, height: int) -> set[Board]:
    return {
        board
        for board_x in range(x, x + width)
        for board_y in range(y, y + height)
        for board in triad(board_x, board_y)
    }


def boards_of(allocator: Allocator, *what: int | None, **limits: Any) -> set[Board] | None:
    """Boards that a request gets."""
    allocation = allocator.alloc(*what, **limits)
    return None if allocation is None else allocation[1]


def full_measure(*args: Any, **keywords: Any) -> Allocator:
    """Make an allocator as the server has it."""
    allocator = Allocator(*args, **keywords)
    allocator.full_measure = True
    return allocator


def is_idle(allocator: Allocator) -> bool:
    """Whether all is free and melted into one."""
    tree = allocator.pack_tree
    return (
        tree.children is None
        and tree.allocated is False
        and not allocator.single_board_triads
        and not allocator.full_single_board_triads
    )
