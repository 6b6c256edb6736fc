"""Forgets, with time: names past their day, and jobs past theirs.

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

from sqlalchemy import Connection, and_, delete, exists, or_, select, update

from spalloc_server._history.database import Database
from spalloc_server._history.names import Names
from spalloc_server._history.rollups import DAY, Rollups, day_of, sum_of
from spalloc_server._history.settings import KEPT_FROM, read_setting, write_setting
from spalloc_server._history.tables import faults, jobs, names, places, reports, rollups

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
        log.info("%d names of owners, hosts and principals became pseudonyms", forgotten)
    database.shrink_log()


def names_came_late(connection: Connection, ended: float) -> None:
    """Note that a job was added that ended at a time, maybe with names past their day."""
    until = read_setting(connection, _FORGOTTEN_UNTIL)
    if until is not None and float(until) > ended:
        write_setting(connection, _FORGOTTEN_UNTIL, repr(float(ended)))


def forget_jobs(database: Database, days: int, now: float | None = None) -> int:
    """Delete jobs that ended more than so many days ago, and all about them.

    So do the sums of those days, and those over longer blocks in which there is such a day.

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
                connection.execute(delete(faults).where(faults.c.back < until))
                connection.execute(delete(reports).where(reports.c.time < until))
                connection.execute(delete(rollups).where(rollups.c.since < today - days))
                write_setting(connection, KEPT_FROM, str(today - days))
                if deleted:
                    _delete_unused_names(connection)
                break
    if deleted:
        log.info("%d jobs that ended more than %d days ago were deleted", deleted, days)
    return deleted


def _delete_unused_names(connection: Connection) -> None:
    """Delete the names that nothing refers to any more."""
    of_jobs = (jobs.c.owner_id, jobs.c.host_id, jobs.c.network_id)
    used = (*of_jobs, jobs.c.ended_by_host_id, jobs.c.ended_by_principal_id, reports.c.host_id)
    unused = [~exists(select(1).where(column == names.c.id)) for column in used]
    sums = connection.execute(select(rollups.c.kind, rollups.c.key).distinct())
    in_sums = {(row.kind, row.key) for row in sums}
    found = connection.execute(select(names.c.id, names.c.kind).where(*unused)).all()
    gone = [row.id for row in found if (row.kind, row.id) not in in_sums]
    for begin in range(0, len(gone), _AT_A_TIME):
        connection.execute(delete(names).where(names.c.id.in_(gone[begin : begin + _AT_A_TIME])))


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
                    names.c.pseudonym.is_(False), names.c.kind.in_(("owner", "host", "party"))
                )
            )
            if row.kind != "party" or ":" in row.name
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
            (jobs, jobs.c.ended_by_principal_id, ended),
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
        if kind == "party":
            kind, _, name = name.partition(":")
            return f"{kind}:{self._called(kind, name)}"
        digest = hmac.new(self._key, name.encode("utf-8", "surrogatepass"), hashlib.sha256)
        return f"{'host' if kind == 'host' else 'user'}-{digest.hexdigest()[:12]}"

    def _pseudonym_key(self) -> bytes:
        text = read_setting(self._connection, _KEY)
        if text is None:
            text = secrets.token_hex(32)
            write_setting(self._connection, _KEY, text)
        return bytes.fromhex(text)

    # --- texts ---

    def _clean_texts(self, ended: Any, in_time: Any) -> None:
        """Put pseudonyms for names into reasons, faults and reports."""
        by_name = {name: self._called(kind, name) for kind, name in self._real.values() if name}
        for name in [name for name in by_name if name.startswith(("user:", "cert:"))]:
            kind, _, bare = name.partition(":")
            by_name.setdefault(bare, self._called(kind, bare))
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
        """Move owners' sums of past days, and their part of longer blocks, to the pseudonyms."""
        owners = [key for key, (kind, _) in self._real.items() if kind == "owner"]
        query = select(rollups).where(
            rollups.c.kind == "owner",
            rollups.c.length == 1,
            rollups.c.since < self._until // DAY,
            rollups.c.key.in_(owners),
        )
        moved, sums = set(), Rollups()
        for row in self._connection.execute(query):
            moved.add(row.key)
        for key in moved:
            pseudonym = self._pseudonym(key)
            for row in self._connection.execute(query.where(rollups.c.key == key)):
                sums.move(row.since, "owner", key, pseudonym, sum_of(row))
        sums.flush(self._connection)
        return moved
