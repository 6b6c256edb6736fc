"""Boards that are not handed out until released."""

from collections.abc import Iterator

import pytest

from spalloc_server._places import Board
from spalloc_server.allocator import Allocator
from tests.support.allocating import boards_of, is_idle, triad
from tests.support.fake_clock import FakeClock


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock().installed() as clock:
        yield clock


def test_a_board_in_quarantine_is_not_handed_out_but_stays_possible() -> None:
    allocator = Allocator(1, 1)

    allocator.quarantine((0, 0, 1))

    assert allocator.quarantined == {(0, 0, 1)}
    assert type(allocator.quarantined) is frozenset
    assert allocator.alloc(0, 0, 1) is None
    assert allocator.alloc(1, 1) is None
    assert allocator.alloc_possible(0, 0, 1) is True
    assert allocator.alloc_possible(1, 1, max_dead_boards=0) is True
    assert allocator.alloc_possible(3, max_dead_boards=0) is True


def test_neighbours_of_a_board_in_quarantine_serve_single_boards() -> None:
    allocator = Allocator(2, 1)

    allocator.quarantine((1, 0, 1))

    assert allocator.single_board_triads == {(1, 0): {0, 2}}
    assert [boards_of(allocator) for _ in range(3)] == [{(1, 0, 0)}, {(1, 0, 2)}, {(0, 0, 0)}]


def test_blocks_are_packed_around_a_board_in_quarantine() -> None:
    allocator = Allocator(4, 4)

    allocator.quarantine((0, 0, 0))

    assert allocator.alloc(4, 4) is None
    boards = boards_of(allocator, 3, 4)
    assert boards is not None
    assert not boards & triad(0, 0)


def test_quarantine_does_not_touch_who_has_the_board(clock: FakeClock) -> None:
    allocator = Allocator(2, 1)
    held = allocator.alloc(2, 1)
    assert held is not None

    allocator.quarantine((1, 0, 0))
    assert allocator.allocations == {held[0]: ("triads", 0, 0, 2, 1)}

    allocator.free(held[0])
    clock.advance(30)
    allocator.check_free()
    assert allocator.single_board_triads == {(1, 0): {1, 2}}
    assert allocator.alloc(2, 1) is None
    assert boards_of(allocator, 1, 1) == triad(0, 0)


def test_a_single_board_in_quarantine_is_left_out_when_it_comes_back(clock: FakeClock) -> None:
    allocator = Allocator(1, 1)
    held = allocator.alloc()
    assert held is not None

    allocator.quarantine((0, 0, 0))
    allocator.free(held[0])
    clock.advance(30)

    assert boards_of(allocator) == {(0, 0, 1)}
    assert boards_of(allocator) == {(0, 0, 2)}
    assert allocator.alloc() is None
    allocator.release((0, 0, 0))
    assert boards_of(allocator) == {(0, 0, 0)}


def test_a_spare_board_can_be_put_in_quarantine() -> None:
    allocator = Allocator(1, 1)
    allocator.alloc()

    allocator.quarantine((0, 0, 1))

    assert boards_of(allocator) == {(0, 0, 2)}
    assert allocator.full_single_board_triads == {(0, 0)}
    assert allocator.alloc() is None


def test_a_released_board_melts_back_when_nothing_else_of_its_triad_is_used() -> None:
    allocator = Allocator(3, 3)
    allocator.quarantine((1, 1, 0))
    allocator.quarantine((1, 1, 2))

    allocator.release((1, 1, 0))
    assert not is_idle(allocator)
    allocator.release((1, 1, 2))

    assert is_idle(allocator)
    assert allocator.quarantined == frozenset()


def test_a_released_triad_stays_open_while_a_board_of_it_is_used(clock: FakeClock) -> None:
    allocator = Allocator(1, 1)
    allocator.quarantine((0, 0, 0))
    held = allocator.alloc()
    assert held is not None

    allocator.release((0, 0, 0))
    assert allocator.single_board_triads == {(0, 0): {0, 2}}

    allocator.free(held[0])
    clock.advance(30)
    allocator.check_free()
    assert is_idle(allocator)


def test_a_triad_in_quarantine_stays_open_when_its_boards_are_back(clock: FakeClock) -> None:
    allocator = Allocator(1, 1)
    allocator.quarantine((0, 0, 0))
    held = allocator.alloc()
    assert held is not None

    allocator.free(held[0])
    clock.advance(30)
    allocator.check_free()

    assert allocator.single_board_triads == {(0, 0): {1, 2}}


