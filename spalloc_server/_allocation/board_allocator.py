"""Requests for boards, as both kinds of allocator take them.

Owns the doors by which boards are asked for, the names that other programs use
included.  Must not know how a place is found.
"""

from abc import abstractmethod
from typing import Any

from spalloc_server._allocation.candidate_filter import _CandidateFilter
from spalloc_server._allocation.grid import Link
from spalloc_server._allocation.kinds import Limits, Request, _AllocationType, understand
from spalloc_server._allocation.ledger import Ledger
from spalloc_server._places import Board
from spalloc_server.coordinates import WrapAround
from spalloc_server.links import Links

#: To go through an enumeration takes ten times as long.
_LINKS = tuple(Links)

#: Identifier, boards, links to be stopped around them, wrap-around found among them.
Allocation = tuple[int, set[Board], set[Link], WrapAround]


class BoardAllocator(Ledger):
    """Hands out the boards of one machine; see `Ledger` for the parameters."""

    # --- ask for boards ---

    def alloc(self, *what: int | None, **limits: Any) -> Allocation | None:
        """Allocate boards if there is a place for them now.

        Parameters
        ----------
        *what : int
            Nothing or 1: any board; n: at least n boards; width, height: a
            block of triads; x, y, z: that board.
        **limits
            `max_dead_boards`, `max_dead_links`, `require_torus`, `min_ratio`.

        Returns
        -------
        (allocation_id, boards, periphery, torus) or None

        Raises
        ------
        ValueError, TypeError
            If the request has no meaning.
        """
        return self.allocate(understand(what, limits))

    def alloc_possible(self, *what: int | None, **limits: Any) -> bool:
        """Whether a request could ever be met on the idle machine.

        Parameters
        ----------
        *what, **limits
            As for `alloc`.

        Returns
        -------
        bool

        Raises
        ------
        ValueError, TypeError
            If the request has no meaning.
        """
        return self.is_possible(understand(what, limits))

    @staticmethod
    def _alloc_type(*what: int | None, **limits: Any) -> _AllocationType:
        """Kind of a request; complains if it has no meaning."""
        return understand(what, limits).kind

    def allocate(self, request: Request) -> Allocation | None:
        """Allocate boards if there is a place for them now; see `alloc`."""
        kind, numbers, limits = request
        if kind is _AllocationType.triads:
            width, height = numbers
            return self._allocate_triads(width, height, limits)
        if kind is _AllocationType.boards:
            return self._allocate_boards(numbers[0], limits)
        return self._allocate_board(numbers)

    def is_possible(self, request: Request) -> bool:
        """Whether a request could ever be met on the idle machine; see `alloc_possible`."""
        kind, numbers, limits = request
        if kind is _AllocationType.triads:
            width, height = numbers
            return self._is_triads_possible(width, height, limits)
        if kind is _AllocationType.boards:
            return self._is_boards_possible(numbers[0], limits)
        return self._is_board_possible(numbers)

    def _alloc_triads(self, width: int, height: int, **limits: Any) -> Allocation | None:
        """Allocate a block of a given size in triads."""
        return self._allocate_triads(width, height, Limits.given(limits))

    def _alloc_triads_possible(self, width: int, height: int, **limits: Any) -> bool:
        """Whether a block of this size could be had on the idle machine."""
        return self._is_triads_possible(width, height, Limits.given(limits))

    def _alloc_boards(self, boards: int, **limits: Any) -> Allocation | None:
        """Allocate a block of at least this many boards."""
        return self._allocate_boards(boards, Limits.given(limits))

    def _alloc_boards_possible(self, boards: int, **limits: Any) -> bool:
        """Whether this many boards could be had on the idle machine."""
        return self._is_boards_possible(boards, Limits.given(limits))

    def _alloc_board(
        self,
        x: int | None = None,
        y: int | None = None,
        z: int | None = None,
        **limits: Any,
    ) -> Allocation | None:
        """Allocate a given board, or any one."""
        return self._allocate_board(understand(_given_board(x, y, z), limits).numbers)

    def _alloc_board_possible(
        self,
        x: int | None = None,
        y: int | None = None,
        z: int | None = None,
        **limits: Any,
    ) -> bool:
        """Whether a given board, or any one, works."""
        return self._is_board_possible(understand(_given_board(x, y, z), limits).numbers)

    @abstractmethod
    def _allocate_triads(self, width: int, height: int, wanted: Limits) -> Allocation | None: ...

    @abstractmethod
    def _is_triads_possible(self, width: int, height: int, wanted: Limits) -> bool: ...

    @abstractmethod
    def _allocate_boards(self, boards: int, wanted: Limits) -> Allocation | None: ...

    @abstractmethod
    def _is_boards_possible(self, boards: int, wanted: Limits) -> bool: ...

    @abstractmethod
    def _allocate_board(self, numbers: tuple[int, ...]) -> Allocation | None: ...

    def _is_board_possible(self, numbers: tuple[int, ...]) -> bool:
        if not numbers:
            self._look_at_faults()
            return self._verdicts.answer(("any board",), self._has_live_board)
        x, y, z = numbers
        return self._is_on_machine((x, y, z)) and (x, y, z) not in self.dead_boards

    # --- helpers of the ways to find a place ---

    def _size_is_right(self, width: int, height: int, wanted: Limits) -> bool:
        if wanted.require_torus:
            return (width, height) == (self.width, self.height)
        return 0 < width <= self.width and 0 < height <= self.height

    def _area_is_right(self, area: int, wanted: Limits) -> bool:
        if wanted.require_torus:
            return area == self.width * self.height
        return 0 < area <= self.width * self.height

    def _filter(self, wanted: Limits, expected_boards: int | None) -> _CandidateFilter:
        self._look_at_faults()
        return _CandidateFilter(
            self.width,
            self.height,
            self.dead_boards,
            self.dead_links,
            wanted.max_dead_boards,
            wanted.max_dead_links,
            wanted.require_torus,
            expected_boards,
        )

    def _use_board(self, board: Board) -> Allocation:
        """Note a single board that was taken."""
        periphery = {(*board, link) for link in _LINKS}
        return self._use(("board", *board)), {board}, periphery, WrapAround.none

    def _has_live_board(self) -> bool:
        return any(board not in self.dead_boards for board in self._all_boards())

    # --- waiting for boards in quarantine ---

    def waits_for(self, *what: int | None, **limits: Any) -> frozenset[Board]:
        """Tell for which boards in quarantine a request waits; see `awaited_boards`.

        Parameters
        ----------
        *what, **limits
            As for `alloc`.
        """
        return self.awaited_boards(understand(what, limits))

    def awaited_boards(self, request: Request) -> frozenset[Board]:
        """Tell for which boards in quarantine a request waits, even on an idle machine.

        Parameters
        ----------
        request : Request
            One that is possible, but for which `allocate` has just found no place.

        Returns
        -------
        frozenset of (x, y, z)
            Empty if it only waits for boards that others have.
        """
        if not self._single_boards.quarantined:
            return frozenset()
        kind, numbers, wanted = request
        out = frozenset(b for b in self._single_boards.quarantined if b not in self.dead_boards)
        if kind is _AllocationType.board:
            if numbers:
                return frozenset(board for board in out if board == numbers)
            live = (board for board in self._all_boards() if board not in self.dead_boards)
            return out if out.issuperset(live) else frozenset()
        return self._awaited_by_block(out, numbers, wanted)

    @abstractmethod
    def _awaited_by_block(
        self, out: frozenset[Board], numbers: tuple[int, ...], wanted: Limits
    ) -> frozenset[Board]: ...


def triads_for(boards: int) -> int:
    """Triads that hold so many boards."""
    return -(-boards // 3)


def _given_board(x: int | None, y: int | None, z: int | None) -> tuple[int | None, ...]:
    """Return a board's three coordinates; nothing unless all of them are given."""
    return () if x is None or y is None or z is None else (x, y, z)
