"""Takes users' reports of boards, and decides which of them count.

A report counts if it comes from the keepalive host of a job that was ready on that board within
a day.  The consequences are in `_jobs.reports`; others are only logged and told as events.
Guarded by the controller's lock.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from spalloc_server import _clock
from spalloc_server._checks.values import escaped, shown, whole_number
from spalloc_server._checks.values import text as short_text
from spalloc_server._jobs.board_states import boards_in
from spalloc_server._jobs.reports import MOST_REPORTS, SECONDS_TO_REPORT, Ration
from spalloc_server._jobs.whereabouts import board_of_address
from spalloc_server._places import Board

if TYPE_CHECKING:
    from spalloc_server._jobs.health import Health
    from spalloc_server._jobs.records import Records

log = logging.getLogger(__name__)


class Tenancy(NamedTuple):
    """A job's time on some boards; `ready` and `ended` are Unix times or None."""

    machine: str
    host: str | None
    boards: frozenset[Board]
    ready: float | None
    ended: float | None


class ReportDesk:
    """Takes reports.

    Parameters
    ----------
    records : Records
        The jobs, ended ones included.
    health : Health
        Counts the reports.
    """

    def __init__(self, records: Records, health: Health) -> None:
        self._records = records
        self._health = health
        self._ration = Ration()

    def report(self, host: str | None, job_id: int, where: str | Board, text: str) -> str:
        """Take a user's report of a board that misbehaves.

        Parameters
        ----------
        host : str or None
            IP address of the client; None for a call from within.
        job_id : int
            The job that had the board.
        where : str or (x, y, z)
            The board's host name or address, or its place on the job's machine.
        text : str
            The user's observation.

        Returns
        -------
        str
            The consequence, in words.
        """
        tenancy = self._tenancy(job_id)
        if tenancy is None or tenancy.machine not in self._records.maps:
            return f"nothing is noted: job {job_id} had no boards here, or is forgotten"
        place = self._records.maps[tenancy.machine]
        board = board_of_address(place, where) if isinstance(where, str) else where
        physical = None if board is None else place.locate(board)
        if board is None or physical is None:
            return f"nothing is noted: machine {tenancy.machine} has no board {shown(where)}"
        if not self._ration.has_one_more(host, _clock.monotonic()):
            return (
                f"nothing is noted: your computer made {MOST_REPORTS} reports within a minute, "
                f"more are not taken; try again in a minute"
            )
        doubt = _doubt(tenancy, board, host, job_id)
        if doubt is None:
            done = self._health.report(tenancy.machine, board, host or "", text)
        else:
            done = f"noted for the operator; it does not count, as {doubt}"
        log.warning(
            "job %d reports board %s of machine %s from %s: %s (%s)",
            job_id, board, tenancy.machine, host, escaped(text), done,
            extra={"job_id": job_id},
        )  # fmt: skip
        self._records.tell(
            "event",
            {
                "event": "report",
                "machine": tenancy.machine,
                "board": list(board),
                "physical": list(physical),
                "job": job_id,
                "host": host,
                "text": text,
                "done": done,
            },
        )
        return done

    def _tenancy(self, job_id: int) -> Tenancy | None:
        """Return the boards that a job has, or had when it ended."""
        job = self._records.jobs.get(job_id)
        if job is not None:
            machine, boards = job.allocated_machine_name, frozenset(job.boards or ())
            if machine is None:
                return None
            return Tenancy(machine, job.keepalive_host, boards, job.ready_at, None)
        row = self._records.ended.find(job_id)
        if row is None or row.machine is None or row.place is None:
            return None
        kind = "board" if len(row.place) == 3 else "triads"
        boards = frozenset(boards_in((kind, *row.place)))
        return Tenancy(row.machine, row.host, boards, row.ready, row.ended)


def _doubt(tenancy: Tenancy, board: Board, host: str | None, job_id: int) -> str | None:
    """Say why a report does not count; None if it does."""
    if host is None or host != tenancy.host:
        return f"it does not come from the computer that keeps job {job_id} alive"
    if board not in tenancy.boards:
        return f"job {job_id} did not have board {board}"
    if tenancy.ready is None:
        return f"job {job_id} was never ready"
    if tenancy.ended is not None and _clock.wall() - tenancy.ended > SECONDS_TO_REPORT:
        return f"job {job_id} ended more than a day ago"
    return None


def asked_board(value: object) -> str | Board:
    """Return a board as a report names it.

    Raises
    ------
    TypeError
        If it is neither text nor three whole numbers.
    """
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Sequence) and len(value) == 3:
        x, y, z = (whole_number("each coordinate of the board", number) for number in value)
        return x, y, z
    raise TypeError(f"the board must be an address or [x, y, z], not {shown(value)}")


def asked_text(value: object) -> str:
    """Return the text of a report.

    Raises
    ------
    TypeError, ValueError
        If it is not text, or longer than 1,024 characters.
    """
    return short_text("text", value)
