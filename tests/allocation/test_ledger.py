"""The records that both kinds of allocator keep."""

import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._allocation.dead_sets import DeadSet
from spalloc_server._allocation.grid_allocator import GridAllocator
from spalloc_server._allocation.ledger import Watch
from spalloc_server.allocator import Allocator
from spalloc_server.links import Links
from tests.support.allocating import block, boards_of, is_idle
from tests.support.fake_clock import FakeClock
from tests.support.naive_allocator import OnlyInAndLen
from tests.support.plain_state import assert_plain


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with FakeClock().installed() as clock:
        yield clock


# --- noticing that dead sets have changed ---


class EvenOnly(set[Any]):
    """Answers otherwise than it iterates."""

    def __contains__(self, place: object) -> bool:
        return super().__contains__(place) and place != (0, 0, 0)


def test_the_first_look_is_never_the_same() -> None:
    watch = Watch()

    assert not watch.same(set(), frozenset())
    assert watch.same(set(), frozenset())


def test_a_set_changed_in_place_is_noticed_once() -> None:
    boards: set[object] = {(0, 0, 0)}
    watch = Watch()
    watch.same(boards)

    boards.add((0, 0, 1))

    assert not watch.same(boards)
    assert watch.same(boards)
    boards.remove((0, 0, 0))
    assert not watch.same(boards)


def test_a_change_that_keeps_the_length_is_noticed() -> None:
    boards: set[object] = {(0, 0, 0)}
    watch = Watch()
    watch.same(boards)

    boards.remove((0, 0, 0))
    boards.add((0, 0, 1))

    assert not watch.same(boards)


def test_each_of_several_sets_is_watched() -> None:
    first: set[object] = set()
    second: set[object] = set()
    watch = Watch()
    watch.same(first, second)

    second.add(1)

    assert not watch.same(first, second)


def test_replacing_a_set_by_an_equal_one_changes_nothing() -> None:
    watch = Watch()
    watch.same({(0, 0, 0)}, frozenset({1}))

    assert watch.same(frozenset({(0, 0, 0)}), {1})
    assert not watch.same(frozenset(), {1})


@pytest.mark.parametrize(
    "container", [OnlyInAndLen([1]), [1], {1: None}, EvenOnly([1])], ids=lambda c: type(c).__name__
)
def test_of_other_containers_nothing_is_taken_for_granted(container: DeadSet) -> None:
    watch = Watch()

    assert not watch.same(container)
    assert not watch.same(container)
    assert not watch.same({1})
    assert not watch.same(container)


@given(st.lists(st.sets(st.integers(0, 3)), min_size=2))
def test_a_watch_tells_whether_the_members_are_those_seen_last(contents: list[set[int]]) -> None:
    boards: set[int] = set()
    watch = Watch()
    watch.same(boards)
    seen: set[int] = set()

    for content in contents:
        boards.clear()
        boards.update(content)
        assert watch.same(boards) == (content == seen)
        seen = content


@pytest.mark.parametrize("kind", [Allocator, GridAllocator])
@pytest.mark.parametrize("which", ["dead_boards", "dead_links"])
def test_findings_are_forgotten_when_a_dead_set_changes(
    kind: type[Allocator] | type[GridAllocator], which: str
) -> None:
    allocator = kind(2, 2)
    allocator._look_at_faults()
    allocator._verdicts.answer(("question",), lambda: True)
    seen = allocator._look_at_faults()
    assert len(allocator._verdicts) == 1

    getattr(allocator, which).add((9, 9, 9, 9))

    assert allocator._look_at_faults() != seen
    assert len(allocator._verdicts) == 0
    assert allocator._look_at_faults() == allocator._look_at_faults()


@pytest.mark.parametrize("kind", [Allocator, GridAllocator])
def test_a_given_board_that_came_to_life_is_had_by_the_thin_door_too(
    kind: type[Allocator] | type[GridAllocator],
) -> None:
    dead = {(0, 0, 1)}
    allocator = kind(1, 1, dead)
    assert allocator._alloc_board(0, 0, 0) is not None
    assert allocator._alloc_board(0, 0, 1) is None

    dead.clear()

    assert allocator._alloc_board(0, 0, 1) is not None


# --- telling what is allocated, and putting it back as it was ---


