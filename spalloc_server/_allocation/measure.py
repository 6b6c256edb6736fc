"""How large a block must be to have enough live boards.

Owns the choice of the least area for a number of boards on an idle machine
with faults.  Must not know which blocks are taken.
"""

from collections.abc import Callable
from typing import NamedTuple

from spalloc_server._allocation.candidate_filter import _CandidateFilter
from spalloc_server._allocation.free_room import BlockSearch, Size
from spalloc_server._allocation.grid import Opening
from spalloc_server._allocation.kinds import Limits
from spalloc_server.area_to_rect import least_rectangles


class Measured(NamedTuple):
    """Triads that a block has, and how many of the boards asked for may be missing."""

    area: int
    missing: int


class Measure:
    """Measures an idle machine.

    Parameters
    ----------
    search : BlockSearch
    whole : Opening
        All triads of the machine.
    judge_for : callable
        Makes the filter of some limits.
    """

    def __init__(
        self,
        search: BlockSearch,
        whole: Opening,
        judge_for: Callable[[Limits], _CandidateFilter],
    ) -> None:
        self._search, self._whole, self._judge_for = search, whole, judge_for

    def find(self, boards: int, wanted: Limits) -> Measured | None:
        """Find the least area of a block with so many boards, else with the most there are.

        Parameters
        ----------
        boards : int
            Asked for (> 0).
        wanted : Limits
            Of which `max_dead_boards` is None.

        Returns
        -------
        Measured or None
            None if no block at all is accepted.
        """
        left, self._search.boards_left = self._search.boards_left, float("inf")
        try:
            area = self._least_area(boards, 0, wanted)
            if area is not None:
                return Measured(area, 0)
            most = self._most(boards, wanted)
            area = self._least_area(boards, boards - most, wanted) if most else None
            return None if area is None else Measured(area, boards - most)
        finally:
            self._search.boards_left = left

    def _least_area(self, boards: int, missing: int, wanted: Limits) -> int | None:
        """Least area of a block that lacks no more boards than may be missing."""
        if self._search.live_boards < boards - missing:
            return None
        judge = self._judge_for(wanted._replace(max_dead_boards=missing))
        for area in range(-(-(boards - missing) // 3), self._triads + 1):
            if self._search.fits(self._whole, self._exactly(area, wanted), judge):
                return area
        return None

    def _most(self, boards: int, wanted: Limits) -> int:
        """Most boards that any block has, none beyond those asked for; 0 if none is accepted."""
        judge = self._judge_for(wanted)
        enough = min(boards, self._search.live_boards)
        best = 0
        for area in range(self._triads, 0, -1):
            if min(3 * area, enough) <= best:
                break
            for width, height in self._exactly(area, wanted):
                anchors = self._whole.anchors(width, height)
                for x, y in self._search.accepted(judge, anchors, width, height):
                    if self._search.live_in(x, y, width, height) > best:
                        best = max(best, min(enough, self._reached(judge, x, y, width, height)))
        return best

    @staticmethod
    def _reached(judge: _CandidateFilter, x: int, y: int, width: int, height: int) -> int:
        accepted = judge(x, y, width, height)
        return len(judge.boards or ()) if accepted else 0

    def _exactly(self, area: int, wanted: Limits) -> list[Size]:
        """Sizes of just so many triads."""
        grid = self._whole.grid
        if wanted.require_torus:
            return [(grid.width, grid.height)] if area == self._triads else []
        return [
            (width, height)
            for width, height in least_rectangles(
                area, grid.width, grid.height, wanted.min_ratio
            )
            if width * height == area
        ]

    @property
    def _triads(self) -> int:
        return self._whole.grid.width * self._whole.grid.height
