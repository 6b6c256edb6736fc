"""Boards that rest after use."""

from collections.abc import Iterator

import pytest

from spalloc_server._allocation.waiting_list import Footprint, WaitingList
from tests.support.fake_clock import FakeClock

BLOCK: Footprint = ("triads", 0, 0, 2, 2)
BOARD: Footprint = ("board", 5, 5, 1)


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock().installed() as clock:
        yield clock


def test_nothing_rests_on_an_empty_list(clock: FakeClock) -> None:
    waiting = WaitingList()

    assert waiting.take_due(0) == []
    assert waiting.next_due(30) is None
    assert waiting.listing() == []
    assert waiting.find(1) is None


def test_what_has_rested_long_enough_is_taken_longest_first(clock: FakeClock) -> None:
    waiting = WaitingList()
    waiting.add(1, BLOCK)
    clock.advance(10)
    waiting.add(2, BOARD)

    clock.advance(19.5)
    assert waiting.take_due(30) == []
    clock.advance(0.5)
    assert waiting.take_due(30) == [(1, BLOCK)]
    clock.advance(10)
    assert waiting.take_due(30) == [(2, BOARD)]
    assert waiting.take_due(30) == []


def test_the_time_to_rest_is_that_of_the_moment(clock: FakeClock) -> None:
    waiting = WaitingList()
    waiting.add(1, BLOCK)
    clock.advance(5)

    assert waiting.take_due(30) == []
    assert waiting.next_due(30) == 1030
    assert waiting.next_due(5) == 1005
    assert waiting.take_due(5) == [(1, BLOCK)]


def test_what_has_rested_before_stands_where_it_belongs(clock: FakeClock) -> None:
    waiting = WaitingList()
    waiting.add(1, BLOCK, rested=10)
    waiting.add(2, BOARD, rested=20)
    waiting.add(3, BLOCK, rested=15)

    assert waiting.listing() == [(2, BOARD, 20), (3, BLOCK, 15), (1, BLOCK, 10)]
    clock.advance(10)
    assert waiting.take_due(25) == [(2, BOARD), (3, BLOCK)]


def test_what_rests_is_found_by_its_identifier(clock: FakeClock) -> None:
    waiting = WaitingList()
    waiting.add(1, BLOCK)
    waiting.add(2, BOARD)

    assert waiting.find(2) == BOARD
    assert waiting.find(3) is None
