"""Sets that belong to somebody else."""

from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._allocation.dead_sets import DeadSet, Watch, plain_places
from spalloc_server.links import Links
from tests.support.naive_allocator import OnlyInAndLen
from tests.support.plain_state import assert_plain


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


def test_a_plain_copy_keeps_its_kind_and_drops_what_is_no_place() -> None:
    junk = {(0, 0, 0, Links.north), "junk", None, ("a", 1), (1, 2.5)}

    for kind in (set, frozenset):
        copy = plain_places(kind(junk), [])
        assert type(copy) is kind
        assert copy == {(0, 0, 0, 2)}
        assert_plain(copy)


def test_numbers_of_other_kinds_are_copied_as_plain_ones() -> None:
    dead = {(numpy.int64(0), numpy.int32(1), numpy.uint8(2)), (True, 0, 0)}

    copy = plain_places(dead, [])

    assert copy == {(0, 1, 2), (1, 0, 0)}
    assert_plain(copy)


def test_what_cannot_be_iterated_is_asked_for_all_places() -> None:
    links = [(0, 0, 0, link) for link in Links]
    dead = OnlyInAndLen([links[1], links[4], "junk"])

    copy = plain_places(dead, links)

    assert copy == {(0, 0, 0, 1), (0, 0, 0, 4)}
    assert_plain(copy)
