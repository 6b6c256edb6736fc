"""The rows of an export: jobs as flat objects, and back as events."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from typing import Any, TextIO

from spalloc_server._history.answers import JobRow

#: The columns, in this order.
COLUMNS = (
    *("state", "job", "owner", "host", "created", "allocated", "ready", "ended", "machine"),
    *("place", "boards", "asked", "args", "kwargs", "keepalive", "moves", "reason", "ended_by"),
    *("ended_by_host", "ended_by_principal", "imported"),
)


def row_of(job: JobRow) -> dict[str, Any]:
    """Return a job as a row."""
    return {name: getattr(job, name) for name in COLUMNS}


def write_json_lines(jobs: Iterable[JobRow], file: TextIO) -> None:
    """Write jobs, one a line."""
    for job in jobs:
        file.write(json.dumps(row_of(job)) + "\n")


def write_csv(jobs: Iterable[JobRow], file: TextIO) -> None:
    """Write jobs as CSV with a head line; places and arguments are JSON.

    Text that a spreadsheet would take for a formula begins with an apostrophe.
    """
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for job in jobs:
        writer.writerow([_cell(value) for value in row_of(job).values()])


def _cell(value: Any) -> Any:
    if isinstance(value, (list, dict)):
        return json.dumps(value)
    if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"}:
        return f"'{value}"
    return value


def events_of_row(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Return the events that a row of JSON lines tells of.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is no such row.
    """
    base = {"state": int(row["state"]), "job": int(row["job"])}
    events: list[dict[str, Any]] = [
        {
            **{"event": "created", "time": float(row["created"]), "owner": str(row["owner"])},
            **{name: row.get(name) for name in ("host", "keepalive", "args", "kwargs")},
        }
    ]
    if row.get("allocated") is not None:
        about = {name: row.get(name) for name in ("machine", "place", "boards")}
        events.append({"event": "allocated", "time": float(row["allocated"]), **about})
    if row.get("ready") is not None:
        events.append({"event": "ready", "time": float(row["ready"])})
    if row.get("ended") is not None:
        told = {"reason": row.get("reason"), "by": row.get("ended_by")}
        told.update(by_host=row.get("ended_by_host"), by_principal=row.get("ended_by_principal"))
        events.append({"event": "ended", "time": float(row["ended"]), **told})
    return iter([{**base, **event} for event in events])
