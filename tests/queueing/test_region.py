"""Where a region goes, and how long its holders are expected to stay."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._allocation.grid_allocator import GridAllocator
from spalloc_server._allocation.kinds import understand
from spalloc_server._queueing.region import Holder, best_place
from spalloc_server.links import Links
from tests.support.naive_allocator import NaiveMachine
from tests.support.naive_grid import NaiveGrid, triads_of


@st.composite
def machines(draw: st.DrawFn) -> tuple[GridAllocator, list[Holder]]:
    """A machine with faults, quarantine and holders."""
    width, height = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    boards = st.tuples(
        st.integers(0, width - 1), st.integers(0, height - 1), st.integers(0, 2)
    )
    allocator = GridAllocator(width, height, draw(st.sets(boards, max_size=3)))
    for board in draw(st.sets(boards, max_size=2)):
        allocator.quarantine(board)
    holders = []
    for _ in range(draw(st.integers(0, 12))):
        what: Any = draw(
            st.just(()) | st.tuples(st.integers(2, 12)) | st.tuples(st.integers(1, 3), st.just(1))
        )
        got = allocator.alloc(*what)
        if got is not None:
            # Few different times, so that some are equal.
            holders.append(Holder(draw(st.integers(1, 6)), allocator.describe(got[0])))
    return allocator, holders


def naive_place(allocator: GridAllocator, what: Any, limits: Any, holders: list[Holder]) -> Any:
    dead: Any = allocator.dead_boards
    naive = NaiveGrid(NaiveMachine(allocator.width, allocator.height, dead, set()))
    out = {board[:2] for board in allocator.quarantined if board not in dead}
    places = naive.places(what, limits, naive.whole - out)
    if not places:
        return None
    for holder in sorted(holders, key=lambda each: (-each.remaining, each.footprint)):
        others = [place for place in places if not triads_of(place) & triads_of(holder.block)]
        places = others or places
    order = naive.sizes(what, limits)
    best = min(places, key=lambda place: (place[1], place[0], order.index(place[2:])))
    held = [each.remaining for each in holders if triads_of(each.block) & triads_of(best)]
    return max(held, default=0), best


@given(
    machines(),
    st.tuples(st.integers(2, 40)) | st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.fixed_dictionaries({}, optional={"max_dead_boards": st.integers(0, 2)}),
)
def test_a_region_goes_where_its_slowest_holder_is_gone_first(
    machine: tuple[GridAllocator, list[Holder]], what: Any, limits: Any
) -> None:
    allocator, holders = machine

    best = best_place(allocator, understand(what, limits), holders)

    assert best == naive_place(allocator, what, limits, holders)


@pytest.mark.parametrize("seed", range(20))
def test_a_region_of_a_full_machine_goes_where_its_slowest_holder_is_gone_first(
    seed: int,
) -> None:
    dice = Random(seed)
    for _ in range(15):
        allocator = GridAllocator(dice.randint(2, 5), dice.randint(2, 5))
        holders = []
        for _ in range(dice.randint(1, 12)):
            what: Any = dice.choice([(), (1, 1), (2, 1), (1, 2), (dice.randint(2, 12),)])
            got = allocator.alloc(*what)
            if got is not None:
                holders.append(Holder(dice.randint(1, 9), allocator.describe(got[0])))
        wanted = (dice.randint(2, 40),)

        best = best_place(allocator, understand(wanted, {}), holders)

        assert best == naive_place(allocator, wanted, {}, holders), (wanted, holders)


def test_a_torus_whose_cables_are_all_dead_has_no_place() -> None:
    dead = {
        (x, y, z, link)
        for x in range(2)
        for y in range(2)
        for z in range(3)
        for link in Links
    }

    assert best_place(GridAllocator(2, 2), understand((2, 2), {"require_torus": True}), [])
    broken = GridAllocator(2, 2, set(), dead)
    assert best_place(broken, understand((2, 2), {"require_torus": True}), []) is None


@given(machines(), st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 2)))
def test_the_region_for_a_given_board_is_that_board(
    machine: tuple[GridAllocator, list[Holder]], board: Any
) -> None:
    allocator, holders = machine

    best = best_place(allocator, understand(board, {}), holders)

    if not allocator.alloc_possible(*board) or board in allocator.quarantined:
        assert best is None
        return
    single = {h.footprint[1:]: h.remaining for h in holders if len(h.footprint) == 4}
    blocks = [h for h in holders if len(h.footprint) == 5]
    held = [h.remaining for h in blocks if board[:2] in triads_of(h.block)]
    held += [single[board]] if board in single else []
    assert best == (max(held, default=0), board)
