"""Triads that serve single boards.

Owns which triads are opened, and which of their boards are spare or left out
because they are dead or in quarantine.  Must not know allocations.

A triad is taken out of the free room to open it, and goes back when
it closes.  A board of an opened triad is either spare, or left out, or else
in use::

    spare     {(x, y): {z}}   to be handed out next, lowest z first
    full      {(x, y)}        opened triads with nothing spare
    left out  {(x, y): {z}}   neither handed out nor in use
"""

from collections.abc import Callable
from typing import Any

from spalloc_server._allocation.dead_sets import DeadSet
from spalloc_server._allocation.room import Room
from spalloc_server._places import Board, Triad
from spalloc_server.pack_tree import PackTree

_ALL_Z = frozenset((0, 1, 2))


class SingleBoards:
    """The books of all opened triads and of the boards in quarantine.

    The free room and the dead boards are passed in at each use, for their owner
    may replace them; `look_again` tells that dead boards have changed.

    Attributes
    ----------
    spare : dict of {(x, y): set of z}
        Opened triads with boards to hand out.  Others may write to it: a z
        that is not there counts as in use, unless it was left out here.
    full : set of (x, y)
        Opened triads with no board to hand out.
    quarantined : set of (x, y, z)
        Boards not to be handed out, in opened triads or not.
    """

    def __init__(self) -> None:
        self.spare: dict[Triad, set[int]] = {}
        self.full: set[Triad] = set()
        self.quarantined: set[Board] = set()
        self._left_out: dict[Triad, set[int]] = {}
        #: Whether all that is left out is dead or in quarantine.
        self._reviewed = True

    def look_again(self) -> None:
        """Note that the dead boards have changed: some that were left out may be alive."""
        self._reviewed = False

    # --- hand out and take back ---

    def use_any(self, tree: PackTree, dead_boards: DeadSet) -> Board | None:
        """Hand out a board, of an opened triad if there is one to spare.

        Parameters
        ----------
        tree : PackTree
            Where triads to open are taken from.
        dead_boards : container of (x, y, z)
            As it is now.

        Returns
        -------
        (x, y, z) or None
            None if there is no free board.
        """
        self._review(dead_boards)
        board = self._use_spare(dead_boards)
        if board is not None:
            return board

        def has_live_board(x: int, y: int, _width: int, _height: int) -> bool:
            return any((x, y, z) not in dead_boards for z in range(3))

        triad = tree.alloc(1, 1, has_live_board)
        if triad is None:
            return None
        self._open(triad, dead_boards)
        return self._use_spare(dead_boards)

    def use_scarcest(
        self, dead_boards: DeadSet, allowed: Callable[[Board], bool]
    ) -> Board | None:
        """Hand out a spare board, of the opened triad that has the fewest.

        Parameters
        ----------
        dead_boards : container of (x, y, z)
            As it is now.
        allowed : callable
            Asked whether a board may be handed out.

        Returns
        -------
        (x, y, z) or None
            Of equal triads the lowest, then the one furthest left; None if no board is spare.
        """
        self._review(dead_boards)
        best: tuple[int, int, int] | None = None
        for (x, y), spare in self.spare.items():
            usable = [z for z in spare if self._is_usable((x, y, z), dead_boards)]
            if any(allowed((x, y, z)) for z in usable):
                score = len(usable), y, x
                best = score if best is None or score < best else best
        if best is None:
            return None
        _, y, x = best
        return self.use_lowest((x, y), dead_boards, allowed)

    def use_lowest(
        self, triad: Triad, dead_boards: DeadSet, allowed: Callable[[Board], bool]
    ) -> Board | None:
        """Hand out the lowest board of an opened triad that is spare and allowed."""
        for z in sorted(self.spare.get(triad, ())):
            board = (*triad, z)
            if not self._is_usable(board, dead_boards):
                self._leave_out(board)
            elif allowed(board):
                self._take(board)
                return board
        return None

    def open(self, triad: Triad, room: Room, dead_boards: DeadSet) -> bool:
        """Open a triad, so that its boards can be handed out; tell whether it was free."""
        if room.request(*triad) is None:
            return False
        self._open(triad, dead_boards)
        return True

    def use(self, board: Board, room: Room, dead_boards: DeadSet) -> bool:
        """Hand out a given board.

        Parameters
        ----------
        board : (x, y, z)
            Which one.
        room : Room
            Where its triad is taken from if it is not open.
        dead_boards : container of (x, y, z)
            As it is now.

        Returns
        -------
        bool
            False if it is dead, in use, in quarantine or in a block.
        """
        if not self._is_usable(board, dead_boards):
            return False
        self._review(dead_boards)
        triad = board[:2]
        if not self.is_open(triad) and not self.open(triad, room, dead_boards):
            return False
        return self._take(board)

    def impose(self, board: Board, room: Room, dead_boards: DeadSet) -> None:
        """Hand out a given board even if it is dead or in quarantine.

        Parameters
        ----------
        board, room, dead_boards
            As for `use`.

        Raises
        ------
        ValueError
            If it is in use or in a block.
        """
        triad, z = board[:2], board[2]
        if not self.is_open(triad):
            room.take(*triad, 1, 1)
            self._open(triad, dead_boards)
        if not self._take(board):
            left_out = self._left_out.get(triad, set())
            if z not in left_out:
                raise ValueError(f"board {board} is in use")
            left_out.remove(z)

    def give_back(self, board: Board, room: Room, dead_boards: DeadSet) -> None:
        """Take back a board that was in use.

        Parameters
        ----------
        board : (x, y, z)
            Which one.
        room : Room
            Where its triad goes if this was the last one.
        dead_boards : container of (x, y, z)
            As it is now.
        """
        triad, z = board[:2], board[2]
        if self._is_usable(board, dead_boards):
            self._note(triad, self.spare.get(triad, set()) | {z})
        else:
            self._leave_out(board)
        self._close_if_idle(triad, room)

    # --- quarantine ---

    def quarantine(self, board: Board, room: Room, dead_boards: DeadSet) -> None:
        """Hand out a board no more; a present job keeps it.

        Parameters
        ----------
        board, room, dead_boards
            As for `use`.
        """
        triad, z = board[:2], board[2]
        self.quarantined.add(board)
        if z in self.spare.get(triad, ()):
            self._leave_out(board)
        self._withdraw(triad, room, dead_boards)

    def release(self, board: Board, room: Room, dead_boards: DeadSet) -> None:
        """Hand out a board again, unless it is dead.

        Parameters
        ----------
        board, room, dead_boards
            As for `use`.
        """
        self.quarantined.discard(board)
        if self.is_open(board[:2]):
            self._review_triad(board[:2], dead_boards)
            self._close_if_idle(board[:2], room)

    def withdraw(
        self, block: tuple[int, int, int, int], room: Room, dead_boards: DeadSet
    ) -> None:
        """Open the triads with boards in quarantine of a block now free.

        Parameters
        ----------
        block : (x, y, width, height)
            Just given back to the room.
        room, dead_boards
            As for `use`.
        """
        for triad in self._quarantined_triads(block):
            self._withdraw(triad, room, dead_boards)

    def make_way(self, block: tuple[int, int, int, int], room: Room) -> None:
        """Close the triads of a block that are open for quarantine only.

        Parameters
        ----------
        block : (x, y, width, height)
            To be taken from the room next.
        room : Room
            Where they go.
        """
        for triad in self._quarantined_triads(block):
            if self.is_open(triad) and self._is_idle(triad):
                self._close(triad, room)

    # --- pickling ---

    def state(self) -> dict[str, Any]:
        """Copy the books: plain builtins only."""
        return {
            "spare": {triad: set(spare) for triad, spare in self.spare.items()},
            "full": set(self.full),
            "left_out": {triad: set(out) for triad, out in self._left_out.items()},
            "quarantined": set(self.quarantined),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Put the books back as `state` told them."""
        self.spare = {triad: set(spare) for triad, spare in state["spare"].items()}
        self.full = set(state["full"])
        self._left_out = {triad: set(out) for triad, out in state["left_out"].items()}
        self.quarantined = set(state["quarantined"])
        self._reviewed = False

    # --- helpers ---

    def is_open(self, triad: Triad) -> bool:
        """Whether a triad serves single boards."""
        return triad in self.spare or triad in self.full

    def _is_usable(self, board: Board, dead_boards: DeadSet) -> bool:
        return board not in dead_boards and board not in self.quarantined

    def _is_idle(self, triad: Triad) -> bool:
        """Whether no board of an opened triad is in use."""
        there = self.spare.get(triad, set()) | self._left_out.get(triad, set())
        return there >= _ALL_Z

    def _has_quarantined(self, triad: Triad) -> bool:
        return any((*triad, z) in self.quarantined for z in range(3))

    def _quarantined_triads(self, block: tuple[int, int, int, int]) -> set[Triad]:
        x, y, width, height = block
        return {
            (board_x, board_y)
            for board_x, board_y, _ in self.quarantined
            if x <= board_x < x + width and y <= board_y < y + height
        }

    def _use_spare(self, dead_boards: DeadSet) -> Board | None:
        """Hand out a spare board of the triad that has had one for longest."""
        while self.spare:
            triad, spare = next(iter(self.spare.items()))
            for z in sorted(spare):
                board = (*triad, z)
                if self._is_usable(board, dead_boards):
                    self._take(board)
                    return board
                # It died in the meantime, and is met here only once.
                self._leave_out(board)
            self._note(triad, set())
        return None

    def _take(self, board: Board) -> bool:
        """Note that a board is in use, if it was spare."""
        triad, z = board[:2], board[2]
        spare = self.spare.get(triad, set())
        if z not in spare:
            return False
        # Another program may have made a board spare that was left out here.
        self._left_out.get(triad, set()).discard(z)
        self._note(triad, spare - {z})
        return True

    def _open(self, triad: Triad, dead_boards: DeadSet) -> None:
        spare = {z for z in range(3) if self._is_usable((*triad, z), dead_boards)}
        self._left_out.pop(triad, None)
        if spare != _ALL_Z:
            self._left_out[triad] = set(_ALL_Z - spare)
            self._reviewed = False
        self._note(triad, spare)

    def _close(self, triad: Triad, room: Room) -> None:
        self.spare.pop(triad, None)
        self.full.discard(triad)
        self._left_out.pop(triad, None)
        room.free(*triad)

    def _close_if_idle(self, triad: Triad, room: Room) -> None:
        if self._is_idle(triad) and not self._has_quarantined(triad):
            self._close(triad, room)

    def _withdraw(self, triad: Triad, room: Room, dead_boards: DeadSet) -> None:
        """Open a triad for the sake of quarantine, if it is free."""
        if not self.is_open(triad) and room.request(*triad) is not None:
            self._open(triad, dead_boards)

    def _review(self, dead_boards: DeadSet) -> None:
        """Make boards spare that were left out and are alive by now."""
        if self._reviewed:
            return
        self._reviewed = True
        for triad in list(self._left_out):
            if self.is_open(triad):
                self._review_triad(triad, dead_boards)
            else:
                del self._left_out[triad]

    def _review_triad(self, triad: Triad, dead_boards: DeadSet) -> None:
        left_out = self._left_out.get(triad, set())
        back = {z for z in left_out if self._is_usable((*triad, z), dead_boards)}
        if back:
            left_out -= back
            self._note(triad, self.spare.get(triad, set()) | back)

    def _leave_out(self, board: Board) -> None:
        triad, z = board[:2], board[2]
        self._left_out.setdefault(triad, set()).add(z)
        self._reviewed = False
        self._note(triad, self.spare.get(triad, set()) - {z})

    def _note(self, triad: Triad, spare: set[int]) -> None:
        """Enter the spare boards of a triad into the one table for it."""
        if spare:
            self.spare[triad] = spare
            self.full.discard(triad)
        else:
            self.spare.pop(triad, None)
            self.full.add(triad)
