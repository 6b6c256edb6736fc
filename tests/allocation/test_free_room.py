"""How seldom the filter is asked, searches that go on later, and the free triads."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._allocation.candidate_filter import _CandidateFilter
from spalloc_server._allocation.free_room import FreeRoom, UnfinishedError
from spalloc_server._allocation.grid import Grid
from spalloc_server._allocation.grid_allocator import GridAllocator
from spalloc_server._allocation.kinds import understand
from spalloc_server.links import Links
from tests.support.naive_allocator import NaiveMachine
from tests.support.naive_grid import NaiveGrid, triads_of


@pytest.fixture
def floods(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Blocks that the filter was asked about."""
    asked: list[Any] = []
    judge = _CandidateFilter.__call__

    def ask(self: _CandidateFilter, *block: int) -> bool:
        asked.append(block)
        return judge(self, *block)

    monkeypatch.setattr(_CandidateFilter, "__call__", ask)
    return asked


def test_the_filter_is_not_asked_about_a_block_without_faults(floods: list[Any]) -> None:
    allocator = GridAllocator(6, 6, dead_boards={(2, 2, 1)}, dead_links={(4, 4, 0, Links.north)})

    assert allocator.alloc(3, 3, max_dead_boards=0, max_dead_links=0)

    assert floods == []


def test_the_filter_is_asked_about_a_block_with_a_fault(floods: list[Any]) -> None:
    allocator = GridAllocator(4, 4, dead_boards={(1, 1, 1)})

    allocated = allocator.alloc(4, 4)

    assert allocated is not None
    assert len(allocated[1]) == 47
    assert set(floods) == {(0, 0, 4, 4)}


@pytest.mark.parametrize(("width", "height"), [(3, 1), (2, 3), (2, 2)])
def test_a_dead_cable_around_the_machine_concerns_blocks_that_reach_around_it(
    floods: list[Any], width: int, height: int
) -> None:
    around = {(0, y, 0, Links.west) for y in range(3)} | {(x, 0, 0, Links.south) for x in range(3)}
    allocator = GridAllocator(3, 3, dead_links=around)

    allocated = allocator.alloc(width, height)

    assert allocated is not None
    assert len(floods) == int(3 in {width, height})
    ours = {(x, y) for x, y, _ in allocated[1]}
    assert allocated[2] >= {link for link in around if link[:2] in ours}


def test_blocks_with_too_many_dead_boards_or_cables_are_refused_unasked(floods: list[Any]) -> None:
    dead = {(x, y, 1) for x in range(4) for y in range(4)}
    cables = {(x, y, 0, Links.north) for x in range(4) for y in range(4)}

    assert not GridAllocator(4, 4, dead).alloc_possible(2, 2, max_dead_boards=3)
    assert not GridAllocator(4, 4, (), cables).alloc_possible(
        2, 2, max_dead_boards=0, max_dead_links=3
    )

    assert floods == []


def test_a_verdict_holds_until_faults_change(floods: list[Any]) -> None:
    dead = {(0, 0, 1)}
    allocator = GridAllocator(1, 1, dead)

    for _ in range(3):
        assert allocator.alloc_possible(1, 1, max_dead_links=0, require_torus=True) is not None
    assert len(floods) == 1
    dead.add((0, 0, 2))
    allocator.alloc_possible(1, 1, max_dead_links=0, require_torus=True)
    assert len(floods) == 2


def isolated(width: int, height: int) -> GridAllocator:
    """A machine on which board 1 of each triad is reached from nowhere, and not dead."""
    links = {
        (x, y, 1, link) for x in range(width) for y in range(height) for link in Links
    }
    return GridAllocator(width, height, dead_links=links)


def test_a_search_that_would_take_too_long_goes_on_when_asked_again() -> None:
    allocator = isolated(30, 30)
    request = understand((10, 10), {"max_dead_boards": 99})

    gone_on = 0
    while True:
        allocator.start_searching()
        try:
            assert allocator.allocate_beside(request) is None
            break
        except UnfinishedError:
            gone_on += 1

    assert 10 < gone_on < 30


def test_a_plain_request_is_searched_to_the_end() -> None:
    allocator = isolated(30, 30)

    allocator.start_searching()

    assert allocator.alloc(10, 10, max_dead_boards=99) is None
    assert allocator.alloc(10, 10, max_dead_boards=100)


def test_whether_a_request_is_possible_is_found_out_in_one_go() -> None:
    allocator = isolated(30, 30)

    allocator.start_searching()

    assert allocator.alloc_possible(29, 29, max_dead_boards=840) is False
    assert allocator.alloc_possible(29, 29, max_dead_boards=841) is True


