"""The tree of free room."""

import gc
import pickle
import weakref
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server.pack_tree import FreeError, PackTree
from tests.support.naive_pack_tree import NaiveTree
from tests.support.plain_state import assert_plain

Region = tuple[int, int, int, int]


class Asked:
    """A filter that notes what it was asked, and accepts only given places."""

    def __init__(self, *accepted: Region, everything: bool = False) -> None:
        self.accepted = accepted
        self.everything = everything
        self.calls: list[Region] = []

    def __call__(self, x: int, y: int, width: int, height: int) -> bool:
        self.calls.append((x, y, width, height))
        return self.everything or (x, y, width, height) in self.accepted


def region(tree: PackTree) -> Region:
    return tree.x, tree.y, tree.width, tree.height


def halves(tree: PackTree) -> list[Region]:
    assert tree.children is not None
    return [region(half) for half in tree.children]


def whole(tree: PackTree) -> bool:
    return tree.children is None and tree.allocated is False


# --- shape ---


def test_a_new_tree_is_one_free_leaf() -> None:
    tree = PackTree(1, 2, 3, 4)

    assert region(tree) == (1, 2, 3, 4)
    assert tree.allocated is False
    assert tree.children is None


def test_a_tree_tells_which_positions_it_has() -> None:
    tree = PackTree(1, 2, 3, 4)

    inside = {(x, y) for x in range(-1, 8) for y in range(-1, 8) if (x, y) in tree}

    assert inside == {(x, y) for x in (1, 2, 3) for y in (2, 3, 4, 5)}


def test_hsplit_makes_a_lower_and_an_upper_half() -> None:
    tree = PackTree(1, 2, 3, 4)

    tree.hsplit(3)

    assert halves(tree) == [(1, 2, 3, 1), (1, 3, 3, 3)]


def test_vsplit_makes_a_left_and_a_right_half() -> None:
    tree = PackTree(1, 2, 3, 4)

    tree.vsplit(2)

    assert halves(tree) == [(1, 2, 1, 4), (2, 2, 2, 4)]


@pytest.mark.parametrize("split", [PackTree.hsplit, PackTree.vsplit])
def test_only_a_free_leaf_is_split(split: Callable[[PackTree, int], None]) -> None:
    taken = PackTree(0, 0, 4, 4)
    taken.alloc(4, 4)
    cut = PackTree(0, 0, 4, 4)
    cut.hsplit(2)

    for tree in (taken, cut):
        with pytest.raises(AssertionError):
            split(tree, 1)


@pytest.mark.parametrize("split", [PackTree.hsplit, PackTree.vsplit])
@pytest.mark.parametrize("at", [-1, 0, 4, 5])
def test_a_half_has_some_room(split: Callable[[PackTree, int], None], at: int) -> None:
    with pytest.raises(AssertionError):
        split(PackTree(0, 0, 4, 4), at)


# --- alloc ---


def test_what_fits_exactly_takes_the_leaf() -> None:
    tree = PackTree(1, 2, 3, 4)

    assert tree.alloc(3, 4) == (1, 2)
    assert tree.allocated is True
    assert tree.children is None
    assert tree.alloc(1, 1) is None


@pytest.mark.parametrize("size", [(5, 1), (1, 4), (5, 4)])
def test_what_is_larger_than_the_tree_has_no_place(size: tuple[int, int]) -> None:
    asked = Asked(everything=True)

    assert PackTree(0, 0, 4, 3).alloc(*size, asked) is None
    assert asked.calls == []


def test_the_larger_leftover_is_cut_off_first() -> None:
    wide, high = PackTree(0, 0, 4, 3), PackTree(0, 0, 3, 4)

    wide.alloc(1, 1)
    high.alloc(1, 1)

    assert halves(wide) == [(0, 0, 1, 3), (1, 0, 3, 3)]
    assert wide.children is not None
    assert halves(wide.children[0]) == [(0, 0, 1, 1), (0, 1, 1, 2)]
    assert halves(high) == [(0, 0, 3, 1), (0, 1, 3, 3)]


