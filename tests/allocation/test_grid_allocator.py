"""Any sequence of uses of a grid allocator keeps the records right, and its choices exact."""

import pickle
import random
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from spalloc_server._allocation.free_room import UnfinishedError
from spalloc_server._allocation.grid_allocator import GridAllocator, Kept
from spalloc_server._allocation.kinds import understand
from spalloc_server._places import Board
from spalloc_server.coordinates import WrapAround
from spalloc_server.links import Links
from tests.support.fake_clock import FakeClock
from tests.support.naive_allocator import NaiveMachine
from tests.support.naive_grid import NaiveGrid, triads_of

REST = 10

coordinates = st.integers(0, 4)
boards = st.tuples(coordinates, coordinates, st.integers(0, 2))
sides = st.integers(1, 4)
limits = st.fixed_dictionaries(
    {},
    optional={
        "max_dead_boards": st.none() | st.integers(0, 3),
        "max_dead_links": st.none() | st.integers(0, 3),
        "require_torus": st.booleans(),
        "min_ratio": st.sampled_from((0.0, 0.3, 0.5, 3.0)),
    },
)
blocks = st.tuples(sides, sides) | st.tuples(st.integers(2, 40))


class GridAllocatorMachine(RuleBasedStateMachine):
    """An allocator beside the footprints of its allocations."""

    @initialize(width=st.integers(1, 5), height=st.integers(1, 5))
    def start(self, width: int, height: int) -> None:
        self.stack = ExitStack()
        self.clock = self.stack.enter_context(FakeClock().installed())
        self.width, self.height = width, height
        self.allocator = GridAllocator(width, height, seconds_before_free=REST)
        self.in_use: dict[int, Any] = {}
        self.resting: dict[int, Any] = {}
        self.kept = Kept(0, self.allocator.grid.full)
        self.number = 0

    # --- the model ---

    @property
    def naive(self) -> NaiveGrid:
        dead: Any = self.allocator.dead_boards
        links: Any = self.allocator.dead_links
        return NaiveGrid(NaiveMachine(self.width, self.height, dead, links))

    def footprints(self) -> list[Any]:
        return [*self.in_use.values(), *self.resting.values()]

    def open_triads(self) -> set[tuple[int, int]]:
        single = {footprint[1:3] for footprint in self.footprints() if len(footprint) == 4}
        blocks = [footprint[1:] for footprint in self.footprints() if len(footprint) == 5]
        out = {board[:2] for board in self.allocator.quarantined}
        return single | (out - set().union(*map(triads_of, blocks)))

    def taken(self) -> set[tuple[int, int]]:
        blocks = [footprint[1:] for footprint in self.footprints() if len(footprint) == 5]
        return self.open_triads().union(*map(triads_of, blocks))

    def usable(self, board: Board) -> bool:
        """Whether a board may be handed out singly, its triad being open."""
        single = {footprint[1:] for footprint in self.footprints() if len(footprint) == 4}
        return board not in {*single, *self.allocator.quarantined} and (
            board not in self.allocator.dead_boards
        )

    def kept_triads(self) -> set[tuple[int, int]]:
        return set(self.allocator.grid.triads(self.kept.triads))

    # --- ask ---

    @rule(what=blocks, given=limits, way=st.sampled_from(("anywhere", "outside", "inside")))
    def alloc_block(self, what: tuple[int, ...], given: dict[str, Any], way: str) -> None:
        naive = self.naive
        usable = naive.whole - self.taken()
        if way == "outside":
            usable -= self.kept_triads()
        expected = naive.best(what, given, usable, self.taken())

        got = self.ask(way, what, given)

        if expected is None:
            assert got is None
            return
        assert got is not None
        kind = "triads" if len(what) == 2 else "boards"
        assert self.allocator.describe(got[0]) == (kind, *expected)
        network = naive.machine.judge(expected, naive.machine.expected(what, expected), given)
        assert got[1:] == network
        self.in_use[got[0]] = (kind, *expected)

    def ask(self, way: str, what: tuple[int, ...], given: dict[str, Any]) -> Any:
        if way == "anywhere":
            return self.allocator.alloc(*what, **given)
        request = understand(what, given)
        while True:
            self.allocator.start_searching()
            try:
                return self.allocator.allocate_beside(request, self.kept, inside=way == "inside")
            except UnfinishedError:
                pass

    @rule(way=st.sampled_from(("anywhere", "outside", "inside")))
    def alloc_any_board(self, way: str) -> None:
        kept, closed = self.kept_triads(), set(self.allocator.grid.triads(self.kept.closed))
        if way == "anywhere":
            kept = closed = set()
        hidden = closed if way == "inside" else kept
        spare = {
            triad: [z for z in range(3) if self.usable((*triad, z))]
            for triad in self.open_triads() - hidden
        }
        ready = [(len(zs), y, x) for (x, y), zs in spare.items() if zs]
        expected: Board | None = None
        if ready:
            _, y, x = min(ready)
            expected = (x, y, spare[x, y][0])
        else:
            free = self.naive.whole - self.taken() - (set() if way == "inside" else kept)
            live = {
                triad: [z for z in range(3) if (*triad, z) not in self.allocator.dead_boards]
                for triad in free
            }
            live = {triad: zs for triad, zs in live.items() if zs}
            if any(len(zs) < 3 for zs in live.values()):
                live = {triad: zs for triad, zs in live.items() if len(zs) < 3}
            contact = {t: self.naive.contact((*t, 1, 1), self.taken()) for t in live}
            if live:
                x, y = min(live, key=lambda t: (-contact[t], t[1], t[0]))
                expected = (x, y, live[x, y][0])

        got = self.ask(way, (), {})

        assert (None if got is None else got[1]) == (None if expected is None else {expected})
        if got is not None:
            assert got[2] == {(*expected, link) for link in Links}  # type: ignore[misc]
            assert got[3] is WrapAround.none
            self.in_use[got[0]] = ("board", *expected)  # type: ignore[misc]

    @rule(board=boards, way=st.sampled_from(("anywhere", "outside")))
    def alloc_given_board(self, board: Board, way: str) -> None:
        on_machine = board in self.naive.machine.all_boards()
        free = board[:2] not in self.taken() or board[:2] in self.open_triads()
        if way == "outside" and not on_machine:
            return
        hidden = way == "outside" and board[:2] in self.kept_triads()

        got = self.ask(way, board, {})

        assert (got is not None) == (on_machine and free and self.usable(board) and not hidden)
        if got is not None:
            self.in_use[got[0]] = ("board", *board)

    @rule(what=blocks, given=limits)
    def is_it_possible(self, what: tuple[int, ...], given: dict[str, Any]) -> None:
        assert self.allocator.alloc_possible(*what, **given) is self.naive.possible(what, given)

    @rule(what=blocks, given=limits)
    def for_which_boards_does_it_wait(self, what: tuple[int, ...], given: dict[str, Any]) -> None:
        dead = self.allocator.dead_boards
        out = frozenset(b for b in self.allocator.quarantined if b not in dead)
        beside = self.naive.whole - {board[:2] for board in out}

        waits = self.allocator.waits_for(*what, **given)

        if self.naive.possible(what, given):
            assert waits == (frozenset() if self.naive.places(what, given, beside) else out)

    # --- give back ---

    @precondition(lambda self: self.in_use)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.in_use)))

        self.allocator.free(number)

        self.resting[number] = self.in_use.pop(number)

    @rule()
    def all_has_rested(self) -> None:
        self.clock.advance(REST)

        assert self.allocator.check_free() == bool(self.resting)

        self.resting.clear()

    # --- faults, regions and quarantine ---

    @rule(some=st.sets(boards, max_size=6))
    def replace_dead_boards(self, some: set[Board]) -> None:
        self.allocator.dead_boards = some

    @rule(some=st.sets(st.tuples(boards, st.sampled_from(list(Links))), max_size=6))
    def replace_dead_links(self, some: set[tuple[Board, Links]]) -> None:
        inside = self.naive.machine.all_boards()
        self.allocator.dead_links = {(*board, link) for board, link in some if board in inside}

    @rule(board=boards)
    def toggle_dead_board(self, board: Board) -> None:
        dead: Any = self.allocator.dead_boards
        dead ^= {board}

    @rule(board=boards)
    def quarantine(self, board: Board) -> None:
        if board in self.naive.machine.all_boards():
            self.allocator.quarantine(board)

    @precondition(lambda self: self.allocator.quarantined)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        self.allocator.release(data.draw(st.sampled_from(sorted(self.allocator.quarantined))))

    @rule(data=st.data())
    def keep_a_region(self, data: st.DataObject) -> None:
        grid = self.allocator.grid
        x = data.draw(st.integers(0, self.width - 1))
        y = data.draw(st.integers(0, self.height - 1))
        width = data.draw(st.integers(1, self.width - x))
        height = data.draw(st.integers(1, self.height - y))
        closed = sum(grid.bit(*triad) for triad in self.open_triads())
        mask = grid.block(x, y, width, height)
        self.kept = Kept(mask, grid.full & ~mask, closed=closed & mask)

    # --- stop and start ---

    @rule()
    def pickle(self) -> None:
        self.allocator = pickle.loads(pickle.dumps(self.allocator))

    @rule(seed=st.integers(0, 1000))
    def impose_all_on_a_new_one(self, seed: int) -> None:
        old = self.allocator
        new = GridAllocator(
            self.width, self.height, old.dead_boards, old.dead_links, old.next_id, REST
        )
        imposed: list[Any] = [
            *(partial(new.restore, *entry) for entry in old.allocations.items()),
            *(partial(new.restore, *entry) for entry in old.resting),
            *(partial(new.quarantine, board) for board in sorted(old.quarantined)),
        ]
        random.Random(seed).shuffle(imposed)
        for impose in imposed:
            impose()
        self.allocator = new

    # --- at any time ---

    @invariant()
    def no_board_has_two_owners_and_none_lies_outside(self) -> None:
        owners: list[Board] = []
        for kind, *place in self.footprints():
            if kind == "board":
                owners.append(tuple(place))
            else:
                owners += [(x, y, z) for x, y in triads_of(tuple(place)) for z in range(3)]
        assert len(owners) == len(set(owners))
        assert set(owners) <= set(self.naive.machine.all_boards())

    @invariant()
    def the_mask_has_the_triads_that_nobody_has(self) -> None:
        free = set(self.allocator.grid.triads(self.allocator.room.mask))

        assert free == self.naive.whole - self.taken()
        assert self.allocator.allocations == self.in_use

    def teardown(self) -> None:
        if hasattr(self, "stack"):
            self.stack.close()


