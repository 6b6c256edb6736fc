"""Answers to questions about the history: plain rows, ready for JSON.

All times are Unix seconds, UTC; all durations seconds.  `place` is ``[x, y, w, h]`` of a block,
in triads, or ``[x, y, z]`` of a single board.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True)
class Page(Generic[Row]):
    """A part of a list.

    Attributes
    ----------
    rows : list
    next : str or None
        To be passed as `after` for the rows that follow; None if there are none.
    """

    rows: list[Row]
    next: str | None


class JobRow(NamedTuple):
    """A job in a list.

    Attributes
    ----------
    key : int
        Of this job alone, in this database.
    state, job : int
        Together they name a job for ever; `job` alone repeats after a cold start.
    owner : str
        A pseudonym once the name is past its day; `pseudonym` tells.
    host : str or None
    created : float
    allocated, ready, ended : float or None
        The first time it got boards, its boards were first ready, it ended.
    machine : str or None
        Where it is, or was last.
    place : list of int or None
    boards : int or None
        Number of boards there.
    asked : int
        Number of boards asked for, those of blocks rounded up to triads.
    moves : int
        How often it was moved because boards failed.
    reason, ended_by, ended_by_host, ended_by_principal : str or None
    args : list
    kwargs : dict
        As in ``create_job``.
    keepalive : float or None
    imported : bool
        Whether it is from an old log, which knows less.
    """

    key: int
    state: int
    job: int
    owner: str
    pseudonym: bool
    host: str | None
    created: float
    allocated: float | None
    ready: float | None
    ended: float | None
    machine: str | None
    place: list[int] | None
    boards: int | None
    asked: int
    moves: int
    reason: str | None
    ended_by: str | None
    ended_by_host: str | None
    ended_by_principal: str | None
    args: list[Any]
    kwargs: dict[str, Any]
    keepalive: float | None
    imported: bool

    @property
    def party(self) -> str | None:
        """The party that ended it, in words."""
        principal = self.ended_by_principal
        if principal is not None and principal != f"host:{self.ended_by_host}":
            return f"{self.ended_by} {principal}"
        return " ".join(word for word in (self.ended_by, self.ended_by_host) if word) or None


class PlaceRow(NamedTuple):
    """A time that a job had boards.

    Attributes
    ----------
    machine : str
    place : list of int or None
        None of boards in an old log of which nobody knows where they were.
    boards : int
    without : list of [x, y, z]
        Boards in the block that it did not get.
    waited : float
        Seconds before.
    began : float
    left, off : float or None
        When it had them no more, and when they were off.
    fault : str or None
        Why it was moved from there.
    """

    machine: str
    place: list[int] | None
    boards: int
    without: list[list[int]]
    waited: float
    began: float
    left: float | None
    off: float | None
    fault: str | None


class JobDetail(NamedTuple):
    """All about a job.

    Attributes
    ----------
    job : JobRow
    network : str or None
    places : list of PlaceRow
        Oldest first.
    reports : list of ReportRow
        Made from this job.
    namesakes : list of int
        The states of other jobs that had the same number, newest first.
    """

    job: JobRow
    network: str | None
    places: list[PlaceRow]
    reports: list[ReportRow]
    namesakes: list[int]


class FaultRow(NamedTuple):
    """A time that a board or a frame was out of service.

    Attributes
    ----------
    key : int
    machine : str
    board : list of int or None
        [x, y, z]; None for a whole frame.
    physical : list or None
        [cabinet, frame, board], board None for a whole frame.
    kind, text : str
    sure : bool
        False for a mere suspect.
    job : int or None
        Number of the job that met it.
    since : float
    back : float or None
        None while it is out.
    how : str or None
        How it came back.
    """

    key: int
    machine: str
    board: list[int] | None
    physical: list[int | None] | None
    kind: str
    text: str
    sure: bool
    job: int | None
    since: float
    back: float | None
    how: str | None


class FrameRow(NamedTuple):
    """The faults of a frame over some time.

    Attributes
    ----------
    machine : str
    cabinet, frame : int
    faults : int
        Of its boards, and times that it was silent itself.
    boards : int
        Number of different boards that were out by themselves.
    silent : int
        Times that the frame did not answer.
    last : float
        When the newest began.
    """

    machine: str
    cabinet: int
    frame: int
    faults: int
    boards: int
    silent: int
    last: float


class ReportRow(NamedTuple):
    """A user's report of a board.

    Attributes
    ----------
    key : int
    machine : str
    board : list of int
    job : int or None
    host : str or None
    time : float
    text : str
    done : str or None
        The answer that the reporter got.
    """

    key: int
    machine: str
    board: list[int]
    job: int | None
    host: str | None
    time: float
    text: str
    done: str | None


class WaitSummary(NamedTuple):
    """Waits for the first boards.

    Attributes
    ----------
    jobs : int
        How many jobs got boards.
    median, p95 : float or None
        Seconds, within 5 %; below a second they are told as 0.  None without jobs.
    """

    jobs: int
    median: float | None
    p95: float | None


class UsageRow(NamedTuple):
    """The use of boards by one owner, machine or network over some time.

    Attributes
    ----------
    name : str
        Owner, machine, network, or ISO date of a day or of a month's first day.
    jobs : int
        Created in that time; of a machine, those that first got boards there.
    board_hours : float
    waits : WaitSummary
        Of the jobs that got boards in that time.
    utilisation : float or None
        Part of the time of all live boards, 0 to 1; None of owners and networks, and where the
        size of the machines is not known.
    """

    name: str
    jobs: int
    board_hours: float
    waits: WaitSummary
    utilisation: float | None


class Usage(NamedTuple):
    """Usage over some time.

    Attributes
    ----------
    since, until : float
        Unix times; whole days, UTC.
    total : UsageRow
        Named "total".
    rows : list of UsageRow
        By board-hours, most first; days and months by time.
    left_off : int
        How many rows were left off for being many.
    """

    since: float
    until: float
    total: UsageRow
    rows: list[UsageRow]
    left_off: int


class WaitBucket(NamedTuple):
    """A column of a histogram: jobs that waited `low` to `high` seconds."""

    low: float
    high: float
    jobs: int


class Status(NamedTuple):
    """How the database is.

    Attributes
    ----------
    server : str or None
        Which server is followed; None if none ever was.
    after : int
        Number of the last event read.
    read : float or None
        When the server was last asked.
    lost : int
        How often events were lost before they were read.
    first, last : float or None
        When the oldest and the newest job came.
    keep_names_days : int or None
    """

    server: str | None
    after: int
    read: float | None
    lost: int
    first: float | None
    last: float | None
    keep_names_days: int | None


def plain(answer: Any) -> Any:
    """Return an answer as builtins for JSON: objects with the names of the attributes."""
    if isinstance(answer, tuple) and hasattr(answer, "_asdict"):
        return {name: plain(value) for name, value in answer._asdict().items()}
    if isinstance(answer, Page):
        return {"rows": plain(answer.rows), "next": answer.next}
    if isinstance(answer, dict):
        return {name: plain(value) for name, value in answer.items()}
    if isinstance(answer, Sequence) and not isinstance(answer, str):
        return [plain(value) for value in answer]
    return answer
