"""Whether a block is good enough."""

import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._allocation.candidate_filter import _CandidateFilter
from spalloc_server._places import Board
from spalloc_server.coordinates import WrapAround, board_down_link
from spalloc_server.links import Links
from tests.support.naive_allocator import NaiveMachine, OnlyInAndLen

TRIAD = {(1, 1, 0), (1, 1, 1), (1, 1, 2)}
ALL_LINKS = set(Links)


def candidate_filter(
    width: int,
    height: int,
    dead_boards: Any = frozenset(),
    dead_links: Any = frozenset(),
    **limits: Any,
) -> _CandidateFilter:
    given = {"max_dead_boards": None, "max_dead_links": None, "require_torus": False} | limits
    return _CandidateFilter(width, height, dead_boards, dead_links, **given)


def both_ends(board: Board, link: Links, machine: tuple[int, int]) -> set[Any]:
    """A wire that is dead, as it is seen from both of its ends."""
    far_x, far_y, far_z, _ = board_down_link(*board, link, *machine)
    return {(*board, link), (far_x, far_y, far_z, link.opposite)}


# --- _enumerate_boards ---


def test_all_boards_of_a_block_without_faults_are_reached() -> None:
    judge = candidate_filter(5, 5)

    boards = judge._enumerate_boards(1, 2, 2, 3)

    assert boards == {(x, y, z) for x in (1, 2) for y in (2, 3, 4) for z in range(3)}


def test_dead_boards_are_not_reached() -> None:
    judge = candidate_filter(3, 3, {(1, 1, 1)})

    assert judge._enumerate_boards(1, 1, 1, 1) == TRIAD - {(1, 1, 1)}


def test_nothing_is_reached_from_a_dead_first_board() -> None:
    judge = candidate_filter(3, 3, {(1, 1, 0)})

    assert judge._enumerate_boards(1, 1, 1, 1) == set()
    assert judge._enumerate_boards(1, 1, 2, 2) == set()


def test_what_is_cut_off_by_dead_links_is_not_reached() -> None:
    cut = both_ends((1, 1, 0), Links.north_east, (3, 3)) | both_ends((1, 1, 1), Links.west, (3, 3))
    judge = candidate_filter(3, 3, (), cut)

    assert judge._enumerate_boards(1, 1, 1, 1) == {(1, 1, 0), (1, 1, 2)}


def test_what_is_cut_off_by_dead_boards_is_not_reached() -> None:
    # The right triad is reached from (0, 0, 1) only.
    judge = candidate_filter(4, 4, {(0, 0, 1)})

    assert judge._enumerate_boards(0, 0, 2, 1) == {(0, 0, 0), (0, 0, 2)}


def test_a_detour_outside_the_block_does_not_count() -> None:
    around = set().union(
        both_ends((1, 1, 0), Links.north_east, (3, 3)),
        both_ends((1, 1, 1), Links.west, (3, 3)),
    )

    inside = candidate_filter(3, 3, (), around)._enumerate_boards(1, 1, 1, 1)
    larger = candidate_filter(3, 3, (), around)._enumerate_boards(0, 0, 3, 3)

    assert (1, 1, 1) not in inside
    assert (1, 1, 1) in larger


def test_a_link_around_the_machine_reaches_boards_too() -> None:
    cut = both_ends((0, 0, 0), Links.north_east, (1, 1)) | both_ends((0, 0, 1), Links.west, (1, 1))
    judge = candidate_filter(1, 1, (), cut)

    assert judge._enumerate_boards(0, 0, 1, 1) == {(0, 0, z) for z in range(3)}


def test_a_cable_that_is_dead_at_either_end_is_not_followed() -> None:
    towards = {(1, 1, 0, link) for link in Links}
    back = {(1, 1, 1, link) for link in Links}

    assert candidate_filter(3, 3, (), towards)._enumerate_boards(1, 1, 1, 1) == {(1, 1, 0)}
    assert candidate_filter(3, 3, (), back)._enumerate_boards(1, 1, 1, 1) == TRIAD - {(1, 1, 1)}


# --- _classify_links ---


def test_links_of_one_board_are_all_periphery() -> None:
    alive, wrap, dead, dead_wrap, periphery, torus = candidate_filter(
        3, 3, (), {(1, 1, 0, Links.east)}
    )._classify_links({(1, 1, 0)})

    assert (alive, wrap, dead, dead_wrap) == (set(), set(), set(), set())
    assert periphery == {(1, 1, 0, link) for link in Links}
    assert torus is WrapAround.none