GridAllocatorMachine.TestCase.settings = settings(stateful_step_count=40)
TestGridAllocator = GridAllocatorMachine.TestCase


# --- requests are remembered ---


def test_a_machine_without_dead_boards_has_none_in_any_block() -> None:
    assert GridAllocator(4, 3).alloc(4, 3, max_dead_boards=0) is not None


def test_few_requests_are_remembered_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spalloc_server._allocation.grid_allocator._MOST_REQUESTS", 1)
    allocator = GridAllocator(4, 3)

    given = [allocator.alloc(number) for number in (1, 4, 7, 4)]

    assert all(each is not None for each in given)


def test_little_memory_changes_no_answer() -> None:
    links = {(0, 0, 0, Links.north), (2, 1, 1, Links.east)}
    usual = GridAllocator(6, 5, dead_links=set(links))
    small = GridAllocator(6, 5, dead_links=set(links))
    small.grid.remembered = 1

    asked = [(2, 1), (1, 2), (18,), (2, 2), (1, 1), (2, 1), (3, 1)]
    given = [
        [each and sorted(each[1]) for each in (a.alloc(*s, max_dead_links=0) for s in asked)]
        for a in (usual, small)
    ]

    assert given[0] == given[1]
    assert all(given[0])


def test_the_sets_of_an_allocation_are_not_kept_for_the_next_request() -> None:
    allocator = GridAllocator(3, 3)
    request = understand((5,), {})

    allocation = allocator.allocate_beside(request)

    assert allocation is not None
    assert len(allocation[1]) == 6
    blocks = allocator.blocks(request)
    assert blocks is not None
    assert blocks.judge.boards is None
    assert blocks.judge.periphery is None


