"""Blocks and single boards of one machine."""

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from spalloc_server._places import Board
from spalloc_server.allocator import Allocator, _AllocationType, _CandidateFilter
from spalloc_server.coordinates import WrapAround
from spalloc_server.links import Links
from tests.support.allocating import block, boards_of, is_idle, triad
from tests.support.fake_clock import FakeClock
from tests.support.naive_allocator import OnlyInAndLen


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock().installed() as clock:
        yield clock


# --- construction ---


def test_a_new_allocator_is_idle() -> None:
    allocator = Allocator(3, 4)

    assert (allocator.width, allocator.height) == (3, 4)
    assert (allocator.next_id, allocator.seconds_before_free) == (1, 30)
    assert is_idle(allocator)
    assert allocator.allocations == {}
    assert allocator.resting == []
    assert allocator.quarantined == frozenset()


def test_the_dead_sets_are_the_very_objects_given() -> None:
    dead_boards, dead_links = {(0, 0, 0)}, frozenset({(0, 0, 0, Links.east)})

    allocator = Allocator(3, 4, dead_boards, dead_links)

    assert allocator.dead_boards is dead_boards
    assert allocator.dead_links is dead_links


def test_without_dead_sets_there_are_new_ones_that_may_be_changed() -> None:
    first, second = Allocator(1, 1), Allocator(1, 1)

    assert type(first.dead_boards) is set
    assert type(first.dead_links) is set
    first.dead_boards.add((0, 0, 0))

    assert first.dead_boards is not second.dead_boards
    assert first.alloc(1, 1) is None
    assert second.alloc(1, 1) is not None


def test_construction_takes_nothing_for_each_board() -> None:
    # With something for each of 30 million boards this would not end soon.
    allocator = Allocator(10_000, 1000)

    assert boards_of(allocator) == {(0, 0, 0)}


def test_allocations_are_numbered_from_the_given_number() -> None:
    allocator = Allocator(3, 3, next_id=10)

    numbers = [allocation[0] for _ in range(3) if (allocation := allocator.alloc(1, 1))]

    assert numbers == [10, 11, 12]


def test_a_refused_request_uses_up_no_number() -> None:
    allocator = Allocator(3, 3)

    allocator.alloc(9, 9)

    assert allocator.next_id == 1


# --- kinds of requests ---


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ((), _AllocationType.board),
        ((1,), _AllocationType.board),
        ((None, None, None), _AllocationType.board),
        ((4, None, None), _AllocationType.boards),
        ((4,), _AllocationType.boards),
        ((1, 2), _AllocationType.triads),
        ((0, 0, 0), _AllocationType.board),
    ],
)
def test_the_arguments_tell_the_kind(
    what: tuple[int | None, ...], kind: _AllocationType
) -> None:
    assert Allocator(3, 4)._alloc_type(*what) is kind


def test_there_are_three_kinds() -> None:
    assert {kind.name for kind in _AllocationType} == {"triads", "board", "boards"}


@pytest.mark.parametrize("what", [(), (1,), (None,), (0, 0, 0)])
@pytest.mark.parametrize("method", ["alloc", "alloc_possible", "_alloc_type"])
def test_single_boards_with_a_torus_are_refused(
    method: str, what: tuple[int | None, ...]
) -> None:
    with pytest.raises(ValueError, match="require_torus"):
        getattr(Allocator(3, 4), method)(*what, require_torus=True)


@pytest.mark.parametrize("method", ["alloc", "alloc_possible"])
@pytest.mark.parametrize(
    ("what", "limits", "error"),
    [
        ((1, 2, 3, 4), {}, TypeError),
        ((None, 4), {}, ValueError),
        ((2.5,), {}, TypeError),
        (("3",), {}, TypeError),
        ((4,), {"zork": 1}, TypeError),
        ((4,), {"min_ratio": -1}, ValueError),
        ((4,), {"max_dead_boards": "1"}, TypeError),
    ],
)
def test_a_request_without_meaning_is_an_error_and_changes_nothing(
    method: str, what: tuple[Any, ...], limits: dict[str, Any], error: type[Exception]
) -> None:
    allocator = Allocator(3, 4)

    with pytest.raises(error):
        getattr(allocator, method)(*what, **limits)

    assert is_idle(allocator)