def test_allocations_are_described_by_what_they_took(clock: FakeClock) -> None:
    allocator = Allocator(5, 5)
    allocator.alloc(2, 3)
    allocator.alloc(5)
    allocator.alloc()
    allocator.alloc(4, 4, 1)

    outcomes = {
        1: ("triads", 0, 0, 2, 3),
        2: ("boards", 0, 3, 2, 1),
        3: ("board", 0, 4, 0),
        4: ("board", 4, 4, 1),
    }
    assert allocator.allocations == outcomes
    assert {number: allocator.describe(number) for number in outcomes} == outcomes
    assert_plain(allocator.allocations)


def test_what_rests_is_described_too(clock: FakeClock) -> None:
    allocator = Allocator(5, 5)
    allocator.alloc(2, 3)
    allocator.alloc()
    allocator.free(2)
    clock.advance(4)
    allocator.free(1)
    clock.advance(3)

    assert allocator.allocations == {}
    assert allocator.resting == [(2, ("board", 0, 3, 0), 7), (1, ("triads", 0, 0, 2, 3), 3)]
    assert allocator.describe(1) == ("triads", 0, 0, 2, 3)
    with pytest.raises(KeyError):
        allocator.describe(3)


def test_an_outcome_is_imposed_as_it_was(clock: FakeClock) -> None:
    allocator = Allocator(5, 5)

    allocator.restore(7, ("triads", 1, 1, 2, 3))
    allocator.restore(3, ["board", 4, 4, 1])
    allocator.restore(5, ("boards", 0, 0, 1, 1))

    assert allocator.next_id == 8
    assert allocator.allocations == {
        7: ("triads", 1, 1, 2, 3),
        3: ("board", 4, 4, 1),
        5: ("boards", 0, 0, 1, 1),
    }
    assert sorted(allocator.pack_tree.taken()) == [(0, 0, 1, 1), (1, 1, 2, 3), (4, 4, 1, 1)]
    assert allocator.single_board_triads == {(4, 4): {0, 2}}
    for number in (7, 3, 5):
        allocator.free(number)
    clock.advance(30)
    allocator.check_free()
    assert is_idle(allocator)


def test_what_has_rested_for_some_time_rests_on(clock: FakeClock) -> None:
    allocator = Allocator(2, 2)

    allocator.restore(1, ("triads", 0, 0, 1, 2), resting_for=10)
    allocator.restore(2, ("board", 1, 0, 0), resting_for=25)
    allocator.restore(3, ("board", 1, 1, 0), resting_for=100)

    assert allocator.allocations == {}
    assert [number for number, _, _ in allocator.resting] == [3, 2, 1]
    clock.advance(5)
    allocator.check_free()
    assert [number for number, _, _ in allocator.resting] == [1]
    clock.advance(15)
    allocator.check_free()
    assert is_idle(allocator)


def test_dead_boards_do_not_hinder_imposing(clock: FakeClock) -> None:
    allocator = Allocator(2, 1, block(0, 0, 2, 1))

    allocator.restore(1, ("triads", 0, 0, 1, 1))
    allocator.restore(2, ("board", 1, 0, 1))

    assert allocator.full_single_board_triads == {(1, 0)}
    allocator.free(2)
    allocator.free(1)
    clock.advance(30)
    allocator.check_free()
    assert is_idle(allocator)


@pytest.mark.parametrize("first", ["quarantine", "restore"])
@pytest.mark.parametrize("outcome", [("triads", 0, 0, 2, 2), ("board", 1, 1, 0)])
def test_quarantine_and_imposing_go_together_in_either_order(
    first: str, outcome: tuple[Any, ...], clock: FakeClock
) -> None:
    allocator = Allocator(2, 2)

    if first == "quarantine":
        allocator.quarantine((1, 1, 0))
    allocator.restore(1, outcome)
    if first == "restore":
        allocator.quarantine((1, 1, 0))

    assert allocator.allocations == {1: outcome}
    assert allocator.alloc(1, 1, 0) is None
    allocator.free(1)
    clock.advance(30)
    allocator.check_free()
    assert allocator.single_board_triads == {(1, 1): {1, 2}}
    allocator.release((1, 1, 0))
    assert is_idle(allocator)