def test_leftovers_of_equal_size_are_cut_vertically() -> None:
    tree = PackTree(0, 0, 3, 3)

    tree.alloc(1, 1)

    assert halves(tree) == [(0, 0, 1, 3), (1, 0, 2, 3)]


def test_a_block_as_wide_as_the_leaf_needs_one_cut_only() -> None:
    tree = PackTree(0, 0, 3, 3)

    tree.alloc(3, 1)

    assert halves(tree) == [(0, 0, 3, 1), (0, 1, 3, 2)]


def test_corners_are_offered_low_x_first_and_low_y_first() -> None:
    asked = Asked()

    assert PackTree(1, 2, 4, 5).alloc(2, 2, asked) is None
    assert asked.calls == [(1, 2, 2, 2), (1, 5, 2, 2), (3, 2, 2, 2), (3, 5, 2, 2)]


@pytest.mark.parametrize(
    ("size", "corners"),
    [
        ((4, 2), [(1, 2), (1, 5)]),
        ((2, 5), [(1, 2), (3, 2)]),
        ((4, 5), [(1, 2)]),
    ],
)
def test_each_distinct_corner_is_offered_once(
    size: tuple[int, int], corners: list[tuple[int, int]]
) -> None:
    asked = Asked()

    PackTree(1, 2, 4, 5).alloc(*size, asked)

    assert asked.calls == [(*corner, *size) for corner in corners]


@pytest.mark.parametrize("corner", [(1, 2), (1, 5), (3, 2), (3, 5)])
def test_the_first_corner_accepted_is_taken_and_no_other_asked(
    corner: tuple[int, int],
) -> None:
    tree = PackTree(1, 2, 4, 5)
    asked = Asked((*corner, 2, 2))

    assert tree.alloc(2, 2, asked) == corner

    assert asked.calls[-1] == (*corner, 2, 2)
    assert len(asked.calls) == len(set(asked.calls))
    assert tree.taken() == [(*corner, 2, 2)]


def test_the_smaller_child_is_tried_first() -> None:
    left_is_smaller, right_is_smaller = PackTree(0, 0, 5, 2), PackTree(0, 0, 5, 2)
    left_is_smaller.vsplit(2)
    right_is_smaller.vsplit(3)

    assert left_is_smaller.alloc(1, 1) == (0, 0)
    assert right_is_smaller.alloc(1, 1) == (3, 0)


def test_of_children_of_equal_area_the_first_is_tried_first() -> None:
    side_by_side, one_above = PackTree(0, 0, 4, 4), PackTree(0, 0, 4, 4)
    side_by_side.vsplit(2)
    one_above.hsplit(2)

    assert side_by_side.alloc(1, 1) == (0, 0)
    assert one_above.alloc(1, 1) == (0, 0)


def test_where_one_child_refuses_the_other_is_tried() -> None:
    tree = PackTree(0, 0, 5, 2)
    tree.vsplit(2)
    asked = Asked((2, 0, 2, 2))

    assert tree.alloc(2, 2, asked) == (2, 0)
    assert asked.calls == [(0, 0, 2, 2), (2, 0, 2, 2)]


@pytest.mark.parametrize("size", [(0, 1), (1, 0), (-1, 1), (1, -1)])
def test_a_block_has_a_size(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=str(size[0])):
        PackTree(0, 0, 4, 4).alloc(*size)


# --- alloc_area ---


def test_an_area_is_given_the_shape_that_suits_the_leaf() -> None:
    assert PackTree(0, 0, 4, 4).alloc_area(5) == (0, 0, 4, 2)
    assert PackTree(0, 0, 9, 8).alloc_area(6) == (0, 0, 2, 3)
    assert PackTree(0, 0, 8, 9).alloc_area(6) == (0, 0, 3, 2)
    assert PackTree(0, 0, 9, 9).alloc_area(7, 0.9) == (0, 0, 3, 3)


def test_each_leaf_chooses_its_own_shape() -> None:
    tree = PackTree(0, 0, 10, 6)
    tree.vsplit(1)
    asked = Asked((1, 0, 2, 3))

    assert tree.alloc_area(6, 0.0, asked) == (1, 0, 2, 3)
    assert asked.calls == [(0, 0, 1, 6), (1, 0, 2, 3)]