@pytest.mark.parametrize(
    "what",
    [
        *((0,), (-1,), (37,), (10**30,)),
        *((0, 1), (1, 0), (-1, 2), (4, 1), (1, 5)),
        *((3, 0, 0), (0, 4, 0), (0, 0, 3), (-1, 0, 0), (0, -1, 0), (0, 0, -1)),
    ],
)
def test_what_is_no_size_or_not_on_the_machine_is_simply_not_there(what: tuple[int, ...]) -> None:
    allocator = Allocator(3, 4)

    assert allocator.alloc(*what) is None
    assert allocator.alloc_possible(*what) is False
    assert is_idle(allocator)


def test_nulls_mean_not_given() -> None:
    allocator = Allocator(3, 4)
    nulls: dict[str, Any] = dict.fromkeys(
        ("max_dead_boards", "max_dead_links", "require_torus", "min_ratio")
    )

    assert boards_of(allocator, None, **nulls) == {(0, 0, 0)}
    assert boards_of(allocator, 1, None, None, **nulls) == {(0, 0, 1)}
    assert boards_of(allocator, 4, None, None, **nulls) is not None
    assert boards_of(allocator, 1, 1, None, **nulls) is not None
    assert allocator.alloc_possible(4, **nulls) is True


# --- triads ---


def test_a_block_of_triads_is_allocated() -> None:
    allocator = Allocator(3, 4)

    allocation = allocator.alloc(2, 3)

    assert allocation is not None
    allocation_id, boards, periphery, torus = allocation
    assert allocation_id == 1
    assert boards == block(0, 0, 2, 3)
    assert type(boards) is set
    assert type(periphery) is set
    assert {type(link) for *_, link in periphery} == {Links}
    assert torus is WrapAround.none


def test_the_whole_machine_is_a_torus_without_periphery() -> None:
    allocation = Allocator(3, 4).alloc(3, 4)

    assert allocation == (1, block(0, 0, 3, 4), set(), WrapAround.both)


def test_dead_boards_are_weighed_against_all_of_a_block_of_triads() -> None:
    dead = {(0, 0, 1), (1, 1, 2)}

    def possible(allowed: int | None) -> bool:
        allocator = Allocator(2, 2, dead)
        possible = allocator.alloc_possible(2, 2, max_dead_boards=allowed)
        assert (allocator.alloc(2, 2, max_dead_boards=allowed) is not None) is possible
        return possible

    assert [possible(allowed) for allowed in (0, 1, 2, None)] == [False, False, True, True]


def test_dead_links_are_counted() -> None:
    allocator = Allocator(2, 2, dead_links={(0, 0, 0, Links.north), (0, 0, 0, Links.south)})

    assert allocator.alloc_possible(2, 2, max_dead_links=0) is False
    assert allocator.alloc_possible(2, 2, max_dead_links=1) is True
    assert allocator.alloc_possible(2, 2, max_dead_links=1, require_torus=True) is False
    assert allocator.alloc_possible(2, 2, max_dead_links=2, require_torus=True) is True


@pytest.mark.parametrize(
    ("what", "possible"),
    [
        *(((3, 4), True), ((3, 1), False), ((1, 4), False), ((2, 2), False), ((4, 3), False)),
        *(((36,), True), ((34,), True), ((33,), False), ((9,), False)),
    ],
)
def test_a_torus_means_the_exact_size_of_the_machine(
    what: tuple[int, ...], possible: bool
) -> None:
    allocator = Allocator(3, 4)

    assert allocator.alloc_possible(*what, require_torus=True) is possible
    assert (allocator.alloc(*what, require_torus=True) is not None) is possible


def test_a_torus_needs_the_whole_machine_to_be_free() -> None:
    allocator = Allocator(3, 4)
    allocator.alloc()

    assert allocator.alloc(3, 4, require_torus=True) is None
    assert allocator.alloc_possible(3, 4, require_torus=True) is True


def test_a_block_begins_with_a_live_board() -> None:
    allocator = Allocator(3, 1, {(0, 0, 0)})

    assert boards_of(allocator, 1, 1) == triad(2, 0)