def test_links_between_two_boards_are_alive_in_both_directions() -> None:
    alive, wrap, dead, dead_wrap, periphery, torus = candidate_filter(
        3, 3
    )._classify_links({(1, 1, 0), (1, 1, 1)})

    assert alive == {(1, 1, 0, Links.north_east), (1, 1, 1, Links.south_west)}
    assert (wrap, dead, dead_wrap) == (set(), set(), set())
    assert len(periphery) == 10
    assert torus is WrapAround.none


def test_a_dead_link_is_dead_from_where_it_is_seen() -> None:
    wire = (1, 1, 0, Links.north_east)

    alive, _, dead, *_ = candidate_filter(3, 3, (), {wire})._classify_links(TRIAD)

    assert dead == {wire}
    assert (1, 1, 1, Links.south_west) in alive


def test_each_link_is_in_exactly_one_set() -> None:
    dead_links = {(0, 0, 0, Links.north), (0, 0, 0, Links.south), (0, 0, 1, Links.east)}
    judge = candidate_filter(1, 1, (), dead_links)
    boards = {(0, 0, 0), (0, 0, 1), (0, 0, 2)}

    *sets, torus = judge._classify_links(boards)

    alive, wrap, dead, dead_wrap, periphery = sets
    assert dead == {(0, 0, 0, Links.north)}
    assert dead_wrap == {(0, 0, 0, Links.south), (0, 0, 1, Links.east)}
    assert len(alive) == 5
    assert len(wrap) == 10
    assert periphery == set()
    assert sum(map(len, sets)) == len(set().union(*sets)) == 18
    assert torus is WrapAround.both


@pytest.mark.parametrize(
    ("block", "torus"),
    [
        ((0, 0, 3, 1), WrapAround.x),
        ((1, 0, 1, 4), WrapAround.y),
        ((0, 0, 3, 4), WrapAround.both),
        ((0, 0, 2, 3), WrapAround.none),
    ],
)
def test_a_block_as_long_as_the_machine_wraps_around(
    block: tuple[int, int, int, int], torus: WrapAround
) -> None:
    judge = candidate_filter(3, 4)

    assert judge(*block)
    assert judge.torus is torus


def crossing(width: int, height: int, directions: int) -> set[Any]:
    """All links that go around a machine in one of these directions."""
    return {
        (x, y, z, link)
        for x in range(width)
        for y in range(height)
        for z in range(3)
        for link in Links
        if board_down_link(x, y, z, link, width, height)[3] & directions
    }


@pytest.mark.parametrize("only_this_end", [None, 0, 1])
@pytest.mark.parametrize(
    ("dead", "alive"),
    [
        (WrapAround.both, WrapAround.none),
        (WrapAround.x, WrapAround.y),
        (WrapAround.y, WrapAround.x),
    ],
)
def test_dead_links_do_not_wrap_around(
    dead: WrapAround, alive: WrapAround, only_this_end: int | None
) -> None:
    links = crossing(2, 2, dead)
    named = {end for end in links if only_this_end in {None, end[3] // 3}}
    judge = candidate_filter(2, 2, (), named)

    assert judge(0, 0, 2, 2) is True

    assert judge.torus is alive
    assert judge.periphery == links
    strict = candidate_filter(2, 2, (), named, require_torus=True)
    assert strict(0, 0, 2, 2) is bool(alive)


# --- __call__ ---


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 1), (1, 3), (2, 2), (3, 2), (3, 3)])
def test_the_rim_of_a_sound_block_is_the_same_everywhere(width: int, height: int) -> None:
    for x in range(4 - width):
        for y in range(4 - height):
            judge = candidate_filter(4, 4)
            assert judge(x, y, width, height) is True
            boards = {
                (triad_x, triad_y, z)
                for triad_x in range(x, x + width)
                for triad_y in range(y, y + height)
                for z in range(3)
            }
            assert judge.boards == boards
            _, wrap, _, _, periphery, torus = judge._classify_links(boards)
            assert not wrap
            assert (judge.periphery, judge.torus) == (periphery, torus)


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_after_a_large_block_as_before(enabled: bool) -> None:
    before = gc.isenabled()
    seen = []

    class Dead(frozenset[Any]):
        def __contains__(self, board: object, /) -> bool:
            seen.append(gc.isenabled())
            return super().__contains__(board)

    (gc.enable if enabled else gc.disable)()
    try:
        assert candidate_filter(9, 9, Dead({(8, 8, 0)}))(0, 0, 8, 8) is True
        after = gc.isenabled()
    finally:
        (gc.enable if before else gc.disable)()

    assert not any(seen)
    assert after is enabled


