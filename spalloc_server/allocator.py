"""Hand out blocks of triads and single boards of one machine.

Owns what is allocated, what rests after use and what is in quarantine.  Must
not know jobs, queues, hardware or threads.  Time is read through `_clock`.

An allocation's life::

    alloc() --> held --free()--> resting --check_free()--> free again

Beside asking for a place there is imposing one (`restore`), which is how an
earlier run's decisions are put back without being made again.
"""

from bisect import insort
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from typing import Any, NamedTuple

from spalloc_server import _clock
from spalloc_server._candidate_filter import (
    Board,
    DeadSet,
    Limits,
    Link,
    _CandidateFilter,
)
from spalloc_server._single_boards import SingleBoards, Triad
from spalloc_server._verdicts import Verdicts
from spalloc_server.area_to_rect import area_to_rect
from spalloc_server.coordinates import WrapAround
from spalloc_server.links import Links
from spalloc_server.pack_tree import PackTree

__all__ = ("Allocation", "Allocator", "Outcome", "_AllocationType", "_CandidateFilter")

#: Identifier, boards, links that leave them, wrap-around found among them.
Allocation = tuple[int, set[Board], set[Link], WrapAround]

#: What an allocation took: ("triads" or "boards", x, y, width, height) for a
#: block, ("board", x, y, z) for a single board.
Outcome = tuple[str, int, int, int] | tuple[str, int, int, int, int]


class _AllocationType(Enum):
    """Ways to choose boards."""

    triads = 0
    board = 1
    boards = 2