def test_a_ratio_does_not_matter_where_the_size_is_given() -> None:
    assert boards_of(Allocator(3, 4), 1, 4, min_ratio=1.0) == block(0, 0, 1, 4)
    assert Allocator(3, 4).alloc_possible(1, 4, min_ratio=1.0) is True


# --- boards ---


@pytest.mark.parametrize(
    ("asked", "given"), [(2, 3), (3, 3), (4, 6), (6, 6), (7, 9), (34, 36), (36, 36)]
)
def test_a_number_of_boards_is_rounded_up_to_whole_triads(asked: int, given: int) -> None:
    boards = boards_of(Allocator(3, 4), asked)

    assert boards is not None
    assert len(boards) == given


def test_boards_gained_by_rounding_up_make_up_for_dead_ones() -> None:
    dead = {(0, 0, 1)}

    def possible(boards: int) -> bool:
        allocator = Allocator(1, 1, dead)
        possible = allocator.alloc_possible(boards, max_dead_boards=0)
        assert (allocator.alloc(boards, max_dead_boards=0) is not None) is possible
        return possible

    assert possible(2) is True
    assert possible(3) is False


def test_what_was_found_out_for_one_number_of_boards_does_not_hold_for_another() -> None:
    allocator = Allocator(1, 1, {(0, 0, 1)})

    answers = [allocator.alloc_possible(boards, max_dead_boards=0) for boards in (2, 3, 2, 3)]

    assert answers == [True, False, True, False]


def test_a_block_of_boards_keeps_to_the_ratio() -> None:
    allocator = Allocator(9, 9)

    assert boards_of(allocator, 21) == block(0, 0, 7, 1)
    assert boards_of(allocator, 21, min_ratio=0.9) == block(0, 1, 3, 3)
    assert allocator.alloc_possible(21, min_ratio=0.9) is True
    assert Allocator(9, 1).alloc_possible(21, min_ratio=0.9) is False


# --- possible ---


def test_what_is_possible_does_not_depend_on_what_is_taken() -> None:
    allocator = Allocator(2, 2)
    allocator.alloc(2, 2)

    assert allocator.alloc_possible(2, 2) is True
    assert allocator.alloc_possible() is True
    assert allocator.alloc_possible(1, 1, 2) is True
    assert allocator.alloc_possible(12) is True


def test_the_four_corners_are_tried_and_no_other_place() -> None:
    corners = {(x, y, 0) for x in (0, 2) for y in (0, 2)}

    for live in corners:
        assert Allocator(3, 3, corners - {live}).alloc_possible(1, 1) is True
    assert Allocator(3, 3, corners).alloc_possible(1, 1) is False
    assert Allocator(3, 3, corners).alloc_possible(3) is False


def test_any_board_is_possible_while_one_lives() -> None:
    everything = block(0, 0, 2, 2)

    assert Allocator(2, 2, everything - {(1, 0, 2)}).alloc_possible() is True
    assert Allocator(2, 2, everything).alloc_possible() is False
    assert Allocator(2, 2, everything).alloc() is None


def test_dead_boards_and_links_outside_the_machine_are_harmless() -> None:
    outside = {(9, 9, z) for z in range(3)} | {"junk", None, (1,)}
    allocator = Allocator(1, 1, outside, {(9, 9, 0, Links.east), "junk"})

    assert allocator.alloc_possible() is True
    assert allocator.alloc_possible(1, 1, max_dead_boards=0, max_dead_links=0) is True
    assert boards_of(allocator, 1, 1, max_dead_boards=0, max_dead_links=0) == triad(0, 0)


@pytest.mark.parametrize("kind", [set, frozenset, OnlyInAndLen])
def test_replaced_dead_sets_are_noticed(kind: Any) -> None:
    allocator = Allocator(1, 1, kind(set()), kind(set()))
    assert allocator.alloc_possible(1, 1, max_dead_boards=0, max_dead_links=0) is True

    allocator.dead_boards = kind({(0, 0, 1)})
    assert allocator.alloc_possible(1, 1, max_dead_boards=0) is False
    allocator.dead_boards = kind(set())
    assert allocator.alloc_possible(1, 1, max_dead_boards=0) is True

    allocator.dead_links = kind({(0, 0, 0, Links.north)})
    assert allocator.alloc_possible(1, 1, max_dead_links=0) is False
    allocator.dead_links = kind(set())
    assert allocator.alloc_possible(1, 1, max_dead_links=0) is True


