"""The least block that has enough boards, among all that an idle machine has."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._allocation.grid_allocator import GridAllocator
from spalloc_server.area_to_rect import least_rectangles
from spalloc_server.links import Links
from tests.support.naive_allocator import NaiveMachine


@st.composite
def machines(draw: st.DrawFn) -> NaiveMachine:
    width, height = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    machine = NaiveMachine(width, height, set(), set())
    places = st.sampled_from(machine.all_boards())
    dead_boards = draw(st.sets(places, max_size=8))
    ends = st.tuples(places, st.sampled_from(list(Links)))
    dead_links = {(*board, link) for board, link in draw(st.sets(ends, max_size=8))}
    alone = draw(st.none() | places)
    if alone is not None:
        dead_links |= {(*alone, link) for link in Links}
    return NaiveMachine(width, height, dead_boards, dead_links)


@given(
    machines(),
    st.integers(2, 48),
    st.sampled_from((0.0, 0.5, 1.0)),
    st.none() | st.integers(0, 1),
)
def test_a_number_of_boards_gets_the_least_block_that_has_the_most_of_them(
    machine: NaiveMachine, boards: int, min_ratio: float, max_dead_links: int | None
) -> None:
    allocator = GridAllocator(
        machine.width, machine.height, machine.dead_boards, machine.dead_links
    )
    allocator.full_measure = True
    limits: dict[str, Any] = {"min_ratio": min_ratio, "max_dead_links": max_dead_links}

    got = allocator.alloc(boards, **limits)

    sizes = []
    for x in range(machine.width):
        for y in range(machine.height):
            for width in range(1, machine.width - x + 1):
                for height in range(1, machine.height - y + 1):
                    network = machine.judge((x, y, width, height), boards, limits)
                    square = min(width, height) / max(width, height) >= min_ratio
                    if network is not None and square:
                        sizes.append((-min(boards, len(network.boards)), width * height))
    shaped = least_rectangles(-(-boards // 3), machine.width, machine.height, min_ratio)
    assert allocator.alloc_possible(boards, **limits) is bool(sizes and shaped)
    if not sizes or not shaped:
        assert got is None
        return
    assert got is not None
    footprint: Any = allocator.describe(got[0])
    width, height = footprint[3:]
    assert (-min(boards, len(got[1])), width * height) == min(sizes)


@pytest.mark.parametrize(("boards", "fits"), [(3, False), (17, True), (18, True), (19, False)])
def test_only_the_whole_machine_is_measured_for_a_torus(boards: int, fits: bool) -> None:
    allocator = GridAllocator(3, 2, dead_boards={(1, 1, 2)})
    allocator.full_measure = True

    assert allocator.alloc_possible(boards, require_torus=True) is fits
    got = allocator.alloc(boards, require_torus=True)

    if fits:
        assert got is not None
        assert allocator.describe(got[0]) == ("boards", 0, 0, 3, 2)
        assert len(got[1]) == 17
    else:
        assert got is None


def test_a_request_that_limits_dead_boards_is_taken_at_its_word() -> None:
    allocator = GridAllocator(2, 1, dead_boards={(0, 0, 1), (0, 0, 2)})
    allocator.full_measure = True

    assert allocator.alloc(3, max_dead_boards=2) is not None
    assert allocator.describe(1) == ("boards", 0, 0, 1, 1)


def test_others_wait_for_the_block_that_has_enough() -> None:
    allocator = GridAllocator(3, 1, dead_boards={(0, 0, 1)}, seconds_before_free=0)
    allocator.full_measure = True
    allocator.alloc(2, 1)
    allocator.alloc(2, 0, 0)

    assert allocator.alloc(3) is None
    allocator.free(1)
    allocator.check_free()
    assert allocator.alloc(3) is not None
    assert allocator.describe(3) == ("boards", 1, 0, 1, 1)
