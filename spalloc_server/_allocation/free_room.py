"""Free triads of a machine in one mask.

Owns which triads are free and which blocks are taken.  Must not know boards or
requests.  It is taken from and given back to as a `PackTree` is, but no cuts
stand in the way of a block.
"""

from collections.abc import Iterable

from spalloc_server._allocation.grid import Grid, Opening
from spalloc_server._guillotine import Block
from spalloc_server._places import Triad


class FreeRoom:
    """The free triads of a machine.

    Parameters
    ----------
    grid : Grid

    Attributes
    ----------
    mask : int
        The free triads.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.mask = grid.full
        self._blocks: dict[Triad, tuple[int, int]] = {}
        self._openings: list[tuple[int, int, Opening]] = []

    def opening(self, mask: int) -> Opening:
        """Look at some triads, of which those that are free may be used."""
        for asked, free, opening in self._openings:
            # Large numbers are compared one by one only if they are not the same object.
            if asked is mask and free is self.mask:
                return opening
        usable = mask & self.mask
        for _, _, opening in self._openings:
            if opening.mask == usable:
                break
        else:
            near = min((before.near for _, _, before in self._openings), default=1)
            opening = Opening(self.grid, usable, near)
        # One for all that is free and one for all outside a region.
        self._openings = [(mask, self.mask, opening), *self._openings[:1]]
        return opening

    def request(self, x: int, y: int) -> Triad | None:
        """Take one given triad; None if it is taken or outside."""
        if not (0 <= x < self.grid.width and 0 <= y < self.grid.height):
            return None
        bit = self.grid.bit(x, y)
        if not self.mask & bit:
            return None
        self.mask ^= bit
        self._blocks[x, y] = (1, 1)
        return x, y

    def take(self, x: int, y: int, width: int, height: int) -> None:
        """Take one given block.

        Parameters
        ----------
        x, y : int
            Bottom-left triad.
        width, height : int
            Size, triads (> 0).

        Raises
        ------
        ValueError
            If the block is not wholly free and inside.
        """
        grid = self.grid
        inside = 0 <= x < x + width <= grid.width and 0 <= y < y + height <= grid.height
        if not inside:
            raise ValueError(
                f"{Block(x, y, width, height)} is not inside {grid.width} x {grid.height} triads"
            )
        mask = grid.block(x, y, width, height)
        if mask & ~self.mask:
            raise ValueError(f"{Block(x, y, width, height)} is taken already")
        self.mask ^= mask
        self._blocks[x, y] = (width, height)

    def take_all(self, blocks: Iterable[tuple[int, int, int, int]]) -> None:
        """Forget all that is taken and take these blocks instead, as from `taken`."""
        self.mask = self.grid.full
        self._blocks.clear()
        for block in blocks:
            self.take(*block)

    def taken(self) -> list[Block]:
        """List the blocks that are taken."""
        return [Block(x, y, *size) for (x, y), size in self._blocks.items()]

    def free(self, x: int, y: int) -> None:
        """Free the block with a given bottom-left triad.

        Raises
        ------
        KeyError
            If there is none.
        """
        width, height = self._blocks.pop((x, y))
        self.mask |= self.grid.block(x, y, width, height)
