"""The shapes of answers about the past; times are Unix seconds, waits are seconds."""

from __future__ import annotations

import msgspec


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all shapes."""


class UsageRow(Shape, frozen=True):
    """Use in a span, by owner, machine, day or network.

    `utilisation` is from 0 to 1, null where it makes no sense.  Waits last from created to
    ready, and are exact to 5 %.
    """

    key: str
    board_hours: float
    jobs: int
    wait_median: float | None
    wait_95: float | None
    utilisation: float | None


class DayRow(Shape, frozen=True):
    """Use of one machine on one day (`YYYY-MM-DD`, UTC)."""

    day: str
    machine: str
    board_hours: float
    jobs: int
    wait_median: float | None
    wait_95: float | None
    utilisation: float | None


class FaultRow(Shape, frozen=True):
    """Faults of one frame: of its boards, and `silent` times of the frame itself."""

    machine: str
    cabinet: int
    frame: int
    faults: int
    boards: int
    silent: int


class PastJob(Shape, frozen=True):
    """A job of the past, or of the present as the history knows it."""

    job_id: int
    owner: str | None
    host: str | None
    created: float | None
    allocated: float | None
    ready: float | None
    ended: float | None
    machine: str | None
    place: list[int] | None
    boards: int | None
    reason: str | None
    ended_by: str | None


class PastPage(Shape, frozen=True):
    """A part of a list of jobs, newest first; `next` is the `after` of the part that follows."""

    jobs: list[PastJob]
    next: str | None


class Spell(Shape, frozen=True):
    """A time that a job spent at one place; `fault` is why it was moved from there."""

    machine: str
    place: list[int] | None
    boards: int | None
    since: float | None
    until: float | None
    fault: str | None


class JobPast(Shape, frozen=True):
    """A job and its places over time."""

    job: PastJob
    spells: list[Spell]


class BoardEvent(Shape, frozen=True):
    """Something that happened to a board."""

    time: float
    kind: str
    text: str | None


class BoardPast(Shape, frozen=True):
    """A board's faults and reports, newest first, and the jobs that had it."""

    events: list[BoardEvent]
    jobs: list[PastJob]
