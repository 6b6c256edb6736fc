"""Sets of dead boards or links that belong to somebody else.

Owns the questions that they are asked, and how changes are noticed: their
owner replaces them, or changes them in place, without a word.  Must not know
the meaning of being dead.
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


class Watch:
    """Notices that sets were replaced or changed in place.

    Sets and frozensets are compared with a copy, which costs no Python code
    for each member.  Other containers can only be asked for membership, so
    they count as changed each time.
    """

    def __init__(self) -> None:
        self._copies: tuple[frozenset[object] | None, ...] = ()

    def same(self, *sets: DeadSet) -> bool:
        """Whether the sets have the same members as at the last question.

        Parameters
        ----------
        *sets : container
            As many as the other times.

        Returns
        -------
        bool
            False the first time.
        """
        if self._copies and all(map(_is_copy, self._copies, sets)):
            return True
        self._copies = tuple(map(_copy, sets))
        return False


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


def _copy(container: DeadSet) -> frozenset[object] | None:
    # Exactly these types: a subclass may answer otherwise than it iterates.
    if type(container) is set or type(container) is frozenset:
        return frozenset(container)
    return None


def _is_copy(copy: frozenset[object] | None, container: DeadSet) -> bool:
    if copy is None or copy is container:
        return copy is not None
    return type(container) in {set, frozenset} and copy == container