@pytest.mark.parametrize(
    "outcome",
    [
        ("triads", 1, 0, 2, 1),
        ("triads", 0, 0, 1, 1),
        ("boards", 0, 0, 2, 2),
        ("triads", 1, 1, 1, 1),
        ("triads", 2, 2, 2, 1),
        ("board", 0, 0, 1),
        ("board", 1, 1, 2),
        ("board", 3, 0, 0),
        ("board", 0, 0, 3),
        ("block", 2, 2, 1, 1),
        ("board", 2, 2, 1, 1),
        ("triads", 2, 2, 1),
        (),
    ],
)
def test_what_overlaps_or_lies_outside_is_not_imposed(outcome: tuple[Any, ...]) -> None:
    allocator = Allocator(3, 3)
    allocator.restore(1, ("triads", 0, 0, 2, 1))
    allocator.restore(2, ("board", 1, 1, 2))
    allocator.quarantine((1, 1, 0))
    allocator.quarantine((0, 1, 1))
    before = allocator.__getstate__()

    with pytest.raises(ValueError, match=r"taken|in use|not|overlap"):
        allocator.restore(3, outcome)

    after = allocator.__getstate__()
    assert sorted(before.pop("taken")) == sorted(after.pop("taken"))
    assert before == after


def test_a_dead_board_made_spare_from_outside_is_in_use_once_imposed(clock: FakeClock) -> None:
    allocator = Allocator(1, 1, {(0, 0, 0)})
    assert boards_of(allocator) == {(0, 0, 1)}
    allocator.single_board_triads[0, 0].add(0)

    allocator.restore(2, ("board", 0, 0, 0))
    allocator.free(1)
    clock.advance(30)

    assert allocator.check_free() is True
    assert allocator.single_board_triads == {(0, 0): {1, 2}}


def test_an_allocation_is_imposed_once(clock: FakeClock) -> None:
    allocator = Allocator(3, 3)
    allocator.restore(1, ("board", 0, 0, 0))
    allocator.restore(2, ("board", 0, 0, 1), resting_for=0)

    for known in (1, 2):
        with pytest.raises(ValueError, match="known already"):
            allocator.restore(known, ("board", 2, 2, 2))


def test_a_pickled_allocator_goes_on_where_it_was(clock: FakeClock) -> None:
    dead_boards, dead_links = {(0, 0, 0)}, {(0, 0, 1, Links.east)}
    allocator = Allocator(4, 4, dead_boards, dead_links, seconds_before_free=20)
    allocator.on_rested = lambda ids: None
    for what in ((2, 2), (4,), (), (3, 3, 1)):
        assert allocator.alloc(*what) is not None
    allocator.quarantine((3, 0, 0))
    allocator.free(1)
    clock.advance(8)
    data = pickle.dumps(allocator)
    clock.now = 5.0

    copy = pickle.loads(data)

    assert_plain(allocator.__getstate__())
    assert copy.allocations == allocator.allocations
    assert copy.resting == [(1, ("triads", *allocator.describe(1)[1:]), 8)]
    assert copy.quarantined == allocator.quarantined
    assert copy.single_board_triads == allocator.single_board_triads
    assert copy.full_single_board_triads == allocator.full_single_board_triads
    assert (copy.dead_boards, copy.dead_links) == (dead_boards, dead_links)
    assert (copy.next_id, copy.seconds_before_free) == (5, 20)
    assert copy.on_rested is None
    clock.advance(12)
    assert copy.check_free() is True


def test_boards_left_out_as_dead_are_left_out_after_pickling_too() -> None:
    allocator = Allocator(1, 1, {(0, 0, 0)})
    allocator.alloc()

    copy = pickle.loads(pickle.dumps(allocator))
    copy.dead_boards.clear()

    assert {tuple(boards_of(copy) or ()), tuple(boards_of(copy) or ())} == {
        ((0, 0, 0),),
        ((0, 0, 2),),
    }


def test_dead_sets_that_cannot_be_iterated_are_pickled_all_the_same() -> None:
    allocator = Allocator(
        2, 2, OnlyInAndLen({(1, 0, 2), (9, 9, 9)}), OnlyInAndLen({(0, 1, 0, Links.west)})
    )

    assert_plain(allocator.__getstate__())
    copy = pickle.loads(pickle.dumps(allocator))

    assert copy.dead_boards == {(1, 0, 2)}
    assert copy.dead_links == {(0, 1, 0, Links.west)}
