"""Where dead boards and cables are, as masks of triads.

Owns which blocks are surely sound and how much is dead in a block.  Must not
know requests or which blocks are taken, nor notice that dead sets change.
"""

from itertools import accumulate

from spalloc_server._allocation.dead_sets import DeadSet
from spalloc_server._allocation.grid import Grid
from spalloc_server.coordinates import WrapAround, board_down_link
from spalloc_server.links import Links

#: Difference in (x, y) between the triads that a cable joins, from the lower left one.
_Reach = tuple[int, int]


class Faults:
    """The faults of a machine as they are at one moment.

    Parameters
    ----------
    grid : Grid
    dead_boards, dead_links : container
        See `Allocator`.

    Attributes
    ----------
    none : bool
        Whether there are none.
    some_dead, all_dead, first_dead : int
        Triads with a dead board, without a live one, whose board 0 is dead.
    around : WrapAround
        Directions in which a cable around the machine is dead.
    """

    def __init__(self, grid: Grid, dead_boards: DeadSet, dead_links: DeadSet) -> None:
        self._grid = grid
        self.some_dead = self.all_dead = self.first_dead = 0
        self.around = WrapAround.none
        self._cables: dict[_Reach, int] = {}
        self._sound: dict[tuple[int, int], int] = {}
        self._sums: list[list[int]] | None = None
        self.none = not len(dead_boards) and not len(dead_links)
        if not self.none:
            self._look_at_boards(dead_boards)
            self._look_at_links(dead_boards, dead_links)

    def sound(self, width: int, height: int) -> int:
        """Anchors of the blocks of a size without a dead board or cable inside.

        Cables around the machine are not looked at.
        """
        sound = self._sound.get((width, height))
        if sound is None:
            grid = self._grid
            sound = grid.anchors(grid.full & ~self.some_dead, width, height)
            for (right, up), cables in self._cables.items():
                if width > right and height > up:
                    sound &= grid.anchors(grid.full & ~cables, width - right, height - up)
            if len(self._sound) >= grid.remembered:
                self._sound.clear()
            self._sound[width, height] = sound
        return sound

    def dead_boards(self, x: int, y: int, width: int, height: int) -> int:
        """Count the dead boards of a block."""
        if self._sums is None:
            return 0
        low, high = self._sums[y], self._sums[y + height]
        return high[x + width] - high[x] - low[x + width] + low[x]

    def dead_cables(self, x: int, y: int, width: int, height: int) -> int:
        """Count the dead cables between live boards of a block, not around the machine."""
        return sum(
            (cables & self._grid.block(x, y, width - right, height - up)).bit_count()
            for (right, up), cables in self._cables.items()
            if width > right and height > up
        )

    def _look_at_boards(self, dead_boards: DeadSet) -> None:
        grid = self._grid
        sums = [[0] * (grid.width + 1)]
        for y in range(grid.height):
            row = []
            for x in range(grid.width):
                dead = [(x, y, z) in dead_boards for z in range(3)]
                row.append(sum(dead))
                if any(dead):
                    bit = grid.bit(x, y)
                    self.some_dead |= bit
                    self.all_dead |= bit if all(dead) else 0
                    self.first_dead |= bit if dead[0] else 0
            sums.append(
                [below + here for below, here in zip(sums[-1], [0, *accumulate(row)], strict=True)]
            )
        self._sums = sums

    def _look_at_links(self, dead_boards: DeadSet, dead_links: DeadSet) -> None:
        if not len(dead_links):
            return
        grid = self._grid
        # Each cable is met at one end: links 0 to 2 lead to the others' opposites.
        for x, y in grid.triads(grid.full):
            for z in range(3):
                for link in (Links.east, Links.north_east, Links.north):
                    far = board_down_link(x, y, z, link, grid.width, grid.height)
                    self._look_at_cable((x, y, z), link, far, dead_boards, dead_links)

    def _look_at_cable(
        self,
        board: tuple[int, int, int],
        link: Links,
        far: tuple[int, int, int, WrapAround],
        dead_boards: DeadSet,
        dead_links: DeadSet,
    ) -> None:
        if (*board, link) not in dead_links and (*far[:3], link.opposite) not in dead_links:
            return
        if board in dead_boards or far[:3] in dead_boards:
            return
        if far[3]:
            self.around = WrapAround(self.around | far[3])
            return
        left, low = min(board[0], far[0]), min(board[1], far[1])
        reach = abs(board[0] - far[0]), abs(board[1] - far[1])
        self._cables[reach] = self._cables.get(reach, 0) | self._grid.bit(left, low)
