"""The records that both kinds of allocator keep."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._allocation.dead_sets import DeadSet
from spalloc_server._allocation.grid_allocator import GridAllocator
from spalloc_server._allocation.ledger import Watch
from spalloc_server.allocator import Allocator
from tests.support.naive_allocator import OnlyInAndLen

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