def test_a_refused_torus_leaves_the_filter_as_it_was() -> None:
    judge = candidate_filter(3, 3, require_torus=True)

    assert judge(1, 1, 1, 1) is False

    assert (judge.boards, judge.periphery, judge.torus) == (None, None, None)


def test_before_anything_is_accepted_there_is_nothing_to_tell() -> None:
    judge = candidate_filter(3, 3, {(1, 1, 0)})

    assert judge(1, 1, 1, 1) is False
    assert (judge.boards, judge.periphery, judge.torus) == (None, None, None)


def test_what_is_accepted_is_left_in_the_filter() -> None:
    judge = candidate_filter(3, 3)

    assert judge(1, 1, 1, 1) is True

    assert judge.boards == TRIAD
    assert judge.periphery is not None
    assert len(judge.periphery) == 12
    assert {type(link) for *_, link in judge.periphery} == {Links}
    assert judge.torus is WrapAround.none


def test_periphery_holds_dead_links_too() -> None:
    judge = candidate_filter(3, 3, (), {(1, 1, 0, Links.south)}, max_dead_links=0)

    assert judge(1, 1, 1, 1)
    assert judge.periphery is not None
    assert (1, 1, 0, Links.south) in judge.periphery


def test_links_to_dead_boards_of_the_block_are_periphery() -> None:
    judge = candidate_filter(3, 3, {(1, 1, 1)}, max_dead_links=0)

    assert judge(1, 1, 1, 1)
    assert judge.periphery is not None
    assert (1, 1, 0, Links.north_east) in judge.periphery


@pytest.mark.parametrize(("allowed", "accepted"), [(0, False), (1, True), (2, True), (None, True)])
def test_dead_boards_are_weighed_against_the_whole_block(
    allowed: int | None, accepted: bool
) -> None:
    judge = candidate_filter(3, 3, {(1, 1, 1)}, max_dead_boards=allowed)

    assert judge(1, 1, 1, 1) is accepted


@pytest.mark.parametrize(("width", "height"), [(1, 2), (1, 3), (2, 1), (2, 2)])
def test_a_block_with_one_live_triad_has_that_triads_links_alone(width: int, height: int) -> None:
    x, y = 1, 1
    dead = {
        (x + dx, y + dy, z)
        for dx in range(width)
        for dy in range(height)
        for z in range(3)
        if (dx, dy) != (0, 0)
    }
    judge = candidate_filter(5, 5, dead)

    assert judge(x, y, width, height)

    assert judge.boards == TRIAD
    alone = candidate_filter(5, 5)
    assert alone(x, y, 1, 1)
    assert judge.periphery == alone.periphery
    assert judge.torus is WrapAround.none


def test_unreachable_boards_count_as_dead_ones() -> None:
    cut = both_ends((1, 1, 0), Links.north_east, (3, 3)) | both_ends((1, 1, 1), Links.west, (3, 3))

    assert candidate_filter(3, 3, (), cut, max_dead_boards=0)(1, 1, 1, 1) is False
    assert candidate_filter(3, 3, (), cut, max_dead_boards=1)(1, 1, 1, 1) is True


def test_dead_boards_are_weighed_against_the_number_expected() -> None:
    def judge(expected: int | None, allowed: int) -> bool:
        return candidate_filter(
            3, 3, {(1, 1, 1)}, max_dead_boards=allowed, expected_boards=expected
        )(1, 1, 1, 1)

    assert judge(2, 0) is True
    assert judge(1, 0) is True
    assert judge(3, 0) is False
    assert judge(3, 1) is True
    assert judge(None, 0) is False


@pytest.mark.parametrize(("allowed", "accepted"), [(0, False), (1, True), (None, True)])
@pytest.mark.parametrize("named", [{0}, {1}, {0, 1}])
def test_a_dead_cable_counts_once_whichever_ends_are_named(
    named: set[int], allowed: int | None, accepted: bool
) -> None:
    ends = sorted(both_ends((1, 1, 0), Links.north_east, (3, 3)))
    dead = {ends[number] for number in named}

    assert candidate_filter(3, 3, (), dead, max_dead_links=allowed)(1, 1, 1, 1) is accepted


@pytest.mark.parametrize("named", [{0}, {1}, {0, 1}])
def test_both_ends_of_a_dead_cable_between_the_boards_are_stopped(named: set[int]) -> None:
    ends = sorted(both_ends((1, 1, 0), Links.north_east, (3, 3)))
    sound, judge = candidate_filter(3, 3), candidate_filter(3, 3, (), {ends[n] for n in named})

    assert sound(1, 1, 1, 1)
    assert judge(1, 1, 1, 1)

    assert sound.periphery is not None
    assert judge.periphery == sound.periphery | set(ends)


