"""The boards that a job asks for: numbers and limits. Knows no machines."""

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any, NamedTuple


class Request(NamedTuple):
    """The boards and limits of a job."""

    args: tuple[int, ...] = ()
    machine: str | None = None
    tags: frozenset[str] = frozenset({"default"})
    min_ratio: float = 0.0
    max_dead_boards: int | None = None
    max_dead_links: int | None = None
    require_torus: bool = False

    @property
    def boards(self) -> int:
        """The number of boards asked for."""
        if len(self.args) == 2:
            return self.args[0] * self.args[1] * 3
        return self.args[0] if len(self.args) == 1 else 1


def request_of(args: Iterable[int], kwargs: dict[str, Any]) -> Request:
    """Make a request from create_job's arguments; null means not given."""
    given = {name: value for name, value in kwargs.items() if value is not None}
    given.pop("owner", None)
    given.pop("keepalive", None)
    if "tags" in given:
        given["tags"] = frozenset(str(tag) for tag in given["tags"])
    known = {name: value for name, value in given.items() if name in Request._fields}
    return Request(tuple(args), **known)


def check_numbers(numbers: Sequence[Any]) -> tuple[int, ...]:
    """Make sure that numbers can choose boards.

    Parameters
    ----------
    numbers
        None, a number of boards, a width and height in triads, or the coordinates x, y, z
        of a board. None at the end counts as not given.

    Returns
    -------
    tuple of int

    Raises
    ------
    ValueError
        If they cannot; the message names the number and those that are allowed.
    """
    given = list(numbers)
    while given and given[-1] is None:
        del given[-1]
    if len(given) > 3:
        raise ValueError(f"at most three numbers choose boards, not {len(given)}")
    whole = tuple(_whole(number) for number in given)
    must_be, least = {
        0: ("", 0),
        1: ("the number of boards must be a whole number", 1),
        2: ("width and height in triads must be whole numbers", 1),
        3: ("the coordinates of a board must be whole numbers", 0),
    }[len(whole)]
    for number in whole:
        if number < least:
            raise ValueError(f"{must_be} from {least}, not {number}")
    return whole


def _whole(number: Any) -> int:
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        raise ValueError(f"boards are chosen by whole numbers, not {number!r}")
    return index(number)
