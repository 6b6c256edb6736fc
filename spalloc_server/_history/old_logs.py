"""Reads old job logs, of this server and of the original, as events.

Pure.  The events are those of the protocol (see `recorder`), as far as a log tells of them; their
`state` is negative: the time of the job's creation, so that a log read twice, or in other
pieces, names its jobs alike.  Lines that are not understood are counted and passed over.

Of this server's logs (1.0 and later)::

    2026-03-01 09:30:00,123 job 17: created (4, 2, machine='m') owner=ada keepalive=60.0 host=...
    2026-03-01 09:30:00,124 job 17: power on: boards (0, 0, 0), (0, 0, 1) of m (cabinet 0, ...
    2026-03-01 09:30:06,500 job 17: ready
    2026-03-01 10:00:00,000 job 17: destroyed: done (by client 10.0.0.1)

Of the original's::

    2019-03-01 09:30:00,123: create_job((4, 2),{'owner': 'ada', 'keepalive': 60.0}) from 10.0.0.1
    2019-03-01 09:30:00,124: power_job(17,On) from 10.0.0.1
    2019-03-01 09:30:00,124: power(5, True) on BMP 10.0.1.0 for job 17
    2019-03-01 10:00:00,000: destroy_job(17,done) from 10.0.0.1
    2019-03-01 10:00:00,000: completed shutdown of job 17 (owner-host: 10.0.0.1)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, tzinfo
from typing import Any, NamedTuple

from spalloc_server._history.logged_jobs import Board, LoggedJobs
from spalloc_server._history.original_log import OriginalLog
from spalloc_server._history.our_log import OurLog

_RECORD = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d),(\d{3})(:?) (.*)", re.DOTALL)

#: Finds a board's machine and place: called with a BMP's host and a board's number.
FindBoard = Callable[[str, int], "tuple[str, Board] | None"]
#: Finds the state of a job that a log read earlier tells of: called with its number and a time.
FindState = Callable[[int, float], "int | None"]


class Counts(NamedTuple):
    """How many records were read, and how many of them were not understood."""

    records: int
    strange: int


class OldLog:
    """Turns the lines of logs, oldest first, into events.

    Parameters
    ----------
    find_board : callable
        See `FindBoard`; the original's logs name boards by BMP alone.
    find_state : callable
        See `FindState`.
    zone : tzinfo or None
        Of the times in the log; None for this computer's.
    """

    def __init__(
        self,
        find_board: FindBoard = lambda _host, _board: None,
        find_state: FindState = lambda _job, _time: None,
        zone: tzinfo | None = None,
    ) -> None:
        self._zone = zone
        jobs = LoggedJobs(find_state)
        self._ours = OurLog(jobs)
        self._originals = OriginalLog(jobs, find_board)
        self._jobs = jobs
        self._records = self._strange = 0

    @property
    def counts(self) -> Counts:
        """The counts so far."""
        return Counts(self._records, self._strange)

    def events(self, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
        """Read lines; yields the events that they tell of."""
        for when, is_originals, text in self._joined(lines):
            self._records += 1
            log = self._originals if is_originals else self._ours
            found = log.read(when, text)
            if found is None:
                self._strange += 1
            else:
                yield from found
        yield from self._originals.finish()
        yield from self._jobs.settle()

    def _joined(self, lines: Iterable[str]) -> Iterator[tuple[float, bool, str]]:
        """Yield records: a line without a time goes on with the one before."""
        record: list[str] = []
        for line in lines:
            if record and _RECORD.match(line) is None:
                record.append(line.rstrip("\r\n"))
                continue
            if record:
                yield from self._record("\n".join(record))
            record = [line.rstrip("\r\n")]
        if record:
            yield from self._record("\n".join(record))

    def _record(self, text: str) -> Iterator[tuple[float, bool, str]]:
        found = _RECORD.match(text)
        if found is None:
            if text.strip():
                self._records += 1
                self._strange += 1
            return
        seconds, milliseconds, colon, rest = found.groups()
        try:
            when = datetime.strptime(seconds, "%Y-%m-%d %H:%M:%S").replace(tzinfo=self._zone)
            yield when.timestamp() + int(milliseconds) / 1e3, bool(colon), rest
        except (ValueError, OverflowError):
            self._records += 1
            self._strange += 1
