r"""Sums over days and over blocks of days, kept up to date as jobs come in.

Owns the rows of the table `rollups`, on the writing side, and how a span of days is put together
from few of them.  Days are UTC's.

::

    blocks of  1 day    . . . . . . . . . . . . . . . . . . . . . . . .
               4 days   |       |       |       |       |       |
              16 days   |                               |
                               \_____/\_______________/\_/
    a span of days:             days      a block       days
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from itertools import pairwise
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    bindparam,
    delete,
    insert,
    select,
    tuple_,
    union_all,
    update,
)

from spalloc_server._history import histogram
from spalloc_server._history.tables import rollups

#: Seconds of a day.
DAY = 86400
#: Lengths of the blocks, days; each begins at a multiple of its length.
LENGTHS = (1, 4, 16, 64, 256, 1024)

_EPOCH = date(1970, 1, 1)
#: Sums looked up in one statement; databases bound how much may be asked for.
_AT_A_TIME = 200

#: kind, key: the subject of a sum, e.g. ("owner", 17).
Subject = tuple[str, int]
#: The sum of all jobs.
ALL: Subject = ("all", 0)
#: kind, length, first day, key.
_Key = tuple[str, int, int, int]


class Blocks(NamedTuple):
    """Blocks of one length: those that begin at `first` or later, and before `end`."""

    length: int
    first: int
    end: int


@dataclass
class Sum:
    """Jobs, their use of boards, and their waits.

    Attributes
    ----------
    jobs : int
    board_seconds : float
    waits : dict
        See `histogram`.
    """

    jobs: int = 0
    board_seconds: float = 0.0
    waits: dict[int, int] = field(default_factory=dict)

    def add(self, other: Sum, sign: int = 1) -> None:
        """Add another sum, or take it away."""
        self.jobs += sign * other.jobs
        self.board_seconds += sign * other.board_seconds
        for bucket, number in other.waits.items():
            self.waits[bucket] = self.waits.get(bucket, 0) + sign * number

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of it, but for rounding errors of seconds."""
        return self.jobs == 0 and self.board_seconds < 1e-3 and not any(self.waits.values())


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


def blocks_of(first: int, end: int) -> list[Blocks]:
    """Put a span of days together from blocks: as many days as possible from long ones.

    Parameters
    ----------
    first, end : int
        Days since 1970-01-01; `end` is not in the span.

    Returns
    -------
    list of Blocks
        Which cover each day of the span once, and no other.
    """
    found: list[Blocks] = []
    for length, longer in pairwise(LENGTHS):
        up, down = -(-first // longer) * longer, end // longer * longer
        if up >= down:
            return [*found, Blocks(length, first, end)] if first < end else found
        if first < up:
            found.append(Blocks(length, first, up))
        if down < end:
            found.append(Blocks(length, down, end))
        first, end = up, down
    return [*found, Blocks(LENGTHS[-1], first, end)]


def select_blocks(
    columns: Sequence[ColumnElement[Any]], kind: str, first: int, end: int, *more: Any
) -> CompoundSelect[Any] | None:
    """Select the blocks of a span, see `blocks_of`; None if there are none.

    A statement for each length: with all in one, SQLite would go through all of a kind.
    """
    parts = [
        select(*columns).where(
            rollups.c.kind == kind,
            rollups.c.length == each.length,
            rollups.c.since.between(each.first, each.end - 1),
            *more,
        )
        for each in blocks_of(first, end)
    ]
    return union_all(*parts) if parts else None


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
        self._sums: dict[_Key, Sum] = {}

    def count_job(self, subjects: Sequence[Subject], when: float) -> None:
        """Count a job at the time of its creation."""
        self._add(subjects, day_of(when), Sum(jobs=1))

    def count_wait(self, subjects: Sequence[Subject], when: float, seconds: float) -> None:
        """Count a wait at the time of its end."""
        self._add(subjects, day_of(when), Sum(waits={histogram.bucket_of(seconds): 1}))

    def count_use(
        self, subjects: Sequence[Subject], boards: int, began: float, ended: float
    ) -> None:
        """Count the time of boards, each day's to that day."""
        for day, seconds in split_by_day(began, ended):
            self._add(subjects, day, Sum(board_seconds=boards * seconds))

    def move(self, day: int, kind: str, before: int, after: int, moved: Sum) -> None:
        """Move the sum of a day from one key to another."""
        taken = Sum()
        taken.add(moved, -1)
        self._add([(kind, before)], day, taken)
        self._add([(kind, after)], day, moved)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the sums as rows of the table."""
        for key, each in self._sums.items():
            yield _row(key, each)

    def flush(self, connection: Connection) -> None:
        """Add all that was gathered to the database."""
        keys = sorted(self._sums)
        for begin in range(0, len(keys), _AT_A_TIME):
            self._merge(connection, keys[begin : begin + _AT_A_TIME])
        self._sums.clear()

    def _merge(self, connection: Connection, keys: list[_Key]) -> None:
        columns = rollups.c.kind, rollups.c.length, rollups.c.since, rollups.c.key
        known = {
            (row.kind, row.length, row.since, row.key): sum_of(row)
            for row in connection.execute(select(rollups).where(tuple_(*columns).in_(keys)))
        }
        for key, old in known.items():
            old.add(self._sums[key])
        matches = [column == bindparam(f"b_{column.name}") for column in columns]
        statements: list[tuple[Any, Iterable[_Key]]] = [
            (insert(rollups), [key for key in keys if key not in known]),
            (
                update(rollups).where(*matches),
                [key for key, old in known.items() if not old.is_empty],
            ),
            (delete(rollups).where(*matches), [key for key, old in known.items() if old.is_empty]),
        ]
        for statement, chosen in statements:
            values = [_row(key, known.get(key, self._sums[key])) for key in chosen]
            if not values:
                continue
            if not statement.is_insert:
                names = ("kind", "length", "since", "key")
                values = [_bound(each, names, keep=statement.is_update) for each in values]
            connection.execute(statement, values)

    def _add(self, subjects: Sequence[Subject], day: int, new: Sum) -> None:
        for kind, key in subjects:
            for length in LENGTHS:
                place = (kind, length, day // length * length, key)
                found = self._sums.get(place)
                if found is None:
                    found = self._sums[place] = Sum()
                found.add(new)


def sum_of(row: Any) -> Sum:
    """Return the sum of a row of the table."""
    return Sum(row.jobs, row.board_seconds, histogram.from_text(row.waits))


def _row(key: _Key, each: Sum) -> dict[str, Any]:
    kind, length, since, of = key
    waits = {bucket: number for bucket, number in each.waits.items() if number > 0}
    return {
        **{"kind": kind, "length": length, "since": since, "key": of},
        "jobs": each.jobs,
        "board_seconds": each.board_seconds,
        "waits": histogram.to_text(waits),
    }


def _bound(values: dict[str, Any], names: Iterable[str], *, keep: bool) -> dict[str, Any]:
    """Return the values of a statement that finds its row by some, and sets the others."""
    bound = {f"b_{name}": values[name] for name in names}
    others = {name: value for name, value in values.items() if name not in names}
    return {**bound, **others} if keep else bound
