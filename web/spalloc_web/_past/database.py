"""The history database that ``spalloc-history`` keeps, read by its own functions.

Opened at the first question, and anew after trouble: it may be made, upgraded or mended while
the pages run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from spalloc_server._history.answers import JobRow
from spalloc_server._history.answers import UsageRow as Used
from spalloc_server._history.history import History, HistoryError, JobFilter, TooSlow
from spalloc_web._past.history import LONGEST, HistoryAwayError
from spalloc_web._past.shapes import (
    BoardEvent,
    BoardPast,
    DayRow,
    FaultRow,
    JobPast,
    PastJob,
    PastPage,
    Spell,
    UsageRow,
)

_Answer = TypeVar("_Answer")

#: Rows of a table of use, and jobs and events of a board, at most.
MOST_ROWS = 100


class Database:
    """A history database; see `spalloc_web._past.history.Source`.

    Parameters
    ----------
    where : str
        A URL, or the path of an SQLite file.
    seconds : float
        After which a question is given up.
    """

    def __init__(self, where: str, seconds: float = LONGEST) -> None:
        self._where = where
        self._seconds = seconds
        self._history: History | None = None
        # Guards `_history`; questions are asked without it.
        self._lock = threading.Lock()

    def usage(self, deadline: float, since: float, until: float, by: str) -> list[UsageRow]:
        """Return use by owner, machine, day or network."""
        usage = self._ask(deadline, lambda h: h.usage(since, until, by, MOST_ROWS))
        return [
            UsageRow(
                key=row.name,
                board_hours=row.board_hours,
                jobs=row.jobs,
                wait_median=row.waits.median,
                wait_95=row.waits.p95,
                utilisation=row.utilisation,
            )
            for row in usage.rows
        ]

    def days(self, deadline: float, since: float, until: float) -> list[DayRow]:
        """Return use of each machine on each day, by machine and day."""
        rows: list[DayRow] = []
        for machine in self._ask(deadline, lambda h: h.machines()):
            series = self._series(deadline, since, until, machine)
            if any(row.board_hours or row.jobs or row.utilisation is not None for row in series):
                rows += [_day(machine, row) for row in series]
        return rows

    def _series(
        self, deadline: float, since: float, until: float, machine: str
    ) -> list[Used]:
        return self._ask(deadline, lambda h: h.series(since, until, machine=machine))

    def faults(self, deadline: float, since: float, until: float) -> list[FaultRow]:
        """Return faults by frame, most first."""
        found = self._ask(deadline, lambda h: h.faults_by_frame(None, since, until))
        return [
            FaultRow(
                machine=row.machine,
                cabinet=row.cabinet,
                frame=row.frame,
                faults=row.faults,
                boards=row.boards,
                silent=row.silent,
            )
            for row in found
        ]

    def jobs(self, deadline: float, **filters: Any) -> PastPage:
        """Return jobs, newest first."""
        after, limit = filters.pop("after", None), filters.pop("limit", MOST_ROWS)
        wanted = JobFilter(**filters)
        page = self._ask(deadline, lambda h: h.jobs(wanted, after, limit))
        return PastPage(jobs=[_job(row) for row in page.rows], next=page.next)

    def job(self, deadline: float, job_id: int) -> JobPast | None:
        """Return the newest job of that number."""
        found = self._ask(deadline, lambda h: h.job(job_id))
        if found is None:
            return None
        spells = [
            Spell(
                machine=place.machine,
                place=place.place,
                boards=place.boards,
                since=place.began,
                until=place.left,
                fault=place.fault,
            )
            for place in found.places
        ]
        return JobPast(job=_job(found.job), spells=spells)

    def board(
        self, deadline: float, machine: str, board: tuple[int, int, int]
    ) -> BoardPast:
        """Return a board's past."""
        faults = self._ask(deadline, lambda h: h.faults(machine, board, limit=MOST_ROWS))
        reports = self._ask(deadline, lambda h: h.reports(machine, board, limit=MOST_ROWS))
        page = self._ask(deadline, lambda h: h.board_jobs(machine, board))
        events = [
            BoardEvent(time=each.since, kind="out of service", text=each.text or each.kind)
            for each in faults
        ]
        events += [
            BoardEvent(time=each.back, kind="back in service", text=each.how)
            for each in faults
            if each.back is not None
        ]
        events += [
            BoardEvent(time=each.time, kind="reported", text=each.text) for each in reports
        ]
        events.sort(key=lambda each: each.time, reverse=True)
        return BoardPast(events=events, jobs=[_job(row) for row in page.rows])

    def close(self) -> None:
        """Close all connections."""
        with self._lock:
            if self._history is not None:
                self._history.close()
                self._history = None

    def _ask(self, deadline: float, question: Callable[[History], _Answer]) -> _Answer:
        if time.monotonic() > deadline:
            raise HistoryAwayError(f"given up after {self._seconds:g} s; ask for less")
        try:
            return question(self._open())
        except TooSlow as e:
            raise HistoryAwayError(str(e)) from e
        except HistoryError as e:
            self.close()
            raise HistoryAwayError(str(e)) from e

    def _open(self) -> History:
        with self._lock:
            if self._history is None:
                self._history = History(self._where, self._seconds)
            return self._history


def _day(machine: str, row: Used) -> DayRow:
    return DayRow(
        day=row.name,
        machine=machine,
        board_hours=row.board_hours,
        jobs=row.jobs,
        wait_median=row.waits.median,
        wait_95=row.waits.p95,
        utilisation=row.utilisation,
    )


def _job(row: JobRow) -> PastJob:
    return PastJob(
        job_id=row.job,
        owner=row.owner,
        host=row.host,
        created=row.created,
        allocated=row.allocated,
        ready=row.ready,
        ended=row.ended,
        machine=row.machine,
        place=row.place,
        boards=row.boards,
        reason=row.reason,
        ended_by=row.party,
    )
