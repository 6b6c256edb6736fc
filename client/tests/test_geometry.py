import pytest
from hypothesis import given
from hypothesis import strategies as st
from spalloc_client._geometry import (
    EAST,
    LINKS,
    NORTH,
    NORTH_EAST,
    all_boards,
    board_at,
    both_ends,
    cell_of,
    neighbour,
    opposite,
    wrap,
)

BOARDS = st.tuples(st.integers(-30, 30), st.integers(-30, 30), st.integers(0, 2))

#: The wiring as the protocol has it: (z, link) to (dx, dy, dz).
WIRING = {
    (0, NORTH): (0, 0, 2),
    (0, NORTH_EAST): (0, 0, 1),
    (0, EAST): (0, -1, 2),
    (1, NORTH): (1, 1, -1),
    (1, NORTH_EAST): (1, 0, 1),
    (1, EAST): (1, 0, -1),
    (2, NORTH): (0, 1, -1),
    (2, NORTH_EAST): (1, 1, -2),
    (2, EAST): (0, 0, -1),
}


@pytest.mark.parametrize(("end", "step"), WIRING.items())
def test_links_lead_where_they_are_wired(
    end: tuple[int, int], step: tuple[int, int, int]
) -> None:
    z, link = end
    there = (5 + step[0], 5 + step[1], z + step[2])

    assert neighbour((5, 5, z), link) == there
    assert neighbour(there, opposite(link)) == (5, 5, z)


@given(BOARDS)
def test_cells_round_trip(board: tuple[int, int, int]) -> None:
    assert board_at(cell_of(board)) == board


@given(BOARDS, st.sampled_from(LINKS))
def test_the_way_there_and_back_is_no_way(board: tuple[int, int, int], link: int) -> None:
    assert neighbour(neighbour(board, link), opposite(link)) == board
    assert opposite(opposite(link)) == link


@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from(LINKS))
def test_in_a_machine_each_board_is_some_boards_neighbour(
    width: int, height: int, link: int
) -> None:
    boards = all_boards(width, height)

    assert len(boards) == width * height * 3
    assert sorted(wrap(neighbour(b, link), width, height) for b in boards) == sorted(boards)


def test_a_link_is_named_by_both_ends() -> None:
    assert both_ends([(0, 0, 0, NORTH)], 2, 2) == {(0, 0, 0, 2), (0, 0, 2, 5)}
    assert both_ends([(0, 0, 0, 2), (0, 0, 2, 5)], 2, 2) == {(0, 0, 0, 2), (0, 0, 2, 5)}
    assert both_ends([(1, 0, 1, EAST)], 2, 2) == {(1, 0, 1, 0), (0, 0, 0, 3)}
