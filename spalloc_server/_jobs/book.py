"""The book: the whole state of a controller, as one dict of plain builtins.

Each change of the model is told as an *outcome*, a tuple ``(kind, ...)`` of plain
builtins: job 17 was created with ..., was given these boards, was destroyed
because ....  `apply` writes an outcome into a book.  The journal is a list of
outcomes, a snapshot is a book, and recovery is a snapshot with the outcomes
since then applied: nothing is ever decided again.

::

    next_id, max_retired_jobs, seconds_before_free, scheduling, patience
    told_at     Unix time of the latest outcome that has one; None if none has
    machines    {name: {name, tags, width, height, dead_boards, dead_links,
                        board_locations, bmp_ips, spinnaker_ips}}  in order
    jobs        {id: {owner, start_time, keepalive, host, args, kwargs,
                      state, power, attempts, fault, was_ready, allocated_at,
                      ready_at, principal, code, region, allocation}}
                oldest first; allocation None or {machine, id, outcome,
                boards, periphery, torus}; fault is the text of the one for
                which it was moved last; times are Unix times or None; principal is
                the identity that it belongs to, None if an older format did not
                know; code the hash of a code by which it may change hands; region
                None or {machine, place, closed, age, at}: the place kept for it
                (machine and place None if none is now), and the seconds since
                one first was, as of the Unix time at
    retired     {id: reason}  oldest first
    ended       {id: row of `_jobs.ended_jobs`}  of those in retired that
                ended since format 2
    going       {machine: {allocation id: {job, outcome, boards}}}
                boards of jobs that ended, or were moved, whose power-off is
                not done
    resting     {machine: {allocation id: [outcome, seconds rested]}}
    orphans     {host: [board, ...]}  to be powered off on frames that the
                configuration no longer has
    quarantine  {machine: boards out of service, see `_jobs.quarantine`}
    events      {last, state, unfiled}: number of the last event, that of the first
                one of this state, and the events that the events file may lack
                (see `_jobs.events`); None if an older format did not know
    message     [text or None, whether new jobs are accepted]

Format 1 had no ended, fault, allocated_at, ready_at, principal, code, region, scheduling, patience
and told_at; its outcomes lack their times and endings.  Must not know classes, files, threads or
hardware.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from spalloc_server._jobs.ended_jobs import plain_row

#: The book's own format number, raised when a key changes its meaning.
FORMAT = 2

Book = dict[str, Any]
Outcome = tuple[Any, ...]

_QUEUED, _POWER, _READY = 1, 2, 3
_LARGEST = 2**63 - 1


class BookError(ValueError):
    """An outcome that does not fit the book that it should be written into."""


def empty() -> Book:
    """Return the book of a controller that has done nothing yet."""
    return {
        "next_id": 1,
        "max_retired_jobs": 1200,
        "seconds_before_free": 30,
        "scheduling": "fcfs",
        "patience": 7200.0,
        "told_at": None,
        "machines": {},
        "jobs": {},
        "retired": {},
        "ended": {},
        "going": {},
        "resting": {},
        "orphans": {},
        "quarantine": {},
        "events": None,
        "message": [None, True],
    }


def apply(book: Book, outcome: Outcome) -> None:
    """Write one outcome into a book, in place.

    Raises
    ------
    BookError
        If the outcome is of an unknown kind, has the wrong parts, or speaks of
        a job, machine or allocation that the book does not have.
    """
    try:
        _WRITERS[outcome[0]](book, *outcome[1:])
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as e:
        raise BookError(f"outcome {outcome!r} does not fit: {type(e).__name__}: {e}") from e


def upgrade(book: Book, from_format: int) -> Book:
    """Return a book of an older format in today's.

    Raises
    ------
    BookError
        If the format is not known.
    """
    if not 1 <= from_format <= FORMAT:
        raise BookError(f"book format {from_format} is not known, 1 to {FORMAT} are")
    upgraded = {**empty(), **book}
    jobs = upgraded["jobs"]
    if from_format < 2 and isinstance(jobs, dict) and all(map(_is_dict, jobs.values())):
        upgraded["jobs"] = {
            job: _bounded({**_NEW_JOB, **_KEPT_WHEN_MOVED, **jobs[job]}) for job in jobs
        }
    return upgraded


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _bounded(record: dict[str, Any]) -> dict[str, Any]:
    """Return a job's record without numbers of more than 64 bits in its request.

    Format 1 had them.  As the largest number they mean the same: nothing has so many boards.
    """
    args, kwargs = record["args"], record["kwargs"]
    if all(type(value) is not int or value <= _LARGEST for value in (*args, *kwargs.values())):
        return record
    return {
        **record,
        "args": [min(value, _LARGEST) for value in args],
        "kwargs": {
            name: min(value, _LARGEST) if type(value) is int else value
            for name, value in kwargs.items()
        },
    }


#: A job when it has just been created.
_NEW_JOB = {
    "state": _QUEUED,
    "power": None,
    "attempts": 0,
    "fault": None,
    "was_ready": False,
    "allocated_at": None,
    "ready_at": None,
    "allocation": None,
}

#: Parts of a new job that it keeps when it is moved.
_KEPT_WHEN_MOVED = {"principal": None, "code": None, "region": None}

# --- the writers, one for each kind of outcome ---


def _created(book: Book, job_id: int, record: dict[str, Any]) -> None:
    book["jobs"][job_id] = {**_NEW_JOB, **_KEPT_WHEN_MOVED, **_bounded(record)}
    book["next_id"] = max(book["next_id"], job_id + 1)


def _allocated(
    book: Book, job_id: int, allocation: dict[str, Any], at: float | None = None
) -> None:
    job = book["jobs"][job_id]
    job.update(allocation=allocation, was_ready=False, allocated_at=at, ready_at=None)
    if job["region"] is not None:
        job["region"] = _without_place(job["region"])
    _note_time(book, at)


def _region(book: Book, job_id: int, region: dict[str, Any] | None) -> None:
    book["jobs"][job_id]["region"] = region
    _note_time(book, None if region is None else region["at"])


def _without_place(region: dict[str, Any]) -> dict[str, Any]:
    return {**region, "machine": None, "place": None, "closed": False}


def _note_time(book: Book, at: float | None) -> None:
    if at is not None:
        book["told_at"] = max(at, book["told_at"] or at)


def _scheduling(book: Book, scheduling: str, patience: float) -> None:
    book.update(scheduling=scheduling, patience=patience)
    if scheduling != "overtaking":
        for job in book["jobs"].values():
            job["region"] = None


def _power(book: Book, job_id: int, on: bool) -> None:
    book["jobs"][job_id].update(state=_POWER, power=on)


def _ready(book: Book, job_id: int, at: float | None = None) -> None:
    job = book["jobs"][job_id]
    if not job["was_ready"]:
        job["ready_at"] = at
    job.update(state=_READY, was_ready=True)


def _host(book: Book, job_id: int, host: str) -> None:
    book["jobs"][job_id]["host"] = host


def _principal(book: Book, job_id: int, principal: str) -> None:
    book["jobs"][job_id].update(principal=principal, code=None)


def _code(book: Book, job_id: int, code: str) -> None:
    book["jobs"][job_id]["code"] = code


def _ended(
    book: Book, job_id: int, reason: str | None, ending: dict[str, Any] | None = None
) -> None:
    job = book["jobs"].pop(job_id)
    allocation = job["allocation"]
    if ending is not None:
        where = None
        if allocation is not None:
            place, boards = allocation["outcome"][1:], allocation["boards"]
            where = allocation["machine"], place, len(boards)
        book["ended"][job_id] = plain_row(job, where, ending)
        _note_time(book, ending["at"])
    if allocation is not None and allocation["machine"] in book["machines"]:
        _give_back(book, job_id, allocation)
    book["retired"][job_id] = reason
    _trim_retired(book)


def _give_back(book: Book, job_id: int, allocation: dict[str, Any]) -> None:
    book["going"].setdefault(allocation["machine"], {})[allocation["id"]] = {
        "job": job_id,
        "outcome": allocation["outcome"],
        "boards": allocation["boards"],
    }


def _requeued(book: Book, job_id: int, attempts: int, fault: dict[str, Any] | None = None) -> None:
    job = book["jobs"][job_id]
    _give_back(book, job_id, job["allocation"])
    text = None if fault is None else fault["text"]
    job.update({**_NEW_JOB, "attempts": attempts, "fault": text})


def _returned(book: Book, machine: str, allocation_id: int) -> None:
    gone = book["going"][machine].pop(allocation_id)
    if not book["going"][machine]:
        del book["going"][machine]
    book["resting"].setdefault(machine, {})[allocation_id] = [gone["outcome"], 0.0]


def _rested(book: Book, machine: str, allocation_ids: list[int]) -> None:
    resting = book["resting"][machine]
    for allocation_id in allocation_ids:
        del resting[allocation_id]
    if not resting:
        del book["resting"][machine]


def _machines(
    book: Book,
    order: list[str],
    changed: list[dict[str, Any]],
    remade: list[str],
    orphans: dict[str, list[int]],
) -> None:
    """Write a change of the configuration.

    `remade` are the machines that were removed, whether or not one of the same
    name came in their place: their jobs' boards are nobody's from now on.
    """
    known = {**book["machines"], **{machine["name"]: machine for machine in changed}}
    book["machines"] = {name: known[name] for name in order}
    for name in remade:
        for table in ("going", "resting", "quarantine"):
            book[table].pop(name, None)
    for job in book["jobs"].values():
        if job["region"] is not None and job["region"]["machine"] in remade:
            job["region"] = _without_place(job["region"])
    for host, boards in orphans.items():
        book["orphans"][host] = sorted({*book["orphans"].get(host, ()), *boards})


def _orphan_off(book: Book, host: str, boards: list[int]) -> None:
    left = sorted(set(book["orphans"].pop(host, ())) - set(boards))
    if left:
        book["orphans"][host] = left


def _limits(book: Book, max_retired_jobs: int, seconds_before_free: float) -> None:
    book.update(max_retired_jobs=max_retired_jobs, seconds_before_free=seconds_before_free)
    _trim_retired(book)


def _event(_book: Book, _event: dict[str, Any]) -> None:
    """Write nothing: an event for readers that changes no state."""


def _quarantine(
    book: Book,
    machine: str,
    record: dict[str, Any] | None,
    _cause: dict[str, Any] | None = None,
) -> None:
    """Write the boards out of service on a machine, all of them each time.

    The cause is for readers of events: the job that met a fault, or how boards came back.
    """
    if record:
        book["quarantine"][machine] = record
    else:
        book["quarantine"].pop(machine, None)


def _events(book: Book, first: int, count: int, _time: float) -> None:
    """Note which numbers the events of this commit have."""
    known = book["events"] or {"state": None, "unfiled": []}
    book["events"] = {**known, "last": first + count - 1}


def _message(book: Book, text: str | None, accepting: bool) -> None:
    book["message"] = [text, accepting]


def _names(book: Book, jobs: list[tuple[int, str | None, list[Any]]]) -> None:
    """Write pseudonyms in the place of names: reasons and rows of ended jobs."""
    for job_id, reason, row in jobs:
        if job_id in book["ended"]:
            book["retired"][job_id], book["ended"][job_id] = reason, row


def _order(_: Book, entry: dict[str, Any]) -> None:
    """Write nothing: an operator's order is kept for the audit, its effects are outcomes too."""
    if not {"order", "by", "told", "at"} <= set(entry):
        raise KeyError("an order has order, by, told and at")


def _trim_retired(book: Book) -> None:
    retired = book["retired"]
    while len(retired) > book["max_retired_jobs"]:
        oldest = next(iter(retired))
        del retired[oldest]
        book["ended"].pop(oldest, None)


_WRITERS: dict[str, Callable[..., None]] = {
    "created": _created,
    "allocated": _allocated,
    "power": _power,
    "ready": _ready,
    "host": _host,
    "principal": _principal,
    "code": _code,
    "ended": _ended,
    "requeued": _requeued,
    "returned": _returned,
    "rested": _rested,
    "machines": _machines,
    "orphan_off": _orphan_off,
    "limits": _limits,
    "scheduling": _scheduling,
    "region": _region,
    "quarantine": _quarantine,
    "message": _message,
    "names": _names,
    "order": _order,
    "event": _event,
    "events": _events,
}

#: The kinds of outcomes there are.
KINDS = tuple(_WRITERS)
