"""The meaning of a request for boards.

Owns the kinds of requests and their limits.  Must not know any machine: whether a
machine has such boards is the allocator's question.
"""

import math
from collections.abc import Mapping
from enum import Enum
from operator import index
from typing import Any, NamedTuple


class _AllocationType(Enum):
    """Ways to choose boards."""

    triads = 0
    board = 1
    boards = 2


class Limits(NamedTuple):
    """The demands of a request beside its size; None stands for no demand.

    Attributes
    ----------
    max_dead_boards, max_dead_links : int or None
        At most this many may be missing.
    require_torus : bool
        Whether wrap-around links are needed.
    min_ratio : float
        Least short side / long side of a block chosen by area.
    """

    max_dead_boards: int | None = None
    max_dead_links: int | None = None
    require_torus: bool = False
    min_ratio: float = 0.0

    @classmethod
    def given(cls, limits: Mapping[str, Any]) -> "Limits":
        """Read keyword arguments; None means *not given*.

        Parameters
        ----------
        limits : mapping
            Keyword arguments of a request.

        Returns
        -------
        Limits

        Raises
        ------
        TypeError
            If there is an unknown keyword, or a value is not a number.
        ValueError
            If `min_ratio` is negative or not finite.
        """
        if not limits:
            return _NO_LIMITS
        for name in limits:
            if name not in cls._fields:
                raise TypeError(
                    f"unknown keyword {name!r}, allowed are {', '.join(cls._fields)}"
                )
        given = cls(**{name: value for name, value in limits.items() if value is not None})
        for name in ("max_dead_boards", "max_dead_links"):
            _check_whole(name, limits.get(name))
        if not (math.isfinite(given.min_ratio) and given.min_ratio >= 0.0):
            raise ValueError(
                f"min_ratio must be finite and not negative, but is {given.min_ratio!r}"
            )
        return given

    @property
    def keywords(self) -> dict[str, Any]:
        """The limits as keyword arguments, without those that demand nothing."""
        pairs = zip(self._fields, self, _NO_LIMITS, strict=True)
        return {name: value for name, value, default in pairs if value != default}


_NO_LIMITS = Limits()


class Request(NamedTuple):
    """A request for boards, read once and passed down.

    Attributes
    ----------
    kind : _AllocationType
        How to choose boards.
    numbers : tuple of int
        Width and height; or a number of boards; or x, y and z; or nothing
        for any one board.
    limits : Limits
        Further demands.
    """

    kind: _AllocationType
    numbers: tuple[int, ...]
    limits: Limits

    @classmethod
    def of(cls, numbers: tuple[int, ...], limits: Limits) -> "Request":
        """Make a request of checked numbers (at most three) and limits.

        Raises
        ------
        ValueError
            If a torus is asked for and a single board is all that is wanted.
        """
        if len(numbers) == 2:
            return cls(_AllocationType.triads, numbers, limits)
        if len(numbers) == 1 and numbers != (1,):
            return cls(_AllocationType.boards, numbers, limits)
        if limits.require_torus:
            raise ValueError("require_torus must be False when allocating single boards")
        return cls(_AllocationType.board, numbers if len(numbers) == 3 else (), limits)


def understand(what: tuple[int | None, ...], limits: Mapping[str, Any]) -> Request:
    """Read the arguments of `Allocator.alloc`; None at the end means *not given*.

    Parameters
    ----------
    what : tuple of int
        Up to three numbers.
    limits : mapping
        Keyword arguments, see `Limits`.

    Returns
    -------
    Request

    Raises
    ------
    TypeError, ValueError
        If the request has no meaning on any machine.
    """
    return Request.of(_without_nulls(what), Limits.given(limits))


def _without_nulls(what: tuple[int | None, ...]) -> tuple[int, ...]:
    """Strip the nulls at the end, checking that only numbers are left."""
    while what and what[-1] is None:
        what = what[:-1]
    if len(what) > 3:
        raise TypeError(f"at most 3 numbers make a request, not {what!r}")
    numbers = []
    for number in what:
        if number is None:
            raise ValueError(f"a number after a null means nothing: {what!r}")
        _check_whole("each number of a request", number)
        # A plain int, since it may be saved: it may be numpy's or an enumeration's.
        numbers.append(int(index(number)))
    return tuple(numbers)


def _check_whole(name: str, number: object) -> None:
    """Raise TypeError unless a value is None or a whole number."""
    if number is None:
        return
    try:
        index(number)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {number!r}") from None