@pytest.mark.parametrize("kind", [set, OnlyInAndLen])
def test_dead_sets_changed_in_place_are_noticed(kind: Any) -> None:
    dead_boards, dead_links = kind(set()), kind(set())
    allocator = Allocator(1, 1, dead_boards, dead_links)
    boards = getattr(dead_boards, "places", dead_boards)
    links = getattr(dead_links, "places", dead_links)
    assert allocator.alloc_possible(3, max_dead_boards=0, max_dead_links=0) is True

    boards.add((0, 0, 1))
    assert allocator.alloc_possible(3, max_dead_boards=0) is False
    assert allocator.alloc(3, max_dead_boards=0) is None
    boards.clear()
    assert allocator.alloc_possible(3, max_dead_boards=0) is True

    links.add((0, 0, 0, Links.north))
    assert allocator.alloc_possible(3, max_dead_links=0) is False
    assert allocator.alloc(3, max_dead_links=0) is None
    links.clear()
    assert allocator.alloc(3, max_dead_links=0) is not None


def test_whether_any_board_lives_is_noticed_too() -> None:
    dead = triad(0, 0)
    allocator = Allocator(1, 1, dead)
    assert allocator.alloc_possible() is False

    dead.remove((0, 0, 2))

    assert allocator.alloc_possible() is True


def test_feasibility_is_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    floods = []
    flood = _CandidateFilter._enumerate_boards

    def counted(judge: _CandidateFilter, *block: int) -> set[Board]:
        floods.append(block)
        return flood(judge, *block)

    monkeypatch.setattr(_CandidateFilter, "_enumerate_boards", counted)
    allocator = Allocator(20, 20, {(10, 10, 1)})

    for _ in range(50):
        assert allocator.alloc_possible(600, max_dead_boards=0) is True
        assert allocator.alloc_possible(20, 20, max_dead_boards=0) is False

    assert len(floods) == 2


def test_a_block_that_is_refused_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    floods = []
    flood = _CandidateFilter._enumerate_boards

    def counted(judge: _CandidateFilter, *block: int) -> set[Board]:
        floods.append(block)
        return flood(judge, *block)

    dead = {(10, 10, 1)}
    allocator = Allocator(20, 20, dead)
    assert allocator.alloc(600, max_dead_boards=0) is not None
    monkeypatch.setattr(_CandidateFilter, "_enumerate_boards", counted)

    for _ in range(50):
        assert allocator.alloc(600, max_dead_boards=0) is None
    assert len(floods) == 1

    dead.clear()
    assert allocator.alloc(600, max_dead_boards=0) is not None


# --- single boards ---


def test_single_boards_are_handed_out_one_by_one_lowest_z_first() -> None:
    allocator = Allocator(2, 1)

    boards = [boards_of(allocator) for _ in range(7)]

    assert boards == [{(x, 0, z)} for x in range(2) for z in range(3)] + [None]


def test_a_single_board_has_six_links_all_of_them_periphery() -> None:
    allocation = Allocator(1, 1).alloc(1)

    assert allocation == (
        1,
        {(0, 0, 0)},
        {(0, 0, 0, link) for link in Links},
        WrapAround.none,
    )
    assert {type(link) for *_, link in allocation[2]} == {Links}


def test_opened_triads_are_in_one_of_two_tables() -> None:
    allocator = Allocator(2, 2)

    allocator.alloc()
    assert allocator.single_board_triads == {(0, 0): {1, 2}}
    assert allocator.full_single_board_triads == set()

    allocator.alloc()
    allocator.alloc()
    assert allocator.single_board_triads == {}
    assert allocator.full_single_board_triads == {(0, 0)}


