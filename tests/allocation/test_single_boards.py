"""Triads that serve single boards: the books that are kept of them."""

from itertools import product

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from spalloc_server._allocation.single_boards import SingleBoards
from spalloc_server._places import Board, Triad
from spalloc_server.pack_tree import PackTree
from tests.support.plain_state import assert_plain

WIDTH, HEIGHT = 3, 2
TRIADS = list(product(range(WIDTH), range(HEIGHT)))
BOARDS = [(x, y, z) for x, y in TRIADS for z in range(3)]

triads = st.sampled_from(TRIADS)
places = st.sampled_from(BOARDS)


class SingleBoardsMachine(RuleBasedStateMachine):
    """The books beside sets of the boards that are in use, dead or in quarantine."""

    def __init__(self) -> None:
        super().__init__()
        self.books = SingleBoards()
        self.room = PackTree(0, 0, WIDTH, HEIGHT)
        self.in_use: set[Board] = set()
        self.blocks: set[Triad] = set()
        self.dead: set[Board] = set()

    def usable(self) -> set[Board]:
        """Boards that somebody could get."""
        gone = self.in_use | self.dead | self.books.quarantined
        return {board for board in BOARDS if board not in gone and board[:2] not in self.blocks}

    def spare(self) -> set[Board]:
        """Those of them whose triads are open."""
        return {board for board in self.usable() if self.books.is_open(board[:2])}

    # --- handing out ---

    @rule()
    def use_any(self) -> None:
        spare, usable = self.spare(), self.usable()

        board = self.books.use_any(self.room, self.dead)

        assert (board is None) is (not usable)
        if board is not None:
            assert board in (spare or usable)
            self.in_use.add(board)

    @rule(board=places)
    def use(self, board: Board) -> None:
        expected = board in self.usable()

        assert self.books.use(board, self.room, self.dead) is expected
        if expected:
            self.in_use.add(board)

    @rule(forbidden=st.sets(places, max_size=9))
    def use_scarcest(self, forbidden: set[Board]) -> None:
        spare = self.spare()
        counts = {board[:2]: 0 for board in spare}
        for x, y, _ in spare:
            counts[x, y] += 1
        ranked = sorted((counts[b[:2]], b[1], b[0], b[2]) for b in spare - forbidden)

        board = self.books.use_scarcest(self.dead, lambda one: one not in forbidden)

        assert (board is None) is (not ranked)
        if board is not None:
            assert (counts[board[:2]], board[1], board[0], board[2]) == ranked[0]
            self.in_use.add(board)

    @rule(board=places)
    def impose(self, board: Board) -> None:
        if board in self.in_use or board[:2] in self.blocks:
            with pytest.raises(ValueError, match=r"in use|taken"):
                self.books.impose(board, self.room, self.dead)
        else:
            self.books.impose(board, self.room, self.dead)
            self.in_use.add(board)

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        if self.in_use:
            board = data.draw(st.sampled_from(sorted(self.in_use)))
            self.in_use.remove(board)
            self.books.give_back(board, self.room, self.dead)

    # --- quarantine and dead boards ---

    @rule(board=places)
    def quarantine(self, board: Board) -> None:
        self.books.quarantine(board, self.room, self.dead)

        assert board in self.books.quarantined

    @rule(board=places)
    def release(self, board: Board) -> None:
        self.books.release(board, self.room, self.dead)

        assert board not in self.books.quarantined

    @rule(board=places)
    def die_or_revive(self, board: Board) -> None:
        self.dead ^= {board}
        self.books.look_again()

    # --- blocks and saved states ---

    @rule(triad=triads)
    def take_a_block(self, triad: Triad) -> None:
        self.books.make_way((*triad, 1, 1), self.room)
        if self.room.request(*triad) is not None:
            self.blocks.add(triad)
        self.books.withdraw((*triad, 1, 1), self.room, self.dead)

    @rule(data=st.data())
    def free_a_block(self, data: st.DataObject) -> None:
        if self.blocks:
            triad = data.draw(st.sampled_from(sorted(self.blocks)))
            self.blocks.remove(triad)
            self.room.free(*triad)
            self.books.withdraw((*triad, 1, 1), self.room, self.dead)

    @rule()
    def save_and_restore(self) -> None:
        state = self.books.state()
        assert_plain(state)

        self.books = SingleBoards()
        self.books.restore(state)

        assert self.books.state() == state

    # --- at any time ---

    @invariant()
    def each_triad_is_open_or_free_or_in_a_block(self) -> None:
        for triad in TRIADS:
            ways = (self.books.is_open(triad), self.room.is_free(*triad), triad in self.blocks)
            assert sum(ways) == 1, triad

    @invariant()
    def a_triad_is_open_for_a_board_in_use_or_in_quarantine(self) -> None:
        for triad in TRIADS:
            boards = {(*triad, z) for z in range(3)}
            needed = bool(boards & self.in_use)
            out = bool(boards & self.books.quarantined) and triad not in self.blocks
            assert self.books.is_open(triad) is (needed or out), triad

    @invariant()
    def spare_boards_are_not_in_use(self) -> None:
        told = {(*triad, z) for triad, spare in self.books.spare.items() for z in spare}

        assert told - self.dead <= self.spare()
        assert all(self.books.spare.values())
        assert not self.books.full & self.books.spare.keys()


