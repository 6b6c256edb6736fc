"""The geometry of a machine: its triads as bits of a mask, and a block's boards and edge.

Owns which bit is which triad, geometry by shifting masks, and where the links of a
block lead.  Must not know why a triad is in a mask, nor of faults.

Bits of a machine of 4 x 3 triads, lowest first::

    8 9 10 11
    4 5  6  7
    0 1  2  3

Anchors are the bottom-left triads of all places for a block.  For blocks of
3 x 1, a mask is and-ed with itself shifted by 1, which leaves where two
triads lie side by side, then shifted by 1 again; for 8 x 1 it is shifted by 1, 2
and 4; rows likewise.
"""

import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache

from spalloc_server._places import Block, Board, Triad
from spalloc_server.coordinates import WrapAround, link_to_vector
from spalloc_server.links import Links

#: A board and one of its links.
Link = tuple[int, int, int, Links]

#: Boards of a block, links that leave them, and directions of those around the machine.
Network = tuple[set[Board], set[Link], WrapAround]

#: By z: the six links of a board, their other ends, and where they lead.
STEPS = tuple(
    tuple((link, link.opposite, *link_to_vector[z, link]) for link in Links) for z in range(3)
)

_LINKS = tuple(Links)

#: Triads of blocks large enough to hold up collections of garbage for; arbitrary.
_MANY = 50


