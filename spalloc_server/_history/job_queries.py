"""Questions about jobs.

Lists are paged by key: each page begins behind the last row of the one before, however many
jobs have come meanwhile.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, or_, select

from spalloc_server._history.answers import JobDetail, JobRow, Page, PlaceRow
from spalloc_server._history.errors import HistoryError
from spalloc_server._history.fault_queries import reports_of_job
from spalloc_server._history.tables import jobs, machines, names, places, sizes

#: The largest page.
MOST_ROWS = 1000

_owner, _host, _by_host = names.alias("owner"), names.alias("host"), names.alias("by_host")
_by_principal = names.alias("by_principal")


class JobFilter(NamedTuple):
    """Which jobs are asked for; None of anything stands for all.

    Attributes
    ----------
    owner, machine, network : str or None
        Exactly so.
    host : str or None
        Address of the keepalive host.
    board : (x, y, z) or None
        Had by the job at some time; needs `machine`.
    since, until : float or None
        Unix times of creation: `since` <= created < `until`.
    reason : str or None
        Part of the reason, case ignored.
    by : str or None
        The party that ended it: client, keepalive, fault, machine, request, operator, server.
    ended : bool or None
        Whether it has ended.
    """

    owner: str | None = None
    machine: str | None = None
    network: str | None = None
    host: str | None = None
    board: tuple[int, int, int] | None = None
    since: float | None = None
    until: float | None = None
    reason: str | None = None
    by: str | None = None
    ended: bool | None = None


def list_jobs(
    connection: Connection, wanted: JobFilter, after: str | None, limit: int
) -> Page[JobRow]:
    """List jobs, newest first; see `History.jobs`."""
    query = _filtered(connection, wanted)
    if query is None:
        return Page([], None)
    if after is not None:
        created, key = _cursor(after)
        # The first part is for the index, which the second would not use.
        query = query.where(
            jobs.c.created <= created, or_(jobs.c.created < created, jobs.c.id < key)
        )
    limit = max(1, min(limit, MOST_ROWS))
    query = query.order_by(jobs.c.created.desc(), jobs.c.id.desc()).limit(limit + 1)
    # The page's keys first, so that an index alone is gone through, then their columns.
    found = connection.execute(query).all()
    more = len(found) > limit
    rows = job_rows(connection, [row.id for row in found[:limit]])
    last = found[limit - 1] if more else None
    return Page(rows, None if last is None else f"{last.created!r}/{last.id}")


def find_job(connection: Connection, job: int, state: int | None) -> JobDetail | None:
    """Find a job by its number; see `History.job`."""
    query = select(jobs.c.id, jobs.c.state).where(jobs.c.job == job)
    found = connection.execute(query.order_by(jobs.c.created.desc())).all()
    chosen = [row for row in found if state is None or row.state == state]
    if not chosen:
        return None
    key = chosen[0].id
    (row,) = job_rows(connection, [key])
    network = connection.scalar(
        select(names.c.name)
        .join_from(jobs, names, names.c.id == jobs.c.network_id)
        .where(jobs.c.id == key)
    )
    return JobDetail(
        row,
        network,
        _places_of(connection, key),
        reports_of_job(connection, key),
        [each.state for each in found if each.id != key],
    )


def job_rows(connection: Connection, keys: list[int]) -> list[JobRow]:
    """Return the rows of jobs, in the order of their keys."""
    query = (
        select(
            *(jobs.c.id, jobs.c.state, jobs.c.job, jobs.c.created, jobs.c.allocated),
            *(jobs.c.ready, jobs.c.ended, jobs.c.asked, jobs.c.moves, jobs.c.reason),
            *(jobs.c.ended_by, jobs.c.args, jobs.c.kwargs, jobs.c.keepalive, jobs.c.imported),
            _owner.c.name.label("owner"),
            _owner.c.pseudonym,
            _host.c.name.label("host"),
            _by_host.c.name.label("by_host"),
            _by_principal.c.name.label("by_principal"),
            machines.c.name.label("machine"),
            *(places.c.x, places.c.y, places.c.w, places.c.h, places.c.z, places.c.boards),
        )
        .join_from(jobs, _owner, _owner.c.id == jobs.c.owner_id)
        .outerjoin(_host, _host.c.id == jobs.c.host_id)
        .outerjoin(_by_host, _by_host.c.id == jobs.c.ended_by_host_id)
        .outerjoin(_by_principal, _by_principal.c.id == jobs.c.ended_by_principal_id)
        .outerjoin(machines, machines.c.id == jobs.c.machine_id)
        .outerjoin(places, places.c.id == jobs.c.place_id)
        .where(jobs.c.id.in_(keys))
    )
    rows = {row.id: _job_row(row) for row in connection.execute(query)}
    return [rows[key] for key in keys if key in rows]


def _job_row(row: Any) -> JobRow:
    return JobRow(
        row.id,
        row.state,
        row.job,
        row.owner,
        row.pseudonym,
        row.host,
        row.created,
        row.allocated,
        row.ready,
        row.ended,
        row.machine,
        place_of(row),
        row.boards,
        row.asked,
        row.moves,
        row.reason,
        row.ended_by,
        row.by_host,
        row.by_principal,
        json.loads(row.args),
        json.loads(row.kwargs),
        row.keepalive,
        row.imported,
    )


def place_of(row: Any) -> list[int] | None:
    """Return the place that a row's x, y, w, h and z tell; None if nobody knows."""
    if row.x is None:
        return None
    return [row.x, row.y, row.z] if row.w is None else [row.x, row.y, row.w, row.h]


