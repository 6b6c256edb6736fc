"""Questions about boards: faults, frames, reports."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Select, case, func, or_, select
from sqlalchemy import Row as SqlRow

from spalloc_server._history.answers import FaultRow, FrameRow, ReportRow
from spalloc_server._history.tables import faults, jobs, machines, names, reports

#: The most rows of a list without pages.
MOST_ROWS = 1000


def list_faults(
    connection: Connection,
    *,
    machine: str | None = None,
    board: tuple[int, int, int] | None = None,
    since: float | None = None,
    until: float | None = None,
    limit: int = MOST_ROWS,
) -> list[FaultRow]:
    """List faults, newest first; see `History.faults`."""
    query = _in_time(_faults(), machine, since, until)
    if board is not None:
        x, y, z = board
        query = query.where(faults.c.x == x, faults.c.y == y, faults.c.z == z)
    query = query.order_by(faults.c.since.desc(), faults.c.id.desc()).limit(limit)
    return [_fault_row(row) for row in connection.execute(query)]


def faults_by_frame(
    connection: Connection, machine: str | None, since: float | None, until: float | None
) -> list[FrameRow]:
    """Count faults by frame, most first; see `History.faults_by_frame`."""
    silent = case((faults.c.x.is_(None), 1), else_=0)
    query = (
        select(
            machines.c.name,
            faults.c.cabinet,
            faults.c.frame,
            func.count().label("faults"),
            func.count(faults.c.board.distinct()).label("boards"),
            func.sum(silent).label("silent"),
            func.max(faults.c.since).label("last"),
        )
        .join_from(faults, machines, machines.c.id == faults.c.machine_id)
        .where(faults.c.frame.is_not(None))
        .group_by(machines.c.name, faults.c.cabinet, faults.c.frame)
        .order_by(func.count().desc(), machines.c.name, faults.c.cabinet, faults.c.frame)
    )
    query = _in_time(query, machine, since, until)
    return [
        FrameRow(
            row.name, row.cabinet, row.frame, row.faults, row.boards, int(row.silent), row.last
        )
        for row in connection.execute(query)
    ]


def list_reports(
    connection: Connection,
    *,
    machine: str | None = None,
    board: tuple[int, int, int] | None = None,
    since: float | None = None,
    until: float | None = None,
    limit: int = MOST_ROWS,
) -> list[ReportRow]:
    """List users' reports, newest first; see `History.reports`."""
    query = _reports()
    if machine is not None:
        query = query.where(machines.c.name == machine)
    if board is not None:
        x, y, z = board
        query = query.where(reports.c.x == x, reports.c.y == y, reports.c.z == z)
    if since is not None:
        query = query.where(reports.c.time >= since)
    if until is not None:
        query = query.where(reports.c.time < until)
    query = query.order_by(reports.c.time.desc(), reports.c.id.desc()).limit(limit)
    return [_report_row(row) for row in connection.execute(query)]


def reports_of_job(connection: Connection, key: int) -> list[ReportRow]:
    """List the reports made from a job, oldest first."""
    query = _reports().where(reports.c.job_id == key).order_by(reports.c.time)
    return [_report_row(row) for row in connection.execute(query)]


def _faults() -> Select[Any]:
    return (
        select(faults, machines.c.name.label("machine"), jobs.c.job)
        .join_from(faults, machines, machines.c.id == faults.c.machine_id)
        .outerjoin(jobs, jobs.c.id == faults.c.job_id)
    )


def _in_time(
    query: Select[Any], machine: str | None, since: float | None, until: float | None
) -> Select[Any]:
    """Keep to the faults of a machine that were there at some time of a span."""
    if machine is not None:
        query = query.where(machines.c.name == machine)
    if since is not None:
        query = query.where(or_(faults.c.back.is_(None), faults.c.back >= since))
    if until is not None:
        query = query.where(faults.c.since < until)
    return query


def _fault_row(row: SqlRow[Any]) -> FaultRow:
    physical = None if row.frame is None else [row.cabinet, row.frame, row.board]
    return FaultRow(
        row.id,
        row.machine,
        None if row.x is None else [row.x, row.y, row.z],
        physical,
        row.kind,
        row.text,
        row.sure,
        row.job,
        row.since,
        row.back,
        row.how,
    )


def _reports() -> Select[Any]:
    return (
        select(reports, machines.c.name.label("machine"), jobs.c.job, names.c.name.label("host"))
        .join_from(reports, machines, machines.c.id == reports.c.machine_id)
        .outerjoin(jobs, jobs.c.id == reports.c.job_id)
        .outerjoin(names, names.c.id == reports.c.host_id)
    )


def _report_row(row: SqlRow[Any]) -> ReportRow:
    return ReportRow(
        row.id,
        row.machine,
        [row.x, row.y, row.z],
        row.job,
        row.host,
        row.time,
        row.text,
        row.done,
    )