def test_an_area_that_is_squashed_too_narrow_is_tried_elsewhere() -> None:
    tree = PackTree(0, 0, 10, 6)
    tree.vsplit(1)

    assert tree.alloc_area(6, 0.5) == (1, 0, 2, 3)


def test_an_area_without_room_has_no_place() -> None:
    tree = PackTree(0, 0, 4, 4)

    assert tree.alloc_area(17) is None
    assert tree.alloc_area(16) == (0, 0, 4, 4)
    assert tree.alloc_area(1) is None


def test_wrong_areas_and_ratios_are_refused_even_without_room() -> None:
    tree = PackTree(0, 0, 4, 4)
    tree.alloc(4, 4)

    with pytest.raises(ValueError, match="0"):
        tree.alloc_area(0)
    with pytest.raises(ValueError, match="min_ratio"):
        tree.alloc_area(1, -0.5)


# --- request ---


def test_a_requested_cell_is_taken_alone() -> None:
    tree = PackTree(0, 0, 4, 4)

    assert tree.request(1, 2) == (1, 2)
    assert tree.taken() == [(1, 2, 1, 1)]
    assert tree.request(1, 2) is None


@pytest.mark.parametrize("cell", [(-1, 0), (0, -1), (4, 0), (0, 4)])
def test_a_cell_outside_cannot_be_requested(cell: tuple[int, int]) -> None:
    assert PackTree(0, 0, 4, 4).request(*cell) is None


@pytest.mark.parametrize(
    ("cell", "first_cut"),
    [
        ((3, 2), [(0, 0, 3, 5), (3, 0, 2, 5)]),  # left
        ((1, 2), [(0, 0, 2, 5), (2, 0, 3, 5)]),  # right
        ((2, 1), [(0, 0, 5, 2), (0, 2, 5, 3)]),  # above
        ((2, 3), [(0, 0, 5, 3), (0, 3, 5, 2)]),  # below
        ((2, 2), [(0, 0, 2, 5), (2, 0, 3, 5)]),  # left before all others
        ((0, 0), [(0, 0, 1, 5), (1, 0, 4, 5)]),  # right before above
        ((4, 4), [(0, 0, 4, 5), (4, 0, 1, 5)]),  # left before below
    ],
)
def test_the_side_with_the_largest_gap_is_split_off_first(
    cell: tuple[int, int], first_cut: list[Region]
) -> None:
    tree = PackTree(0, 0, 5, 5)

    tree.request(*cell)

    assert halves(tree) == first_cut


def test_above_is_split_off_before_below() -> None:
    tree = PackTree(0, 0, 1, 5)

    tree.request(0, 2)

    assert halves(tree) == [(0, 0, 1, 3), (0, 3, 1, 2)]


# --- free ---


def test_what_was_freed_melts_back_into_one() -> None:
    tree = PackTree(0, 0, 5, 4)
    places = [tree.alloc(2, 1), tree.alloc(1, 3), tree.request(4, 3)]

    for place in places:
        assert place is not None
        tree.free(*place)

    assert whole(tree)


def test_only_two_free_leaves_melt() -> None:
    tree = PackTree(0, 0, 4, 2)
    tree.alloc(2, 2)
    tree.alloc(1, 2)

    tree.free(0, 0)

    assert halves(tree) == [(0, 0, 2, 2), (2, 0, 2, 2)]
    assert tree.alloc(2, 2) == (0, 0)


@pytest.mark.parametrize(
    "cell", [(-1, 0), (5, 0), (0, 4), (1, 0), (0, 1), (2, 0), (4, 3)]
)
def test_only_the_bottom_left_of_an_allocation_is_freed(cell: tuple[int, int]) -> None:
    tree = PackTree(0, 0, 5, 4)
    tree.alloc(2, 2)

    with pytest.raises(FreeError, match=str(cell[0])):
        tree.free(*cell)

    assert tree.taken() == [(0, 0, 2, 2)]