def test_full_measure_counts_from_the_moment_it_is_set() -> None:
    allocator = GridAllocator(2, 1, {(0, 0, 1)}, seconds_before_free=0)
    request = understand((3,), {})
    allocator.start_searching()
    short = allocator.allocate_beside(request)
    assert short is not None
    assert short[1] == {(0, 0, 0), (0, 0, 2)}
    allocator.free(short[0])
    allocator.check_free()

    allocator.full_measure = True

    full = allocator.allocate_beside(request)
    assert full is not None
    assert full[1] == {(1, 0, 0), (1, 0, 1), (1, 0, 2)}


def test_whether_few_requests_are_possible_is_remembered_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spalloc_server._allocation.grid_allocator._MOST_REQUESTS", 1)
    dead: set[tuple[int, int, int]] = set()
    allocator = GridAllocator(4, 3, dead)
    asked = (36, 4, 37, 36)

    answers = [allocator.alloc_possible(number, max_dead_boards=0) for number in asked]
    dead.add((0, 0, 0))
    answers += [allocator.alloc_possible(number, max_dead_boards=0) for number in asked]

    assert answers == [True, True, False, True, False, True, False, False]
    assert len(allocator._possible) == 1


def test_places_beside_a_region_that_is_taken_are_looked_for_once() -> None:
    allocator = GridAllocator(4, 3)
    room, others = allocator.room, allocator.grid.full ^ allocator.grid.block(0, 0, 2, 2)
    assert room.opening(others) is not room.opening(allocator.grid.full)

    room.take(0, 0, 2, 2)

    assert room.opening(others) is room.opening(allocator.grid.full)


def test_a_given_block_is_had_if_it_is_free_and_accepted() -> None:
    allocator = GridAllocator(4, 1, {(1, 0, 1)})
    strict, lenient = understand((2, 1), {"max_dead_boards": 0}), understand((2, 1), {})

    assert allocator.allocate_block_at(strict, 0, 0, 2, 1) is None
    assert allocator.allocations == {}
    given = allocator.allocate_block_at(lenient, 0, 0, 2, 1)

    assert given is not None
    assert len(given[1]) == 5
    assert allocator.allocate_block_at(lenient, 1, 0, 2, 1) is None
    whole = allocator.allocate_block_at(strict, 2, 0, 2, 1)
    assert whole is not None
    assert len(whole[1]) == 6
