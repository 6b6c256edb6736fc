"""The lines of the original server's job log.

It does not tell a new job's number, which counts up by one.  So a new job waits without a name
until a line tells of a number that nobody has::

    create_job(...)        nameless: a
    create_job(...)        nameless: a b
    power_job(17,On)       16 is known to be the last one: a is 17
    destroy_job(18)        b is 18
    create_job(...)        nameless: c
    power_job(5,On)        the server lost its state and counts anew from some number: c is 5
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from typing import Any

from spalloc_server._history.logged_jobs import Board, LoggedJobs
from spalloc_server._history.our_log import plain_keywords

_CREATE = re.compile(r"create_job\((.*)\) from (\S+)", re.DOTALL)
_POWER_JOB = re.compile(r"power_job\((\d+),(On|Off)\) from \S+")
_POWER = re.compile(r"power\((\d+), (True|False)\) on BMP (\S+) for job (\d+)")
_DESTROY = re.compile(r"destroy_job\((\d+)(?:,(.*))?\) from (\S+)", re.DOTALL)
_COMPLETED = re.compile(r"completed shutdown of job (\d+) \(.*\)")
_LINK = re.compile(r"link\(.*\) on BMP \S+ for job \d+")

Event = dict[str, Any]


class OriginalLog:
    """Reads records of the original's log.

    Parameters
    ----------
    jobs : LoggedJobs
    find_board : callable
        Called with a BMP's host and a board's number: returns machine and board, or None.
    """

    def __init__(
        self, jobs: LoggedJobs, find_board: Callable[[str, int], tuple[str, Board] | None]
    ) -> None:
        self._jobs = jobs
        self._find_board = find_board
        # Jobs without a number so far, and the number of the first of them.
        self._nameless: list[tuple[float, Event]] = []
        self._next: int | None = None
        self._follows_creation = False

    def read(self, when: float, text: str) -> Iterator[Event] | None:
        """Return the events of a record; None if it is not understood."""
        if found := _CREATE.fullmatch(text):
            about = _about(found)
            if about is not None:
                self._nameless.append((when, about))
            self._follows_creation = about is not None
            return None if about is None else iter(())
        follows, self._follows_creation = self._follows_creation, False
        if found := _POWER.fullmatch(text):
            return self._powered(when, int(found[4]), found[3], int(found[1]), found[2] == "True")
        if found := _POWER_JOB.fullmatch(text):
            return self._name(when, int(found[1]), follows and found[2] == "On")
        if found := _DESTROY.fullmatch(text):
            return self._destroyed(when, int(found[1]), found[2], found[3])
        if found := _COMPLETED.fullmatch(text):
            return self._completed(when, int(found[1]), follows)
        return iter(()) if _LINK.fullmatch(text) else None

    def finish(self) -> Iterator[Event]:
        """Tell of the jobs that nothing more was heard of, if their numbers can be counted."""
        if self._next is not None:
            yield from self._give(self._next, len(self._nameless))

    def _powered(
        self, when: float, job: int, host: str, number: int, on: bool
    ) -> Iterator[Event]:
        yield from self._name(when, job)
        if on:
            found = self._find_board(host, number)
            if found is None:
                yield from self._jobs.powered(when, job, None, [], [(host, number)])
            else:
                yield from self._jobs.powered(when, job, found[0], [found[1]])

    def _destroyed(
        self, when: float, job: int, reason: str | None, host: str
    ) -> Iterator[Event]:
        yield from self._name(when, job)
        if host != "internal":
            yield from self._jobs.ended(when, job, reason or None, "client", host)
        else:
            by = "keepalive" if reason == "Job timed out." else "server"
            yield from self._jobs.ended(when, job, reason or None, by, None)

    def _completed(self, when: float, job: int, follows: bool) -> Iterator[Event]:
        """Tell the end of a job that nobody destroyed: no machine suits it, or none any more."""
        yield from self._name(when, job, follows)
        if job in self._jobs:
            yield from self._jobs.ended(when, job, None, "server", None)

    def _name(self, when: float, job: int, newest: bool = False) -> Iterator[Event]:
        """Give nameless jobs their numbers, if a number is heard that nobody has.

        `newest` tells that the line comes right after the newest job's creation, so that it is
        about that job.
        """
        number = len(self._nameless)
        if not number or (job in self._jobs and not newest):
            return
        first = self._next
        if first is None:
            yield from self._give(job - number + 1 if newest else job, number)
        elif first <= job < first + number:
            yield from self._give(first, job - first + 1)
        elif newest and job not in self._jobs:
            anew = min(job, number) if job < first else 1
            yield from self._give(first, number - anew)
            yield from self._jobs.lost(when, job - anew + 1)
            yield from self._give(job - anew + 1, anew)

    def _give(self, first: int, number: int) -> Iterator[Event]:
        """Give numbers to the first few of the nameless."""
        for place, (when, about) in enumerate(self._nameless[:number]):
            if first + place > 0:
                yield from self._jobs.created(when, first + place, about)
        del self._nameless[:number]
        self._next = first + number


def _about(created: re.Match[str]) -> Event | None:
    try:
        args, kwargs = ast.literal_eval(f"({created[1]})")
        owner, keepalive = kwargs.pop("owner", None), kwargs.pop("keepalive", 60.0)
        host = None if created[2] in {"None", "internal"} else created[2]
        return {
            "owner": str(owner),
            "host": host,
            "keepalive": keepalive,
            "args": [number for number in args if number is not None],
            "kwargs": plain_keywords(kwargs),
        }
    except (ValueError, SyntaxError, TypeError, AttributeError):
        return None
