"""The shapes of the server's replies, and how they are read.

Unknown members are ignored: a newer server may say more.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import msgspec

#: States of a board in the server's words, in the order in which the pages list them.
BOARD_STATES = ("used", "free", "reserved", "draining", "resting", "out", "unknown", "dead")


class BoardRow(NamedTuple):
    """A board of `list_boards`."""

    x: int
    y: int
    z: int
    state: str
    job_id: int | None
    text: str | None


class BoardsReply(msgspec.Struct, frozen=True):
    """Answer of `list_boards`."""

    boards: list[BoardRow]
    event: int | None = None


class MachineReply(msgspec.Struct, frozen=True):
    """A machine of `list_machines`."""

    name: str
    width: int
    height: int
    tags: list[str] = []
    dead_boards: list[tuple[int, int, int]] = []
    dead_links: list[tuple[int, int, int, int]] = []


class TimesReply(msgspec.Struct, frozen=True):
    """A job of `list_job_times`: when it got its boards, and when they were first ready."""

    job_id: int
    allocated: float | None = None
    ready: float | None = None


class JobReply(msgspec.Struct, frozen=True):
    """A job of `list_jobs`."""

    job_id: int
    state: int
    owner: str = ""
    start_time: float | None = None
    keepalive: float | None = None
    power: bool | None = None
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    allocated_machine_name: str | None = None
    boards: list[tuple[int, int, int]] | None = None
    keepalivehost: str | None = ""


class WhyReply(msgspec.Struct, frozen=True):
    """Why a job waits on one machine."""

    name: str
    why: str = ""
    until: float | None = None


class WaitingReply(msgspec.Struct, frozen=True):
    """A waiting job of `list_queue`."""

    job_id: int
    position: int | None = None
    ahead: int | None = None
    first_ahead: list[int] = []
    machines: list[WhyReply] = []
    expected: Any = None


class QueueReply(msgspec.Struct, frozen=True):
    """Answer of `list_queue`."""

    jobs: list[WaitingReply]
    made: float | None = None


class FacilityReply(msgspec.Struct, frozen=True):
    """Answer of `get_facility`."""

    commands: list[str] = []
    message: str | None = None
    accepting: bool | None = None
    scheduling: str | None = None
    patience: float | None = None


class EventReply(msgspec.Struct, frozen=True):
    """An event of `list_events`; all that it carries is kept in `more`."""

    number: int
    kind: str
    more: dict[str, Any]


_Shape = TypeVar("_Shape")


class UnreadableReplyError(Exception):
    """The server's reply has not the shape that the protocol fixes."""


def read(reply: Any, shape: type[_Shape], command: str) -> _Shape:
    """Read a reply.

    Parameters
    ----------
    reply
        As decoded from JSON.
    shape
        The type that it should have.
    command
        Named in the error.

    Raises
    ------
    UnreadableReplyError
        If it has another shape.
    """
    try:
        # Not strict: whole numbers of seconds arrive as integers, too.
        return msgspec.convert(reply, shape)
    except msgspec.ValidationError as e:
        raise UnreadableReplyError(f"the server's reply to {command}: {e}") from e
