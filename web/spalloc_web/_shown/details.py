"""Shapes of single jobs and boards, with their past."""

from __future__ import annotations

from spalloc_web._past.shapes import BoardEvent, PastJob, Spell
from spalloc_web._shown.shapes import JobShown, Shape, WaitingShown


class PlaceRow(Shape, frozen=True):
    """Where a board is: frame and address null where the server does not tell."""

    board: tuple[int, int, int]
    cabinet: int
    frame: int
    position: int
    address: str | None


class BoardDetail(Shape, frozen=True):
    """A board: its state now, its place, the first chip, and its past.

    `history` says why the past is missing, where it is.
    """

    machine: str
    board: tuple[int, int, int]
    chip: tuple[int, int]
    state: str
    job_id: int | None
    text: str | None
    cabinet: int | None
    frame: int | None
    position: int | None
    address: str | None
    events: list[BoardEvent]
    jobs: list[PastJob]
    history: str | None


class JobDetail(Shape, frozen=True):
    """A job, now or in the past.

    `job` is null once it has ended, `past` until the history or the server's list of ended
    jobs has it.  `history` says why the past is missing, where it is.
    """

    job_id: int
    job: JobShown | None
    waiting: WaitingShown | None
    boards: list[tuple[int, int, int]]
    past: PastJob | None
    spells: list[Spell]
    history: str | None
