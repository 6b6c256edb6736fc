"""Triads whose boards are handed out one at a time.

Owns which boards of an opened triad are spare, and which are left out because
they are dead or in quarantine.  Must not know the tree of free room: the
Allocator takes a triad out of it to open it, and gives it back once it closes.

A board of an opened triad is either spare, or left out, or else in use::

    spare     {(x, y): {z}}   to be handed out next, lowest z first
    full      {(x, y)}        opened triads with nothing spare
    left out  {(x, y): {z}}   neither handed out nor in use
"""

from spalloc_server._candidate_filter import Board, DeadSet
from spalloc_server._verdicts import Watch

#: Position of a triad.
Triad = tuple[int, int]

_ALL_Z = frozenset((0, 1, 2))


class SingleBoards:
    """The books of all opened triads and of the boards in quarantine.

    Attributes
    ----------
    spare : dict of {(x, y): set of z}
        Opened triads with boards to hand out.  Others may write to it: a z
        that is not there counts as in use, unless it was left out here.
    full : set of (x, y)
        Opened triads with no board to hand out.
    left_out : dict of {(x, y): set of z}
        Boards of opened triads that are not handed out for the time being.
    quarantined : set of (x, y, z)
        Boards not to be handed out, in opened triads or not.
    """

    def __init__(self) -> None:
        self.spare: dict[Triad, set[int]] = {}
        self.full: set[Triad] = set()
        self.left_out: dict[Triad, set[int]] = {}
        self.quarantined: set[Board] = set()
        self._watch = Watch()
        #: Whether all that is left out is dead or in quarantine, as far as
        #: the dead boards are still what `_watch` has seen.
        self._reviewed = True

    def is_open(self, triad: Triad) -> bool:
        """Whether a triad serves single boards."""
        return triad in self.spare or triad in self.full

    def is_idle(self, triad: Triad) -> bool:
        """Whether no board of an opened triad is in use."""
        there = self.spare.get(triad, set()) | self.left_out.get(triad, set())
        return there >= _ALL_Z

    def has_quarantined(self, triad: Triad) -> bool:
        """Whether a board of a triad is in quarantine."""
        return any((*triad, z) in self.quarantined for z in range(3))

    def open(self, triad: Triad, dead_boards: DeadSet) -> None:
        """Begin to hand out the boards of a triad.

        Parameters
        ----------
        triad : (x, y)
            Not open yet.
        dead_boards : container of (x, y, z)
            These are left out.
        """
        spare = {z for z in range(3) if self._usable((*triad, z), dead_boards)}
        self._enter(triad, spare)
        self._reviewed = self._reviewed and spare == _ALL_Z
        if spare != _ALL_Z:
            self.left_out[triad] = set(_ALL_Z - spare)

    def close(self, triad: Triad) -> None:
        """Forget a triad."""
        self.spare.pop(triad, None)
        self.full.discard(triad)
        self.left_out.pop(triad, None)

    def review(self, dead_boards: DeadSet) -> None:
        """Make boards spare that were left out and are alive by now.

        Parameters
        ----------
        dead_boards : container of (x, y, z)
            As it is now.
        """
        if self._watch.same(dead_boards) and self._reviewed:
            return
        self._reviewed = True
        for triad in list(self.left_out):
            if self.is_open(triad):
                self._review_triad(triad, dead_boards)
            else:
                del self.left_out[triad]

    def use_any(self, dead_boards: DeadSet) -> Board | None:
        """Hand out a spare board.

        Parameters
        ----------
        dead_boards : container of (x, y, z)
            As it is now.

        Returns
        -------
        (x, y, z) or None
            None if there is none to spare.
        """
        while self.spare:
            triad, spare = next(iter(self.spare.items()))
            for z in sorted(spare):
                board = (*triad, z)
                if self._usable(board, dead_boards):
                    self.use(board)
                    return board
                # It died in the meantime, and is met here only once.
                self._leave_out(board)
            self._enter(triad, set())
        return None

    def use(self, board: Board) -> bool:
        """Hand out a given board if it is spare.

        Parameters
        ----------
        board : (x, y, z)
            Which one.

        Returns
        -------
        bool
            Whether it was.
        """
        triad, z = board[:2], board[2]
        spare = self.spare.get(triad, set())
        if z not in spare:
            return False
        self._enter(triad, spare - {z})
        return True

    def impose(self, board: Board) -> bool:
        """Hand out a given board of an opened triad even if it is left out.

        Parameters
        ----------
        board : (x, y, z)
            Which one.

        Returns
        -------
        bool
            False if it is in use.
        """
        triad, z = board[:2], board[2]
        if self.use(board):
            return True
        left_out = self.left_out.get(triad, set())
        if z not in left_out:
            return False
        left_out.remove(z)
        return True

    def give_back(self, board: Board, dead_boards: DeadSet) -> None:
        """Take back a board that was in use.

        Parameters
        ----------
        board : (x, y, z)
            Which one.
        dead_boards : container of (x, y, z)
            As it is now.
        """
        triad, z = board[:2], board[2]
        if self._usable(board, dead_boards):
            self._enter(triad, self.spare.get(triad, set()) | {z})
        else:
            self._leave_out(board)

    def quarantine(self, board: Board) -> None:
        """Hand out a board no more; who has it keeps it."""
        self.quarantined.add(board)
        if board[2] in self.spare.get(board[:2], ()):
            self._leave_out(board)

    def release(self, board: Board, dead_boards: DeadSet) -> None:
        """Hand out a board again, unless it is dead."""
        self.quarantined.discard(board)
        if self.is_open(board[:2]):
            self._review_triad(board[:2], dead_boards)

    def restore(
        self,
        spare: dict[Triad, set[int]],
        full: set[Triad],
        left_out: dict[Triad, set[int]],
        quarantined: set[Board],
    ) -> None:
        """Put the books back as they were."""
        self.spare = spare
        self.full = full
        self.left_out = left_out
        self.quarantined = quarantined
        self._reviewed = False

    def _usable(self, board: Board, dead_boards: DeadSet) -> bool:
        return board not in dead_boards and board not in self.quarantined

    def _review_triad(self, triad: Triad, dead_boards: DeadSet) -> None:
        left_out = self.left_out.get(triad, set())
        back = {z for z in left_out if self._usable((*triad, z), dead_boards)}
        if back:
            left_out -= back
            self._enter(triad, self.spare.get(triad, set()) | back)

    def _leave_out(self, board: Board) -> None:
        triad, z = board[:2], board[2]
        self.left_out.setdefault(triad, set()).add(z)
        self._reviewed = False
        self._enter(triad, self.spare.get(triad, set()) - {z})

    def _enter(self, triad: Triad, spare: set[int]) -> None:
        """Note what is spare in a triad, in the one table that it belongs to."""
        if spare:
            self.spare[triad] = spare
            self.full.discard(triad)
        else:
            self.spare.pop(triad, None)
            self.full.add(triad)
