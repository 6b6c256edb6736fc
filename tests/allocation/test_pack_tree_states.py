"""Any sequence of uses of a tree agrees with the tree written naively."""

from collections.abc import Callable
from functools import partial

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from spalloc_server.area_to_rect import area_to_rect
from spalloc_server.pack_tree import FreeError, PackTree
from tests.support.naive_pack_tree import NaiveTree

SIDE = 8

# Mostly small blocks in large trees, so that much happens in each.
sides = st.sampled_from((1, 1, 1, 2, 2, 3, 4, SIDE))
cells = st.integers(-1, SIDE)
#: What a filter refuses: nothing at all, or some of all places.
moods = st.one_of(st.none(), st.tuples(st.integers(0, 1000), st.integers(0, 4)))
Mood = tuple[int, int] | None
Call = tuple[int, int, int, int]


def moody_filter(mood: Mood, calls: list[Call]) -> Callable[[int, int, int, int], bool] | None:
    """A filter that refuses the same places each time, noting its calls."""
    if mood is None:
        return None
    salt, refused = mood

    def keep(x: int, y: int, width: int, height: int) -> bool:
        calls.append((x, y, width, height))
        return hash((salt, x, y, width, height)) % 4 >= refused

    return keep


class PackTreeMachine(RuleBasedStateMachine):
    @initialize(width=st.integers(3, SIDE), height=st.integers(3, SIDE))
    def start(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.tree = PackTree(0, 0, width, height)
        self.blocks: dict[tuple[int, int], tuple[int, int]] = {}

    @rule(width=sides, height=sides, mood=moods)
    def alloc(self, width: int, height: int, mood: Mood) -> None:
        calls: list[Call] = []
        naive_calls: list[Call] = []
        naive = NaiveTree.copy_of(self.tree)

        place = self.tree.alloc(width, height, moody_filter(mood, calls))

        assert place == naive.alloc(width, height, moody_filter(mood, naive_calls))
        assert calls == naive_calls
        assert NaiveTree.copy_of(self.tree).dump() == naive.dump()
        if place is not None:
            self.blocks[place] = (width, height)

    @rule(
        area=st.one_of(st.integers(1, 6), st.integers(1, SIDE * SIDE)),
        ratio=st.one_of(st.just(0.0), st.floats(0.0, 1.0), st.floats(1.0, 3.0)),
        mood=moods,
    )
    def alloc_area(self, area: int, ratio: float, mood: Mood) -> None:
        calls: list[Call] = []
        naive_calls: list[Call] = []
        naive = NaiveTree.copy_of(self.tree)

        place = self.tree.alloc_area(area, ratio, moody_filter(mood, calls))

        shape_in = partial(area_to_rect, area, min_ratio=ratio)
        assert place == naive.alloc_area(shape_in, moody_filter(mood, naive_calls))
        assert calls == naive_calls
        assert NaiveTree.copy_of(self.tree).dump() == naive.dump()
        if place is not None:
            self.blocks[place[:2]] = place[2:]

    @rule(x=cells, y=cells)
    def request(self, x: int, y: int) -> None:
        naive = NaiveTree.copy_of(self.tree)

        place = self.tree.request(x, y)

        assert place == naive.request(x, y)
        assert NaiveTree.copy_of(self.tree).dump() == naive.dump()
        if place is not None:
            self.blocks[place] = (1, 1)

    @rule(x=cells, y=cells, width=sides, height=sides)
    def take(self, x: int, y: int, width: int, height: int) -> None:
        before = NaiveTree.copy_of(self.tree).dump()
        mine = {(x + dx, y + dy) for dx in range(width) for dy in range(height)}
        inside = x >= 0 <= y and x + width <= self.width and y + height <= self.height

        try:
            self.tree.take(x, y, width, height)
        except ValueError as error:
            # A pinwheel is free and inside, and refused all the same.
            assert not inside or mine & set(self.owners()) or "cut apart" in str(error)
            assert NaiveTree.copy_of(self.tree).dump() == before
        else:
            assert inside
            assert not mine & set(self.owners())
            self.blocks[x, y] = (width, height)

    @precondition(lambda self: self.blocks)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        place = data.draw(st.sampled_from(sorted(self.blocks)))
        naive = NaiveTree.copy_of(self.tree)
        del self.blocks[place]

        self.tree.free(*place)

        assert naive.free(*place)
        assert NaiveTree.copy_of(self.tree).dump() == naive.dump()

    @rule(x=cells, y=cells)
    def free_anything(self, x: int, y: int) -> None:
        naive = NaiveTree.copy_of(self.tree)

        try:
            self.tree.free(x, y)
        except FreeError:
            assert not naive.free(x, y)
        else:
            assert naive.free(x, y)
            del self.blocks[x, y]

    @rule(x=cells, y=cells)
    def assign_allocated(self, x: int, y: int) -> None:
        """Somebody else marks a leaf as taken."""
        if (x, y) not in self.tree:
            return
        leaf = self.tree
        while leaf.children is not None:
            leaf = next(half for half in leaf.children if (x, y) in half)

        leaf.allocated = True

        self.blocks[leaf.x, leaf.y] = (leaf.width, leaf.height)

    @invariant()
    def each_cell_has_one_owner(self) -> None:
        owners = self.owners()

        assert len(owners) == len(set(owners))
        assert all(0 <= x < self.width and 0 <= y < self.height for x, y in owners)
        assert sorted(self.tree.taken()) == sorted(
            (*place, *size) for place, size in self.blocks.items()
        )

    def owners(self) -> list[tuple[int, int]]:
        """Cells taken, once for each block that has them."""
        return [
            (x + dx, y + dy)
            for (x, y), (width, height) in self.blocks.items()
            for dx in range(width)
            for dy in range(height)
        ]

    def teardown(self) -> None:
        if hasattr(self, "tree"):
            for place in list(self.blocks):
                self.tree.free(*place)
            assert self.tree.children is None
            assert self.tree.allocated is False


PackTreeMachine.TestCase.settings = settings(stateful_step_count=60)
TestPackTree = PackTreeMachine.TestCase
