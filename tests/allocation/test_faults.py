"""Where dead boards and cables are, compared with a look at every board of every block."""

from random import Random

import pytest

from spalloc_server._allocation.faults import Faults
from spalloc_server._allocation.grid import Grid
from spalloc_server.coordinates import board_down_link
from spalloc_server.links import Links
from tests.support.naive_allocator import NaiveMachine


def is_sound(machine: NaiveMachine, block: tuple[int, int, int, int]) -> bool:
    """Whether no board of a block is dead, nor a cable that does not go around the machine."""
    x, y, width, height = block
    boards = {
        (x + dx, y + dy, z) for dx in range(width) for dy in range(height) for z in range(3)
    }
    for board in boards:
        if board in machine.dead_boards:
            return False
        for link in Links:
            *far, wrap = board_down_link(*board, link, machine.width, machine.height)
            if not wrap and tuple(far) in boards and machine.is_dead(board, link):
                return False
    return True


@pytest.mark.parametrize("seed", range(20))
def test_just_the_blocks_without_a_fault_inside_are_sound(seed: int) -> None:
    dice = Random(seed)
    width, height = dice.randint(2, 6), dice.randint(2, 6)
    boards = [(x, y, z) for x in range(width) for y in range(height) for z in range(3)]
    dead_boards = set(dice.sample(boards, dice.choice([0, 0, 1, 2])))
    dead_links = {(*board, dice.choice(list(Links))) for board in dice.sample(boards, 2)}
    machine = NaiveMachine(width, height, dead_boards, dead_links)
    grid = Grid(width, height)
    faults = Faults(grid, dead_boards, dead_links)

    for size in ((w, h) for w in range(1, width + 1) for h in range(1, height + 1)):
        expected = {
            (x, y)
            for x in range(width - size[0] + 1)
            for y in range(height - size[1] + 1)
            if is_sound(machine, (x, y, *size))
        }
        assert set(grid.triads(faults.sound(*size))) == expected, size