def test_on_large_machines_the_lowest_places_are_looked_at() -> None:
    allocator = GridAllocator(60, 60)
    for x in range(0, 60, 2):
        for y in range(0, 60, 2):
            allocator.restore(x * 60 + y + 1, ("triads", x, y, 1, 1))

    got = allocator.alloc(1, 1)

    assert got is not None
    _, x, y, *_ = allocator.describe(got[0])
    assert (x, y) == (1, 0)


def test_a_request_beyond_the_corners_is_served_where_the_filter_refuses_those() -> None:
    corners = {(x, y, 0) for x in (0, 4) for y in (0, 4)}
    allocator = GridAllocator(5, 5, corners)

    got = allocator.alloc(1, 1)

    assert got is not None
    assert allocator.describe(got[0])[1:3] == (1, 0)


def taken_triads(allocator: GridAllocator) -> set[tuple[int, int]]:
    """Triads of a machine on which no job has a single board."""
    return {
        triad
        for _, *block in allocator.in_use().values()
        for triad in triads_of((block[0], block[1], block[2], block[3]))
    }


@pytest.mark.parametrize("seed", range(12))
def test_a_place_is_chosen_as_in_a_naive_scan_on_machines_in_use(seed: int) -> None:
    dice = Random(seed)
    for _ in range(3):
        width, height = dice.randint(2, 6), dice.randint(2, 6)
        whole = [(x, y, z) for x in range(width) for y in range(height) for z in range(3)]
        dead = set(dice.sample(whole, dice.choice([0, 0, 0, 1, 4])))
        allocator = GridAllocator(width, height, dead, seconds_before_free=0)
        naive = NaiveGrid(NaiveMachine(width, height, dead, set()))
        for _ in range(10):
            what = dice.choice([(dice.randint(2, 40),), (dice.randint(1, 3), dice.randint(1, 3))])
            usable, taken = naive.whole - taken_triads(allocator), taken_triads(allocator)

            got = allocator.alloc(*what)

            expected = naive.best(what, {}, usable, taken)
            assert (None if got is None else allocator.describe(got[0])[1:]) == expected
            if allocator.in_use() and (got is None or dice.random() < 0.3):
                allocator.free(dice.choice(list(allocator.in_use())))
                allocator.check_free()


# --- the free triads ---


@given(st.data())
def test_blocks_are_taken_and_freed_as_in_a_set_of_triads(data: st.DataObject) -> None:
    width, height = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    room = FreeRoom(Grid(width, height))
    taken: dict[tuple[int, int], tuple[int, int, int, int]] = {}

    for _ in range(data.draw(st.integers(1, 12))):
        if data.draw(st.booleans()) and taken:
            corner = data.draw(st.sampled_from(sorted(taken)))
            room.free(*corner)
            del taken[corner]
        else:
            x, y = data.draw(st.integers(-1, width)), data.draw(st.integers(-1, height))
            wide, high = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3))
            block = (x, y, wide, high)
            inside = x >= 0 and x + wide <= width and y >= 0 and y + high <= height
            others = set().union(*map(triads_of, taken.values()))
            if inside and not set(triads_of(block)) & others:
                room.take(*block)
                taken[x, y] = block
            else:
                with pytest.raises(ValueError, match="taken already" if inside else "not inside"):
                    room.take(*block)

    every = {(x, y) for x in range(width) for y in range(height)}
    free = every - set().union(*map(triads_of, taken.values()))
    assert set(room.grid.triads(room.mask)) == free
    assert sorted(room.taken()) == sorted(taken.values())
    other = FreeRoom(Grid(width, height))
    other.take(0, 0, 1, 1)
    other.take_all(room.taken())
    assert (other.mask, sorted(other.taken())) == (room.mask, sorted(room.taken()))
    for x in range(-1, width + 1):
        for y in range(-1, height + 1):
            assert room.request(x, y) == ((x, y) if (x, y) in free else None)
    assert room.mask == 0


def test_a_block_is_freed_by_its_bottom_left_triad_only() -> None:
    room = FreeRoom(Grid(3, 3))
    room.take(0, 1, 2, 2)

    with pytest.raises(KeyError):
        room.free(1, 1)
    room.free(0, 1)

    assert room.mask == room.grid.full


def test_two_openings_are_kept_until_triads_are_taken_or_freed() -> None:
    room = FreeRoom(Grid(4, 3))
    full, part = room.grid.full, room.grid.block(1, 0, 3, 3)

    whole, beside = room.opening(full), room.opening(part)
    assert (whole.mask, beside.mask) == (full, part)
    assert room.opening(full) is whole
    assert room.opening(part) is beside
    room.take(0, 0, 1, 1)

    assert room.opening(full).mask == full ^ 1
    assert room.opening(part).mask == part
    room.free(0, 0)
    assert room.opening(full).mask == full
