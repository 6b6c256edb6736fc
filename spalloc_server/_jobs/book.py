"""The book: all that a controller knows, as one dict of plain builtins.

What changes the model is told as an *outcome*, a tuple ``(kind, ...)`` of plain
builtins: job 17 was created with ..., was given these boards, was destroyed
because ....  `apply` writes an outcome into a book.  The journal is a list of
outcomes, a snapshot is a book, and recovery is a snapshot with the outcomes
since then applied: nothing is ever decided again.

::

    next_id, max_retired_jobs, seconds_before_free
    machines    {name: {name, tags, width, height, dead_boards, dead_links,
                        board_locations, bmp_ips, spinnaker_ips}}  in order
    jobs        {id: {owner, start_time, keepalive, host, args, kwargs,
                      state, power, attempts, was_ready, allocation}}
                oldest first; allocation None or {machine, id, outcome,
                boards, periphery, torus}
    retired     {id: reason}  oldest first
    going       {machine: {allocation id: {job, outcome, boards}}}
                boards of jobs that ended, or were moved, whose power-off is
                not done
    resting     {machine: {allocation id: [outcome, seconds rested]}}
    orphans     {host: [board, ...]}  to be powered off on frames that the
                configuration no longer has
    quarantine  {machine: what is out of service, see `_jobs.quarantine`}

It knows nothing of classes, files, threads or hardware.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: The book's own format number, raised when a key changes its meaning.
FORMAT = 1

Book = dict[str, Any]
Outcome = tuple[Any, ...]

_QUEUED, _POWER, _READY = 1, 2, 3


class BookError(ValueError):
    """An outcome that does not fit the book it was to be written into."""


def empty() -> Book:
    """Return the book of a controller that has done nothing yet."""
    return {
        "next_id": 1,
        "max_retired_jobs": 1200,
        "seconds_before_free": 30,
        "machines": {},
        "jobs": {},
        "retired": {},
        "going": {},
        "resting": {},
        "orphans": {},
        "quarantine": {},
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
    return {**empty(), **book}


# --- the writers, one for each kind of outcome ---


def _created(book: Book, job_id: int, record: dict[str, Any]) -> None:
    book["jobs"][job_id] = {
        **record,
        "state": _QUEUED,
        "power": None,
        "attempts": 0,
        "was_ready": False,
        "allocation": None,
    }
    book["next_id"] = max(book["next_id"], job_id + 1)


def _allocated(book: Book, job_id: int, allocation: dict[str, Any]) -> None:
    job = book["jobs"][job_id]
    job["allocation"] = allocation
    job["was_ready"] = False


def _power(book: Book, job_id: int, on: bool) -> None:
    book["jobs"][job_id].update(state=_POWER, power=on)


def _ready(book: Book, job_id: int) -> None:
    book["jobs"][job_id].update(state=_READY, was_ready=True)


def _host(book: Book, job_id: int, host: str) -> None:
    book["jobs"][job_id]["host"] = host


def _ended(book: Book, job_id: int, reason: str | None) -> None:
    allocation = book["jobs"].pop(job_id)["allocation"]
    if allocation is not None and allocation["machine"] in book["machines"]:
        _let_go(book, job_id, allocation)
    book["retired"][job_id] = reason
    _trim_retired(book)


def _let_go(book: Book, job_id: int, allocation: dict[str, Any]) -> None:
    book["going"].setdefault(allocation["machine"], {})[allocation["id"]] = {
        "job": job_id,
        "outcome": allocation["outcome"],
        "boards": allocation["boards"],
    }


def _requeued(book: Book, job_id: int, attempts: int) -> None:
    job = book["jobs"][job_id]
    _let_go(book, job_id, job["allocation"])
    job.update(state=_QUEUED, power=None, attempts=attempts, was_ready=False, allocation=None)


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
    for host, boards in orphans.items():
        book["orphans"][host] = sorted({*book["orphans"].get(host, ()), *boards})


def _orphan_off(book: Book, host: str, boards: list[int]) -> None:
    left = sorted(set(book["orphans"].pop(host, ())) - set(boards))
    if left:
        book["orphans"][host] = left


def _limits(book: Book, max_retired_jobs: int, seconds_before_free: float) -> None:
    book.update(max_retired_jobs=max_retired_jobs, seconds_before_free=seconds_before_free)
    _trim_retired(book)


def _quarantine(book: Book, machine: str, record: dict[str, Any] | None) -> None:
    """Write what is out of service on a machine; all of it each time."""
    if record:
        book["quarantine"][machine] = record
    else:
        book["quarantine"].pop(machine, None)


def _trim_retired(book: Book) -> None:
    retired = book["retired"]
    while len(retired) > book["max_retired_jobs"]:
        del retired[next(iter(retired))]


_WRITERS: dict[str, Callable[..., None]] = {
    "created": _created,
    "allocated": _allocated,
    "power": _power,
    "ready": _ready,
    "host": _host,
    "ended": _ended,
    "requeued": _requeued,
    "returned": _returned,
    "rested": _rested,
    "machines": _machines,
    "orphan_off": _orphan_off,
    "limits": _limits,
    "quarantine": _quarantine,
}

#: The kinds of outcomes there are.
KINDS = tuple(_WRITERS)
