"""The shapes of all that is shown: one type each, read by `msgspec` and by the OpenAPI page."""

from __future__ import annotations

from typing import Any

import msgspec

#: x, y, z, state, job id, text: the row of the server's `list_boards`.
BoardShown = tuple[int, int, int, str, int | None, str | None]


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all shapes."""


class StatusShown(Shape, frozen=True):
    """How the connection to the server stands; times are Unix seconds.

    `away_since` is null while the server answers; `as_of` is the time of the last look at it;
    `now` is this page's own clock; `missing` lists the commands that an older server lacks.
    """

    server: str
    version: str | None
    away_since: float | None
    trouble: str | None
    as_of: float | None
    now: float
    message: str | None
    accepting: bool | None
    scheduling: str | None
    patience: float | None
    missing: list[str]
    notices: list[str] = []


class MachineShown(Shape, frozen=True):
    """A machine, its boards `[x, y, z, state, job_id, text]` and dead links `[x, y, z, link]`.

    `exact` is false if states are worked out from jobs because the server does not tell them.
    """

    name: str
    width: int
    height: int
    tags: list[str]
    exact: bool
    dead_links: list[tuple[int, int, int, int]]
    boards: list[BoardShown]


class MachineSummary(Shape, frozen=True):
    """A machine in a list: boards counted by state, and jobs that hold some."""

    name: str
    width: int
    height: int
    tags: list[str]
    boards: int
    states: dict[str, int]
    jobs: int


class JobShown(Shape, frozen=True):
    """A job that has not ended.

    `letter` and `colour` (0 to 7) mark it on maps while it has boards.  Times are Unix
    seconds.  `owner` and `host` are null for readers that may not see them.
    """

    job_id: int
    state: str
    letter: str | None
    colour: int | None
    owner: str | None
    host: str | None
    created: float | None
    allocated: float | None
    ready: float | None
    keepalive: float | None
    power: bool | None
    args: list[Any]
    kwargs: dict[str, Any]
    machine: str | None
    boards: int


class WhyShown(Shape, frozen=True):
    """Why a job waits on one machine; `until` in Unix seconds, where it is known."""

    name: str
    why: str
    until: float | None


class WaitingShown(Shape, frozen=True):
    """A waiting job: its place in line, why it waits, and how long it may take."""

    job_id: int
    position: int | None
    ahead: int | None
    first_ahead: list[int]
    machines: list[WhyShown]
    expected: Any


class Whole(Shape, frozen=True, kw_only=True):
    """A frame with everything."""

    kind: str = "whole"
    n: int
    status: StatusShown
    machines: list[MachineShown]
    jobs: list[JobShown]
    queue: list[WaitingShown]


class Changes(Shape, frozen=True, kw_only=True, omit_defaults=True):
    """A frame with all changes from picture `base` to picture `n`.

    Machines with another size or set of boards come whole; of the others, the boards
    that have changed.
    """

    kind: str
    n: int
    base: int
    status: StatusShown | None = None
    order: list[str] | None = None
    machines: list[MachineShown] = []
    boards: dict[str, list[BoardShown]] = {}
    jobs: list[JobShown] = []
    gone_jobs: list[int] = []
    queue: list[WaitingShown] | None = None