def test_a_given_board_opens_its_own_triad() -> None:
    allocator = Allocator(3, 3)

    assert boards_of(allocator, 1, 1, 1) == {(1, 1, 1)}

    assert allocator.single_board_triads == {(1, 1): {0, 2}}
    assert allocator.pack_tree.taken() == [(1, 1, 1, 1)]


def test_a_given_board_is_handed_out_once() -> None:
    allocator = Allocator(3, 3)
    allocator.alloc(1, 1, 1)

    assert allocator.alloc(1, 1, 1) is None
    assert boards_of(allocator, 1, 1, 0) == {(1, 1, 0)}
    assert boards_of(allocator, 1, 1, 2) == {(1, 1, 2)}
    assert allocator.alloc(1, 1, 2) is None


def test_a_given_board_within_a_block_is_not_handed_out() -> None:
    allocator = Allocator(2, 1)
    allocator.alloc(1, 1)

    assert allocator.alloc(0, 0, 0) is None
    assert boards_of(allocator, 1, 0, 0) == {(1, 0, 0)}


def test_a_given_board_that_is_dead_is_not_handed_out() -> None:
    allocator = Allocator(1, 1, {(0, 0, 1)})

    assert allocator.alloc(0, 0, 1) is None
    assert allocator.alloc_possible(0, 0, 1) is False
    assert is_idle(allocator)


def test_a_spare_board_is_used_before_another_triad_is_opened() -> None:
    allocator = Allocator(3, 3)
    allocator.alloc(2, 2, 0)
    allocator.alloc(1, 1, 0)

    boards = [boards_of(allocator) for _ in range(5)]

    opened = triad(2, 2) | triad(1, 1)
    assert all(board is not None and board <= opened for board in boards[:4])
    assert boards[4] is not None
    assert not boards[4] & opened


def test_only_triads_with_a_live_board_are_opened() -> None:
    allocator = Allocator(2, 1, triad(0, 0) | {(1, 0, 0), (1, 0, 1)})

    assert boards_of(allocator) == {(1, 0, 2)}
    assert allocator.full_single_board_triads == {(1, 0)}
    assert allocator.alloc() is None


def test_a_triad_whose_boards_are_all_back_closes() -> None:
    allocator = Allocator(2, 2, seconds_before_free=0)
    ids = [allocation[0] for _ in range(4) if (allocation := allocator.alloc())]

    for allocation_id in ids:
        assert not is_idle(allocator)
        allocator.free(allocation_id)
        allocator.check_free()

    assert is_idle(allocator)
    assert boards_of(allocator, 2, 2) == block(0, 0, 2, 2)


def test_a_triad_with_dead_boards_closes_too() -> None:
    allocator = Allocator(1, 1, {(0, 0, 0), (0, 0, 2)}, seconds_before_free=0)
    allocation = allocator.alloc()
    assert allocation is not None

    allocator.free(allocation[0])
    allocator.check_free()

    assert is_idle(allocator)


def test_a_board_back_from_use_is_spare_again() -> None:
    allocator = Allocator(2, 1, seconds_before_free=0)
    ids = [allocation[0] for _ in range(3) if (allocation := allocator.alloc())]

    allocator.free(ids[1])

    assert boards_of(allocator) == {(0, 0, 1)}


def test_limits_are_taken_and_of_no_matter_for_single_boards() -> None:
    allocator = Allocator(1, 1, {(0, 0, 1), (0, 0, 2)}, {(0, 0, 0, Links.north)})

    assert boards_of(
        allocator, max_dead_boards=0, max_dead_links=0, min_ratio=1.0, require_torus=False
    ) == {(0, 0, 0)}


# --- boards that die and come alive while their triad is open ---


def test_a_spare_board_that_died_is_not_handed_out_and_comes_back_when_alive() -> None:
    dead: set[Board] = set()
    allocator = Allocator(1, 1, dead)
    assert boards_of(allocator) == {(0, 0, 0)}

    dead.add((0, 0, 1))
    assert boards_of(allocator) == {(0, 0, 2)}
    assert allocator.alloc() is None
    assert allocator.alloc(0, 0, 1) is None

    dead.clear()
    assert boards_of(allocator) == {(0, 0, 1)}
    assert allocator.alloc() is None


