"""Takes old job logs, and exports, into the database.

Owns which jobs are known already: those that the follower heard of, and those of a log that was
read before.  A log may be read again, whole or in part.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import tzinfo
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from spalloc_server._history.boards_by_bmp import BoardsByBmp
from spalloc_server._history.database import Database
from spalloc_server._history.exported import events_of_row
from spalloc_server._history.log_files import in_order, is_export, open_text
from spalloc_server._history.old_logs import OldLog
from spalloc_server._history.recorder import Recorder
from spalloc_server._history.tables import jobs, sizes
from spalloc_server._history.upkeep import names_came_late
from spalloc_server.configuration import Configuration

#: Events written in one transaction.
_AT_A_TIME = 5000
#: Seconds by which the log's and the server's word of a job's creation may differ.
_SAME = 2.0


class Report(NamedTuple):
    """The result of reading some files.

    Attributes
    ----------
    records : int
        Lines, those apart that go on with the one before.
    strange : int
        Those that were not understood.
    new, known : int
        Jobs that were added, and that were in the database.
    """

    records: int
    strange: int
    new: int
    known: int


def import_files(
    database: Database,
    paths: Sequence[Path],
    configuration: Configuration | None = None,
    zone: tzinfo | None = None,
) -> Report:
    """Take files into the database, oldest first.

    Parameters
    ----------
    database : Database
    paths : sequence of Path
        Job logs of this server or of the original, or exports as JSON lines; ``.gz`` too.
    configuration : Configuration, optional
        Tells which boards the BMPs of the original's logs had, and how large the machines were.
    zone : tzinfo, optional
        Of the times in logs; None for this computer's.

    Returns
    -------
    Report

    Raises
    ------
    OSError, UnicodeError
        If a file cannot be read.
    HistoryError
        If the database cannot be written.
    """
    importing = _Import(database)
    logs = [path for path in paths if not is_export(path)]
    boards = BoardsByBmp(configuration)
    log = OldLog(boards.find, importing.find_state, zone)
    importing.take(log.events(_lines(in_order(logs))), configuration)
    records, strange = log.counts
    for path in paths:
        if path not in logs:
            rows = _Rows(path)
            importing.take(rows.events(), configuration)
            records, strange = records + rows.records, strange + rows.strange
    return Report(records, strange, importing.new, importing.known)


def _lines(paths: Iterable[Path]) -> Iterator[str]:
    for path in paths:
        with open_text(path) as file:
            yield from file


class _Import:
    """Writes events of jobs that are not known yet."""

    def __init__(self, database: Database) -> None:
        self.new = self.known = 0
        self._database = database
        self._skipped: set[tuple[int, int]] = set()

    def find_state(self, job: int, when: float) -> int | None:
        """Find a job of a log that was read before and did not tell its end."""
        with self._database.reading() as connection:
            return connection.scalar(
                select(jobs.c.state)
                .where(jobs.c.job == job, jobs.c.imported, jobs.c.ended.is_(None))
                .where(jobs.c.created <= when)
                .order_by(jobs.c.created.desc())
                .limit(1)
            )

    def take(self, events: Iterator[dict[str, Any]], configuration: Configuration | None) -> None:
        """Write events, so many at a time."""
        first = True
        while some := list(islice(events, _AT_A_TIME)):
            with self._database.writing() as connection:
                recorder = Recorder(connection)
                if first and configuration is not None:
                    _write_sizes(recorder, connection, configuration, some[0]["time"])
                for event in some:
                    if self._is_new(connection, recorder, event):
                        recorder.record(event)
                recorder.finish()
                ended = [each["time"] for each in some if each["event"] == "ended"]
                if ended:
                    names_came_late(connection, min(ended))
            first = False

    def _is_new(self, connection: Connection, recorder: Recorder, event: dict[str, Any]) -> bool:
        """Whether an event is of a job that is not known from elsewhere."""
        key = (event["state"], event["job"])
        if event["event"] == "created":
            if recorder.job(*key) is not None:
                self.known += 1
            elif key[0] < 0 and _was_followed(connection, event):
                self.known += 1
                self._skipped.add(key)
            else:
                self.new += 1
        return key not in self._skipped


class _Rows:
    """The lines of an export."""

    def __init__(self, path: Path) -> None:
        self.records = self.strange = 0
        self._path = path

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield the events that the lines tell of."""
        for line in _lines([self._path]):
            if line.strip():
                self.records += 1
                try:
                    found = events_of_row(json.loads(line))
                except (ValueError, KeyError, TypeError):
                    self.strange += 1
                else:
                    yield from found


def _was_followed(connection: Connection, event: dict[str, Any]) -> bool:
    """Whether the follower heard of a job, too."""
    found = connection.scalar(
        select(jobs.c.id).where(
            jobs.c.job == event["job"],
            jobs.c.imported.is_(False),
            jobs.c.created.between(event["time"] - _SAME, event["time"] + _SAME),
        )
    )
    return found is not None


def _write_sizes(
    recorder: Recorder, connection: Connection, configuration: Configuration, when: float
) -> None:
    """Note how large the machines were then, as far as nobody knows better."""
    for machine in configuration.machines:
        width, height = machine.width or 0, machine.height or 0
        known = select(sizes.c.id).where(
            sizes.c.machine_id == recorder.names.machine(machine.name), sizes.c.since <= when
        )
        if connection.execute(known.limit(1)).first() is None:
            recorder.record(
                {
                    "event": "machine changed",
                    "machine": machine.name,
                    "change": "added",
                    "time": when,
                    "width": width,
                    "height": height,
                    "live": width * height * 3 - len(machine.dead_boards),
                }
            )
