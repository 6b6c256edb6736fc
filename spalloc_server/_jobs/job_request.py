"""The arguments of ``create_job``, checked.

Every value from the wire is checked here, once, before a job is made of it: a refused
request leaves nothing behind.  Whether a machine could satisfy a request is the queue's
question.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from spalloc_server._allocation.kinds import Limits, Request
from spalloc_server._checks.values import MAX_TEXT, shown, text, too_long, whole_number


def owner_name(value: object) -> str:
    """Return the owner of a job, as text.

    Raises
    ------
    TypeError, ValueError
        If there is none, or the name is longer than 1,024 characters.
    """
    if value is None:
        raise TypeError("owner must be specified for all jobs")
    name = str(value)
    if len(name) > MAX_TEXT:
        raise too_long("owner", name)
    return name


def keepalive_seconds(value: object) -> float | None:
    """Return a keepalive period, seconds, or None for a job that never expires.

    Raises
    ------
    TypeError, ValueError
        If it is not a finite number of at least 0.
    """
    return None if value is None else _number("keepalive", value, "seconds or null")


#: Name in errors of each positional argument.
_ASKED_FOR = "each of the boards, triads or coordinates asked for"
#: Numbers that are listed for all to read have 64 bits.
_LARGEST = 2**63 - 1


#: Users ask for the same again and again.
_boards = lru_cache(maxsize=1024)(Request.of)


@dataclass(frozen=True)
class JobRequest:
    """A request of good form; it is read once and passed down.

    Attributes
    ----------
    what : tuple of int
        Nothing, a number of boards, a width and height in triads, or a
        board's x, y and z.
    machine : str or None
        The only machine that may be used.
    tags : frozenset of str or None
        The tags that a machine must have; None if none were given.
    limits : dict
        min_ratio, max_dead_boards, max_dead_links, require_torus; those given.
    boards : Request
        `what` and `limits` as the allocator takes them.
    """

    what: tuple[int, ...] = ()
    machine: str | None = None
    tags: frozenset[str] | None = None
    limits: dict[str, Any] = field(default_factory=dict)
    boards: Request = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        boards = _boards(self.what, Limits(**self.limits))
        object.__setattr__(self, "boards", boards)

    @classmethod
    def parse(cls, what: tuple[object, ...], keywords: dict[str, object]) -> JobRequest:
        """Check the arguments of ``create_job``, save owner and keepalive.

        Nulls mean *not given* and are dropped.

        Raises
        ------
        TypeError, ValueError
            Naming the argument, its value and the values allowed.
        """
        given = {name: value for name, value in keywords.items() if value is not None}
        numbers = _what(what)
        machine = text("machine", given.pop("machine")) if "machine" in given else None
        tags = _tags(given.pop("tags")) if "tags" in given else None
        if machine is not None and tags is not None:
            raise TypeError("Only one of machine and tags may be specified for a job.")
        limits = {name: _limit(name, value) for name, value in given.items()}
        if limits.get("require_torus") and (len(numbers) in (0, 3) or numbers == (1,)):
            raise ValueError(
                "require_torus=True is not allowed for single boards, "
                "only for a number of boards above 1 or a block of triads"
            )
        return cls(numbers, machine, tags, limits)

    @property
    def keywords(self) -> dict[str, Any]:
        """The keyword arguments that were given; tags as a set."""
        keywords: dict[str, Any] = {}
        if self.machine is not None:
            keywords["machine"] = self.machine
        if self.tags is not None:
            keywords["tags"] = set(self.tags)
        return {**keywords, **self.limits}


#: The request of a job for any one board.
ANY_BOARD = JobRequest()


def _what(what: tuple[object, ...]) -> tuple[int, ...]:
    if len(what) > 3:
        raise TypeError(
            f"expected at most 3 positional arguments (nothing, boards, width and height, "
            f"or x, y and z), not {len(what)}: {shown(list(what))}"
        )
    end = len(what)
    while end and what[end - 1] is None:
        end -= 1
    # As most are, plain numbers are taken as they come.
    numbers = tuple(
        value if type(value) is int else whole_number(_ASKED_FOR, value) for value in what[:end]
    )
    for number in numbers:
        _check_range(_ASKED_FOR, number)
    return numbers


def _tags(value: object) -> frozenset[str]:
    if isinstance(value, (str, bytes, dict)) or not isinstance(value, Iterable):
        raise TypeError(f"tags must be an array of texts, not {shown(value)}")
    return frozenset(text("each of tags", tag) for tag in value)


def _limit(name: str, value: object) -> int | float | bool:
    if name == "min_ratio":
        return _number(name, value, "a ratio")
    if name in ("max_dead_boards", "max_dead_links"):
        return _check_range(name, whole_number(name, value), " or null")
    if name == "require_torus":
        if not isinstance(value, bool):
            raise TypeError(f"require_torus must be true or false, not {shown(value)}")
        return value
    raise TypeError(
        f"unknown keyword {shown(name)} in create_job; allowed are owner, keepalive, machine, "
        "tags, min_ratio, max_dead_boards, max_dead_links and require_torus"
    )


def _check_range(name: str, number: int, alternative: str = "") -> int:
    """Return a whole number that is not negative and fits into 64 bits."""
    if number < 0:
        raise ValueError(f"{name} must be at least 0{alternative}, not {shown(number)}")
    if number > _LARGEST:
        raise ValueError(f"{name} must be at most {_LARGEST}{alternative}, not {shown(number)}")
    return number


def _number(name: str, value: object, unit: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{name} must be a number ({unit}), not {shown(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not 0 <= number < math.inf:
        raise ValueError(f"{name} must be finite and at least 0 ({unit}), not {shown(value)}")
    return number