SingleBoardsMachine.TestCase.settings = settings(stateful_step_count=30)
TestSingleBoards = SingleBoardsMachine.TestCase


# --- one by one ---


def test_a_board_that_died_while_it_was_spare_is_met_once() -> None:
    books, room, dead = SingleBoards(), PackTree(0, 0, 1, 1), set[Board]()
    assert books.use((0, 0, 2), room, dead)

    dead.add((0, 0, 0))

    assert books.use_any(room, dead) == (0, 0, 1)
    assert books.spare == {}
    assert books.full == {(0, 0)}
    assert books.use_any(room, dead) is None


def test_a_board_that_revives_is_spare_once_it_is_told() -> None:
    books, room, dead = SingleBoards(), PackTree(0, 0, 1, 1), {(0, 0, 0)}
    assert books.use_any(room, dead) == (0, 0, 1)
    assert books.use_any(room, dead) == (0, 0, 2)
    assert books.use_any(room, dead) is None

    dead.clear()
    assert books.use_any(room, dead) is None
    books.look_again()

    assert books.use_any(room, dead) == (0, 0, 0)


def test_a_board_made_spare_from_outside_is_handed_out() -> None:
    books, room, dead = SingleBoards(), PackTree(0, 0, 1, 1), {(0, 0, 0)}
    assert books.use((0, 0, 1), room, dead)
    books.spare[0, 0] = {0}

    assert books.use_lowest((0, 0), set(), lambda _: True) == (0, 0, 0)
    books.give_back((0, 0, 1), room, set())
    books.give_back((0, 0, 0), room, set())

    # Board 2 was taken from the table, so somebody must have it.
    assert books.is_open((0, 0))


def test_a_triad_is_opened_once() -> None:
    books, room = SingleBoards(), PackTree(0, 0, 2, 1)

    assert books.open((1, 0), room, set())
    assert not books.open((1, 0), room, set())
    assert books.spare == {(1, 0): {0, 1, 2}}
    assert books.use_lowest((0, 0), set(), lambda _: True) is None


def test_an_unsuitable_board_is_passed_over_and_a_dead_one_left_out() -> None:
    books, room = SingleBoards(), PackTree(0, 0, 1, 1)
    books.open((0, 0), room, set())

    assert books.use_lowest((0, 0), {(0, 0, 0)}, lambda board: board[2] != 1) == (0, 0, 2)

    assert books.spare == {(0, 0): {1}}
