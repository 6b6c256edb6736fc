"""Jobs that have ended lately, as the server remembers them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from spalloc_web._facility.connection import CommandRefusedError, ConnectionLostError
from spalloc_web._facility.follower import Follower
from spalloc_web._facility.places import AwayError
from spalloc_web._facility.replies import UnreadableReplyError

#: Ended jobs asked for at a time; the server's own limit is 1,000.
MOST = 1000
#: Seconds for which an answer serves all pages.
FRESH = 2.0


class EndedJobReply(msgspec.Struct, frozen=True):
    """A job of `list_ended_jobs`; times are Unix seconds, null where not known."""

    job_id: int
    owner: str | None = None
    host: str | None = None
    created: float | None = None
    allocated: float | None = None
    ready: float | None = None
    ended: float | None = None
    machine: str | None = None
    place: list[int] | None = None
    boards: int | None = None
    reason: str | None = None
    by: str | None = None
    by_host: str | None = None
    by_principal: str | None = None

    @property
    def party(self) -> str | None:
        """The party that ended it, in words; null if nobody knows."""
        if self.by_principal is not None and self.by_principal != f"host:{self.by_host}":
            return f"{self.by} {self.by_principal}"
        return " ".join(word for word in (self.by, self.by_host) if word) or None


#: Order of the members where the server answers arrays.
_ORDER = EndedJobReply.__struct_fields__


class EndedJobs:
    """The server's ended jobs, asked for at most once every two seconds.

    Parameters
    ----------
    follower
        Of the server that is asked.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._jobs: list[EndedJobReply] = []
        self._asked = -FRESH
        self._lock = asyncio.Lock()

    async def newest(self) -> list[EndedJobReply]:
        """Return the ended jobs, newest first; empty if the server does not keep them.

        Raises
        ------
        AwayError
            If the server cannot be asked.
        """
        async with self._lock:
            if time.monotonic() - self._asked < FRESH:
                return self._jobs
            questions = self._follower.questions
            if questions is None:
                raise AwayError("the server is away: it cannot be asked for ended jobs")
            if "list_ended_jobs" not in questions.commands:
                return []
            try:
                reply = await questions.call("list_ended_jobs", MOST)
                self._jobs = read_ended_jobs(reply)
            except (ConnectionLostError, CommandRefusedError, UnreadableReplyError) as e:
                raise AwayError(f"the server does not tell of ended jobs: {e}") from e
            self._asked = time.monotonic()
            return self._jobs

    async def find(self, job_id: int) -> EndedJobReply | None:
        """Return an ended job, or None if the server does not remember it.

        Raises
        ------
        AwayError
            If the server cannot be asked.
        """
        for job in await self.newest():
            if job.job_id == job_id:
                return job
        return None


def read_ended_jobs(reply: Any) -> list[EndedJobReply]:
    """Read the server's answer: a list of objects or arrays, or an object with ``jobs``.

    Raises
    ------
    UnreadableReplyError
        If it has another shape.
    """
    rows = reply.get("jobs") if isinstance(reply, dict) else reply
    if not isinstance(rows, list):
        raise UnreadableReplyError("the server's reply to list_ended_jobs is no list")
    try:
        return [msgspec.convert(_members(row), EndedJobReply) for row in rows]
    except msgspec.ValidationError as e:
        raise UnreadableReplyError(f"the server's reply to list_ended_jobs: {e}") from e


def _members(row: Any) -> Any:
    if isinstance(row, list):
        return dict(zip(_ORDER, row, strict=False))
    return row