def test_a_dead_board_in_quarantine_is_dead_when_released() -> None:
    dead = {(0, 0, 0)}
    allocator = Allocator(1, 1, dead)
    allocator.quarantine((0, 0, 0))
    allocator.alloc()

    allocator.release((0, 0, 0))
    assert allocator.alloc(0, 0, 0) is None

    dead.clear()
    assert boards_of(allocator, 0, 0, 0) == {(0, 0, 0)}


def test_a_triad_all_in_quarantine_serves_nobody() -> None:
    allocator = Allocator(1, 1)

    for board in triad(0, 0):
        allocator.quarantine(board)

    assert allocator.full_single_board_triads == {(0, 0)}
    assert allocator.alloc() is None
    for board in triad(0, 0):
        allocator.release(board)
    assert is_idle(allocator)


def test_quarantine_twice_and_release_of_any_board_are_harmless() -> None:
    allocator = Allocator(1, 1)

    allocator.quarantine((0, 0, 0))
    allocator.quarantine((0, 0, 0))
    allocator.release((0, 0, 0))
    allocator.release((0, 0, 0))
    allocator.release((7, 7, 7))

    assert is_idle(allocator)


@pytest.mark.parametrize("board", [(1, 0, 0), (0, 1, 0), (0, 0, 3), (-1, 0, 0)])
def test_a_board_that_is_not_there_cannot_be_put_in_quarantine(board: Board) -> None:
    allocator = Allocator(1, 1)

    with pytest.raises(ValueError, match="not on a machine of 1 x 1"):
        allocator.quarantine(board)

    assert allocator.quarantined == frozenset()


# --- waits_for ---


def test_without_quarantine_nobody_waits_for_it() -> None:
    allocator = Allocator(2, 2)
    allocator.alloc(2, 2)

    assert allocator.waits_for(2, 2) == frozenset()
    assert allocator.waits_for(5) == frozenset()
    assert allocator.waits_for() == frozenset()
    assert allocator.waits_for(0, 0, 0) == frozenset()


def test_the_whole_machine_waits_for_each_board_in_quarantine() -> None:
    allocator = Allocator(2, 2)
    allocator.alloc(1, 1)
    allocator.quarantine((0, 1, 0))
    allocator.quarantine((1, 1, 2))

    assert allocator.waits_for(2, 2) == {(0, 1, 0), (1, 1, 2)}
    assert allocator.waits_for(12) == {(0, 1, 0), (1, 1, 2)}


def test_what_could_be_had_beside_quarantine_only_waits_for_others() -> None:
    allocator = Allocator(2, 2)
    allocator.alloc(2, 1)
    allocator.quarantine((0, 1, 0))

    assert allocator.waits_for(2, 1) == frozenset()
    assert allocator.waits_for(1, 2) == frozenset()
    assert allocator.waits_for(4) == frozenset()
    assert allocator.waits_for(2, 2) == {(0, 1, 0)}


def test_dead_boards_in_quarantine_keep_nobody_waiting() -> None:
    allocator = Allocator(1, 1, {(0, 0, 1)})
    allocator.quarantine((0, 0, 1))
    allocator.quarantine((0, 0, 2))

    assert allocator.waits_for(1, 1) == {(0, 0, 2)}


def test_any_board_waits_for_quarantine_where_all_that_live_are_out() -> None:
    allocator = Allocator(1, 1, {(0, 0, 1)})
    allocator.quarantine((0, 0, 0))
    assert allocator.waits_for() == frozenset()

    allocator.quarantine((0, 0, 2))
    assert allocator.waits_for() == {(0, 0, 0), (0, 0, 2)}
    assert allocator.waits_for(0, 0, 2) == {(0, 0, 2)}


def test_what_does_not_fit_at_all_has_no_room_beside_quarantine() -> None:
    allocator = Allocator(1, 1)
    allocator.alloc(0, 0, 0)
    allocator.quarantine((0, 0, 1))

    assert allocator.waits_for(6) == {(0, 0, 1)}


# --- attributes that others may set ---


def test_a_triad_that_somebody_closed_is_not_opened_by_a_board_that_revives() -> None:
    dead = {(0, 0, 1)}
    allocator = Allocator(2, 1, dead)
    allocator.alloc(0, 0, 0)
    allocator.single_board_triads, allocator.full_single_board_triads = {}, set()
    dead.clear()

    assert allocator.alloc() is not None

    assert set(allocator.single_board_triads) == {(1, 0)}