class _Resting(NamedTuple):
    """An allocation on the waiting list."""

    since: float
    allocation_id: int
    outcome: Outcome


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
        self.on_rested: Callable[[list[int]], None] | None = None
        self._held: dict[int, Outcome] = {}
        self._resting: deque[_Resting] = deque()
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
        kind = self._alloc_type(*what, **limits)
        self.check_free()
        allocate: dict[_AllocationType, Callable[..., Allocation | None]] = {
            _AllocationType.triads: self._alloc_triads,
            _AllocationType.boards: self._alloc_boards,
            _AllocationType.board: self._alloc_board,
        }
        return allocate[kind](*_sizes(kind, what), **limits)

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
        kind = self._alloc_type(*what, **limits)
        possible: dict[_AllocationType, Callable[..., bool]] = {
            _AllocationType.triads: self._alloc_triads_possible,
            _AllocationType.boards: self._alloc_boards_possible,
            _AllocationType.board: self._alloc_board_possible,
        }
        return possible[kind](*_sizes(kind, what), **limits)

    @staticmethod
    def _alloc_type(*what: int | None, **limits: Any) -> _AllocationType:
        """Kind of a request, checking that it has a meaning."""
        given = _without_nulls(what)
        if len(given) > 3:
            raise TypeError(f"at most 3 numbers say what to allocate, not {what!r}")
        require_torus = Limits.given(limits).require_torus
        if len(given) == 2:
            return _AllocationType.triads
        if len(given) == 1 and given[0] != 1:
            return _AllocationType.boards
        if require_torus:
            raise ValueError("require_torus must be False when allocating single boards")
        return _AllocationType.board

    # --- blocks ---

    def _alloc_triads(self, width: int, height: int, **limits: Any) -> Allocation | None:
        """Allocate a block of a given size in triads."""
        wanted = Limits.given(limits)
        if not self._size_is_right(width, height, wanted):
            return None
        judge = self._filter(wanted, None)
        corner = self.pack_tree.alloc(width, height, self._verdicts.sparing(judge))
        if corner is None:
            return None
        return self._hold_block(("triads", *corner, width, height), judge)

    def _alloc_triads_possible(self, width: int, height: int, **limits: Any) -> bool:
        """Whether a block of this size could be had on the idle machine."""
        wanted = Limits.given(limits)
        return self._size_is_right(width, height, wanted) and self._fits_in_a_corner(
            width, height, self._filter(wanted, None)
        )

    def _alloc_boards(self, boards: int, **limits: Any) -> Allocation | None:
        """Allocate a block of at least this many boards."""
        wanted = Limits.given(limits)
        area = _triads_for(boards)
        if not self._area_is_right(area, wanted):
            return None
        judge = self._filter(wanted, boards)
        block = self.pack_tree.alloc_area(
            area, wanted.min_ratio, self._verdicts.sparing(judge)
        )
        if block is None:
            return None
        return self._hold_block(("boards", *block), judge)

    def _alloc_boards_possible(self, boards: int, **limits: Any) -> bool:
        """Whether this many boards could be had on the idle machine."""
        wanted = Limits.given(limits)
        area = _triads_for(boards)
        if not self._area_is_right(area, wanted):
            return False
        shape = area_to_rect(area, self.width, self.height, wanted.min_ratio)
        return shape is not None and self._fits_in_a_corner(
            *shape, self._filter(wanted, boards)
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
        corners = {
            (x, y): None
            for x in (0, self.width - width)
            for y in (0, self.height - height)
        }
        return any(self._verdicts.accepts(judge, x, y, width, height) for x, y in corners)

    def _hold_block(self, outcome: Outcome, judge: _CandidateFilter) -> Allocation:
        assert judge.boards is not None
        assert judge.periphery is not None
        assert judge.torus is not None
        return self._hold(outcome), judge.boards, judge.periphery, judge.torus

    # --- single boards ---

    def _alloc_board(
        self,
        x: int | None = None,
        y: int | None = None,
        z: int | None = None,
        **limits: Any,
    ) -> Allocation | None:
        """Allocate a given board, or any one."""
        self._alloc_type(x, y, z, **limits)
        self._single_boards.review(self.dead_boards)
        if x is None or y is None or z is None:
            board = self._use_any_board()
        else:
            board = self._use_board((x, y, z))
        if board is None:
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
        self._alloc_type(x, y, z, **limits)
        if x is None or y is None or z is None:
            return any(
                self._has_live_board(triad_x, triad_y)
                for triad_x in range(self.width)
                for triad_y in range(self.height)
            )
        return self._is_on_machine((x, y, z)) and (x, y, z) not in self.dead_boards

    def _use_any_board(self) -> Board | None:
        board = self._single_boards.use_any(self.dead_boards)
        if board is not None:
            return board
        triad = self.pack_tree.alloc(1, 1, self._has_live_board)
        if triad is None:
            return None
        self._single_boards.open(triad, self.dead_boards)
        return self._single_boards.use_any(self.dead_boards)

    def _use_board(self, board: Board) -> Board | None:
        if (
            not self._is_on_machine(board)
            or board in self.dead_boards
            or board in self._single_boards.quarantined
        ):
            return None
        triad = board[:2]
        if not self._single_boards.is_open(triad):
            if self.pack_tree.request(*triad) is None:
                return None
            self._single_boards.open(triad, self.dead_boards)
        return board if self._single_boards.use(board) else None

    def _has_live_board(self, x: int, y: int, _width: int = 1, _height: int = 1) -> bool:
        return any((x, y, z) not in self.dead_boards for z in range(3))

    def _is_on_machine(self, board: Board) -> bool:
        x, y, z = board
        return 0 <= x < self.width and 0 <= y < self.height and 0 <= z <= 2

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
        outcome = self._held.pop(allocation_id)
        self._resting.append(_Resting(_clock.monotonic(), allocation_id, outcome))

    def check_free(self) -> bool:
        """Use boards again that have rested long enough.

        Returns
        -------
        bool
            Whether there were any.
        """
        if not self._resting:
            return False
        now = _clock.monotonic()
        rested = []
        while self._resting and now - self._resting[0].since >= self.seconds_before_free:
            resting = self._resting.popleft()
            self._return(resting.outcome)
            rested.append(resting.allocation_id)
        if rested and self.on_rested is not None:
            self.on_rested(rested)
        return bool(rested)

    def _return(self, outcome: Outcome) -> None:
        """Make the boards of an allocation free at once."""
        if outcome[0] == "board":
            _, x, y, z = outcome  # type: ignore[misc]
            self._single_boards.give_back((x, y, z), self.dead_boards)
            self._close_if_idle((x, y))
            return
        _, x, y, width, height = outcome  # type: ignore[misc]
        self.pack_tree.free(x, y)
        for triad in self._quarantined_triads(x, y, width, height):
            self._withdraw(triad)

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
        self._single_boards.quarantine(board)
        self._withdraw(board[:2])

    def release(self, board: Board) -> None:
        """End the quarantine of a board; harmless if it is not in it.

        Parameters
        ----------
        board : (x, y, z)
            Which one.
        """
        self._single_boards.release(board, self.dead_boards)
        self._close_if_idle(board[:2])

    def _withdraw(self, triad: Triad) -> None:
        """Open a triad for the sake of quarantine, if it is free."""
        single_boards = self._single_boards
        if not single_boards.is_open(triad) and self.pack_tree.request(*triad) is not None:
            single_boards.open(triad, self.dead_boards)

    def _close_if_idle(self, triad: Triad) -> None:
        single_boards = self._single_boards
        if (
            single_boards.is_open(triad)
            and single_boards.is_idle(triad)
            and not single_boards.has_quarantined(triad)
        ):
            single_boards.close(triad)
            self.pack_tree.free(*triad)

    def _quarantined_triads(self, x: int, y: int, width: int, height: int) -> set[Triad]:
        """Triads of a block that have boards in quarantine."""
        return {
            (board_x, board_y)
            for board_x, board_y, _ in self._single_boards.quarantined
            if x <= board_x < x + width and y <= board_y < y + height
        }

    # --- tell and impose ---

    @property
    def allocations(self) -> dict[int, Outcome]:
        """What each allocation took, those resting left out."""
        return dict(self._held)

    @property
    def resting(self) -> list[tuple[int, Outcome, float]]:
        """Identifier, outcome and seconds rested of what rests, oldest first."""
        now = _clock.monotonic()
        return [
            (resting.allocation_id, resting.outcome, now - resting.since)
            for resting in self._resting
        ]

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
        outcome = self._held.get(allocation_id)
        if outcome is not None:
            return outcome
        for resting in self._resting:
            if resting.allocation_id == allocation_id:
                return resting.outcome
        raise KeyError(allocation_id)

    def restore(
        self, allocation_id: int, outcome: Outcome, resting_for: float | None = None
    ) -> None:
        """Impose an allocation that was decided earlier.

        Dead boards, limits and quarantine are not asked.

        Parameters
        ----------
        allocation_id : int
            Not known yet; `next_id` is raised above it.
        outcome : tuple
            From `describe`.
        resting_for : float, optional
            If given, the boards have been resting for so many seconds.

        Raises
        ------
        ValueError
            If it is known, lies outside or overlaps another; nothing changes.
        """
        if allocation_id in self._held or any(
            resting.allocation_id == allocation_id for resting in self._resting
        ):
            raise ValueError(f"allocation {allocation_id} is known already")
        self._impose(outcome)
        if resting_for is None:
            self._held[allocation_id] = outcome
        else:
            since = _clock.monotonic() - resting_for
            insort(self._resting, _Resting(since, allocation_id, outcome))
        self.next_id = max(self.next_id, allocation_id + 1)

    def _impose(self, outcome: Outcome) -> None:
        single_boards = self._single_boards
        if outcome[0] == "board":
            _, x, y, z = outcome  # type: ignore[misc]
            if not self._is_on_machine((x, y, z)):
                raise ValueError(f"{outcome} is not on the machine")
            if not single_boards.is_open((x, y)):
                self.pack_tree.take(x, y, 1, 1)
                single_boards.open((x, y), self.dead_boards)
            if not single_boards.impose((x, y, z)):
                raise ValueError(f"{outcome} is in use already")
            return
        _, *block = outcome
        withdrawn = [
            triad
            for triad in self._quarantined_triads(*block)
            if single_boards.is_open(triad) and single_boards.is_idle(triad)
        ]
        for triad in withdrawn:
            single_boards.close(triad)
            self.pack_tree.free(*triad)
        try:
            self.pack_tree.take(*block)
        finally:
            for triad in withdrawn:
                self._withdraw(triad)

    def _hold(self, outcome: Outcome) -> int:
        allocation_id = self.next_id
        self.next_id += 1
        self._held[allocation_id] = outcome
        return allocation_id

    # --- pickling: plain builtins only ---

    def __getstate__(self) -> dict[str, Any]:
        single_boards = self._single_boards
        return {
            "width": self.width,
            "height": self.height,
            "dead_boards": _plain(self.dead_boards, self._all_boards()),
            "dead_links": _plain(
                self.dead_links,
                ((*board, link) for board in self._all_boards() for link in Links),
            ),
            "next_id": self.next_id,
            "seconds_before_free": self.seconds_before_free,
            "taken": [tuple(block) for block in self.pack_tree.taken()],
            "held": dict(self._held),
            "resting": self.resting,
            "spare": {triad: set(zs) for triad, zs in single_boards.spare.items()},
            "full": set(single_boards.full),
            "left_out": {triad: set(zs) for triad, zs in single_boards.left_out.items()},
            "quarantined": set(single_boards.quarantined),
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
        self.pack_tree.take_all(state["taken"])
        self._held = dict(state["held"])
        now = _clock.monotonic()
        self._resting.extend(
            _Resting(now - rested, allocation_id, outcome)
            for allocation_id, outcome, rested in state["resting"]
        )
        self._single_boards.restore(
            state["spare"], state["full"], state["left_out"], state["quarantined"]
        )

    def _all_boards(self) -> Iterable[Board]:
        return (
            (x, y, z)
            for x in range(self.width)
            for y in range(self.height)
            for z in range(3)
        )


def _without_nulls(what: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Strip what is asked for of the nulls at its end."""
    while what and what[-1] is None:
        what = what[:-1]
    if None in what:
        raise ValueError(f"a number after a null says nothing: {what!r}")
    return what


def _sizes(kind: _AllocationType, what: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Arguments of the method for one kind of request."""
    given = _without_nulls(what)
    return () if kind is _AllocationType.board and len(given) < 3 else given


def _triads_for(boards: int) -> int:
    """Triads that hold so many boards."""
    return -(-boards // 3)


def _plain(dead: DeadSet, places: Iterable[tuple[int, ...]]) -> Any:
    """Plain copy of a dead set: whole numbers in tuples, nothing else.

    A container that can only be asked for membership is asked for all places.
    """
    if type(dead) is frozenset:
        return frozenset(_plain_places(dead))
    if type(dead) is set:
        return set(_plain_places(dead))
    return {place for place in places if place in dead}


def _plain_places(places: Iterable[object]) -> Iterator[tuple[int, ...]]:
    for place in places:
        if isinstance(place, tuple) and all(isinstance(n, int) for n in place):
            yield tuple(int(number) for number in place)
