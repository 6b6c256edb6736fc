"""Questions about usage and waits, answered from the sums over blocks of days.

The jobs that have boards now are added to the ended ones.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from spalloc_server._history import histogram
from spalloc_server._history.answers import Usage, UsageRow, WaitBucket, WaitSummary
from spalloc_server._history.capacity import Capacity
from spalloc_server._history.errors import HistoryError
from spalloc_server._history.rollups import (
    ALL,
    DAY,
    Subject,
    Sum,
    day_of,
    month_of,
    next_month,
    select_blocks,
    split_by_day,
    sum_of,
)
from spalloc_server._history.settings import KEPT_FROM, read_setting
from spalloc_server._history.tables import cursor, jobs, machines, names, places, rollups

#: The subjects of rows.
BY = ("owner", "machine", "network", "day", "month")


class Days(NamedTuple):
    """Whole days, UTC: `first` is in, `end` is not; both as days since 1970-01-01."""

    first: int
    end: int

    @property
    def since(self) -> float:
        """Unix time of the beginning."""
        return float(self.first * DAY)

    @property
    def until(self) -> float:
        """Unix time of the end."""
        return float(self.end * DAY)


class _Open(NamedTuple):
    """Boards that somebody has now."""

    boards: int
    began: float
    owner: int
    network: int | None
    machine: int

    def is_of(self, subject: Subject) -> bool:
        kind, key = subject
        return kind == "all" or getattr(self, kind) == key


def whole_days(since: float | None, until: float | None, now: float | None = None) -> Days:
    """Return the days of a span: None stands for 30 days before the end, and for now.

    Raises
    ------
    HistoryError
        If it ends before it begins.
    """
    end = (time.time() if now is None else now) if until is None else until
    last = day_of(end) if end % DAY or until is None else day_of(end) - 1
    first = last - 29 if since is None else day_of(since)
    if first > last:
        raise HistoryError("the time asked for ends before it begins")
    return Days(first, last + 1)


def usage(connection: Connection, days: Days, by: str, limit: int) -> Usage:
    """Tell the use of boards; see `History.usage`."""
    if by not in BY:
        raise HistoryError(f"usage is asked for by {by!r}, it is told by {', '.join(BY)}")
    if by == "month":
        # Whole months, so that the rows add up to the total.
        days = Days(month_of(days.first), next_month(month_of(days.end - 1)))
    if by in {"day", "month"}:
        rows = series(connection, days, by, ALL)
        return Usage(days.since, days.until, _total(connection, days), rows, 0)
    used = _used(connection, days, by)
    order = sorted(used, key=lambda key: (-used[key][1], -used[key][0], key))
    shown = order[:limit]
    waits = _waits(connection, days, by, shown)
    called = _called(connection, by, shown)
    capacity = _capacity(connection) if by == "machine" else None
    rows = []
    for key in shown:
        offered = capacity.board_seconds(*_span(days), key) if capacity is not None else 0.0
        rows.append(_row(called[key], used[key], waits.get(key, {}), offered))
    return Usage(
        days.since, days.until, _total(connection, days), rows, len(order) - len(shown)
    )


def series(connection: Connection, days: Days, step: str, subject: Subject) -> list[UsageRow]:
    """Tell usage by day or month; see `History.series`."""
    kind, key = subject
    first = days.first if step == "day" else month_of(days.first)
    steps = list(_steps(first, days.end, step))
    sums = _sums_of_steps(connection, steps, step, subject)
    now_used = _used_now(connection, step, subject)
    capacity = _capacity(connection) if kind in {"all", "machine"} else None
    machine = key if kind == "machine" else None
    rows = []
    for since, until in steps:
        each = sums.get(since, Sum())
        used = (each.jobs, each.board_seconds + now_used.get(since, 0.0))
        offered = 0.0
        if capacity is not None:
            offered = capacity.board_seconds(since * DAY, until * DAY, machine)
        rows.append(_row(_iso(since), used, each.waits, offered))
    return rows


def _sums_of_steps(
    connection: Connection, steps: list[tuple[int, int]], step: str, subject: Subject
) -> dict[int, Sum]:
    """Sum up each day or month: {its first day: sum}."""
    kind, key = subject
    columns = rollups.c.since, rollups.c.jobs, rollups.c.board_seconds, rollups.c.waits
    found: dict[int, Sum] = {}
    if step == "day":
        query = select(*columns).where(
            *(rollups.c.kind == kind, rollups.c.length == 1, rollups.c.key == key),
            rollups.c.since.between(steps[0][0], steps[-1][1] - 1),
        )
        return {row.since: sum_of(row) for row in connection.execute(query)}
    for first, end in steps:
        for row in _blocks(connection, columns, kind, Days(first, end), rollups.c.key == key):
            found.setdefault(first, Sum()).add(sum_of(row))
    return found


def wait_histogram(connection: Connection, days: Days, subject: Subject) -> list[WaitBucket]:
    """Tell how many jobs waited how long; see `History.waits`."""
    kind, key = subject
    merged = _waits(connection, days, kind, [key]).get(key, {})
    return [WaitBucket(*histogram.bounds(bucket), merged[bucket]) for bucket in sorted(merged)]


def subject_of(
    connection: Connection, *, owner: str | None, machine: str | None, network: str | None
) -> Subject | None:
    """Find the one thing named; all jobs if none is; None if it is not known.

    Raises
    ------
    HistoryError
        If more than one is named.
    """
    given = {"owner": owner, "machine": machine, "network": network}
    named = {kind: name for kind, name in given.items() if name is not None}
    if len(named) > 1:
        raise HistoryError(f"only one of {', '.join(named)} may be given")
    for kind, name in named.items():
        query = select(names.c.id).where(names.c.kind == kind, names.c.name == name)
        if kind == "machine":
            query = select(machines.c.id).where(machines.c.name == name)
        key = connection.scalar(query)
        return None if key is None else (kind, key)
    return ALL


# --- sums ---


def _total(connection: Connection, days: Days) -> UsageRow:
    used = _used(connection, days, "all").get(0, (0, 0.0))
    waits = _waits(connection, days, "all", [0]).get(0, {})
    return _row("total", used, waits, _capacity(connection).board_seconds(*_span(days)))


def _row(
    name: str, used: tuple[int, float], waits: Mapping[int, int], offered: float
) -> UsageRow:
    number, board_seconds = used
    summary = WaitSummary(
        sum(waits.values()), _seconds(waits, 0.5), _seconds(waits, 0.95)
    )
    utilisation = board_seconds / offered if offered > 0 else None
    return UsageRow(name, number, board_seconds / 3600, summary, utilisation)


def _seconds(waits: Mapping[int, int], part: float) -> float | None:
    told = histogram.quantile(waits, part)
    return 0.0 if told is not None and told < 1.0 else told


def _used(connection: Connection, days: Days, kind: str) -> dict[int, tuple[int, float]]:
    """Sum up jobs and board-seconds: {key: (jobs, board-seconds)}."""
    found: dict[int, tuple[int, float]] = {}
    columns = rollups.c.key, rollups.c.jobs, rollups.c.board_seconds
    for row in _blocks(connection, columns, kind, days):
        number, used = found.get(row.key, (0, 0.0))
        found[row.key] = (number + row.jobs, used + row.board_seconds)
    now = _now(connection)
    for each in _open(connection):
        key = 0 if kind == "all" else getattr(each, kind)
        seconds = min(now, days.until) - max(each.began, days.since)
        if key is not None and seconds > 0:
            number, used = found.get(key, (0, 0.0))
            found[key] = (number, used + each.boards * seconds)
    return found


def _used_now(connection: Connection, step: str, subject: Subject) -> dict[int, float]:
    """Sum up the board-seconds of jobs that have boards now, by day or month."""
    now = _now(connection)
    found: dict[int, float] = {}
    for each in _open(connection):
        if each.is_of(subject):
            for day, seconds in split_by_day(each.began, now):
                since = day if step == "day" else month_of(day)
                found[since] = found.get(since, 0.0) + each.boards * seconds
    return found


def _waits(
    connection: Connection, days: Days, kind: str, keys: list[int]
) -> dict[int, histogram.Histogram]:
    """Add up the histograms of waits: {key: histogram}."""
    found: dict[int, histogram.Histogram] = {}
    columns = rollups.c.key, rollups.c.waits
    chosen = rollups.c.key.in_(keys), rollups.c.waits != "[]"
    for row in _blocks(connection, columns, kind, days, *chosen):
        merged = found.setdefault(row.key, {})
        for bucket, number in histogram.from_text(row.waits).items():
            merged[bucket] = merged.get(bucket, 0) + number
    return found


def _blocks(
    connection: Connection, columns: Sequence[Any], kind: str, days: Days, *more: Any
) -> Sequence[Any]:
    """Return the blocks of a span, as far as its sums have not been deleted."""
    kept_from = int(read_setting(connection, KEPT_FROM) or days.first)
    query = select_blocks(columns, kind, max(days.first, kept_from), days.end, *more)
    return [] if query is None else connection.execute(query).all()


def _open(connection: Connection) -> Iterator[_Open]:
    query = (
        select(places.c.boards, places.c.began, jobs.c.owner_id, jobs.c.network_id)
        .add_columns(places.c.machine_id)
        .join_from(places, jobs, jobs.c.id == places.c.job_id)
        .where(places.c.left.is_(None), jobs.c.imported.is_(False))
    )
    for row in connection.execute(query):
        yield _Open(*row)


def _now(connection: Connection) -> float:
    """Return until when the follower knows of jobs."""
    read = connection.scalar(select(cursor.c.read))
    return time.time() if read is None else float(read)


def _capacity(connection: Connection) -> Capacity:
    return Capacity.read(connection, _now(connection))


def _span(days: Days) -> tuple[float, float]:
    return days.since, days.until


def _called(connection: Connection, kind: str, keys: list[int]) -> dict[int, str]:
    table: Any = machines if kind == "machine" else names
    query = select(table.c.id, table.c.name).where(table.c.id.in_(keys))
    return {row.id: row.name for row in connection.execute(query)}


def _steps(first: int, end: int, step: str) -> Iterator[tuple[int, int]]:
    while first < end:
        after = first + 1 if step == "day" else next_month(first)
        yield first, after
        first = after


def _iso(day: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()