def test_a_board_left_out_as_dead_joins_the_spare_ones_when_alive() -> None:
    dead = {(0, 0, 0), (0, 0, 1)}
    allocator = Allocator(1, 1, dead)
    assert boards_of(allocator) == {(0, 0, 2)}
    assert allocator.full_single_board_triads == {(0, 0)}

    dead.remove((0, 0, 1))
    assert boards_of(allocator) == {(0, 0, 1)}
    allocator.dead_boards = frozenset()
    assert boards_of(allocator, 0, 0, 0) == {(0, 0, 0)}


def test_a_board_left_out_again_comes_back_again() -> None:
    dead: set[Board] = set()
    allocator = Allocator(1, 1, dead, seconds_before_free=0)
    first, second = allocator.alloc(), allocator.alloc()
    assert first is not None
    assert second is not None

    # Between two requests it dies, is given back, and is alive again.
    dead.add((0, 0, 0))
    allocator.free(first[0])
    allocator.check_free()
    dead.clear()

    assert {*(boards_of(allocator) or ()), *(boards_of(allocator) or ())} == {
        (0, 0, 0),
        (0, 0, 2),
    }


@pytest.mark.parametrize("dies", [0, 1, 2])
@pytest.mark.parametrize("comes_alive", [False, True])
def test_a_triad_closes_whatever_was_marked_in_between(dies: int, comes_alive: bool) -> None:
    dead: set[Board] = set()
    allocator = Allocator(2, 1, dead, seconds_before_free=0)
    first, second = allocator.alloc(), allocator.alloc()
    assert first is not None
    assert second is not None

    dead.add((0, 0, dies))
    allocator.free(first[0])
    allocator.check_free()
    if comes_alive:
        dead.clear()
    allocator.free(second[0])
    allocator.check_free()

    assert is_idle(allocator)


def test_a_triad_opens_again_with_what_is_alive_then() -> None:
    dead = {(0, 0, 1)}
    allocator = Allocator(1, 1, dead, seconds_before_free=0)
    allocation = allocator.alloc()
    assert allocation is not None
    allocator.free(allocation[0])
    allocator.check_free()

    allocator.dead_boards = {(0, 0, 2)}

    assert boards_of(allocator) == {(0, 0, 0)}
    assert allocator.single_board_triads == {(0, 0): {1}}


# --- tables that others write to ---


def test_spare_boards_written_from_outside_are_handed_out() -> None:
    allocator = Allocator(3, 3)

    allocator.single_board_triads = {(1, 1): {2}}

    assert boards_of(allocator) == {(1, 1, 2)}
    assert allocator.single_board_triads == {}
    assert allocator.full_single_board_triads == {(1, 1)}


def test_a_board_taken_out_from_outside_counts_as_taken() -> None:
    allocator = Allocator(1, 1, seconds_before_free=0)
    allocation = allocator.alloc()
    assert allocation is not None

    allocator.single_board_triads[0, 0].remove(1)
    allocator.free(allocation[0])
    allocator.check_free()

    assert allocator.single_board_triads == {(0, 0): {0, 2}}
    assert boards_of(allocator) == {(0, 0, 0)}
    assert boards_of(allocator) == {(0, 0, 2)}
    assert allocator.alloc() is None


def test_an_empty_set_from_outside_is_no_board() -> None:
    allocator = Allocator(2, 1)
    allocator.pack_tree.request(1, 0)

    allocator.single_board_triads[1, 0] = set()

    assert boards_of(allocator) == {(0, 0, 0)}


def test_tables_may_be_replaced() -> None:
    allocator = Allocator(2, 1)
    allocator.pack_tree.request(1, 0)

    allocator.single_board_triads = {}
    allocator.full_single_board_triads = {(1, 0)}

    assert allocator.alloc(1, 0, 0) is None
    assert boards_of(allocator) == {(0, 0, 0)}


# --- resting ---