def test_nothing_is_freed_twice() -> None:
    tree = PackTree(0, 0, 2, 2)
    tree.alloc(1, 1)
    tree.free(0, 0)

    with pytest.raises(FreeError):
        tree.free(0, 0)


def test_freeing_in_a_part_of_a_tree_melts_that_part_only() -> None:
    tree = PackTree(0, 0, 4, 2)
    tree.vsplit(2)
    assert tree.children is not None
    tree.children[0].alloc(1, 1)

    tree.children[0].free(0, 0)

    assert halves(tree) == [(0, 0, 2, 2), (2, 0, 2, 2)]
    assert whole(tree.children[0])


# --- assigned from outside ---


def test_allocated_may_be_assigned() -> None:
    tree = PackTree(0, 0, 4, 2)
    tree.vsplit(2)
    assert tree.children is not None
    first, second = tree.children

    first.allocated = True
    assert tree.alloc(2, 2) == (2, 0)
    assert tree.alloc(1, 1) is None

    first.allocated = False
    assert tree.alloc(2, 2) == (0, 0)

    second.allocated = False
    assert tree.alloc(1, 1) == (2, 0)


def test_children_may_be_assigned() -> None:
    tree = PackTree(0, 0, 4, 2)
    left, right = PackTree(0, 0, 3, 2), PackTree(3, 0, 1, 2)
    left.alloc(3, 2)

    tree.children = (left, right)
    assert tree.alloc(2, 2) is None
    assert tree.alloc(1, 1) == (3, 0)

    left.free(0, 0)
    assert tree.alloc(3, 2) == (0, 0)

    tree.children = None
    assert tree.alloc(4, 2) == (0, 0)


def test_what_assigned_children_do_not_cover_is_not_there() -> None:
    tree = PackTree(0, 0, 4, 2)

    tree.children = (PackTree(0, 0, 1, 2), PackTree(3, 0, 1, 2))

    assert tree.request(1, 1) is None
    with pytest.raises(FreeError):
        tree.free(1, 1)
    assert tree.alloc(2, 2) is None
    assert tree.request(3, 1) == (3, 1)


def test_a_tree_far_below_is_not_forgotten() -> None:
    tree = PackTree(0, 0, 8, 8)
    for cell in [(x, y) for x in range(8) for y in range(8) if (x, y) != (5, 6)]:
        tree.request(*cell)
    leaf = tree
    while leaf.children is not None:
        leaf = next(half for half in leaf.children if (2, 3) in half)

    leaf.allocated = False

    assert {tree.alloc(1, 1), tree.alloc(1, 1)} == {(2, 3), (5, 6)}
    assert tree.alloc(1, 1) is None


def test_a_smaller_place_that_comes_free_beside_a_larger_one_is_found() -> None:
    tree = PackTree(0, 0, 4, 2)
    tree.take(0, 0, 1, 2)
    tree.take(1, 0, 1, 2)
    assert halves(tree) == [(0, 0, 1, 2), (1, 0, 3, 2)]

    tree.free(0, 0)

    assert tree.alloc(1, 1) == (0, 0)


# --- take ---


def test_a_given_block_is_taken() -> None:
    tree = PackTree(0, 0, 5, 4)

    tree.take(1, 1, 3, 2)

    assert tree.taken() == [(1, 1, 3, 2)]
    tree.free(1, 1)
    assert whole(tree)


def test_a_block_across_a_cut_is_taken_all_the_same() -> None:
    tree = PackTree(0, 0, 5, 5)
    tree.take(0, 0, 2, 1)
    tree.take(3, 1, 2, 1)

    tree.take(1, 2, 3, 3)

    assert sorted(tree.taken()) == [(0, 0, 2, 1), (1, 2, 3, 3), (3, 1, 2, 1)]
    for x, y, *_ in tree.taken():
        tree.free(x, y)
    assert whole(tree)


@pytest.mark.parametrize(
    "block",
    [(4, 0, 2, 1), (0, 3, 1, 2), (-1, 0, 1, 1), (0, -1, 1, 1), (0, 0, 0, 1), (0, 0, 1, -1)],
)
def test_a_block_that_is_not_inside_is_not_taken(block: Region) -> None:
    tree = PackTree(0, 0, 5, 4)

    with pytest.raises(ValueError, match="not inside"):
        tree.take(*block)

    assert whole(tree)


