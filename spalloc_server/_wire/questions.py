"""The answers to questions that came with version 1.1 of the protocol.

Owns their form on the wire, the limits of their arguments, and their JSON as long as the model's
answer stays the same object.  Their content is the controller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar

from spalloc_server._checks.values import shown, whole_number
from spalloc_server._wire.messages import Row, Rows, encoded

#: Rows of `list_ended_jobs` and events of `list_events` in one reply (protocol).
MOST_ROWS = 1000

Told = TypeVar("Told")


def how_many(name: str, value: object) -> int:
    """Return a number of rows that a client asked for.

    Raises
    ------
    TypeError, ValueError
        If it is not a whole number from 0 to `MOST_ROWS`.
    """
    number = whole_number(name, value)
    if not 0 <= number <= MOST_ROWS:
        raise ValueError(f"{name} must be from 0 to {MOST_ROWS}, not {shown(number)}")
    return number


def events_asked(after: object, limit: object) -> tuple[int, int]:
    """Return the number after which a client wants events, and how many at most.

    Raises
    ------
    TypeError, ValueError
        If they are no whole numbers, or out of range.
    """
    number = whole_number("after", after)
    if number < 0:
        raise ValueError(f"after must be 0 or more, not {shown(number)}")
    return number, how_many("limit", limit)


def reported(where: tuple[Any, ...], keywords: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the board and the text of a report.

    Parameters
    ----------
    where : tuple
        Address and text; [x, y, z] and text; or x, y, z and text.  Any of them may be keywords
        instead: address or x, y, z, and text.

    Raises
    ------
    TypeError
        If they are none of these.
    """
    given = dict(keywords)
    values = list(where)
    text = given.pop("text") if "text" in given else values.pop() if values else None
    if not values and given.keys() == {"address"}:
        values = [given.pop("address")]
    elif not values and given.keys() == {"x", "y", "z"}:
        values = [given.pop("x"), given.pop("y"), given.pop("z")]
    if given or len(values) not in (1, 3):
        raise TypeError(
            "report_problem takes a job_id, an address or x, y and z of a board, and a text"
        )
    return values[0] if len(values) == 1 else values, text


class Latest(Generic[Told]):
    """The JSON of the answer that the model gave last, until it gives another object."""

    def __init__(self) -> None:
        self._told: Told | None = None
        self._json = b""

    def json(self, told: Told) -> bytes:
        """Return an answer as JSON."""
        if told is not self._told:
            self._told, self._json = told, encoded(told)
        return self._json


class Questions:
    """Replies that many clients ask for, each made once for all of them."""

    def __init__(self) -> None:
        self._boards: dict[str, Latest[Any]] = {}
        self._queue: Latest[Any] = Latest()

    def boards(self, machine_name: str, event: int, rows: Any) -> Row:
        """Return the reply of ``list_boards``.

        Parameters
        ----------
        machine_name : str
        event : int
            Number of the last event that the rows contain.
        rows : list
            (x, y, z, state, job id or None, text or None) of every board.
        """
        json = self._boards.setdefault(machine_name, Latest()).json(rows)
        reply = Row({"event": event, "boards": rows})
        reply.json = b'{"event": %d, "boards": %s}' % (event, json)
        return reply

    def queue(self, told: dict[str, Any]) -> Row:
        """Return the reply of ``list_queue``."""
        reply = Row(told)
        reply.json = self._queue.json(told)
        return reply

    def forget_machines(self, names: Iterable[str]) -> None:
        """Forget the boards of all machines but some."""
        self._boards = {name: self._boards[name] for name in names if name in self._boards}


def ended_rows(jobs: Iterable[Any]) -> Rows:
    """Return the reply of ``list_ended_jobs``."""
    return Rows(Row(job._asdict()) for job in jobs)
