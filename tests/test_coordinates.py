"""Boards, chips and the wiring between boards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server.coordinates import (
    WrapAround,
    board_down_link,
    board_to_chip,
    chip_to_board,
    link_to_vector,
    triad_dimensions_to_chips,
)
from spalloc_server.links import Links

sizes = st.integers(1, 9)
links = st.sampled_from(list(Links))


@st.composite
def boards(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    """A board, and the size of its machine."""
    width, height = draw(sizes), draw(sizes)
    x = draw(st.integers(0, width - 1))
    y = draw(st.integers(0, height - 1))
    return x, y, draw(st.integers(0, 2)), width, height


@pytest.mark.parametrize(
    ("board", "chip"),
    [
        ((0, 0, 0), (0, 0)),
        ((0, 0, 1), (8, 4)),
        ((0, 0, 2), (4, 8)),
        ((2, 3, 0), (24, 36)),
        ((2, 3, 1), (32, 40)),
        ((2, 3, 2), (28, 44)),
    ],
)
def test_a_board_has_its_ethernet_chip_here(
    board: tuple[int, int, int], chip: tuple[int, int]
) -> None:
    assert board_to_chip(*board) == chip


def test_a_triad_has_three_boards() -> None:
    with pytest.raises(ValueError, match="3"):
        board_to_chip(0, 0, 3)
    with pytest.raises(ValueError, match="-1"):
        board_to_chip(0, 0, -1)


@given(boards())
def test_a_boards_ethernet_chip_is_on_that_board(board: tuple[int, int, int, int, int]) -> None:
    x, y, z, width, height = board

    found = chip_to_board(*board_to_chip(x, y, z), 12 * width, 12 * height)

    assert found == (x, y, z)
    assert all(type(number) is int for number in found)


@given(st.integers(1, 3), st.integers(1, 3))
def test_each_board_has_48_chips_in_a_box_of_eight_by_eight(width: int, height: int) -> None:
    chips: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    for x in range(12 * width):
        for y in range(12 * height):
            board = chip_to_board(x, y, 12 * width, 12 * height)
            chips.setdefault(board, []).append((x, y))

    assert len(chips) == 3 * width * height
    for board, places in chips.items():
        root_x, root_y = board_to_chip(*board)
        offsets = [((x - root_x) % (12 * width), (y - root_y) % (12 * height)) for x, y in places]
        assert len(places) == 48
        assert all(x < 8 and y < 8 for x, y in offsets)


def test_the_wiring_is_the_one_that_is_written_down() -> None:
    half = {
        (0, Links.north): (0, 0, 2),
        (0, Links.north_east): (0, 0, 1),
        (0, Links.east): (0, -1, 2),
        (1, Links.north): (1, 1, -1),
        (1, Links.north_east): (1, 0, 1),
        (1, Links.east): (1, 0, -1),
        (2, Links.north): (0, 1, -1),
        (2, Links.north_east): (1, 1, -2),
        (2, Links.east): (0, 0, -1),
    }

    assert type(link_to_vector) is dict
    assert len(link_to_vector) == 18
    assert {key: link_to_vector[key] for key in half} == half
    for (z, link), (dx, dy, dz) in half.items():
        assert link_to_vector[z + dz, link.opposite] == (-dx, -dy, -dz)


@pytest.mark.parametrize(
    ("board", "link", "there"),
    [
        ((0, 0, 0), Links.north, (0, 0, 2, WrapAround.none)),
        ((0, 0, 0), Links.south_west, (3, 4, 2, WrapAround.both)),
        ((0, 2, 0), Links.west, (3, 2, 1, WrapAround.x)),
        ((2, 0, 0), Links.east, (2, 4, 2, WrapAround.y)),
        ((3, 4, 1), Links.north, (0, 0, 0, WrapAround.both)),
        ((3, 1, 1), Links.east, (0, 1, 0, WrapAround.x)),
        ((1, 4, 2), Links.north, (1, 0, 1, WrapAround.y)),
    ],
)
def test_a_link_leads_to_a_board_and_tells_which_edges_it_crosses(
    board: tuple[int, int, int], link: Links, there: tuple[int, int, int, WrapAround]
) -> None:
    found = board_down_link(*board, link, 4, 5)

    assert found == there
    assert type(found[3]) is WrapAround


@given(boards(), links)
def test_going_there_and_back_ends_where_it_began(
    board: tuple[int, int, int, int, int], link: Links
) -> None:
    x, y, z, width, height = board

    far_x, far_y, far_z, wrap = board_down_link(x, y, z, link, width, height)

    assert (far_x, far_y, far_z) != (x, y, z)
    assert board_down_link(far_x, far_y, far_z, link.opposite, width, height) == (x, y, z, wrap)


@given(boards(), links)
def test_neighbours_ethernet_chips_lie_in_the_direction_of_the_link(
    board: tuple[int, int, int, int, int], link: Links
) -> None:
    steps = {
        Links.east: (4, -4),
        Links.north_east: (8, 4),
        Links.north: (4, 8),
        Links.west: (-4, 4),
        Links.south_west: (-8, -4),
        Links.south: (-4, -8),
    }
    x, y, z, width, height = board

    far_x, far_y, far_z, _ = board_down_link(x, y, z, link, width, height)

    near_chip, far_chip = board_to_chip(x, y, z), board_to_chip(far_x, far_y, far_z)
    dx, dy = steps[link]
    assert far_chip == ((near_chip[0] + dx) % (12 * width), (near_chip[1] + dy) % (12 * height))


def test_wrap_around_is_made_of_bits() -> None:
    assert [(wrap.name, int(wrap)) for wrap in WrapAround] == [
        ("none", 0),
        ("x", 1),
        ("y", 2),
        ("both", 3),
    ]
    assert WrapAround(WrapAround.x | WrapAround.y) is WrapAround.both


@pytest.mark.parametrize(
    ("torus", "size"),
    [
        (WrapAround.none, (28, 40)),
        (WrapAround.x, (24, 40)),
        (WrapAround.y, (28, 36)),
        (WrapAround.both, (24, 36)),
    ],
)
def test_a_network_reaches_four_chips_further_where_it_does_not_wrap(
    torus: WrapAround, size: tuple[int, int]
) -> None:
    assert triad_dimensions_to_chips(2, 3, torus) == size
