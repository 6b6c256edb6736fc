"""Hand out blocks of triads and single boards of one machine.

Owns what is allocated, what rests after use and what is in quarantine.  Must
not know jobs, queues, hardware or threads.  Time is read through `_clock`.

An allocation's life::

    alloc() --> held --free()--> resting --check_free()--> free again

Beside asking for a place there is imposing one (`restore`), which is how an
earlier run's decisions are put back without being made again.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from spalloc_server._allocation.candidate_filter import Link, _CandidateFilter
from spalloc_server._allocation.dead_sets import DeadSet, plain_places
from spalloc_server._allocation.fullest import fullest
from spalloc_server._allocation.kinds import Limits, Request, _AllocationType, understand
from spalloc_server._allocation.single_boards import SingleBoards
from spalloc_server._allocation.verdicts import Verdicts
from spalloc_server._allocation.waiting_list import Outcome, WaitingList
from spalloc_server._places import Board, Triad
from spalloc_server.area_to_rect import area_to_rect
from spalloc_server.coordinates import WrapAround
from spalloc_server.links import Links
from spalloc_server.pack_tree import PackTree

__all__ = ("Allocation", "Allocator", "Outcome", "_AllocationType", "_CandidateFilter")

#: Identifier, boards, links that leave them, wrap-around found among them.
Allocation = tuple[int, set[Board], set[Link], WrapAround]


class Allocator:
    """Allocates the boards of one machine.

    Parameters
    ----------
    width, height : int
        Size of the machine, triads.
    dead_boards : container of (x, y, z), optional
        Boards that do not work.  May be changed or replaced at any time.
    dead_links : container of (x, y, z, link), optional
        Links that do not work.  May be changed or replaced at any time.
    next_id : int
        Identifier of the next allocation.
    seconds_before_free : float
        Seconds that boards rest after use.

    Attributes
    ----------
    pack_tree : PackTree
        Which triads are taken, opened ones included.
    full_measure : bool
        Whether a request for n boards that does not say how many dead ones
        will do waits for n live ones, in a larger block if need be, where the
        idle machine has them.  Else it gets the first block of the right size.
    on_rested : callable or None
        Called with the list of identifiers of allocations whose boards came
        back from resting.
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
        self.width = width
        self.height = height
        self.dead_boards: DeadSet = set() if dead_boards is None else dead_boards
        self.dead_links: DeadSet = set() if dead_links is None else dead_links
        self.next_id = next_id
        self.seconds_before_free = seconds_before_free
        self.pack_tree = PackTree(0, 0, width, height)
        self.full_measure = False
        self.on_rested: Callable[[list[int]], None] | None = None
        self._held: dict[int, Outcome] = {}
        self._waiting_list = WaitingList()
        self._single_boards = SingleBoards()
        self._verdicts = Verdicts()

    @property
    def single_board_triads(self) -> dict[Triad, set[int]]:
        """Opened triads with spare boards: {(x, y): {z}}."""
        return self._single_boards.spare

    @single_board_triads.setter
    def single_board_triads(self, spare: dict[Triad, set[int]]) -> None:
        self._single_boards.spare = spare

    @property
    def full_single_board_triads(self) -> set[Triad]:
        """Opened triads without spare boards: {(x, y)}."""
        return self._single_boards.full

    @full_single_board_triads.setter
    def full_single_board_triads(self, full: set[Triad]) -> None:
        self._single_boards.full = full

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

    def allocate(self, request: Request) -> Allocation | None:
        """Allocate boards if there is a place for them now; see `alloc`."""
        self.check_free()
        kind, numbers, limits = request
        if kind is _AllocationType.triads:
            width, height = numbers
            return self._allocate_triads(width, height, limits)
        if kind is _AllocationType.boards:
            return self._allocate_boards(numbers[0], limits)
        return self._allocate_board(numbers)

    def alloc_possible(self, *what: int | None, **limits: Any) -> bool:
        """Whether a request could ever be met on the idle machine.

        Parameters
        ----------
        *what, **limits
            As for `alloc`.

        Returns
        -------
        bool
            Conservative: blocks are tried in the machine's corners only.

        Raises
        ------
        ValueError, TypeError
            If the request has no meaning.
        """
        return self.is_possible(understand(what, limits))

    def is_possible(self, request: Request) -> bool:
        """Whether a request could ever be met on the idle machine; see `alloc_possible`."""
        kind, numbers, limits = request
        if kind is _AllocationType.triads:
            width, height = numbers
            return self._is_triads_possible(width, height, limits)
        if kind is _AllocationType.boards:
            return self._is_boards_possible(numbers[0], limits)
        return self._is_board_possible(numbers)

    @staticmethod
    def _alloc_type(*what: int | None, **limits: Any) -> _AllocationType:
        """Kind of a request; complains if it has no meaning."""
        return understand(what, limits).kind

    # --- blocks ---

    def _alloc_triads(self, width: int, height: int, **limits: Any) -> Allocation | None:
        """Allocate a block of a given size in triads."""
        return self._allocate_triads(width, height, Limits.given(limits))

    def _allocate_triads(self, width: int, height: int, wanted: Limits) -> Allocation | None:
        if not self._size_is_right(width, height, wanted):
            return None
        judge = self._filter(wanted, None)
        corner = self.pack_tree.alloc(width, height, self._verdicts.sparing(judge))
        if corner is None:
            return None
        return self._hold_block(("triads", *corner, width, height), judge)

    def _alloc_triads_possible(self, width: int, height: int, **limits: Any) -> bool:
        """Whether a block of this size could be had on the idle machine."""
        return self._is_triads_possible(width, height, Limits.given(limits))

    def _is_triads_possible(self, width: int, height: int, wanted: Limits) -> bool:
        return self._size_is_right(width, height, wanted) and self._fits_in_a_corner(
            width, height, self._filter(wanted, None)
        )

    def _alloc_boards(self, boards: int, **limits: Any) -> Allocation | None:
        """Allocate a block of at least this many boards."""
        return self._allocate_boards(boards, Limits.given(limits))

    def _allocate_boards(self, boards: int, wanted: Limits) -> Allocation | None:
        area = _triads_for(boards)
        if not self._area_is_right(area, wanted):
            return None
        area, judge = self._full_measure(boards, area, wanted)
        block = self.pack_tree.alloc_area(area, wanted.min_ratio, self._verdicts.sparing(judge))
        if block is None:
            return None
        return self._hold_block(("boards", *block), judge)

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

    def _alloc_boards_possible(self, boards: int, **limits: Any) -> bool:
        """Whether this many boards could be had on the idle machine."""
        return self._is_boards_possible(boards, Limits.given(limits))

    def _is_boards_possible(self, boards: int, wanted: Limits) -> bool:
        area = _triads_for(boards)
        return self._area_is_right(area, wanted) and self._fits(
            area, wanted, self._filter(wanted, boards)
        )

    def _size_is_right(self, width: int, height: int, wanted: Limits) -> bool:
        if wanted.require_torus:
            return (width, height) == (self.width, self.height)
        return 0 < width <= self.width and 0 < height <= self.height

    def _area_is_right(self, area: int, wanted: Limits) -> bool:
        if wanted.require_torus:
            return area == self.width * self.height
        return 0 < area <= self.width * self.height

    def _filter(self, wanted: Limits, expected_boards: int | None) -> _CandidateFilter:
        self._verdicts.refresh(self.dead_boards, self.dead_links)
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

    def _fits_in_a_corner(self, width: int, height: int, judge: _CandidateFilter) -> bool:
        return any(
            self._verdicts.accepts(judge, x, y, width, height)
            for x, y in self._corners(width, height)
        )

    def _corners(self, width: int, height: int) -> list[tuple[int, int]]:
        return [(x, y) for x in _ends(self.width - width) for y in _ends(self.height - height)]

    def _hold_block(self, outcome: Outcome, judge: _CandidateFilter) -> Allocation:
        assert judge.boards is not None
        assert judge.periphery is not None
        assert judge.torus is not None
        return self._hold(outcome), judge.boards, judge.periphery, judge.torus

    def _hold(self, outcome: Outcome) -> int:
        allocation_id = self.next_id
        self.next_id += 1
        self._held[allocation_id] = outcome
        return allocation_id

    # --- single boards ---

    def _alloc_board(
        self,
        x: int | None = None,
        y: int | None = None,
        z: int | None = None,
        **limits: Any,
    ) -> Allocation | None:
        """Allocate a given board, or any one."""
        return self._allocate_board(understand(_given_board(x, y, z), limits).numbers)

    def _allocate_board(self, numbers: tuple[int, ...]) -> Allocation | None:
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
        periphery = {(*board, link) for link in Links}
        return self._hold(("board", *board)), {board}, periphery, WrapAround.none

    def _alloc_board_possible(
        self,
        x: int | None = None,
        y: int | None = None,
        z: int | None = None,
        **limits: Any,
    ) -> bool:
        """Whether a given board, or any one, works."""
        return self._is_board_possible(understand(_given_board(x, y, z), limits).numbers)

    def _is_board_possible(self, numbers: tuple[int, ...]) -> bool:
        if not numbers:
            self._verdicts.refresh(self.dead_boards, self.dead_links)
            return self._verdicts.answer(("any board",), self._has_live_board)
        x, y, z = numbers
        return self._is_on_machine((x, y, z)) and (x, y, z) not in self.dead_boards

    def _has_live_board(self) -> bool:
        return any(board not in self.dead_boards for board in self._all_boards())

    def _is_on_machine(self, board: Board) -> bool:
        x, y, z = board
        return 0 <= x < self.width and 0 <= y < self.height and 0 <= z <= 2

    def _all_boards(self) -> Iterable[Board]:
        return ((x, y, z) for x in range(self.width) for y in range(self.height) for z in range(3))

    # --- give boards back ---

    def free(self, allocation_id: int) -> None:
        """Give boards back; they rest before they are used again.

        Parameters
        ----------
        allocation_id : int
            From `alloc`.

        Raises
        ------
        KeyError
            If there is no such allocation.
        """
        self._waiting_list.add(allocation_id, self._held.pop(allocation_id))

    def check_free(self) -> bool:
        """Use boards again that have rested long enough.

        Returns
        -------
        bool
            Whether there were any.
        """
        due = self._waiting_list.take_due(self.seconds_before_free)
        for _, outcome in due:
            self._return(outcome)
        if due and self.on_rested is not None:
            self.on_rested([allocation_id for allocation_id, _ in due])
        return bool(due)

    def _return(self, outcome: Outcome) -> None:
        """Make the boards of an allocation free at once."""
        single_boards, tree = self._single_boards, self.pack_tree
        if len(outcome) == 4:
            single_boards.give_back(outcome[1:], tree, self.dead_boards)
        else:
            tree.free(*outcome[1:3])
            single_boards.withdraw(outcome[1:], tree, self.dead_boards)

    # --- quarantine ---

    @property
    def quarantined(self) -> frozenset[Board]:
        """Boards that are not handed out until released."""
        return frozenset(self._single_boards.quarantined)

    def quarantine(self, board: Board) -> None:
        """Hand out a board no more; who has it keeps it.

        It counts as taken, not as dead: what is possible stays possible.  Its
        triad serves single boards as soon as it is free, so that blocks are
        packed around it and its neighbours are of use.

        Parameters
        ----------
        board : (x, y, z)
            Which one.

        Raises
        ------
        ValueError
            If it is not on the machine.
        """
        if not self._is_on_machine(board):
            raise ValueError(
                f"board {board} is not on a machine of {self.width} x {self.height} triads"
            )
        self._single_boards.quarantine(board, self.pack_tree, self.dead_boards)

    def release(self, board: Board) -> None:
        """End the quarantine of a board; harmless if it is not in it.

        Parameters
        ----------
        board : (x, y, z)
            Which one.
        """
        self._single_boards.release(board, self.pack_tree, self.dead_boards)

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
        # Where nobody has anything, what room there is may be cut up.
        idle = not self._held and self._waiting_list.next_due(0.0) is None
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
            area, judge = self._full_measure(expected, _triads_for(expected), wanted)
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

    # --- tell and impose ---

    @property
    def allocations(self) -> dict[int, Outcome]:
        """What each allocation took, those resting left out."""
        return dict(self._held)

    @property
    def resting(self) -> list[tuple[int, Outcome, float]]:
        """Allocation_id, outcome and seconds rested, longest first."""
        return self._waiting_list.listing()

    @property
    def next_rested(self) -> float | None:
        """When the next boards will have rested, monotonic seconds."""
        return self._waiting_list.next_due(self.seconds_before_free)

    def describe(self, allocation_id: int) -> Outcome:
        """Tell what an allocation took.

        Parameters
        ----------
        allocation_id : int
            Held or resting.

        Returns
        -------
        ("triads" or "boards", x, y, width, height) or ("board", x, y, z)

        Raises
        ------
        KeyError
            If there is no such allocation.
        """
        outcome = self._held.get(allocation_id) or self._waiting_list.find(allocation_id)
        if outcome is None:
            raise KeyError(allocation_id)
        return outcome

    def restore(
        self,
        allocation_id: int,
        outcome: Sequence[Any],
        resting_for: float | None = None,
    ) -> None:
        """Impose an allocation that was decided earlier.

        Dead boards, limits and quarantine are not asked.

        Parameters
        ----------
        allocation_id : int
            Not known yet; `next_id` is raised above it.
        outcome : sequence
            From `describe`, as a list if it has been through JSON.
        resting_for : float, optional
            If given, the boards have been resting for so many seconds.

        Raises
        ------
        ValueError
            If it is known, lies outside or overlaps another; nothing changes.
        """
        if allocation_id in self._held or self._waiting_list.find(allocation_id):
            raise ValueError(f"allocation {allocation_id} is known already")
        outcome = _outcome(outcome)
        self._impose(outcome)
        if resting_for is None:
            self._held[allocation_id] = outcome
        else:
            self._waiting_list.add(allocation_id, outcome, resting_for)
        self.next_id = max(self.next_id, allocation_id + 1)

    def _impose(self, outcome: Outcome) -> None:
        single_boards, tree = self._single_boards, self.pack_tree
        if len(outcome) == 4:
            board = outcome[1:]
            if not self._is_on_machine(board):
                raise ValueError(f"board {board} is not on the machine")
            single_boards.impose(board, tree, self.dead_boards)
            return
        block = outcome[1:]
        single_boards.make_way(block, tree)
        try:
            tree.take(*block)
        finally:
            # Where the block could not be taken, all is as it was.
            single_boards.withdraw(block, tree, self.dead_boards)

    # --- pickling: plain builtins only ---

    def __getstate__(self) -> dict[str, Any]:
        links = ((*board, link) for board in self._all_boards() for link in Links)
        return {
            "width": self.width,
            "height": self.height,
            "dead_boards": plain_places(self.dead_boards, self._all_boards()),
            "dead_links": plain_places(self.dead_links, links),
            "next_id": self.next_id,
            "seconds_before_free": self.seconds_before_free,
            "full_measure": self.full_measure,
            "taken": [tuple(block) for block in self.pack_tree.taken()],
            "held": dict(self._held),
            "resting": self.resting,
            "single_boards": self._single_boards.state(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(  # type: ignore[misc]
            state["width"],
            state["height"],
            state["dead_boards"],
            state["dead_links"],
            state["next_id"],
            state["seconds_before_free"],
        )
        self.full_measure = state["full_measure"]
        self.pack_tree.take_all(state["taken"])
        self._held.update(state["held"])
        for allocation_id, outcome, rested in state["resting"]:
            self._waiting_list.add(allocation_id, outcome, rested)
        self._single_boards.restore(state["single_boards"])


def _outcome(told: Sequence[Any]) -> Outcome:
    """Read what an allocation took."""
    outcome = tuple(told)
    kinds = {4: ("board",), 5: ("triads", "boards")}
    if not outcome or outcome[0] not in kinds.get(len(outcome), ()):
        raise ValueError(f"{told!r} does not tell what an allocation took")
    return outcome


def _given_board(x: int | None, y: int | None, z: int | None) -> tuple[int | None, ...]:
    """Return a board's three coordinates; nothing unless all of them are given."""
    return () if x is None or y is None or z is None else (x, y, z)


def _triads_for(boards: int) -> int:
    """Triads that hold so many boards."""
    return -(-boards // 3)


def _ends(room: int) -> tuple[int, ...]:
    """Lowest and highest offset in some room, once if they are the same."""
    return (0, room) if room else (0,)
