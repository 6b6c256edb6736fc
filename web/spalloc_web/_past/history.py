"""Asks the history database in threads, with a time limit.

Knows threads and time; the questions themselves are those of a `Source`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

from spalloc_web._past.shapes import (
    BoardPast,
    DayRow,
    FaultRow,
    JobPast,
    PastPage,
    UsageRow,
)

log = logging.getLogger(__name__)

#: Seconds that a question may take.
LONGEST = 5.0
#: Seconds more until a thread that does not end is no longer waited for.
GRACE = 1.0
#: Questions that run at a time; more wait.
AT_A_TIME = 4
#: Questions that may wait; beyond it readers are told to come again.
MOST_WAITING = 64

_Answer = TypeVar("_Answer")


class HistoryAwayError(Exception):
    """The history cannot be asked now; the text says why."""


class Source(Protocol):
    """A history database; methods run in any thread, several at a time.

    `deadline` is in seconds of `time.monotonic`: a method gives up there with
    `HistoryAwayError`, which also stands for every other trouble with the database.
    """

    def usage(
        self, deadline: float, since: float, until: float, by: str
    ) -> list[UsageRow]:
        """Return use by ``owner``, ``machine``, ``day`` or ``network``."""

    def days(self, deadline: float, since: float, until: float) -> list[DayRow]:
        """Return use of each machine on each day."""

    def faults(self, deadline: float, since: float, until: float) -> list[FaultRow]:
        """Return faults by frame, most first."""

    def jobs(self, deadline: float, **filters: Any) -> PastPage:
        """Return jobs, newest first; see `History.jobs`."""

    def job(self, deadline: float, job_id: int) -> JobPast | None:
        """Return the newest job of that number."""

    def board(
        self, deadline: float, machine: str, board: tuple[int, int, int]
    ) -> BoardPast:
        """Return a board's past."""

    def close(self) -> None:
        """Close all connections."""


class History:
    """A history database, for asyncio.

    Parameters
    ----------
    source
        The database.
    longest : float
        Seconds that a question may take.
    """

    def __init__(self, source: Source, longest: float = LONGEST) -> None:
        self._source = source
        self._longest = longest
        self._threads = ThreadPoolExecutor(AT_A_TIME, thread_name_prefix="history")
        self._under_way = 0
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        """Why the last question was not answered; None if it was."""
        return self._trouble

    async def usage(self, since: float, until: float, by: str) -> list[UsageRow]:
        """Return use by ``owner``, ``machine``, ``day`` or ``network``.

        Parameters
        ----------
        since, until
            Unix time, seconds.
        by
            The subject of the rows.

        Raises
        ------
        HistoryAwayError
            As all questions: if there is no answer in time.
        """
        return await self._ask(lambda deadline: self._source.usage(deadline, since, until, by))

    async def days(self, since: float, until: float) -> list[DayRow]:
        """Return use of each machine on each day."""
        return await self._ask(lambda deadline: self._source.days(deadline, since, until))

    async def faults(self, since: float, until: float) -> list[FaultRow]:
        """Return faults by frame, most first."""
        return await self._ask(lambda deadline: self._source.faults(deadline, since, until))

    async def jobs(self, **filters: Any) -> PastPage:
        """Return jobs that match all filters, newest first.

        Parameters
        ----------
        filters
            ``owner``, ``machine``, ``board`` (x, y, z), ``since``, ``until`` (Unix seconds),
            ``reason``, ``limit``, ``after`` (`PastPage.next` of the part before); each may be
            missing or None.
        """
        return await self._ask(lambda deadline: self._source.jobs(deadline, **filters))

    async def job(self, job_id: int) -> JobPast | None:
        """Return the newest job of that number, or None."""
        return await self._ask(lambda deadline: self._source.job(deadline, job_id))

    async def board(self, machine: str, board: tuple[int, int, int]) -> BoardPast:
        """Return a board's past."""
        return await self._ask(lambda deadline: self._source.board(deadline, machine, board))

    async def _ask(self, question: Callable[[float], _Answer]) -> _Answer:
        if self._under_way >= MOST_WAITING:
            raise HistoryAwayError("too many questions to the history wait; try again later")
        deadline = time.monotonic() + self._longest
        self._under_way += 1
        try:
            answer = asyncio.get_running_loop().run_in_executor(
                self._threads, _in_time, question, deadline
            )
            found = await asyncio.wait_for(answer, self._longest + GRACE)
        except asyncio.TimeoutError as e:
            self._trouble = f"no answer within {self._longest:g} s"
            raise HistoryAwayError(self._trouble) from e
        except HistoryAwayError as e:
            if self._trouble != str(e):
                log.warning("the history does not answer: %s", e)
            self._trouble = str(e)
            raise
        finally:
            self._under_way -= 1
        self._trouble = None
        return found

    def close(self) -> None:
        """Close the database; questions under way are cut off."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._source.close()


def _in_time(question: Callable[[float], _Answer], deadline: float) -> _Answer:
    if time.monotonic() > deadline:
        raise HistoryAwayError("too many questions to the history are under way")
    return question(deadline)
