"""The free triads of a machine, and the best place for a block among them.

Owns which triads are free and which blocks are taken; which of many places is
chosen, and how seldom the filter is asked.  Must not know jobs, nor the boards
that a block has.  Free triads are taken from and given back to as from a
`PackTree`, but no cuts stand in the way of a block.

Of the places that the filter accepts these are compared::

    corners        where a block cannot slide both ways in x, nor in y
    the best 8     by contact: taken neighbours / perimeter
    the best       by the largest square that stays free, then by contact
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice

from spalloc_server._allocation.candidate_filter import _CandidateFilter
from spalloc_server._allocation.faults import Faults
from spalloc_server._allocation.grid import Grid, Opening
from spalloc_server._allocation.verdicts import Verdicts, limits_of
from spalloc_server._places import Block, Triad

Size = tuple[int, int]

#: Places that are compared by the room that they leave.
_FINALISTS = 8

#: On machines with more triads, only the lowest places are looked at, and so many.
_LARGE, _LOWEST = 1000, 48


class UnfinishedError(Exception):
    """The search has looked at as many boards as it may in one go."""


#: A place for a block, the best of which sorts first: looseness (the less of its sides is
#: touched, the looser), rank of its size, y, x, size.
_Place = tuple[float, int, int, int, Size]


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
                f"block {(x, y, width, height)} is not inside {grid.width} x {grid.height} triads"
            )
        mask = grid.block(x, y, width, height)
        if mask & ~self.mask:
            raise ValueError(f"block {(x, y, width, height)} is taken already")
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
        return [(x, y, *size) for (x, y), size in self._blocks.items()]

    def free(self, x: int, y: int) -> None:
        """Free the block with a given bottom-left triad.

        Raises
        ------
        KeyError
            If there is none.
        """
        width, height = self._blocks.pop((x, y))
        self.mask |= self.grid.block(x, y, width, height)


class BlockSearch:
    """Searches a machine for blocks that the filter accepts.

    Parameters
    ----------
    grid : Grid
    faults : Faults
        As they are now.
    verdicts : Verdicts
        Of the same faults; what the filter says is remembered there.

    Attributes
    ----------
    boards_left : float
        The filter may still be asked about blocks of so many boards in all.
    """

    def __init__(self, grid: Grid, faults: Faults, verdicts: Verdicts) -> None:
        self._grid, self._faults, self._verdicts = grid, faults, verdicts
        self.boards_left = float("inf")

    @property
    def live_boards(self) -> int:
        """Boards of the machine that are not dead."""
        return self.live_in(0, 0, self._grid.width, self._grid.height)

    def live_in(self, x: int, y: int, width: int, height: int) -> int:
        """Boards of a block that are not dead."""
        return 3 * width * height - self._faults.dead_boards(x, y, width, height)

    # --- whether a block is accepted ---

    def sound(self, judge: _CandidateFilter, width: int, height: int) -> int:
        """Anchors of blocks that the filter need not be asked about, since it accepts them."""
        if self._faults.none:
            return self._grid.full
        if judge.require_torus and self._faults.around:
            return 0
        return self._faults.sound(width, height)

    def accepts(self, judge: _CandidateFilter, x: int, y: int, width: int, height: int) -> bool:
        """Whether a filter accepts a block, asking it only in case of doubt.

        Raises
        ------
        UnfinishedError
            If it would have to be asked, but has been asked enough.
        """
        bit = self._grid.bit(x, y)
        if self.sound(judge, width, height) & bit:
            return True
        if self._faults.first_dead & bit or self._is_too_faulty(judge, x, y, width, height):
            return False
        known = self._verdicts.known(judge, x, y, width, height)
        if known is not None:
            return known
        if self.boards_left <= 0:
            raise UnfinishedError
        self.boards_left -= 3 * width * height
        return self._verdicts.accepts(judge, x, y, width, height)

    def is_whole(self, judge: _CandidateFilter, block: Block) -> bool:
        """Whether all of a block works, cables around the machine included; then it is accepted.

        The filter need not be asked, not even for the boards and links of the block.
        """
        x, y, width, height = block
        closes = width == self._grid.width or height == self._grid.height
        if closes and self._faults.around:
            return False
        return bool(self.sound(judge, width, height) & self._grid.bit(x, y))

    def hopeful(self, judge: _CandidateFilter, width: int, height: int) -> int:
        """Anchors of blocks on the machine that are not refused by their number of faults."""

        def look() -> int:
            grid = self._grid
            every = grid.anchors(grid.full, width, height) & ~self._faults.first_dead
            sound = self.sound(judge, width, height)
            hopeful = every & sound
            for x, y in grid.triads(every & ~sound):
                if not self._is_too_faulty(judge, x, y, width, height):
                    hopeful |= grid.bit(x, y)
            return hopeful

        return self._verdicts.find(("hopeful", width, height, *limits_of(judge)), look)

    def _is_too_faulty(
        self, judge: _CandidateFilter, x: int, y: int, width: int, height: int
    ) -> bool:
        """Whether the number of faults alone forbids a block."""
        if judge.max_dead_boards is None:
            return False
        boards = 3 * width * height
        expected = boards if judge.expected_boards is None else judge.expected_boards
        live = self.live_in(x, y, width, height)
        spare = judge.max_dead_boards - (expected - live)
        if spare == 0 and judge.max_dead_links is not None:
            # All live boards have to be reached, so all cables between them count.
            return self._faults.dead_cables(x, y, width, height) > judge.max_dead_links
        return spare < 0

    def accepted(
        self, judge: _CandidateFilter, anchors: int, width: int, height: int
    ) -> Iterator[tuple[int, int]]:
        """Anchors of the accepted blocks, by row, then by column."""
        sound = self.sound(judge, width, height)
        for x, y in self._grid.triads(anchors & ~(self._faults.first_dead & ~sound)):
            if self.accepts(judge, x, y, width, height):
                yield x, y

    def fits(self, opening: Opening, sizes: Sequence[Size], judge: _CandidateFilter) -> bool:
        """Whether a block of any of some sizes is accepted somewhere."""
        doubtful = []
        for width, height in sizes:
            anchors = opening.anchors(width, height)
            if anchors & self.sound(judge, width, height):
                return True
            if anchors:
                doubtful.append((anchors, width, height))
        return any(next(self.accepted(judge, *place), None) is not None for place in doubtful)

    # --- which one is best ---

    @staticmethod
    def may_fit(opening: Opening, sizes: Sequence[Size]) -> bool:
        """Tell quickly whether all that is free is surely too small, as it is most often.

        Parameters
        ----------
        opening : Opening
            Triads that may be used.
        sizes : sequence of (width, height)
            Of which one will do, by area; at least one.
        """
        width, height = sizes[0]
        return opening.tallest(width) >= height or opening.holds(width * height)

    def best(
        self, opening: Opening, sizes: Sequence[Size], judge: _CandidateFilter, blocked: int
    ) -> Block | None:
        """Choose a place.

        Parameters
        ----------
        opening : Opening
            Triads that may be used.
        sizes : sequence of (width, height)
            Ordered by area; larger blocks are only looked at if no smaller one
            is accepted.
        judge : _CandidateFilter
            What the block must be like; need not hold its boards afterwards.
        blocked : int
            Triads beside which a block lies well.

        Returns
        -------
        (x, y, width, height) or None
        """
        numbered = enumerate(sizes)
        for _, alike in groupby(numbered, key=lambda one: one[1][0] * one[1][1]):
            anchors = [
                (number, size, found)
                for number, size in alike
                if (found := opening.anchors(*size))
            ]
            if anchors:
                place = self._best_of(opening, anchors, judge, blocked)
                if place is not None:
                    return _block(place)
        return None

    def _best_of(
        self,
        opening: Opening,
        anchors: list[tuple[int, Size, int]],
        judge: _CandidateFilter,
        blocked: int,
    ) -> _Place | None:
        corners = [(number, size, self._corners(found)) for number, size, found in anchors]
        places = self._ranked(corners, blocked)
        if self._faults.none:
            finalists = places[:_FINALISTS]
        else:
            finalists = list(islice(self._judged(places, judge), _FINALISTS))
            finalists = finalists or self._beyond_corners(anchors, judge, blocked)
        if len(finalists) < 2:
            return finalists[0] if finalists else None
        # The larger the largest free square left, and the more of them, the better.
        return min(finalists, key=lambda place: (opening.squares_lost(_block(place)), place))

    @property
    def _is_large(self) -> bool:
        return self._grid.full.bit_length() > _LARGE

    def _corners(self, anchors: int) -> int:
        corners = self._grid.corners(anchors)
        if self._is_large:
            corners = _lowest_bits(corners, _LOWEST)
        return corners

    def _ranked(self, anchors: list[tuple[int, Size, int]], blocked: int) -> list[_Place]:
        contact = self._grid.contact
        return sorted(
            (-contact(blocked, x, y, *size) / (size[0] + size[1]), number, y, x, size)
            for number, size, found in anchors
            for x, y in self._grid.triads(found)
        )

    def _judged(self, places: list[_Place], judge: _CandidateFilter) -> Iterator[_Place]:
        return (place for place in places if self.accepts(judge, *_block(place)))

    def _beyond_corners(
        self, anchors: list[tuple[int, Size, int]], judge: _CandidateFilter, blocked: int
    ) -> list[_Place]:
        """Finalists from all places, where the filter refuses the corners."""
        most = _LOWEST if self._is_large else None
        accepted = []
        for number, size, found in anchors:
            mask = 0
            for x, y in islice(self.accepted(judge, found, *size), most):
                mask |= self._grid.bit(x, y)
            accepted.append((number, size, mask))
        return self._ranked(accepted, blocked)[:_FINALISTS]


def _block(place: _Place) -> Block:
    _, _, y, x, (width, height) = place
    return x, y, width, height


def _lowest_bits(mask: int, number: int) -> int:
    """Keep so many of the lowest bits of a mask."""
    kept = 0
    for _ in range(number):
        if not mask:
            break
        lowest = mask & -mask
        kept |= lowest
        mask ^= lowest
    return kept
