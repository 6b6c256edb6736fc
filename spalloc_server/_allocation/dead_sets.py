"""Sets of dead boards or links that belong to somebody else.

Owns the questions that they are asked, and plain copies of them.  Must not know
the meaning of being dead, nor that they may change.
"""

from collections.abc import Iterable, Iterator
from operator import index
from typing import Protocol


class DeadSet(Protocol):
    """Boards or links that do not work; other things may be in there too.

    No more is asked of it than this; in particular it is not iterated, unless
    it is exactly a `set` or a `frozenset`.
    """

    def __contains__(self, place: object, /) -> bool: ...
    def __len__(self) -> int: ...


def plain_places(dead: DeadSet, places: Iterable[tuple[int, ...]]) -> DeadSet:
    """Copy that holds nothing but tuples of plain whole numbers.

    Parameters
    ----------
    dead : container
        To be copied.
    places : iterable of tuple of int
        The members to look for in a container that cannot be iterated.

    Returns
    -------
    set or frozenset
    """
    if type(dead) is frozenset:
        return frozenset(_plain(dead))
    if type(dead) is set:
        return set(_plain(dead))
    return set(_plain(place for place in places if place in dead))


def _plain(places: Iterable[object]) -> Iterator[tuple[int, ...]]:
    for place in places:
        # Numbers of other kinds, such as numpy's, are found by plain ones too.
        if isinstance(place, tuple) and all(hasattr(n, "__index__") for n in place):
            yield tuple(int(index(number)) for number in place)
