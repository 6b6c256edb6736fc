"""The jobs of a log, an export, a history or a trace, as requests to be made again.

Owns the figures of a past request: its time, its arguments, how long it kept its boards, when its
user gave up.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Any, NamedTuple

from spalloc_server._history.boards_by_bmp import BoardsByBmp
from spalloc_server._history.exported import events_of_row, row_of
from spalloc_server._history.log_files import in_order, is_export, open_text
from spalloc_server._history.old_logs import OldLog
from spalloc_server._history.submissions import Served, Shape, Submission, boards_asked
from spalloc_server.configuration import Configuration

#: Jobs asked of a database at a time.
_PAGE = 1000
#: How the reason begins of requests that no machine suited.
_REFUSED = "Cancelled: No suitable machines available."


class PastError(ValueError):
    """A file from which no jobs can be read; for people."""


class Past(NamedTuple):
    """Jobs that were.

    Attributes
    ----------
    served : list of Served
        The jobs as they went, by time of arrival; times in seconds since the first.
    machines : list of Shape
        Of a trace; else empty.
    refused : int
        Requests that no machine suited, which are left out.
    unfinished : int
        Jobs that had not ended: their lives are told as until the end of the log.
    strange : int
        Records that were not understood.
    """

    served: list[Served]
    machines: list[Shape]
    refused: int
    unfinished: int
    strange: int


def read_past(
    sources: Sequence[str],
    configuration: Configuration | None,
    zone: tzinfo | None = None,
) -> Past:
    """Read past jobs.

    Parameters
    ----------
    sources : sequence of str
        Paths of job logs (rotated ones in any order), or one export as JSON lines, trace, or
        history database (path or URL).
    configuration : Configuration or None
        Tells which boards the BMPs of the original's logs had.
    zone : tzinfo, optional
        Of the times in logs.

    Raises
    ------
    PastError
        If there are no jobs in it.
    OSError
        If a file cannot be read.
    HistoryError
        If a database cannot be read.
    """
    if len(sources) == 1 and _is_database(sources[0]):
        return _past(_rows_of_database(sources[0]), 0)
    paths = [Path(source) for source in sources]
    if is_export(paths[0]):
        return _read_json_lines(paths)
    log = OldLog(BoardsByBmp(configuration).find, zone=zone)
    events = list(log.events(line for path in in_order(paths) for line in _lines(path)))
    return _past(events, log.counts.strange)


def _is_database(source: str) -> bool:
    if "://" in source:
        return True
    with Path(source).open("rb") as file:
        return file.read(15) == b"SQLite format 3"


def _rows_of_database(where: str) -> Iterator[dict[str, Any]]:
    from spalloc_server._history.history import History  # noqa: PLC0415 - needs the extra

    history = History(where, seconds=3600.0)
    try:
        after = None
        while True:
            page = history.jobs(after=after, limit=_PAGE)
            for job in page.rows:
                yield from events_of_row(row_of(job))
            after = page.next
            if after is None:
                return
    finally:
        history.close()


def _lines(path: Path) -> Iterator[str]:
    with open_text(path) as file:
        yield from file


def _read_json_lines(paths: Iterable[Path]) -> Past:
    rows, strange = [], 0
    for path in paths:
        for line in _lines(path):
            try:
                rows.append(json.loads(line))
            except ValueError:
                strange += 1
    if rows and "trace" in rows[0]:
        return _trace(rows)
    events: list[dict[str, Any]] = []
    for row in rows:
        try:
            events += events_of_row(row)
        except (KeyError, TypeError, ValueError):
            strange += 1
    return _past(events, strange)


def _trace(rows: Sequence[Mapping[str, Any]]) -> Past:
    """Return a trace: nothing happened yet."""
    try:
        head, *jobs = rows
        dead = frozenset((x, y, z) for x, y, z in head["dead_boards"])
        name, width, height = str(head["machine"]), int(head["width"]), int(head["height"])
        machine = Shape(name, width, height, dead_boards=dead)
        served = [_of_trace(job) for job in jobs]
    except (KeyError, TypeError, ValueError) as e:
        raise PastError(f"the trace is broken: {type(e).__name__}: {e}") from e
    return Past(served, [machine], 0, 0, 0)


def _of_trace(job: Mapping[str, Any]) -> Served:
    arrival, life = float(job["arrival"]), float(job["life"])
    about = tuple(job["args"]), dict(job["kwargs"])
    submission = Submission(int(job["job"]), arrival, *about, life, job["owner"])
    return Served(submission, None, None, 0, False, None)


# --- events ---


class _Told(NamedTuple):
    """The events of a job that matter."""

    created: Mapping[str, Any]
    first: Mapping[str, Any] | None
    last: Mapping[str, Any] | None
    ended: Mapping[str, Any] | None


def _past(events: Iterable[Mapping[str, Any]], strange: int) -> Past:
    told: dict[tuple[int, int], _Told] = {}
    latest = 0.0
    for event in events:
        latest = max(latest, event["time"])
        key = (event["state"], event["job"])
        if event["event"] == "created":
            told[key] = _Told(event, None, None, None)
        else:
            told[key] = _with(told[key], event)
    jobs = sorted(told.values(), key=lambda job: job.created["time"])
    known = [job for job in jobs if not _was_refused(job)]
    if not known:
        raise PastError("there are no jobs in it that any machine suited")
    served = _overtaken(list(_served(known, latest)))
    unfinished = sum(job.ended is None for job in known)
    return Past(served, [], len(jobs) - len(known), unfinished, strange)


def _with(job: _Told, event: Mapping[str, Any]) -> _Told:
    if event["event"] == "allocated":
        return job._replace(first=job.first or event, last=event)
    return job._replace(ended=event) if event["event"] == "ended" else job


def _was_refused(job: _Told) -> bool:
    """Whether no machine suited a request: the original does not say so, but ends it at once."""
    if job.first is not None or job.ended is None:
        return False
    reason = job.ended.get("reason")
    at_once = job.ended["time"] - job.created["time"] < 1.0
    return str(reason).startswith(_REFUSED) or (reason is None and at_once)


def _served(jobs: Sequence[_Told], latest: float) -> Iterator[Served]:
    base = jobs[0].created["time"]
    lives = _typical_lives(jobs, latest)
    for number, job in enumerate(jobs, 1):
        created = job.created
        end = latest if job.ended is None else job.ended["time"]
        gives_up = None
        if job.last is not None:
            life = max(0.0, end - job.last["time"])
        else:
            life = lives[_size(job)]
            gives_up = max(0.0, end - created["time"])
        submission = Submission(
            number,
            created["time"] - base,
            tuple(created.get("args") or ()),
            dict(created.get("kwargs") or {}),
            life,
            str(created["owner"]),
            gives_up,
        )
        if job.first is None:
            yield Served(submission, None, None, 0, False, "given up")
        else:
            start = max(submission.arrival, job.first["time"] - base)
            machine, boards = str(job.first["machine"]), int(job.first["boards"])
            yield Served(submission, start, machine, boards, False, None)


def _typical_lives(jobs: Sequence[_Told], latest: float) -> dict[int, float]:
    """Return median lives by size, for requests that were given up before they got boards."""
    lives: dict[int, list[float]] = {}
    for job in jobs:
        lives.setdefault(_size(job), [])
        if job.last is not None:
            end = latest if job.ended is None else job.ended["time"]
            lives[_size(job)].append(max(0.0, end - job.last["time"]))
    everything = [life for some in lives.values() for life in some] or [0.0]
    return {
        size: statistics.median(some or everything) for size, some in lives.items()
    }


def _size(job: _Told) -> int:
    """Return the octave of the number of boards asked for."""
    return boards_asked(job.created.get("args") or ()).bit_length()


def _overtaken(served: list[Served]) -> list[Served]:
    """Mark each job that got boards before an older request for the same machine."""
    latest: dict[str | None, float] = {}
    told = []
    for each in served:
        if each.start is None:
            told.append(each)
            continue
        latest_start = latest.get(each.machine, float("-inf"))
        told.append(each._replace(overtook=latest_start > each.start))
        latest[each.machine] = max(latest_start, each.start)
    return told
