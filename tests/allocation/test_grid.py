"""Masks of triads, compared with sets of positions, and the boards and links of blocks."""

import gc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._allocation.grid import Grid, Opening, edge, uncollected, whole_block
from spalloc_server.coordinates import WrapAround, board_down_link
from spalloc_server.links import Links

Triads = set[tuple[int, int]]


@st.composite
def machines(draw: st.DrawFn) -> tuple[Grid, Triads]:
    """A grid, and few or most of its triads."""
    width, height = draw(st.integers(1, 7)), draw(st.integers(1, 7))
    every = [(x, y) for x in range(width) for y in range(height)]
    some = draw(st.sets(st.sampled_from(every)))
    return Grid(width, height), set(every) - some if draw(st.booleans()) else some


def mask_of(grid: Grid, triads: Triads) -> int:
    return sum(grid.bit(x, y) for x, y in triads)


def block(x: int, y: int, width: int, height: int) -> Triads:
    return {(x + dx, y + dy) for dx in range(width) for dy in range(height)}


def naive_anchors(triads: Triads, width: int, height: int) -> Triads:
    return {(x, y) for x, y in triads if block(x, y, width, height) <= triads}


sides = st.integers(1, 8)


@given(machines())
def test_a_mask_tells_its_triads_by_row(machine: tuple[Grid, Triads]) -> None:
    grid, triads = machine

    told = list(grid.triads(mask_of(grid, triads)))

    assert told == sorted(triads, key=lambda triad: (triad[1], triad[0]))
    assert grid.full == mask_of(grid, block(0, 0, grid.width, grid.height))


@given(machines(), sides, sides)
def test_anchors_are_those_of_a_naive_scan(
    machine: tuple[Grid, Triads], width: int, height: int
) -> None:
    grid, triads = machine
    mask = mask_of(grid, triads)

    expected = mask_of(grid, naive_anchors(triads, width, height))
    assert grid.anchors(mask, width, height) == expected
    assert Opening(grid, mask).anchors(width, height) == expected


@given(machines(), st.lists(st.tuples(sides, sides), min_size=2, max_size=6))
def test_an_opening_is_asked_for_sizes_in_any_order(
    machine: tuple[Grid, Triads], sizes: list[tuple[int, int]]
) -> None:
    grid, triads = machine
    opening = Opening(grid, mask_of(grid, triads))

    told = [opening.anchors(*size) for size in sizes]

    assert told == [mask_of(grid, naive_anchors(triads, *size)) for size in sizes]
    inside = {
        size: anchors
        for size, anchors in zip(sizes, told, strict=True)
        if size[0] <= grid.width and size[1] <= grid.height
    }
    assert opening.anchors_of(inside) == inside


@given(machines(), sides, sides)
def test_corners_are_where_a_block_cannot_slide_both_ways(
    machine: tuple[Grid, Triads], width: int, height: int
) -> None:
    grid, triads = machine
    anchors = naive_anchors(triads, width, height)

    corners = {
        (x, y)
        for x, y in anchors
        if not {(x - 1, y), (x + 1, y)} <= anchors and not {(x, y - 1), (x, y + 1)} <= anchors
    }
    assert grid.corners(mask_of(grid, anchors)) == mask_of(grid, corners)


@given(machines(), st.data())
def test_contact_counts_neighbours_and_edges(
    machine: tuple[Grid, Triads], data: st.DataObject
) -> None:
    grid, blocked = machine
    width, height = data.draw(st.integers(1, grid.width)), data.draw(st.integers(1, grid.height))
    x = data.draw(st.integers(0, grid.width - width))
    y = data.draw(st.integers(0, grid.height - height))
    whole = block(0, 0, grid.width, grid.height)

    contact = 0
    for near in block(x, y, width, height):
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1)):
            far = (near[0] + dx, near[1] + dy)
            outside = far not in block(x, y, width, height)
            contact += outside and (far in blocked or far not in whole)
    assert grid.contact(mask_of(grid, blocked), x, y, width, height) == contact


@given(machines(), st.data())
def test_most_contact_leaves_the_triads_with_the_most_neighbours(
    machine: tuple[Grid, Triads], data: st.DataObject
) -> None:
    grid, blocked = machine
    whole = sorted(block(0, 0, grid.width, grid.height))
    some = data.draw(st.sets(st.sampled_from(whole), min_size=1))
    mask = mask_of(grid, blocked)

    contacts = {triad: grid.contact(mask, *triad, 1, 1) for triad in some}
    best = {triad for triad, contact in contacts.items() if contact == max(contacts.values())}
    assert grid.most_contact(mask_of(grid, some), mask) == mask_of(grid, best)