def _places_of(connection: Connection, key: int) -> list[PlaceRow]:
    query = (
        select(places, machines.c.name)
        .join_from(places, machines, machines.c.id == places.c.machine_id)
        .where(places.c.job_id == key)
        .order_by(places.c.id)
    )
    return [
        PlaceRow(
            row.name,
            place_of(row),
            row.boards,
            json.loads(row.without) if row.without else [],
            max(0.0, row.began - row.waited_since),
            row.began,
            row.left,
            row.off,
            row.fault,
        )
        for row in connection.execute(query)
    ]


# --- filters ---


def _filtered(connection: Connection, wanted: JobFilter) -> Select[Any] | None:
    """Return the query for keys; None if a name is not known, so that there are no such jobs."""
    query = select(jobs.c.id, jobs.c.created)
    for kind, column in (
        ("owner", jobs.c.owner_id),
        ("network", jobs.c.network_id),
        ("host", jobs.c.host_id),
    ):
        name = getattr(wanted, kind)
        if name is not None:
            key = connection.scalar(
                select(names.c.id).where(names.c.kind == kind, names.c.name == name)
            )
            if key is None:
                return None
            query = query.where(column == key)
    if wanted.board is not None or wanted.machine is not None:
        machine_id = machine_key(connection, wanted.machine)
        if machine_id is None:
            return None
        if wanted.board is None:
            query = query.where(jobs.c.machine_id == machine_id)
        else:
            query = query.where(_had_board(connection, machine_id, wanted.board))
    if wanted.since is not None:
        query = query.where(jobs.c.created >= wanted.since)
    if wanted.until is not None:
        query = query.where(jobs.c.created < wanted.until)
    if wanted.by is not None:
        query = query.where(jobs.c.ended_by == wanted.by)
    if wanted.ended is not None:
        query = query.where(jobs.c.ended.is_not(None) if wanted.ended else jobs.c.ended.is_(None))
    if wanted.reason is not None:
        query = query.where(jobs.c.reason.icontains(wanted.reason, autoescape=True))
    return query


def machine_key(connection: Connection, name: str | None) -> int | None:
    """Return a machine's key; None if it is not known.

    Raises
    ------
    HistoryError
        If no machine is named.
    """
    if name is None:
        raise HistoryError("a board is asked for without its machine")
    return connection.scalar(select(machines.c.id).where(machines.c.name == name))


def _had_board(connection: Connection, machine_id: int, board: tuple[int, int, int]) -> Any:
    """Whether a job had a board: alone, or in a block, which may reach across the edge."""
    x, y, z = board
    size = connection.execute(
        select(sizes.c.width, sizes.c.height)
        .where(sizes.c.machine_id == machine_id, sizes.c.width > 0)
        .order_by(sizes.c.since.desc())
    ).first()
    width, height = (size.width, size.height) if size is not None else (0, 0)
    columns = _reaches(places.c.x, places.c.w, x, width)
    rows = _reaches(places.c.y, places.c.h, y, height)
    text = json.dumps([x, y, z])
    # Sure, since the lists were written by the same function: [x, y, z] is nowhere a part of
    # another board's.
    got = or_(places.c.without.is_(None), places.c.without.not_like(f"%{text}%"))
    alone = and_(places.c.x == x, places.c.y == y, places.c.z == z)
    # The places first, then their jobs: SQLite would look for places job by job.
    return jobs.c.id.in_(
        select(places.c.job_id).where(
            places.c.machine_id == machine_id,
            or_(alone, and_(places.c.z.is_(None), columns, rows, got)),
        )
    )


def _reaches(low: Any, length: Any, at: int, size: int) -> Any:
    """Whether a stretch has a column or row in it, also one that goes on from the other edge."""
    inside = and_(low <= at, low + length > at)
    return or_(inside, low + length > at + size) if size else inside


#: Databases keep numbers of rows in 64 bits.
_TOO_LARGE = 1 << 63


def _cursor(after: str) -> tuple[float, int]:
    created, _, key = after.partition("/")
    try:
        number = int(key)
        if abs(number) >= _TOO_LARGE:
            raise ValueError(f"{number} is no number of a row")
        return float(created), number
    except ValueError as e:
        raise HistoryError(f"{after!r} is no page of a list") from e
