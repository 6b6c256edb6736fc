"""Hand out blocks of triads and single boards of one machine, cut from a tree.

Owns how places are found in a `PackTree`: in the corners of its free pieces.  Must
not know jobs, queues, hardware or threads.
"""

from collections.abc import Sequence
from typing import Any

from spalloc_server._allocation.board_allocator import Allocation, BoardAllocator, triads_for
from spalloc_server._allocation.candidate_filter import _CandidateFilter
from spalloc_server._allocation.dead_sets import DeadSet
from spalloc_server._allocation.fullest import fullest
from spalloc_server._allocation.kinds import Limits, Request, _AllocationType
from spalloc_server._allocation.waiting_list import Footprint
from spalloc_server._places import Block, Board
from spalloc_server.area_to_rect import area_to_rect
from spalloc_server.pack_tree import PackTree

__all__ = ("Allocation", "Allocator", "Footprint", "_AllocationType", "_CandidateFilter")


class Allocator(BoardAllocator):
    """Allocates the boards of one machine; see `Ledger` for the parameters.

    `alloc_possible` is conservative: it tries blocks in the machine's corners only.

    Attributes
    ----------
    pack_tree : PackTree
        The free triads, with those that are taken, opened ones included.
    """

    def __init__(  # noqa: PLR0917 - the signature is fixed by spec
        self,
        width: int,
        height: int,
        dead_boards: DeadSet | None = None,
        dead_links: DeadSet | None = None,
        next_id: int = 1,
        seconds_before_free: float = 30,
    ) -> None:
        super().__init__(width, height, dead_boards, dead_links, next_id, seconds_before_free)
        self.pack_tree = PackTree(0, 0, width, height)

        # Blocks that no sequence of cuts leads to, taken triad by triad.
        self._in_pieces: set[Block] = set()

    @property
    def room(self) -> PackTree:
        """The free triads."""
        return self.pack_tree

    def allocate(self, request: Request) -> Allocation | None:
        """Allocate boards if there is a place for them now, resting ones first made free."""
        self.check_free()
        return super().allocate(request)

    def _allocate_triads(self, width: int, height: int, wanted: Limits) -> Allocation | None:
        if not self._size_is_right(width, height, wanted):
            return None
        judge = self._filter(wanted, None)
        corner = self.pack_tree.alloc(width, height, self._verdicts.sparing(judge))
        if corner is None:
            return None
        return self._use(("triads", *corner, width, height)), *judge.hand_over()

    def _is_triads_possible(self, width: int, height: int, wanted: Limits) -> bool:
        return self._size_is_right(width, height, wanted) and self._fits_in_a_corner(
            width, height, self._filter(wanted, None)
        )

    def _allocate_boards(self, boards: int, wanted: Limits) -> Allocation | None:
        area = triads_for(boards)
        if not self._area_is_right(area, wanted):
            return None
        area, judge = self._full_measure(boards, area, wanted)
        block = self.pack_tree.alloc_area(area, wanted.min_ratio, self._verdicts.sparing(judge))
        if block is None:
            return None
        return self._use(("boards", *block)), *judge.hand_over()

    def _full_measure(
        self, boards: int, area: int, wanted: Limits
    ) -> tuple[int, _CandidateFilter]:
        """Area and filter for a number of boards.

        With `full_measure` a block with fewer live boards will not do, where the
        idle machine has one with as many, be it a larger one.  Where it has
        none, the block with the most boards is taken, be it a smaller one.  A
        request that limits the dead boards is taken at its word.
        """
        judge = self._filter(wanted, boards)
        if not self.full_measure or wanted.max_dead_boards is not None:
            return area, judge
        faultless = not len(self.dead_boards) and not len(self.dead_links)
        if faultless or not self._fits(area, wanted, judge):
            return area, judge
        strict = self._filter(wanted._replace(max_dead_boards=0), boards)
        for larger in range(area, self.width * self.height + 1):
            if self._area_is_right(larger, wanted) and self._fits(larger, wanted, strict):
                return larger, strict
        area, dead = self._verdicts.find(
            ("most", boards, wanted), lambda: self._fullest(boards, wanted)
        )
        return area, self._filter(wanted._replace(max_dead_boards=dead), boards)

    def _fullest(self, boards: int, wanted: Limits) -> tuple[int, int]:
        """Least area of a block that comes nearest to so many boards, and how many it lacks."""
        areas: dict[tuple[int, int, int, int], int] = {}
        for other in range(1, self.width * self.height + 1):
            shape = area_to_rect(other, self.width, self.height, wanted.min_ratio)
            if shape is not None and self._area_is_right(other, wanted):
                for place in self._corners(*shape):
                    areas.setdefault((*place, *shape), other)
        best = fullest(areas, self._filter(wanted, boards), self.dead_boards, boards)
        assert best is not None, "the block of the right area is accepted"
        count, block = best
        return areas[block], boards - count

    def _fits(self, area: int, wanted: Limits, judge: _CandidateFilter) -> bool:
        """Whether a block of so many triads could be had on the idle machine."""
        shape = area_to_rect(area, self.width, self.height, wanted.min_ratio)
        return shape is not None and self._fits_in_a_corner(*shape, judge)

    def _is_boards_possible(self, boards: int, wanted: Limits) -> bool:
        area = triads_for(boards)
        return self._area_is_right(area, wanted) and self._fits(
            area, wanted, self._filter(wanted, boards)
        )

    def _fits_in_a_corner(self, width: int, height: int, judge: _CandidateFilter) -> bool:
        return any(
            self._verdicts.accepts(judge, x, y, width, height)
            for x, y in self._corners(width, height)
        )

    def _corners(self, width: int, height: int) -> list[tuple[int, int]]:
        return [(x, y) for x in _ends(self.width - width) for y in _ends(self.height - height)]

    def _allocate_board(self, numbers: tuple[int, ...]) -> Allocation | None:
        self._look_at_faults()
        if not numbers:
            board = self._single_boards.use_any(self.pack_tree, self.dead_boards)
            if board is None:
                return None
        else:
            x, y, z = numbers
            board = x, y, z
            if not self._is_on_machine(board) or not self._single_boards.use(
                board, self.pack_tree, self.dead_boards
            ):
                return None
        return self._use_board(board)

    # --- blocks from elsewhere ---

    def _take_block(self, block: Block) -> None:
        """Take one given block, if need be in pieces of one triad.

        Blocks that were placed without regard to cuts may stand like a pinwheel,
        of which no sequence of cuts makes a tree.
        """
        tree, triads = self.pack_tree, _triads_of(block)
        try:
            tree.take(*block)
        except ValueError:
            if not triads or not all(tree.is_free(x, y) for x, y in triads):
                raise
            for x, y in triads:
                tree.take(x, y, 1, 1)
            self._in_pieces.add(block)

    def _free_block(self, block: Block) -> None:
        pieces = [block[:2]]
        if block in self._in_pieces:
            self._in_pieces.remove(block)
            pieces = _triads_of(block)
        for x, y in pieces:
            self.pack_tree.free(x, y)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "in_pieces": sorted(self._in_pieces)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._in_pieces.update(map(tuple, state.get("in_pieces", ())))

    # --- quarantine ---

    def _awaited_by_block(
        self, out: frozenset[Board], numbers: tuple[int, ...], wanted: Limits
    ) -> frozenset[Board]:
        # On an idle machine the room beside boards in quarantine may be cut up.
        idle = not self._in_use and self._waiting_list.next_due(0.0) is None
        return frozenset() if not idle and self._has_room_beside(out, numbers, wanted) else out

    def _has_room_beside(
        self, out: frozenset[Board], numbers: tuple[int, ...], wanted: Limits
    ) -> bool:
        """Whether a block could be had without any of some boards."""
        expected = None
        if len(numbers) == 2:
            shape: Sequence[int] | None = numbers
            judge = self._filter(wanted, None)
        else:
            (expected,) = numbers
            area, judge = self._full_measure(expected, triads_for(expected), wanted)
            shape = area_to_rect(area, self.width, self.height, wanted.min_ratio)
        if shape is None:
            return False
        width, height = shape
        return self._verdicts.answer(
            ("beside", out, width, height, expected, wanted),
            lambda: any(
                self._verdicts.accepts(judge, x, y, width, height)
                for x in range(self.width - width + 1)
                for y in range(self.height - height + 1)
                if not any(
                    x <= out_x < x + width and y <= out_y < y + height for out_x, out_y, _ in out
                )
            ),
        )


def _triads_of(block: Block) -> list[tuple[int, int]]:
    x, y, width, height = block
    return [(x + dx, y + dy) for dy in range(height) for dx in range(width)]


def _ends(room: int) -> tuple[int, ...]:
    """Lowest and highest offset in some room, once if they are the same."""
    return (0, room) if room else (0,)