@given(machines(), st.data())
def test_the_largest_squares_beside_a_block_are_counted(
    machine: tuple[Grid, Triads], data: st.DataObject
) -> None:
    grid, triads = machine
    width, height = data.draw(st.integers(1, grid.width)), data.draw(st.integers(1, grid.height))
    x = data.draw(st.integers(0, grid.width - width))
    y = data.draw(st.integers(0, grid.height - height))

    side, number = Opening(grid, mask_of(grid, triads)).squares_lost((x, y, width, height))

    left = triads - block(x, y, width, height)
    numbers = [(side, len(naive_anchors(left, side, side))) for side in range(1, 10)]
    assert (-side, -number) == max((one for one in numbers if one[1]), default=(0, 0))


@given(machines(), st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_an_area_is_held_if_any_block_is_as_large(
    machine: tuple[Grid, Triads], areas: list[int]
) -> None:
    grid, triads = machine
    opening = Opening(grid, mask_of(grid, triads))
    largest = Opening(grid, mask_of(grid, triads)).largest

    told = [opening.holds(area) for area in (*areas, largest, largest + 1)]

    assert told == [area <= largest for area in (*areas, largest, largest + 1)]
    assert opening.largest == largest


@given(machines())
def test_the_largest_square_and_block_are_found(machine: tuple[Grid, Triads]) -> None:
    grid, triads = machine
    mask = mask_of(grid, triads)
    opening = Opening(grid, mask)
    most = min(grid.width, grid.height)

    squares = {side: len(naive_anchors(triads, side, side)) for side in range(1, most + 1)}
    side = max((side for side, number in squares.items() if number), default=0)
    assert opening.side == side
    assert Opening(grid, mask, near=most).side == side
    assert opening.largest == max(
        (
            width * height
            for width in range(1, grid.width + 1)
            for height in range(1, grid.height + 1)
            if naive_anchors(triads, width, height)
        ),
        default=0,
    )
    assert [opening.tallest(width) for width in range(1, grid.width + 1)] == [
        max(
            (high for high in range(1, grid.height + 1) if naive_anchors(triads, width, high)),
            default=0,
        )
        for width in range(1, grid.width + 1)
    ]


@given(machines(), sides, sides, st.data())
def test_blocks_that_overlap_a_block(
    machine: tuple[Grid, Triads], width: int, height: int, data: st.DataObject
) -> None:
    grid, _ = machine
    x, y = data.draw(st.integers(0, grid.width - 1)), data.draw(st.integers(0, grid.height - 1))
    other = (
        x,
        y,
        data.draw(st.integers(1, grid.width - x)),
        data.draw(st.integers(1, grid.height - y)),
    )
    width, height = min(width, grid.width), min(height, grid.height)
    every = naive_anchors(block(0, 0, grid.width, grid.height), width, height)

    overlapping = {triad for triad in every if block(*triad, width, height) & block(*other)}
    assert grid.overlapping(other, width, height) == mask_of(grid, overlapping)
    touched = set().union(*(block(*triad, width, height) for triad in every))
    assert grid.touched(mask_of(grid, every), width, height) == mask_of(grid, touched)


# --- the boards of a block ---


@given(st.data())
def test_a_whole_block_has_the_links_that_are_found_one_by_one(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 5))
    x, y = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    wide, high = data.draw(st.integers(1, width - x)), data.draw(st.integers(1, height - y))
    every = {(a, b, z) for a in range(x, x + wide) for b in range(y, y + high) for z in range(3)}

    boards, periphery, torus = whole_block((x, y, wide, high), (width, height))

    leaving, around = set(), 0
    for board in every:
        for link in Links:
            far_x, far_y, far_z, wrap = board_down_link(*board, link, width, height)
            if (far_x, far_y, far_z) not in every:
                leaving.add((*board, link))
            else:
                around |= wrap
    assert boards == every
    assert periphery == leaving
    assert torus is WrapAround(around)
    assert edge((x, y, wide, high), (width, height)) == (periphery, torus)


@pytest.mark.parametrize(("triads", "collects"), [(49, True), (50, False)])
@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_after_a_large_block_as_before(
    enabled: bool, triads: int, collects: bool
) -> None:
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        with pytest.raises(ZeroDivisionError), uncollected(triads):
            inside = gc.isenabled()
            raise ZeroDivisionError
        after = gc.isenabled()
    finally:
        (gc.enable if before else gc.disable)()

    assert inside is (enabled and collects)
    assert after is enabled
