"""Any sequence of uses of an allocator agrees with a machine kept naively.

The model knows who owns which boards and nothing else. From that, and from the
dead sets as they are at the moment, it says what a request may get: blocks by
walking the naive tree with the naive judge, single boards by the rules of
opened triads.
"""

import pickle
import random
from contextlib import ExitStack
from functools import partial
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from spalloc_server._places import Board
from spalloc_server.allocator import Allocation, Allocator, Footprint
from spalloc_server.area_to_rect import area_to_rect
from spalloc_server.coordinates import WrapAround, board_down_link
from spalloc_server.links import Links
from tests.support.allocating import block, is_idle
from tests.support.fake_clock import FakeClock
from tests.support.naive_allocator import NaiveMachine, OnlyInAndLen
from tests.support.naive_pack_tree import NaiveTree

SIDE = 4
REST = 10

sides = st.sampled_from((1, 1, 1, 2, 2, 3, SIDE))
positions = st.integers(0, SIDE - 1)
boards = st.tuples(positions, positions, st.integers(0, 2))
wires = st.tuples(boards, st.sampled_from(list(Links)))
kinds = st.sampled_from((set, frozenset, OnlyInAndLen))
limits = st.fixed_dictionaries(
    {},
    optional={
        "max_dead_boards": st.none() | st.integers(0, 4),
        "max_dead_links": st.none() | st.integers(0, 6),
        "require_torus": st.booleans(),
        "min_ratio": st.floats(0.0, 1.0),
    },
)


class AllocatorMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.clock = self.stack.enter_context(FakeClock().installed())

    @initialize(
        width=st.integers(1, SIDE), height=st.integers(1, SIDE), kind=kinds, full=st.booleans()
    )
    def start(self, width: int, height: int, kind: Any, full: bool) -> None:
        self.width, self.height = width, height
        self.allocator = Allocator(
            width, height, kind(set()), kind(set()), seconds_before_free=REST
        )
        self.allocator.full_measure = full
        self.held: dict[int, Footprint] = {}
        self.resting: list[tuple[float, int, Footprint]] = []
        self.quarantined: set[Board] = set()
        self.rested: list[int] = []
        self.allocator.on_rested = self.rested.extend

    # --- what the model knows ---

    @property
    def naive(self) -> NaiveMachine:
        allocator = self.allocator
        return NaiveMachine(
            self.width, self.height, allocator.dead_boards, allocator.dead_links
        )

    def outcomes(self) -> list[Footprint]:
        return [*self.held.values(), *(outcome for _, _, outcome in self.resting)]

    def owners(self) -> list[Board]:
        """Boards owned or resting, once for each owner."""
        return [
            board
            for outcome in self.outcomes()
            for board in ([outcome[1:]] if len(outcome) == 4 else block(*outcome[1:]))
        ]

    def open_triads(self) -> set[tuple[int, int]]:
        """Triads that serve single boards, or would but for quarantine."""
        single = {outcome[1:3] for outcome in self.outcomes() if len(outcome) == 4}
        in_blocks = {
            board[:2]
            for outcome in self.outcomes()
            if len(outcome) == 5
            for board in block(*outcome[1:])
        }
        return single | ({board[:2] for board in self.quarantined} - in_blocks)

    def spare(self, x: int, y: int) -> list[int]:
        """Boards of an opened triad that may be handed out, by z."""
        owned = set(self.owners())
        return [
            z
            for z in range(3)
            if (x, y, z) not in owned
            and (x, y, z) not in self.quarantined
            and (x, y, z) not in self.allocator.dead_boards
        ]

    def wait_over(self) -> None:
        """What is due comes back before anything is looked for."""
        due = [entry for entry in self.resting if self.clock.now - entry[0] >= REST]
        before = list(self.rested)

        assert self.allocator.check_free() is bool(due)

        self.resting = [entry for entry in self.resting if entry not in due]
        assert self.rested == before + [number for _, number, _ in sorted(due)]

    def note(self, got: Allocation, outcome: Footprint) -> None:
        assert got[0] == self.allocator.next_id - 1
        assert got[0] not in self.held
        assert self.allocator.describe(got[0]) == outcome
        self.held[got[0]] = outcome

    # --- requests ---

    @rule(what=st.tuples(sides, sides) | st.tuples(st.integers(2, 50)), given=limits)
    def alloc_block(self, what: tuple[int, ...], given: dict[str, Any]) -> None:
        self.wait_over()
        machine, tree = self.naive, NaiveTree.copy_of(self.allocator.pack_tree)
        rules = given

        def keep(x: int, y: int, width: int, height: int) -> bool:
            place = (x, y, width, height)
            return machine.judge(place, machine.expected(what, place), rules) is not None

        place = None
        if not machine.size_is_right(what, given):
            pass
        elif len(what) == 2:
            corner = tree.alloc(*what, keep)
            place = None if corner is None else (*corner, *what)
        else:
            area = (what[0] + 2) // 3
            if self.allocator.full_measure:
                area, rules = machine.full_measure(what[0], given)
            shape = partial(area_to_rect, area, min_ratio=given.get("min_ratio", 0.0))
            place = tree.alloc_area(shape, keep)

        got = self.allocator.alloc(*what, **given)

        if place is None:
            assert got is None
            return
        assert got is not None
        network = machine.judge(place, machine.expected(what, place), rules)
        assert got[1:] == network
        assert not got[1] & set(self.owners())
        self.note(got, ("triads" if len(what) == 2 else "boards", *place))

    @rule()
    def alloc_any_board(self) -> None:
        self.wait_over()
        candidates = {
            (x, y, min(self.spare(x, y))) for x, y in self.open_triads() if self.spare(x, y)
        }
        if not candidates:
            tree, dead = NaiveTree.copy_of(self.allocator.pack_tree), self.allocator.dead_boards
            triad = tree.alloc(
                1, 1, lambda x, y, *_: any((x, y, z) not in dead for z in range(3))
            )
            candidates = set() if triad is None else {(*triad, min(self.spare(*triad)))}

        got = self.allocator.alloc()

        if not candidates:
            assert got is None
            return
        assert got is not None
        self.check_single_board(got)
        assert got[1] <= candidates

    @rule(board=boards)
    def alloc_given_board(self, board: Board) -> None:
        self.wait_over()
        free = (
            board in self.naive.all_boards()
            and board not in self.owners()
            and board not in self.quarantined
            and board not in self.allocator.dead_boards
        )

        got = self.allocator.alloc(*board)

        assert (got is not None) == free
        if got is not None:
            assert got[1] == {board}
            self.check_single_board(got)

    def check_single_board(self, got: Allocation) -> None:
        _, (board,), periphery, torus = got
        assert board not in self.owners()
        assert periphery == {(*board, link) for link in Links}
        assert torus is WrapAround.none
        self.note(got, ("board", *board))

    @rule(
        what=st.just(()) | boards | st.tuples(sides, sides) | st.tuples(st.integers(2, 50)),
        given=limits,
    )
    def is_it_possible(self, what: tuple[int, ...], given: dict[str, Any]) -> None:
        if len(what) in {0, 3}:
            given.pop("require_torus", None)

        assert self.allocator.alloc_possible(*what, **given) is bool(
            self.naive.possible(what, given)
        )

    # --- giving back ---

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.held)))

        self.allocator.free(number)

        self.resting.append((self.clock.now, number, self.held.pop(number)))

    @rule(seconds=st.integers(0, REST))
    def time_passes(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def check_free(self) -> None:
        self.wait_over()

    # --- dead sets change behind the allocator's back ---

    @rule(some=st.sets(boards, max_size=6), kind=kinds)
    def replace_dead_boards(self, some: set[Board], kind: Any) -> None:
        self.allocator.dead_boards = kind(some)

    @rule(some=st.lists(wires, max_size=6), kind=kinds)
    def replace_dead_links(self, some: list[tuple[Board, Links]], kind: Any) -> None:
        self.allocator.dead_links = kind({end for wire in some for end in self.ends(*wire)})

    @rule(board=boards)
    def toggle_dead_board(self, board: Board) -> None:
        dead: Any = self.allocator.dead_boards
        places = getattr(dead, "places", dead)
        if isinstance(places, set):
            places ^= {board}

    @rule(wire=wires)
    def toggle_dead_link(self, wire: tuple[Board, Links]) -> None:
        dead: Any = self.allocator.dead_links
        places = getattr(dead, "places", dead)
        if isinstance(places, set):
            places ^= self.ends(*wire)

    def ends(self, board: Board, link: Links) -> set[tuple[int, int, int, Links]]:
        x, y, z, _ = board_down_link(*board, link, self.width, self.height)
        return {(*board, link), (x, y, z, link.opposite)}

    # --- quarantine ---

    @rule(board=boards)
    def quarantine(self, board: Board) -> None:
        if board in self.naive.all_boards():
            self.allocator.quarantine(board)
            self.quarantined.add(board)

    @precondition(lambda self: self.quarantined)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        board = data.draw(st.sampled_from(sorted(self.quarantined)))

        self.allocator.release(board)

        self.quarantined.remove(board)

    # --- stopping and starting ---

    @rule()
    def pickle(self) -> None:
        self.allocator = pickle.loads(pickle.dumps(self.allocator))
        self.allocator.on_rested = self.rested.extend

    @rule(seed=st.integers(0, 1000))
    def impose_all_on_a_new_one(self, seed: int) -> None:
        old, shuffle = self.allocator, random.Random(seed).shuffle
        new = Allocator(
            self.width,
            self.height,
            old.dead_boards,
            old.dead_links,
            old.next_id,
            old.seconds_before_free,
        )
        imposed: list[Any] = [
            *(partial(new.restore, *entry) for entry in old.allocations.items()),
            *(partial(new.restore, *entry) for entry in old.resting),
            *(partial(new.quarantine, board) for board in old.quarantined),
        ]
        shuffle(imposed)
        for impose in imposed:
            impose()

        assert new.allocations == old.allocations
        assert new.resting == old.resting
        assert new.quarantined == old.quarantined
        self.allocator = new
        new.on_rested = self.rested.extend

    # --- at any time ---

    @invariant()
    def what_is_told_is_what_is_so(self) -> None:
        assert self.allocator.allocations == self.held
        assert self.allocator.quarantined == self.quarantined
        assert self.allocator.resting == [
            (number, outcome, self.clock.now - since)
            for since, number, outcome in sorted(self.resting)
        ]

    @invariant()
    def no_board_has_two_owners_and_none_lies_outside(self) -> None:
        owners = self.owners()

        assert len(owners) == len(set(owners))
        assert set(owners) <= set(self.naive.all_boards())

    @invariant()
    def the_tree_has_the_blocks_and_the_opened_triads(self) -> None:
        blocks = [outcome[1:] for outcome in self.outcomes() if len(outcome) == 5]
        triads = [(x, y, 1, 1) for x, y in self.open_triads()]

        assert sorted(self.allocator.pack_tree.taken()) == sorted([*blocks, *triads])

    @invariant()
    def an_opened_triad_is_in_one_of_two_tables(self) -> None:
        spare = self.allocator.single_board_triads
        full = self.allocator.full_single_board_triads
        taken = {*self.owners(), *self.quarantined}

        assert spare.keys() | full == self.open_triads()
        assert not spare.keys() & full
        assert all(spare.values())
        assert not {(*triad, z) for triad, zs in spare.items() for z in zs} & taken

    def teardown(self) -> None:
        if hasattr(self, "held"):
            for board in list(self.quarantined):
                self.allocator.release(board)
            for number in list(self.held):
                self.allocator.free(number)
            self.clock.advance(REST)
            self.allocator.check_free()
            assert is_idle(self.allocator)
        self.stack.close()


AllocatorMachine.TestCase.settings = settings(stateful_step_count=50)
TestAllocator = AllocatorMachine.TestCase
