"""Jobs that have ended: the reason of each, and the row of its life.

Owns at most so many of them, and at most so much memory for their rows: an owner's name may be
long, so the oldest rows go first when there are too many bytes.  A job whose row has gone still
has its reason.  Knows no clock and no lock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from spalloc_server._jobs.pseudonyms import Forgetter

#: Bytes that all rows together may take.
MAX_BYTES = 1 << 20
#: Bytes that Python needs for a row beside its text: two objects and a place in a dict.
#: # measured with tracemalloc: 148 on average
_BYTES_BESIDE = 160

#: Place of the time at which a job ended in a plain row.
_ENDED_AT = 5
#: Values of a plain row that stand before the reason in `EndedJob`.
_BEFORE_REASON = 9

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, check_circular=False).encode

#: Words for the parties that end jobs.
CLIENT, KEEPALIVE, FAULT, MACHINE, REQUEST, OPERATOR = (
    "client",
    "keepalive",
    "fault",
    "machine",
    "request",
    "operator",
)


class Ending(NamedTuple):
    """The party that ended a job: one of the words above, and a client's address and principal.

    An operator has a principal, too; the other parties are the server itself.
    """

    by: str
    host: str | None = None
    principal: str | None = None

    def __str__(self) -> str:
        return self.by if self.host is None else f"{self.by} {self.host}"


class EndedJob(NamedTuple):
    """A row of ``list_ended_jobs``.  Times are Unix times; None where nothing is known.

    `place` is [x, y, width, height] of a block or [x, y, z] of a single board.
    """

    job_id: int
    owner: str | None = None
    host: str | None = None
    created: float | None = None
    allocated: float | None = None
    ready: float | None = None
    ended: float | None = None
    machine: str | None = None
    place: list[int] | None = None
    boards: int | None = None
    reason: str | None = None
    by: str | None = None
    by_host: str | None = None
    by_principal: str | None = None


def plain_row(
    job: Mapping[str, Any],
    where: tuple[str, Sequence[int], int] | None,
    ending: Mapping[str, Any],
) -> list[Any]:
    """Return the row of a job that ends, without its id and reason, as a book has it.

    Parameters
    ----------
    job : mapping
        owner, host, start_time, allocated_at, ready_at.
    where : (machine name, place, number of boards) or None
        None for a job without boards.
    ending : mapping
        at, by, host, principal: the time, and the party that ends it.
    """
    machine, place, boards = (None, None, None) if where is None else where
    return [
        job["owner"],
        job["host"],
        job["start_time"],
        job["allocated_at"],
        job["ready_at"],
        ending["at"],
        machine,
        None if place is None else list(place),
        boards,
        ending["by"],
        ending["host"],
        ending.get("principal"),
    ]


class EndedJobs:
    """The jobs that have ended, oldest first.

    Parameters
    ----------
    most : int
        Number of jobs that are remembered.

    Attributes
    ----------
    reasons : dict
        {job id: reason}.
    """

    def __init__(self, most: int) -> None:
        self.reasons: dict[int, str | None] = {}
        self._most = most
        self._rows: dict[int, bytes] = {}
        self._bytes = 0

    @property
    def most(self) -> int:
        """Number of jobs that are remembered."""
        return self._most

    @most.setter
    def most(self, value: int) -> None:
        self._most = value
        self._trim()

    def add(self, job_id: int, reason: str | None, row: list[Any] | None) -> None:
        """Remember a job, with its row (see `plain_row`) if one is known."""
        self.reasons[job_id] = reason
        if row is not None:
            self._rows[job_id] = data = _packed(row)
            self._bytes += len(data) + _BYTES_BESIDE
        self._trim()

    def _trim(self) -> None:
        while len(self.reasons) > self._most:
            oldest = next(iter(self.reasons))
            del self.reasons[oldest]
            self._drop_row(oldest)
        while self._bytes > MAX_BYTES:
            self._drop_row(next(iter(self._rows)))

    def _drop_row(self, job_id: int) -> None:
        data = self._rows.pop(job_id, None)
        if data is not None:
            self._bytes -= len(data) + _BYTES_BESIDE

    def rows(self, limit: int, before: int | None = None) -> list[EndedJob]:
        """Return rows, newest first.

        Parameters
        ----------
        limit : int
            Most rows.
        before : int or None
            Id of a job: only those that ended before it; none if it is not known.
        """
        ids = list(self.reasons)
        if before is not None:
            ids = ids[: ids.index(before)] if before in self.reasons else []
        return [self._row(job_id) for job_id in ids[: -limit - 1 : -1]]

    def find(self, job_id: int) -> EndedJob | None:
        """Return the row of one job; None if it is not known."""
        return self._row(job_id) if job_id in self.reasons else None

    def _row(self, job_id: int) -> EndedJob:
        reason, data = self.reasons[job_id], self._rows.get(job_id)
        if data is None:
            return EndedJob(job_id, reason=reason)
        row = json.loads(data.decode("utf-8", "surrogatepass"))
        return EndedJob._make((job_id, *row[:_BEFORE_REASON], reason, *row[_BEFORE_REASON:]))

    def forget_names(self, words: Forgetter) -> list[tuple[int, str | None, list[Any]]]:
        """Put pseudonyms in the place of names past their day.

        Returns
        -------
        list of (job id, reason, plain row)
            Of the jobs whose names were forgotten now.
        """
        rows = self.plain_rows()
        past = {job_id: row for job_id, row in rows.items() if row[_ENDED_AT] < words.until}
        for row in past.values():
            words.learn_ended(row)
        changed = []
        for job_id, row in past.items():
            clean, reason = words.ended(row, self.reasons[job_id])
            if (clean, reason) != (row, self.reasons[job_id]):
                changed.append((job_id, reason, clean))
        self._rename(changed)
        return changed

    def _rename(self, jobs: Iterable[tuple[int, str | None, list[Any]]]) -> None:
        for job_id, reason, row in jobs:
            self.reasons[job_id] = reason
            before, self._rows[job_id] = self._rows[job_id], _packed(row)
            self._bytes += len(self._rows[job_id]) - len(before)

    # --- the book ---

    def plain_rows(self) -> dict[int, list[Any]]:
        """Return the rows that are known for the book."""
        return {
            job_id: json.loads(data.decode("utf-8", "surrogatepass"))
            for job_id, data in self._rows.items()
        }

    def impose(self, retired: Iterable[tuple[int, str | None]], rows: Mapping[int, Any]) -> None:
        """Take over the reasons and rows of a book."""
        for job_id, reason in retired:
            self.add(job_id, reason, rows.get(job_id))


def _packed(row: list[Any]) -> bytes:
    """Return a plain row as bytes; names may have lone surrogates in them."""
    return _encode(row).encode("utf-8", "surrogatepass")