def test_dead_links_around_the_machine_count_only_where_they_are_required() -> None:
    wire = {(0, 0, 0, Links.south)}

    def judge(require_torus: bool) -> bool:
        return candidate_filter(
            1, 1, (), wire, max_dead_links=0, require_torus=require_torus
        )(0, 0, 1, 1)

    assert judge(require_torus=False) is True
    assert judge(require_torus=True) is False


@pytest.mark.parametrize(
    ("block", "accepted"),
    [((0, 0, 3, 4), True), ((0, 2, 3, 1), True), ((2, 0, 1, 4), True), ((0, 0, 2, 3), False)],
)
def test_a_torus_in_x_or_in_y_satisfies(
    block: tuple[int, int, int, int], accepted: bool
) -> None:
    assert candidate_filter(3, 4, require_torus=True)(*block) is accepted


def test_only_membership_and_length_of_dead_sets_are_asked() -> None:
    dead_boards, dead_links = OnlyInAndLen({(1, 1, 1)}), OnlyInAndLen({(1, 1, 0, Links.north)})
    judge = candidate_filter(3, 3, dead_boards, dead_links)

    assert judge(1, 1, 1, 1)
    assert judge.boards == {(1, 1, 0)}


@pytest.mark.parametrize("dead_links", [set(), {(0, 0, 0, Links.east)}])
@pytest.mark.parametrize(("width", "height"), [(3, 5), (4, 4), (5, 3)])
def test_every_block_of_a_machine_is_judged_as_in_a_naive_scan(
    width: int, height: int, dead_links: set[Any]
) -> None:
    machine = NaiveMachine(width, height, set(), dead_links)
    judge = candidate_filter(width, height, (), dead_links)
    blocks = (
        (x, y, w, h)
        for x in range(width)
        for y in range(height)
        for w in range(1, width - x + 1)
        for h in range(1, height - y + 1)
    )

    for block in blocks:
        assert judge(*block)
        expected = machine.judge(block, 0, {})
        assert (judge.boards, judge.periphery, judge.torus) == expected, block


@st.composite
def questions(draw: st.DrawFn) -> tuple[NaiveMachine, tuple[int, int, int, int], dict[str, Any]]:
    """A machine with faults, a block of it, and limits."""
    width, height = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    machine = NaiveMachine(width, height, set(), set())
    places = st.sampled_from(machine.all_boards())
    dead_boards = draw(st.sets(places, max_size=4))
    dead_links: set[Any] = set()
    for board, link, one_end in draw(
        st.lists(st.tuples(places, st.sampled_from(list(Links)), st.booleans()), max_size=8)
    ):
        wire = both_ends(board, link, (width, height))
        dead_links |= {(*board, link)} if one_end else wire
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    block = (x, y, draw(st.integers(1, width - x)), draw(st.integers(1, height - y)))
    limits = {
        "max_dead_boards": draw(st.none() | st.integers(0, 5)),
        "max_dead_links": draw(st.none() | st.integers(0, 9)),
        "require_torus": draw(st.booleans()),
    }
    return NaiveMachine(width, height, dead_boards, dead_links), block, limits


@given(questions(), st.none() | st.integers(1, 40))
def test_a_block_is_judged_as_it_is_link_by_link(
    question: tuple[NaiveMachine, tuple[int, int, int, int], dict[str, Any]],
    expected_boards: int | None,
) -> None:
    machine, block, limits = question
    judge = _CandidateFilter(
        machine.width,
        machine.height,
        machine.dead_boards,
        machine.dead_links,
        **limits,
        expected_boards=expected_boards,
    )

    accepted = judge(*block)

    expected = 3 * block[2] * block[3] if expected_boards is None else expected_boards
    network = machine.judge(block, expected, limits)
    assert type(accepted) is bool
    assert accepted == (network is not None)
    if network is not None:
        assert (judge.boards, judge.periphery, judge.torus) == network
        assert type(judge.torus) is WrapAround


@given(questions())
def test_the_classes_of_links_are_complete_and_disjoint(
    question: tuple[NaiveMachine, tuple[int, int, int, int], dict[str, Any]],
) -> None:
    machine, block, _ = question
    judge = candidate_filter(
        machine.width, machine.height, machine.dead_boards, machine.dead_links
    )
    boards: set[Board] = judge._enumerate_boards(*block)

    *sets, _ = judge._classify_links(boards)

    everything = {(*board, link) for board in boards for link in Links}
    assert set().union(*sets) == everything
    assert sum(map(len, sets)) == len(everything)
