"""The history, to be asked by programs: `spalloc-history` and the web pages.

::

    from spalloc_server._history.history import History, JobFilter

    history = History("/var/lib/spalloc-history/history.db")     # or a URL
    page = history.jobs(JobFilter(owner="me", since=1.7e9), limit=50)
    page.rows[0].job, page.rows[0].place
    page = history.jobs(JobFilter(owner="me", since=1.7e9), after=page.next)
    history.usage(since, until, by="owner").rows[0].board_hours
    history.close()

Every question may be asked from any thread, several at a time; each is answered from one state
of the database, while the follower goes on writing.  Questions that are given up after 5 s raise
`TooSlow`, all other troubles (no such file, another version, a broken or locked database, a
question without sense) `HistoryError`; its text is for people.  `plain` makes builtins for
JSON of any answer.  The kinds of answers are in `answers`.

Lists by owner, machine, network or time of creation, one job, usage, series and waits take
milliseconds however many jobs there are.  Lists by `reason`, `board`, `by`, `host` or `ended` may
go through all jobs: ask them in a thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, func, select

from spalloc_server._history import fault_queries, job_queries, usage_queries
from spalloc_server._history.answers import (
    FaultRow,
    FrameRow,
    JobDetail,
    JobRow,
    Page,
    ReportRow,
    Status,
    Usage,
    UsageRow,
    WaitBucket,
    plain,
)
from spalloc_server._history.database import PATIENCE, Database
from spalloc_server._history.errors import HistoryError, TooSlow
from spalloc_server._history.job_queries import JobFilter
from spalloc_server._history.tables import cursor, jobs, machines

__all__ = ("History", "HistoryError", "JobFilter", "TooSlow", "plain")

Board = tuple[int, int, int]


class History:
    """A history database, to be read.

    Parameters
    ----------
    where : str
        A URL, or the path of an SQLite file.
    seconds : float
        After which a question is given up.

    Raises
    ------
    HistoryError
        If it cannot be read, or is of another version than this program.
    """

    def __init__(self, where: str, seconds: float = PATIENCE) -> None:
        self._database = Database(where, read_only=True)
        self._seconds = seconds

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    # --- jobs ---

    def jobs(
        self, wanted: JobFilter | None = None, after: str | None = None, limit: int = 50
    ) -> Page[JobRow]:
        """List jobs by time of creation, newest first.

        Parameters
        ----------
        wanted : JobFilter, optional
            Which ones; None for all.
        after : str, optional
            `next` of the page before.
        limit : int
            At most so many; 1,000 at most.
        """
        with self._reading() as connection:
            return job_queries.list_jobs(connection, wanted or JobFilter(), after, limit)

    def job(self, job: int, state: int | None = None) -> JobDetail | None:
        """Tell all about a job.

        Parameters
        ----------
        job : int
            Its number.
        state : int, optional
            See `JobRow`; None for the newest job of that number.

        Returns
        -------
        JobDetail or None
            None if there is none.
        """
        with self._reading() as connection:
            return job_queries.find_job(connection, job, state)

    # --- usage ---

    def usage(
        self,
        since: float | None = None,
        until: float | None = None,
        by: str = "owner",
        limit: int = 100,
    ) -> Usage:
        """Tell the use of boards, and how long jobs waited.

        Parameters
        ----------
        since, until : float, optional
            Unix times, widened to whole days, UTC, or months; None for 30 days before the end,
            and for now.
        by : str
            owner, machine, network, day or month.
        limit : int
            At most so many rows; days and months are all told.
        """
        days = usage_queries.whole_days(since, until)
        with self._reading() as connection:
            return usage_queries.usage(connection, days, by, limit)

    def series(
        self,
        since: float | None = None,
        until: float | None = None,
        step: str = "day",
        *,
        owner: str | None = None,
        machine: str | None = None,
        network: str | None = None,
    ) -> list[UsageRow]:
        """Tell the usage of one thing over time, each day or month in turn, empty ones too.

        Parameters
        ----------
        since, until : float, optional
            As of `usage`.
        step : str
            day or month.
        owner, machine, network : str, optional
            At most one; none for all jobs.

        Returns
        -------
        list of UsageRow
            Named by ISO date; empty if there is no such owner, machine or network.
        """
        if step not in {"day", "month"}:
            raise HistoryError(f"a step of {step!r} is asked for, there are day and month")
        days = usage_queries.whole_days(since, until)
        with self._reading() as connection:
            subject = usage_queries.subject_of(
                connection, owner=owner, machine=machine, network=network
            )
            return [] if subject is None else usage_queries.series(connection, days, step, subject)

    def waits(
        self,
        since: float | None = None,
        until: float | None = None,
        *,
        owner: str | None = None,
        machine: str | None = None,
        network: str | None = None,
    ) -> list[WaitBucket]:
        """Tell how many jobs waited how long; parameters as of `series`."""
        days = usage_queries.whole_days(since, until)
        with self._reading() as connection:
            subject = usage_queries.subject_of(
                connection, owner=owner, machine=machine, network=network
            )
            if subject is None:
                return []
            return usage_queries.wait_histogram(connection, days, subject)

    # --- boards ---

    def board_jobs(
        self, machine: str, board: Board, after: str | None = None, limit: int = 50
    ) -> Page[JobRow]:
        """List the jobs that had a board, newest first; see `jobs`."""
        return self.jobs(JobFilter(machine=machine, board=board), after, limit)

    def faults(
        self,
        machine: str | None = None,
        board: Board | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 1000,
    ) -> list[FaultRow]:
        """List times that boards and frames were out of service, newest first.

        Parameters
        ----------
        machine : str, optional
        board : (x, y, z), optional
        since, until : float, optional
            Unix times: those that were out at some time between.
        limit : int
        """
        with self._reading() as connection:
            return fault_queries.list_faults(
                connection, machine=machine, board=board, since=since, until=until, limit=limit
            )

    def faults_by_frame(
        self,
        machine: str | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> list[FrameRow]:
        """Count faults by frame, most first; parameters as of `faults`."""
        with self._reading() as connection:
            return fault_queries.faults_by_frame(connection, machine, since, until)

    def reports(
        self,
        machine: str | None = None,
        board: Board | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 1000,
    ) -> list[ReportRow]:
        """List users' reports of boards, newest first; parameters as of `faults`."""
        with self._reading() as connection:
            return fault_queries.list_reports(
                connection, machine=machine, board=board, since=since, until=until, limit=limit
            )

    # --- all of it ---

    def machines(self) -> list[str]:
        """List the names of all machines that ever were."""
        with self._reading() as connection:
            return list(connection.scalars(select(machines.c.name).order_by(machines.c.name)))

    def status(self) -> Status:
        """Tell how far the server's events have been read, and since when there are jobs."""
        with self._reading() as connection:
            row = connection.execute(select(cursor)).first()
            first = connection.scalar(select(func.min(jobs.c.created)))
            last = connection.scalar(select(func.max(jobs.c.created)))
        if row is None:
            return Status(None, 0, None, 0, first, last, None)
        return Status(
            row.server, row.after, row.read, row.lost, first, last, row.keep_names_days
        )

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with self._database.reading(self._seconds) as connection:
            yield connection
