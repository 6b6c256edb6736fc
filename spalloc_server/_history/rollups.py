"""Sums of days and months, kept up to date as jobs come in.

Owns the rows of the table `rollups`, on the writing side.  Days and months are UTC's.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timezone

from sqlalchemy import Connection, and_, insert, select, update

from spalloc_server._history import histogram
from spalloc_server._history.tables import rollups

#: Seconds of a day.
DAY = 86400
_EPOCH = date(1970, 1, 1)

#: kind, key: what a sum is of, e.g. ("owner", 17).
Subject = tuple[str, int]
#: The sum of all jobs.
ALL: Subject = ("all", 0)


@dataclass
class _Sum:
    jobs: int = 0
    board_seconds: float = 0.0
    waits: dict[int, int] = field(default_factory=dict)


def day_of(when: float) -> int:
    """Return the day of a Unix time, as days since 1970-01-01."""
    return int(when // DAY)


@functools.lru_cache(maxsize=4096)
def month_of(day: int) -> int:
    """Return the first day of a day's month, as days since 1970-01-01."""
    about = datetime.fromtimestamp(day * DAY, timezone.utc)
    return (date(about.year, about.month, 1) - _EPOCH).days


def next_month(first: int) -> int:
    """Return the first day of the month after one."""
    return month_of(first + 31)


def split_by_day(began: float, ended: float) -> Iterator[tuple[int, float]]:
    """Split a time into days: (day, seconds in it)."""
    while began < ended:
        day = day_of(began)
        until = min(ended, (day + 1) * DAY)
        yield day, until - began
        began = until


class Rollups:
    """Sums that are gathered in memory until `flush` adds them to those of the database."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, str, int, int], _Sum] = {}

    def count_job(self, subjects: list[Subject], when: float) -> None:
        """Count a job at the time of its creation."""
        for each in self._of(subjects, day_of(when)):
            each.jobs += 1

    def count_wait(self, subjects: list[Subject], when: float, seconds: float) -> None:
        """Count a wait at the time of its end."""
        bucket = histogram.bucket_of(seconds)
        for each in self._of(subjects, day_of(when)):
            each.waits[bucket] = each.waits.get(bucket, 0) + 1

    def count_use(
        self, subjects: list[Subject], boards: int, began: float, ended: float
    ) -> None:
        """Count the time of boards, each day's to that day."""
        for day, seconds in split_by_day(began, ended):
            for each in self._of(subjects, day):
                each.board_seconds += boards * seconds

    def flush(self, connection: Connection) -> None:
        """Add all that was gathered to the database."""
        for (kind, span, since, key), new in self._sums.items():
            where = and_(
                rollups.c.kind == kind,
                rollups.c.span == span,
                rollups.c.since == since,
                rollups.c.key == key,
            )
            columns = rollups.c.jobs, rollups.c.board_seconds, rollups.c.waits
            old = connection.execute(select(*columns).where(where)).first()
            if old is None:
                values = {"kind": kind, "span": span, "since": since, "key": key}
                waits = histogram.to_text(new.waits)
                connection.execute(
                    insert(rollups).values(
                        **values, jobs=new.jobs, board_seconds=new.board_seconds, waits=waits
                    )
                )
            else:
                waits = histogram.to_text(
                    histogram.added([histogram.from_text(old.waits), new.waits])
                )
                connection.execute(
                    update(rollups)
                    .where(where)
                    .values(
                        jobs=old.jobs + new.jobs,
                        board_seconds=old.board_seconds + new.board_seconds,
                        waits=waits,
                    )
                )
        self._sums.clear()

    def _of(self, subjects: list[Subject], day: int) -> Iterator[_Sum]:
        for kind, key in subjects:
            for span, since in (("day", day), ("month", month_of(day))):
                yield self._sums.setdefault((kind, span, since, key), _Sum())
