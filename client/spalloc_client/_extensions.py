"""Answers of servers from version 1.1.0 on, as rows with names and types.

Older servers know none of these commands, and close the connection on an unknown one. So a
newer server is first asked which commands it has; only those are used.
"""

import math
from typing import Any, NamedTuple

from spalloc_client._answers import Board, read_board, read_text, read_time, reader

#: The first version that can be asked which commands there are, and the first that cannot:
#: numbers from 2 on, and epochs, belong to servers of other origin.
FACILITY_VERSIONS = ((1, 1, 0), (2, 0, 0))

#: Subscriptions that older servers do not have.
NEWER_SUBSCRIPTIONS = frozenset({"notify_events"})

#: States of a board in the server's words; the first that applies. Boards in states that are
#: not listed here count as out.
BOARD_STATES = (
    "dead",
    "used",
    "resting",
    "out",
    "unknown",
    "draining",
    "reserved",
    "free",
)


class Facility(NamedTuple):
    """The answer to get_facility: which commands there are, and news of the operator."""

    commands: frozenset[str] = frozenset()
    message: str | None = None
    accepting: bool = True
    scheduling: str | None = None
    principal: str | None = None

    def offers(self, *commands: str) -> bool:
        """Whether the server has all of these commands."""
        return self.commands.issuperset(commands)


#: The offer of an older server beyond the commands of 1.0.0.
NOTHING_NEW = Facility()


class BoardRow(NamedTuple):
    """A board in list_boards; `state` is one of `BOARD_STATES`."""

    board: Board
    state: str
    job_id: int | None
    text: str | None


class Obstacle(NamedTuple):
    """Why a job waits on a machine, and until when, if that is known (Unix, seconds)."""

    machine: str
    why: str
    until: float | None


class Outlook(NamedTuple):
    """The prospects of a waiting job: an entry of list_queue."""

    job_id: int
    position: int | None
    ahead: int | None
    first_ahead: tuple[int, ...]
    obstacles: tuple[Obstacle, ...]
    expected: tuple[float, float] | None
    """Similar requests waited so long lately: from, to, in seconds."""


class Queue(NamedTuple):
    """The answer to list_queue; `made` is the server's time (Unix, seconds)."""

    made: float | None
    outlooks: dict[int, Outlook]


@reader
def read_facility(answer: Any) -> Facility:
    """Read the answer to get_facility."""
    accepting = answer.get("accepting")
    return Facility(
        frozenset(str(name) for name in answer["commands"]),
        read_text(answer.get("message")) or None,
        accepting is None or bool(accepting),
        read_text(answer.get("scheduling")),
        read_text(answer.get("principal")),
    )


@reader
def read_boards(answer: Any) -> list[BoardRow] | None:
    """Read the answer to list_boards; None if there is no such machine."""
    return None if answer is None else [_board_row(values) for values in answer["boards"]]


def _board_row(values: Any) -> BoardRow:
    x, y, z, state, job_id, text = values[:6]
    return BoardRow(
        read_board((x, y, z)),
        state if state in BOARD_STATES else "out",
        None if job_id is None else int(job_id),
        read_text(text) or None,
    )


@reader
def read_queue(answer: Any) -> Queue:
    """Read the answer to list_queue."""
    outlooks = [_outlook(value) for value in answer["jobs"]]
    return Queue(read_time(answer.get("made")), {each.job_id: each for each in outlooks})


@reader
def read_outlook(answer: Any) -> Outlook | None:
    """Read the answer to get_job_outlook; None if the job does not wait."""
    return None if answer is None else _outlook(answer)


def _outlook(value: Any) -> Outlook:
    return Outlook(
        int(value["job_id"]),
        _whole(value.get("position")),
        _whole(value.get("ahead")),
        tuple(int(job_id) for job_id in value.get("first_ahead") or ()),
        tuple(
            Obstacle(str(each["name"]), str(each["why"]), read_time(each.get("until")))
            for each in value.get("machines") or ()
        ),
        _span(value.get("expected")),
    )


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)


def _span(value: Any) -> tuple[float, float] | None:
    """Read a span of seconds: an array, or an object with names for its ends."""
    if isinstance(value, dict):
        value = [
            next((value[name] for name in names if value.get(name) is not None), None)
            for names in (("low", "from", "least"), ("high", "to", "until", "most"))
        ]
    if not isinstance(value, list) or len(value) < 2:
        return None
    ends = value[:2]
    if not all(isinstance(end, int | float) and 0 <= end < math.inf for end in ends):
        return None
    return float(ends[0]), float(ends[1])
