"""Cuts that go through no block."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._guillotine import Block, Cut, find_cut

REGION = Block(0, 0, 6, 5)


def test_the_largest_empty_piece_is_cut_off() -> None:
    assert find_cut(REGION, [Block(0, 0, 2, 2)]) == Cut(vertical=True, at=2)
    assert find_cut(REGION, [Block(4, 0, 2, 2)]) == Cut(vertical=True, at=4)
    assert find_cut(REGION, [Block(0, 0, 5, 1)]) == Cut(vertical=False, at=1)
    assert find_cut(REGION, [Block(0, 4, 5, 1)]) == Cut(vertical=False, at=4)


def test_where_no_piece_is_empty_the_cut_nearest_the_middle_is_made() -> None:
    columns = [Block(x, 0, width, 5) for x, width in ((0, 1), (1, 1), (2, 2), (4, 2))]

    assert find_cut(REGION, columns) in {Cut(True, 2), Cut(True, 4)}


def test_a_gap_between_blocks_is_cut_at_one_of_its_edges() -> None:
    cut = find_cut(REGION, [Block(0, 0, 6, 1), Block(0, 4, 6, 1)])

    assert cut in {Cut(vertical=False, at=1), Cut(vertical=False, at=4)}


@pytest.mark.parametrize(
    "blocks",
    [
        [Block(0, 0, 4, 5), Block(2, 0, 4, 5)],
        [Block(0, 0, 6, 5), Block(0, 0, 6, 5)],
        [Block(-1, 0, 7, 5)],
        [Block(0, 0, 4, 2), Block(4, 0, 2, 3), Block(2, 3, 4, 2), Block(0, 2, 2, 3)],
    ],
    ids=["overlapping", "twice the same", "sticking out", "pinwheel"],
)
def test_what_no_cut_separates_is_refused(blocks: list[Block]) -> None:
    with pytest.raises(ValueError, match="cannot be cut apart"):
        find_cut(REGION, blocks)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1, unique=True))
def test_a_cut_goes_through_no_block_and_leaves_room_on_both_sides(
    cells: list[tuple[int, int]],
) -> None:
    vertical, at = find_cut(REGION, [Block(x, y, 1, 1) for x, y in cells])

    assert 0 < at < (REGION.width if vertical else REGION.height)
