"""What is forgotten with time: names past their day, and jobs past theirs.

Owns pseudonyms.  A pseudonym is ``user-`` or ``host-`` and twelve hexadecimal digits of a keyed
hash; the key is random and stays in the database, so that the same person has the same
pseudonym in all of it, and another one elsewhere.

Days are UTC's.  Names are kept for the last so many days, today included.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, and_, delete, exists, insert, or_, select, update

from spalloc_server._history import histogram
from spalloc_server._history.database import Database
from spalloc_server._history.names import Names
from spalloc_server._history.rollups import DAY, day_of, month_of
from spalloc_server._history.tables import (
    faults,
    jobs,
    names,
    places,
    reports,
    rollups,
    settings,
)

log = logging.getLogger(__name__)

#: Jobs deleted in one transaction, so that nobody waits long.
_AT_A_TIME = 5000
_FORGOTTEN_UNTIL = "names_forgotten_until"
_KEY = "pseudonym_key"


def forget_names(database: Database, days: int, now: float | None = None) -> None:
    """Give pseudonyms to the owners and hosts of jobs that ended so many days ago.

    Parameters
    ----------
    database : Database
    days : int
        At least 0.
    now : float, optional
        Unix time; None for the present.
    """
    today = day_of(time.time() if now is None else now)
    until = (today - days + 1) * DAY
    with database.writing() as connection:
        since = float(read_setting(connection, _FORGOTTEN_UNTIL) or "-inf")
        if since >= until:
            return
        forgetter = _Forgetter(connection, since, float(until))
        forgotten = forgetter.forget()
        write_setting(connection, _FORGOTTEN_UNTIL, repr(float(until)))
    if forgotten:
        log.info("names of %d owners and hosts became pseudonyms", forgotten)
    database.shrink_log()


def names_came_late(connection: Connection, ended: float) -> None:
    """Note that a job was added that ended at a time, maybe one whose names are past their day."""
    until = read_setting(connection, _FORGOTTEN_UNTIL)
    if until is not None and float(until) > ended:
        write_setting(connection, _FORGOTTEN_UNTIL, repr(float(ended)))


def forget_jobs(database: Database, days: int, now: float | None = None) -> int:
    """Delete jobs that ended more than so many days ago, and all about them.

    Sums of days and months go when their whole month is over for so long.

    Returns
    -------
    int
        Number of jobs deleted.
    """
    today = day_of(time.time() if now is None else now)
    until = (today - days) * DAY
    deleted = 0
    while True:
        with database.writing() as connection:
            keys = list(
                connection.scalars(select(jobs.c.id).where(jobs.c.ended < until).limit(_AT_A_TIME))
            )
            connection.execute(
                update(faults).where(faults.c.job_id.in_(keys)).values(job_id=None)
            )
            connection.execute(
                update(reports).where(reports.c.job_id.in_(keys)).values(job_id=None)
            )
            connection.execute(delete(places).where(places.c.job_id.in_(keys)))
            connection.execute(delete(jobs).where(jobs.c.id.in_(keys)))
            deleted += len(keys)
            if len(keys) < _AT_A_TIME:
                month = month_of(today - days)
                connection.execute(delete(faults).where(faults.c.back < until))
                connection.execute(delete(reports).where(reports.c.time < until))
                connection.execute(delete(rollups).where(rollups.c.since < month))
                _delete_unused_names(connection)
                break
    if deleted:
        log.info("%d jobs that ended more than %d days ago were deleted", deleted, days)
    return deleted


def read_setting(connection: Connection, name: str) -> str | None:
    """Return a setting; None if it was never written."""
    return connection.scalar(select(settings.c.value).where(settings.c.name == name))


def write_setting(connection: Connection, name: str, value: str) -> None:
    """Write a setting."""
    changed = connection.execute(
        update(settings).where(settings.c.name == name).values(value=value)
    )
    if not changed.rowcount:
        connection.execute(insert(settings).values(name=name, value=value))


def _delete_unused_names(connection: Connection) -> None:
    """Delete the names that nothing refers to any more."""
    of_jobs = (jobs.c.owner_id, jobs.c.host_id, jobs.c.ended_by_host_id, jobs.c.network_id)
    used = (*of_jobs, reports.c.host_id)
    unused = [~exists(select(1).where(column == names.c.id)) for column in used]
    in_sums = exists(
        select(1).where(rollups.c.kind == names.c.kind, rollups.c.key == names.c.id)
    )
    connection.execute(delete(names).where(*unused, ~in_sums))


class _Forgetter:
    """Forgets the names of jobs that ended in a span of time."""

    def __init__(self, connection: Connection, since: float, until: float) -> None:
        self._connection = connection
        self._since = since
        self._until = until
        self._key = self._pseudonym_key()
        self._names = Names(connection)
        self._real = {
            row.id: (row.kind, row.name)
            for row in connection.execute(
                select(names).where(
                    names.c.pseudonym.is_(False), names.c.kind.in_(("owner", "host"))
                )
            )
        }

    def forget(self) -> int:
        """Do so; returns how many names were forgotten somewhere."""
        ended = self._in_span(jobs.c.ended)
        in_time = self._in_span(reports.c.time)
        self._clean_texts(ended, in_time)
        forgotten = set()
        for table, column, where in (
            (jobs, jobs.c.owner_id, ended),
            (jobs, jobs.c.host_id, ended),
            (jobs, jobs.c.ended_by_host_id, ended),
            (reports, reports.c.host_id, in_time),
        ):
            for key in self._connection.scalars(select(column).where(where).distinct()).all():
                if key in self._real:
                    forgotten.add(key)
                    self._connection.execute(
                        update(table)
                        .where(where, column == key)
                        .values({column.name: self._pseudonym(key)})
                    )
        forgotten |= self._move_sums()
        _delete_unused_names(self._connection)
        return len(forgotten)

    def _in_span(self, column: Any) -> Any:
        if self._since == float("-inf"):
            return column < self._until
        return and_(column >= self._since, column < self._until)

    def _pseudonym(self, key: int) -> int:
        kind, name = self._real[key]
        return self._names.pseudonym(kind, self._called(kind, name))

    def _called(self, kind: str, name: str) -> str:
        digest = hmac.new(self._key, name.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"{'user' if kind == 'owner' else 'host'}-{digest.hexdigest()[:12]}"

    def _pseudonym_key(self) -> bytes:
        text = read_setting(self._connection, _KEY)
        if text is None:
            text = secrets.token_hex(32)
            write_setting(self._connection, _KEY, text)
        return bytes.fromhex(text)

    # --- texts ---

    def _clean_texts(self, ended: Any, in_time: Any) -> None:
        """Put pseudonyms for names into what people and the server wrote."""
        by_name = {name: self._called(kind, name) for kind, name in self._real.values() if name}
        if not by_name:
            return
        longest_first = sorted(by_name, key=len, reverse=True)
        pattern = re.compile(
            r"(?<![\w])(?:" + "|".join(map(re.escape, longest_first)) + r")(?![\w])"
        )
        past = or_(
            exists(select(1).where(jobs.c.id == places.c.job_id, ended)),
            self._in_span(places.c.left),
        )
        self._clean(jobs, ended, ("reason",), pattern, by_name)
        self._clean(places, past, ("fault",), pattern, by_name)
        self._clean(faults, self._in_span(faults.c.since), ("text",), pattern, by_name)
        self._clean(reports, in_time, ("text", "done"), pattern, by_name)

    def _clean(
        self,
        table: Any,
        where: Any,
        columns: Iterable[str],
        pattern: re.Pattern[str],
        by_name: dict[str, str],
    ) -> None:
        for column in columns:
            query = select(table.c.id, table.c[column]).where(where, table.c[column].is_not(None))
            for key, text in self._connection.execute(query).all():
                clean = pattern.sub(lambda found: by_name[found.group()], text)
                if clean != text:
                    self._connection.execute(
                        update(table).where(table.c.id == key).values({column: clean})
                    )

    # --- sums ---

    def _move_sums(self) -> set[int]:
        """Move owners' sums of past days, and their part of months, to the pseudonyms."""
        owners = [key for key, (kind, _) in self._real.items() if kind == "owner"]
        query = select(rollups).where(
            rollups.c.kind == "owner",
            rollups.c.span == "day",
            rollups.c.since < self._until // DAY,
            rollups.c.key.in_(owners),
        )
        moved = set()
        for row in self._connection.execute(query).all():
            moved.add(row.key)
            pseudonym = self._pseudonym(row.key)
            for span, since in (("day", row.since), ("month", month_of(row.since))):
                self._add((span, since, row.key), -1, row)
                self._add((span, since, pseudonym), 1, row)
        return moved

    def _add(self, of: tuple[str, int, int], sign: int, day: Any) -> None:
        """Add a day's sums to those of another span or owner, or take them away."""
        span, since, key = of
        waits = histogram.from_text(day.waits)
        where = and_(
            rollups.c.kind == "owner",
            rollups.c.span == span,
            rollups.c.since == since,
            rollups.c.key == key,
        )
        old = self._connection.execute(select(rollups).where(where)).first()
        before = {} if old is None else histogram.from_text(old.waits)
        change = {bucket: sign * number for bucket, number in waits.items()}
        values = {
            "jobs": (0 if old is None else old.jobs) + sign * day.jobs,
            "board_seconds": (0.0 if old is None else old.board_seconds)
            + sign * day.board_seconds,
        }
        left = {b: n for b, n in histogram.added([before, change]).items() if n > 0}
        if old is None:
            about = {"kind": "owner", "span": span, "since": since, "key": key}
            self._connection.execute(
                insert(rollups).values(**about, **values, waits=histogram.to_text(left))
            )
        elif not left and values["jobs"] <= 0 and values["board_seconds"] < 1e-3:
            self._connection.execute(delete(rollups).where(where))
        else:
            self._connection.execute(
                update(rollups).where(where).values(**values, waits=histogram.to_text(left))
            )