class Grid:
    """The masks of a machine of some size.

    Parameters
    ----------
    width, height : int
        Size of the machine, triads (> 0).

    Attributes
    ----------
    full : int
        All triads.
    remembered : int
        Masks that may be remembered of one kind; in all they take about a megabyte.
    """

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.full = (1 << width * height) - 1
        self.remembered = max(16, 2**23 // (width * height))
        # By number of rows: one bit for each, in the first column.
        self._columns = [((1 << width * rows) - 1) // ((1 << width) - 1) for rows in range(height)]
        self._columns.append(self.full // ((1 << width) - 1))
        self._first_column = self._columns[height]
        self._last_column = self._first_column << width - 1
        self._places_by_width: dict[int, int] = {}

    def bit(self, x: int, y: int) -> int:
        """Mask of one triad."""
        return 1 << y * self.width + x

    def block(self, x: int, y: int, width: int, height: int) -> int:
        """Mask of a block that lies on the machine."""
        return (((1 << width) - 1) * self._columns[height]) << y * self.width + x

    def triads(self, mask: int) -> Iterator[Triad]:
        """Positions of the triads of a mask, by row, then by column."""
        while mask:
            lowest = mask & -mask
            y, x = divmod(lowest.bit_length() - 1, self.width)
            yield x, y
            mask ^= lowest

    def lowest(self, mask: int) -> Triad:
        """Position of the first triad of a mask that is not empty."""
        y, x = divmod((mask & -mask).bit_length() - 1, self.width)
        return x, y

    # --- places for blocks ---

    def runs(self, mask: int, width: int, reach: int = 1) -> int:
        """Triads with which so many in a row begin that are all in a mask.

        Parameters
        ----------
        mask : int
            Or its runs of a width, which is `reach` then.
        width : int
            At least `reach`.
        reach : int
            See `mask`.
        """
        while reach < width:
            step = reach if 2 * reach <= width else width - reach
            mask &= mask >> step
            reach += step
        return mask & self._places(width)

    def stacks(self, mask: int, height: int) -> int:
        """Triads with which so many in a column begin that are all in a mask."""
        reach = 1
        while reach < height:
            step = reach if 2 * reach <= height else height - reach
            mask &= mask >> step * self.width
            reach += step
        return mask

    def anchors(self, mask: int, width: int, height: int) -> int:
        """Bottom-left triads of all blocks of a size that lie within a mask.

        Parameters
        ----------
        mask : int
            Triads that a block may have.
        width, height : int
            Size of the block, triads (> 0).
        """
        if width > self.width or height > self.height:
            return 0
        return self.stacks(self.runs(mask, width), height)

    def corners(self, anchors: int) -> int:
        """Anchors at which a block cannot slide both ways in x, nor both ways in y."""
        left = (anchors << 1) & ~self._first_column
        right = (anchors >> 1) & ~self._last_column
        return anchors & ~(left & right) & ~(anchors << self.width & anchors >> self.width)

    def touched(self, anchors: int, width: int, height: int) -> int:
        """Triads of all blocks of a size with these anchors."""
        reach = 1
        while reach < width:
            step = reach if 2 * reach <= width else width - reach
            anchors |= anchors << step
            reach += step
        reach = 1
        while reach < height:
            step = reach if 2 * reach <= height else height - reach
            anchors |= anchors << step * self.width
            reach += step
        return anchors

    def overlapping(self, block: tuple[int, int, int, int], width: int, height: int) -> int:
        """Anchors of all blocks of a size, which fits the machine, with a triad of a given one."""
        x, y, block_width, block_height = block
        left = x - width + 1 if x >= width else 0
        low = y - height + 1 if y >= height else 0
        columns = min(x + block_width, self.width - width + 1) - left
        rows = min(y + block_height, self.height - height + 1) - low
        return (((1 << columns) - 1) * self._columns[rows]) << low * self.width + left

    # --- how well a block lies ---

    def contact(self, blocked: int, x: int, y: int, width: int, height: int) -> int:
        """Count the neighbours of a block that are blocked or beyond the machine's edge.

        Parameters
        ----------
        blocked : int
            Triads that count.
        x, y, width, height : int
            The block; each triad beside one of its four sides is a neighbour.
        """
        at = y * self.width + x
        row, column = (1 << width) - 1, self._columns[height]
        count = width if y == 0 else (blocked >> at - self.width & row).bit_count()
        if y + height == self.height:
            count += width
        else:
            count += (blocked >> at + height * self.width & row).bit_count()
        count += height if x == 0 else (blocked >> at - 1 & column).bit_count()
        if x + width == self.width:
            count += height
        else:
            count += (blocked >> at + width & column).bit_count()
        return count

    def most_contact(self, mask: int, blocked: int) -> int:
        """Triads of a mask that have as many blocked neighbours as any has."""
        bottom, top = self.full >> self.width * (self.height - 1), ~(self.full >> self.width)
        sides = (
            (blocked << 1 & ~self._first_column) | self._first_column,
            (blocked >> 1 & ~self._last_column) | self._last_column,
            blocked << self.width | bottom,
            blocked >> self.width | (top & self.full),
        )
        # at_least[n]: triads with more than n of the sides seen so far.
        at_least = [0, 0, 0, 0]
        for side in sides:
            for count in (3, 2, 1):
                at_least[count] |= at_least[count - 1] & side
            at_least[0] |= side
        for many in reversed(at_least):
            if many & mask:
                return many & mask
        return mask

    def _places(self, width: int) -> int:
        """Triads from which a block of some width does not stick out to the right."""
        places = self._places_by_width.get(width)
        if places is None:
            places = ((1 << self.width - width + 1) - 1) * self._first_column
            self._places_by_width[width] = places
        return places


class Opening:
    """Triads that may be used, and blocks that fit into them.

    Remembers which blocks fit, so that many requests can be refused quickly.

    Parameters
    ----------
    grid : Grid
    mask : int
        The triads.
    near : int
        About the side of the largest square that fits; the nearer the quicker.
    """

    def __init__(self, grid: Grid, mask: int, near: int = 1) -> None:
        self.grid = grid
        self.mask = mask
        self.near = near
        self._squares: dict[int, int] = {}
        self._runs: dict[int, int] = {}
        self._reach = 1
        self._tallest: dict[int, int] = {}
        self._anchors: dict[tuple[int, int], int] = {}
        self._side: int | None = None
        #: Blocks of so many triads fit, and do not fit.
        self._fits, self._fails = 0, mask.bit_count() + 1

    def anchors(self, width: int, height: int) -> int:
        """Bottom-left triads of all blocks of a size that fit, see `Grid.anchors`."""
        if self.tallest(width) < height:
            return 0
        anchors = self._anchors.get((width, height))
        if anchors is None:
            anchors = self.grid.stacks(self._runs_of(width), height)
            if len(self._anchors) >= self.grid.remembered:
                self._anchors.clear()
            self._anchors[width, height] = anchors
        return anchors

    def anchors_of(self, sizes: Iterable[tuple[int, int]]) -> dict[tuple[int, int], int]:
        """Bottom-left triads of all blocks of some sizes that fit."""
        return {
            (width, height): self.grid.stacks(self._runs_of(width), height)
            for width, height in sorted(sizes)
        }

    def tallest(self, width: int) -> int:
        """Height of the tallest block of some width that fits; 0 if none does."""
        tallest = self._tallest.get(width)
        if tallest is None:
            tallest = 0
            if 0 < width <= self.grid.width:
                tallest = _tallest(self._runs_of(width), self.grid.width)
            self._tallest[width] = tallest
        return tallest

    def _runs_of(self, width: int) -> int:
        """Triads with which so many in a row begin that fit."""
        runs = self._runs.get(width)
        if runs is None:
            # Longer runs are quickly found from shorter ones.
            reach = self._reach if self._reach < width else 1
            shorter = self._runs[reach] if reach > 1 else self.mask
            runs = self._runs[width] = self.grid.runs(shorter, width, reach)
            self._reach = width
        return runs

    @property
    def side(self) -> int:
        """Side of the largest square that fits; 0 if nothing is free."""
        if self._side is None:
            side = self.near
            while side and not self._squares_of(side):
                side -= 1
            most = min(self.grid.width, self.grid.height)
            while side < most and self._squares_of(side + 1):
                side += 1
            self._side = self.near = side
        return self._side

    def squares_lost(self, block: tuple[int, int, int, int]) -> tuple[int, int]:
        """Rank blocks by the largest squares that they leave: the least loses the least.

        Returns
        -------
        (side, number)
            Side of the largest square that fits beside the block, and number of those that do,
            both times -1.
        """
        side, overlapping = self.side, self.grid.overlapping
        while side:
            squares = self._squares_of(side) & ~overlapping(block, side, side)
            if squares:
                return -side, -squares.bit_count()
            side -= 1
        return 0, 0

    def _squares_of(self, side: int) -> int:
        """Bottom-left triads of all squares of a side that fit."""
        squares = self._squares.get(side)
        if squares is None:
            squares = self._squares[side] = self.grid.stacks(self._runs_of(side), side)
        return squares

    def holds(self, area: int) -> bool:
        """Whether any block of so many triads or more fits."""
        if self._fits < area < self._fails:
            width, height = -(-area // self.grid.height), self.grid.height
            while width <= self.grid.width and (height := self.tallest(width)):
                if width * height >= area:
                    break
                # No wider block is taller, so those in between are too small.
                width = max(width + 1, -(-area // height))
            if width <= self.grid.width and height:
                self._fits = width * height
            else:
                self._fails = area
        return area <= self._fits

    @property
    def largest(self) -> int:
        """Triads of the largest block that fits; 0 if nothing is free."""
        while self._fits + 1 < self._fails:
            self.holds((self._fits + self._fails) // 2)
        return self._fits


def _tallest(runs: int, stride: int) -> int:
    """Most bits of a mask that follow each other at a distance."""
    if not runs:
        return 0
    # by[n] has the places with which 2 ** n bits begin.
    by, distance = [runs], stride
    while taller := by[-1] & by[-1] >> distance:
        by.append(taller)
        distance *= 2
    stack = by.pop()
    height = step = 1 << len(by)
    while by:
        step //= 2
        further = stack & by.pop() >> height * stride
        if further:
            stack = further
            height += step
    return height


# --- the boards of a block ---


def whole_block(block: Block, machine: tuple[int, int]) -> Network:
    """Boards of a block all of which works, the cables around the machine included.

    Parameters
    ----------
    block : (x, y, width, height)
        Lies on the machine, not across its edge.
    machine : (width, height)
        Size, triads.

    Returns
    -------
    boards : set of (x, y, z)
        All that there are.
    periphery : set of (x, y, z, Links)
        Links that leave them.
    torus : WrapAround
        Directions in which links between them go around the machine.
    """
    x, y, width, height = block
    with uncollected(width * height):
        boards = {
            (board_x, board_y, z)
            for board_x in range(x, x + width)
            for board_y in range(y, y + height)
            for z in range(3)
        }
        return boards, *edge(block, machine)


def edge(block: Block, machine: tuple[int, int]) -> tuple[set[Link], WrapAround]:
    """`periphery` and `torus` alone of a `whole_block`."""
    x, y, width, height = block
    leaving, torus = _edge(width, height, width == machine[0], height == machine[1])
    return {(x + dx, y + dy, z, _LINKS[number]) for dx, dy, z, number in leaving}, torus


@lru_cache(maxsize=1024)
def _edge(
    width: int, height: int, closes_x: bool, closes_y: bool
) -> tuple[tuple[tuple[int, int, int, int], ...], WrapAround]:
    """`edge` of a block at (0, 0) that reaches around the machine in some directions.

    Numbers of links, since collections of garbage need not look at whole numbers again.
    """
    leaving = []
    torus = 0
    for x in range(width):
        for y in range(height) if x in {0, width - 1} else sorted({0, height - 1}):
            for z in range(3):
                for link, _, dx, dy, _ in STEPS[z]:
                    beyond_x, beyond_y = not 0 <= x + dx < width, not 0 <= y + dy < height
                    if (beyond_x and not closes_x) or (beyond_y and not closes_y):
                        leaving.append((x, y, z, _LINKS.index(link)))
                    else:
                        torus |= beyond_x | beyond_y << 1
    return tuple(leaving), WrapAround(torus)


@contextmanager
def uncollected(triads: int) -> Iterator[None]:
    """Hold up collections of garbage while the boards and links of many triads are made.

    There are thousands of them, none of which can be garbage before the answer.
    """
    collecting = triads >= _MANY and gc.isenabled()
    if collecting:
        gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
