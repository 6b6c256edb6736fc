"""Hand out blocks of triads and single boards of one machine, wherever they fit.

Owns how places are found in a mask of free triads, beside or inside a region
that is kept for one request.  Must not know jobs, queues, hardware or threads.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from spalloc_server._allocation.board_allocator import Allocation, BoardAllocator, triads_for
from spalloc_server._allocation.candidate_filter import _CandidateFilter
from spalloc_server._allocation.dead_sets import DeadSet
from spalloc_server._allocation.faults import Faults
from spalloc_server._allocation.free_room import BlockSearch, FreeRoom, Size
from spalloc_server._allocation.grid import Grid, Opening, whole_block
from spalloc_server._allocation.kinds import Limits, Request, _AllocationType
from spalloc_server._allocation.measure import Measure
from spalloc_server._places import Block, Board
from spalloc_server.area_to_rect import least_rectangles

#: Boards in the blocks about which the filter is asked in one go; it takes about
#: five milliseconds to answer.
_BOARDS_IN_ONE_GO = 5000


#: Requests of which it is remembered which blocks would do; arbitrary.
_MOST_REQUESTS = 1000


#: The numbers and limits of a request, and whether full measure is given.
_Key = tuple[tuple[int, ...], Limits, bool]


class Kept(NamedTuple):
    """Boards that are kept for one request.

    Attributes
    ----------
    triads : int
        Mask of triads that no other block may have.
    others : int
        Mask of all other triads of the machine.
    board : (x, y, z) or None
        If given, only this board of them is kept from single boards.
    closed : int
        Mask of those triads whose spare single boards stay unused.
    """

    triads: int
    others: int
    board: Board | None = None
    closed: int = 0


class Blocks(NamedTuple):
    """Sizes of the blocks that a request accepts, by area, and their judge."""

    sizes: Sequence[Size]
    judge: _CandidateFilter


class GridAllocator(BoardAllocator):
    """Allocates the boards of one machine; see `Ledger` for the parameters.

    A block may be anywhere, and a number of boards may have any shape; so more
    requests are possible than with an `Allocator`.
    """

    def __init__(  # noqa: PLR0917 - as an Allocator
        self,
        width: int,
        height: int,
        dead_boards: DeadSet | None = None,
        dead_links: DeadSet | None = None,
        next_id: int = 1,
        seconds_before_free: float = 30,
    ) -> None:
        super().__init__(width, height, dead_boards, dead_links, next_id, seconds_before_free)
        self.grid = Grid(width, height)
        self._free_room = FreeRoom(self.grid)
        self._whole = Opening(self.grid, self.grid.full)
        self._nothing_kept = Kept(0, self.grid.full)
        self._search: BlockSearch | None = None
        self._blocks: dict[_Key, Blocks | None] = {}
        self._possible: dict[_Key, bool] = {}
        self._searched_version = 0
        self._faults = Faults(self.grid, frozenset(), frozenset())

    @property
    def room(self) -> FreeRoom:
        """The free triads."""
        return self._free_room

    # --- ask for boards ---

    def start_searching(self) -> int:
        """Look at the faults, and limit the next searches beside a region to what is quick.

        Afterwards `allocate_beside` and `accepts` raise `UnfinishedError` in place of more;
        asked again after another `start_searching`, they go on.

        Returns
        -------
        int
            A number that changes with the dead boards and links.
        """
        self._searching().boards_left = _BOARDS_IN_ONE_GO
        return self._searched_version

    def allocate(self, request: Request) -> Allocation | None:
        """Allocate boards if there is a place for them now, however long the search takes."""
        search = self._searching()
        left, search.boards_left = search.boards_left, float("inf")
        try:
            return super().allocate(request)
        finally:
            search.boards_left = left

    def allocate_beside(
        self, request: Request, kept: Kept | None = None, *, inside: bool = False
    ) -> Allocation | None:
        """Allocate boards that are not kept for another request.

        The faults are taken to be as they were at the last `start_searching`.

        Parameters
        ----------
        request : Request
        kept : Kept, optional
            For the other request.
        inside : bool
            Take boards that are kept, too, but no spare boards of triads that are
            `closed`.

        Returns
        -------
        (allocation_id, boards, periphery, torus) or None
        """
        kept = self._nothing_kept if kept is None else kept
        if request.kind is not _AllocationType.board:
            mask = self.grid.full if inside else kept.others
            return self._allocate_block(self.blocks(request), mask)
        if request.numbers:
            x, y, z = request.numbers
            spare = self._is_allowed((x, y, z), kept, inside=inside)
            return self._allocate_given((x, y, z)) if spare else None
        return self._allocate_any(
            lambda board: self._is_allowed(board, kept, inside=inside),
            self.grid.full if inside or kept.board is not None else kept.others,
            kept,
        )

    def _is_allowed(self, board: Board, kept: Kept, *, inside: bool) -> bool:
        if kept.board is not None:
            return inside or board != kept.board
        bit = self.grid.bit(*board[:2])
        return not kept.closed & bit if inside else not kept.triads & bit

    def allocate_block_at(
        self, request: Request, x: int, y: int, width: int, height: int
    ) -> Allocation | None:
        """Allocate one given block if it is free and the filter accepts it.

        Parameters
        ----------
        request : Request
            For a number of boards or a block.
        x, y, width, height : int
            The block.
        """
        blocks = self.blocks(request)
        if blocks is None or self.grid.block(x, y, width, height) & ~self._free_room.mask:
            return None
        return self._take(blocks.judge, (x, y, width, height))

    def _allocate_triads(self, width: int, height: int, wanted: Limits) -> Allocation | None:
        self._searching()
        return self._allocate_block(self._triads(width, height, wanted), self.grid.full)

    def _allocate_boards(self, boards: int, wanted: Limits) -> Allocation | None:
        self._searching()
        return self._allocate_block(self._boards(boards, wanted), self.grid.full)

    def is_possible(self, request: Request) -> bool:
        """Whether a request could ever be met on the idle machine; see `alloc_possible`."""
        if request.kind is _AllocationType.board:
            return super().is_possible(request)
        self._searching()
        key = (request.numbers, request.limits, self.full_measure)
        possible = self._possible.get(key)
        if possible is None:
            if len(self._possible) >= _MOST_REQUESTS:
                self._possible.clear()
            possible = self._possible[key] = self._is_block_possible(self.blocks(request))
        return possible

    def _is_triads_possible(self, width: int, height: int, wanted: Limits) -> bool:
        return self.is_possible(Request(_AllocationType.triads, (width, height), wanted))

    def _is_boards_possible(self, boards: int, wanted: Limits) -> bool:
        return self.is_possible(Request(_AllocationType.boards, (boards,), wanted))

    # --- blocks ---

    def blocks(self, request: Request) -> Blocks | None:
        """Tell which blocks would do for a request; None if none would, on any machine so large.

        Parameters
        ----------
        request : Request
            For a number of boards or a block.
        """
        key = (request.numbers, request.limits, self.full_measure)
        try:
            return self._blocks[key]
        except KeyError:
            if len(self._blocks) >= _MOST_REQUESTS:
                self._blocks.clear()
        if len(request.numbers) == 2:
            width, height = request.numbers
            blocks = self._triads(width, height, request.limits)
        else:
            blocks = self._boards(request.numbers[0], request.limits)
        self._blocks[key] = blocks
        return blocks

    def _triads(self, width: int, height: int, wanted: Limits) -> Blocks | None:
        if not self._size_is_right(width, height, wanted):
            return None
        return Blocks(((width, height),), self._filter(wanted, None))

    def _boards(self, boards: int, wanted: Limits) -> Blocks | None:
        area = triads_for(boards)
        if not self._area_is_right(area, wanted):
            return None
        sizes = least_rectangles(area, self.width, self.height, wanted.min_ratio)
        if not sizes:
            return None
        if self.full_measure and wanted.max_dead_boards is None and not self._searched().none:
            measure = Measure(self._searching(), self._whole, lambda w: self._filter(w, boards))
            found = self._verdicts.find(
                ("measure", boards, wanted), lambda: measure.find(boards, wanted)
            )
            if found is None:
                return None
            area, missing = found
            wanted = wanted._replace(max_dead_boards=missing)
            sizes = least_rectangles(area, self.width, self.height, wanted.min_ratio)
        return Blocks(sizes, self._filter(wanted, boards))

    def _is_block_possible(self, blocks: Blocks | None) -> bool:
        if blocks is None:
            return False
        search = self._searching()
        left, search.boards_left = search.boards_left, float("inf")
        try:
            return search.fits(self._whole, *blocks)
        finally:
            search.boards_left = left

    def _allocate_block(self, blocks: Blocks | None, mask: int) -> Allocation | None:
        if blocks is None:
            return None
        search = self._search or self._searching()
        opening = self._free_room.opening(mask)
        if not search.may_fit(opening, blocks.sizes):
            return None
        blocked = self.grid.full & ~self._free_room.mask | self._faults.all_dead
        block = search.best(opening, *blocks, blocked)
        return None if block is None else self._take(blocks.judge, block)

    def _take(self, judge: _CandidateFilter, block: Block) -> Allocation | None:
        search = self._search or self._searching()
        if search.is_whole(judge, block):
            network = whole_block(block, (self.width, self.height))
        elif judge(*block):
            network = judge.hand_over()
        else:
            return None
        self._free_room.take(*block)
        kind = "triads" if judge.expected_boards is None else "boards"
        return self._use((kind, *block)), *network

    # --- looking at places, to keep one for a request ---

    def accepts(self, judge: _CandidateFilter, block: Block) -> bool:
        """Whether a filter accepts a block; see `BlockSearch.accepts`."""
        return self._searching().accepts(judge, *block)

    def would_accept(self, request: Request, block: Block) -> bool:
        """Whether a request for a block could use a given one, were it free."""
        blocks = self.blocks(request)
        return (
            blocks is not None
            and tuple(block[2:]) in blocks.sizes
            and self.accepts(blocks.judge, block)
        )

    def hopeful_anchors(self, judge: _CandidateFilter, width: int, height: int) -> int:
        """Anchors of blocks that a filter may accept; see `BlockSearch.hopeful`."""
        return self._searching().hopeful(judge, width, height)

    # --- single boards ---

    def _allocate_board(self, numbers: tuple[int, ...]) -> Allocation | None:
        self._searching()
        if not numbers:
            return self._allocate_any(_any_board, self.grid.full, None)
        x, y, z = numbers
        return self._allocate_given((x, y, z))

    def _allocate_given(self, board: Board) -> Allocation | None:
        if not self._is_on_machine(board):
            return None
        if not self._single_boards.use(board, self._free_room, self.dead_boards):
            return None
        return self._use_board(board)

    def _allocate_any(
        self, allowed: Callable[[Board], bool], openable: int, kept: Kept | None
    ) -> Allocation | None:
        """Allocate a spare board that is allowed, or open one of some triads."""
        single_boards = self._single_boards
        board = single_boards.use_scarcest(self.dead_boards, allowed)
        if board is None:
            triad = self._triad_to_open(openable, kept)
            if triad is None:
                return None
            single_boards.open(triad, self._free_room, self.dead_boards)
            board = single_boards.use_lowest(triad, self.dead_boards, _any_board)
            if board is None:
                return None
        return self._use_board(board)

    def _triad_to_open(self, openable: int, kept: Kept | None) -> tuple[int, int] | None:
        faults = self._faults
        free = self._free_room.mask & openable & ~faults.all_dead
        if kept is not None and kept.board is not None:
            free &= ~kept.triads
        if free & faults.some_dead:
            free &= faults.some_dead
        if not free:
            return None
        blocked = self.grid.full & ~self._free_room.mask | faults.all_dead
        return self.grid.lowest(self.grid.most_contact(free, blocked))

    # --- quarantine ---

    @property
    def out_triads(self) -> int:
        """Mask of the triads with a board in quarantine that is not dead."""
        mask = 0
        for x, y, z in self._single_boards.quarantined:
            if (x, y, z) not in self.dead_boards:
                mask |= self.grid.bit(x, y)
        return mask

    def _awaited_by_block(
        self, out: frozenset[Board], numbers: tuple[int, ...], wanted: Limits
    ) -> frozenset[Board]:
        kind = _AllocationType.triads if len(numbers) == 2 else _AllocationType.boards
        blocks = self.blocks(Request(kind, numbers, wanted))
        if blocks is None:
            return frozenset()

        def has_room() -> bool:
            beside = Opening(self.grid, self.grid.full & ~self.out_triads)
            return self._searching().fits(beside, *blocks)

        fits = self._verdicts.answer(("beside", out, numbers, wanted), has_room)
        return frozenset() if fits else out

    # --- faults ---

    def _searching(self) -> BlockSearch:
        """Return the search, made for the faults as they are now."""
        version = self._look_at_faults()
        if self._search is None or version != self._searched_version:
            self._searched_version = version
            self._faults = Faults(self.grid, self.dead_boards, self.dead_links)
            self._blocks.clear()
            self._possible.clear()
            left = float("inf") if self._search is None else self._search.boards_left
            self._search = BlockSearch(self.grid, self._faults, self._verdicts)
            self._search.boards_left = left
        return self._search

    def _searched(self) -> Faults:
        """Return the faults as they are now."""
        self._searching()
        return self._faults


def _any_board(_board: Board) -> bool:
    return True