@pytest.mark.parametrize("block", [(1, 1, 1, 1), (0, 0, 2, 2), (1, 1, 4, 3), (0, 0, 5, 4)])
def test_a_block_that_overlaps_is_not_taken(block: Region) -> None:
    tree = PackTree(0, 0, 5, 4)
    tree.take(0, 0, 2, 2)
    before = NaiveTree.copy_of(tree).dump()

    with pytest.raises(ValueError, match=r"taken|overlap"):
        tree.take(*block)

    assert NaiveTree.copy_of(tree).dump() == before


def test_blocks_like_a_pinwheel_are_refused_for_no_cuts_lead_there() -> None:
    tree = PackTree(0, 0, 3, 3)
    tree.take(0, 0, 2, 1)
    tree.take(2, 0, 1, 2)
    tree.take(1, 2, 2, 1)
    before = NaiveTree.copy_of(tree).dump()

    with pytest.raises(ValueError, match="cut apart"):
        tree.take(0, 1, 1, 2)

    assert NaiveTree.copy_of(tree).dump() == before


@st.composite
def packed_trees(draw: st.DrawFn) -> PackTree:
    """A tree after some allocating and freeing."""
    tree = PackTree(draw(st.integers(-2, 2)), 0, draw(st.integers(1, 9)), draw(st.integers(1, 9)))
    side = st.integers(1, 4)
    for width, height, drop in draw(st.lists(st.tuples(side, side, st.booleans()))):
        tree.alloc(width, height)
        if drop and tree.taken():
            x, y, *_ = draw(st.sampled_from(sorted(tree.taken())))
            tree.free(x, y)
    return tree


@given(packed_trees(), st.randoms(use_true_random=False))
def test_blocks_of_any_tree_can_be_taken_again_in_any_order(
    tree: PackTree, random: Random
) -> None:
    blocks = sorted(tree.taken())
    random.shuffle(blocks)
    one_by_one = PackTree(*region(tree))
    at_once = PackTree(*region(tree))

    for block in blocks:
        one_by_one.take(*block)
    at_once.take_all(blocks)

    assert sorted(one_by_one.taken()) == sorted(at_once.taken()) == sorted(blocks)


@given(packed_trees())
def test_a_pickled_tree_has_the_same_blocks_and_state_of_builtins_only(tree: PackTree) -> None:
    copy = pickle.loads(pickle.dumps(tree))

    assert_plain(tree.__getstate__())
    assert region(copy) == region(tree)
    assert sorted(copy.taken()) == sorted(tree.taken())
    for x, y, *_ in copy.taken():
        copy.free(x, y)
    assert whole(copy)


# --- size ---


def test_a_tree_may_be_deeper_than_functions_can_call_themselves() -> None:
    tree = PackTree(0, 0, 1500, 1)

    for x in range(1500):
        assert tree.alloc(1, 1) == (x, 0)
    assert tree.alloc(1, 1) is None
    assert len(pickle.loads(pickle.dumps(tree)).taken()) == 1500
    for x in range(1500):
        tree.free(x, 0)

    assert whole(tree)


def test_a_walk_does_not_enter_where_there_is_no_room() -> None:
    tree = PackTree(0, 0, 40, 40)
    for x in range(40):
        for y in range(40):
            tree.request(x, y)
    tree.free(17, 23)
    visited = Asked(everything=True)

    # With a step for each of 1,600 taken leaves, this would take a minute.
    for _ in range(5000):
        assert tree.alloc(1, 1, visited) == (17, 23)
        tree.free(17, 23)

    assert set(visited.calls) == {(17, 23, 1, 1)}


def test_what_has_melted_is_not_kept() -> None:
    gc.disable()
    try:
        tree = PackTree(0, 0, 4, 4)
        tree.alloc(1, 1)
        assert tree.children is not None
        half = weakref.ref(tree.children[0])

        tree.free(0, 0)

        assert half() is None
    finally:
        gc.enable()
