"""Sets that belong to somebody else."""

import numpy

from spalloc_server._allocation.dead_sets import plain_places
from spalloc_server.links import Links
from tests.support.naive_allocator import OnlyInAndLen
from tests.support.plain_state import assert_plain


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