def test_boards_rest_before_they_are_used_again(clock: FakeClock) -> None:
    allocator = Allocator(1, 1)
    allocation = allocator.alloc(1, 1)
    assert allocation is not None

    allocator.free(allocation[0])
    clock.advance(29.9)
    assert allocator.check_free() is False
    assert allocator.alloc(1, 1) is None

    clock.advance(0.1)
    assert allocator.check_free() is True
    assert allocator.check_free() is False
    assert is_idle(allocator)


def test_a_request_uses_boards_that_have_rested(clock: FakeClock) -> None:
    allocator = Allocator(1, 1)
    allocation = allocator.alloc(1, 1)
    assert allocation is not None
    allocator.free(allocation[0])

    clock.advance(30)

    assert boards_of(allocator, 1, 1) == triad(0, 0)


def test_without_rest_boards_are_free_at_once(clock: FakeClock) -> None:
    allocator = Allocator(1, 1, seconds_before_free=0)
    allocation = allocator.alloc(1, 1)
    assert allocation is not None

    allocator.free(allocation[0])

    assert allocator.check_free() is True


def test_a_change_of_the_time_to_rest_applies_to_what_rests_already(clock: FakeClock) -> None:
    allocator = Allocator(2, 1)
    first, second = allocator.alloc(1, 1), allocator.alloc(1, 1)
    assert first is not None
    assert second is not None
    allocator.free(first[0])
    clock.advance(10)

    allocator.seconds_before_free = 5
    assert allocator.check_free() is True

    allocator.free(second[0])
    allocator.seconds_before_free = 60
    clock.advance(59)
    assert allocator.check_free() is False
    clock.advance(1)
    assert allocator.check_free() is True


def test_next_rested_tells_when_boards_come_back(clock: FakeClock) -> None:
    allocator = Allocator(1, 1)
    assert allocator.next_rested is None
    allocation = allocator.alloc()
    assert allocation is not None

    allocator.free(allocation[0])

    assert allocator.next_rested == clock.now + 30
    allocator.seconds_before_free = 7
    assert allocator.next_rested == clock.now + 7


def test_nothing_is_freed_that_is_not_held(clock: FakeClock) -> None:
    allocator = Allocator(1, 1)
    allocation = allocator.alloc()
    assert allocation is not None
    allocator.free(allocation[0])

    for unknown in (allocation[0], 99):
        with pytest.raises(KeyError, match=str(unknown)):
            allocator.free(unknown)


def test_the_owner_hears_which_allocations_have_rested(clock: FakeClock) -> None:
    heard: list[list[int]] = []
    allocator = Allocator(2, 1)
    allocator.on_rested = heard.append
    for _ in range(3):
        allocation = allocator.alloc()
        assert allocation is not None
        allocator.free(allocation[0])

    allocator.check_free()
    assert heard == []

    clock.advance(30)
    assert boards_of(allocator) == {(0, 0, 0)}
    assert heard == [[1, 2, 3]]


# --- blocks from elsewhere ---


PINWHEEL = {
    1: ("triads", 0, 0, 2, 1),
    2: ("triads", 2, 0, 1, 2),
    3: ("triads", 1, 2, 2, 1),
    4: ("triads", 0, 1, 1, 2),
}


def test_blocks_that_no_cuts_lead_to_are_imposed_in_pieces(clock: FakeClock) -> None:
    allocator = Allocator(3, 3)
    for number, footprint in PINWHEEL.items():
        allocator.restore(number, footprint)

    assert allocator.allocations == PINWHEEL
    assert boards_of(allocator, 3, 3) is None
    assert boards_of(allocator, 1, 1) == block(1, 1, 1, 1)

    again: Allocator = pickle.loads(pickle.dumps(allocator))
    for copy in (allocator, again):
        for number in (*PINWHEEL, 5):
            copy.free(number)
        clock.advance(30)
        copy.check_free()
        assert is_idle(copy)


def test_what_overlaps_is_not_imposed_in_pieces_either(clock: FakeClock) -> None:
    allocator = Allocator(3, 3)
    for number, footprint in PINWHEEL.items():
        allocator.restore(number, footprint)

    with pytest.raises(ValueError, match=r"taken|overlap"):
        allocator.restore(5, ("triads", 1, 1, 2, 1))

    assert boards_of(allocator, 1, 1) == block(1, 1, 1, 1)
