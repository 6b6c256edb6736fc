"""Keeps the picture of the server current, and comes back by itself when the server does.

One task, one connection, one subscription, however many pages are open.  A notification
names the changes; the follower then asks for that anew, at most ten times a second.
Knows nothing of HTTP.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from spalloc_web._facility.connection import (
    CommandRefusedError,
    Connection,
    ConnectionLostError,
    address_in_words,
)
from spalloc_web._facility.picture import Picture, Status
from spalloc_web._facility.questions import Questions
from spalloc_web._facility.replies import EventReply, UnreadableReplyError

log = logging.getLogger(__name__)

#: Seconds from one look at the server to the next, at least.
PACE = 0.1
#: Share of the time that may be spent asking: large machines are asked less often.
SHARE = 0.25
#: Seconds after which everything is asked for anew although nothing was notified.
STALE = 30.0
#: Seconds between attempts to reach a server that is away: they double from first to last.
FIRST_DELAY, LAST_DELAY = 0.25, 3.0


OnPicture = Callable[[Picture], None]
OnEvents = Callable[[list[EventReply]], None]


class Follower:
    """The picture of one server, kept current.

    Parameters
    ----------
    host, port
        Of the server.
    wall_clock : callable
        Returns Unix time, seconds; tests replace it.
    timeout : float
        Seconds that a reply of the server may take.

    Attributes
    ----------
    picture : Picture
        The newest.  It stays as last known while the server is away.
    """

    def __init__(
        self,
        host: str,
        port: int,
        wall_clock: Callable[[], float] = time.time,
        timeout: float = 20.0,
    ) -> None:
        self._host = host
        self._port = port
        self._clock = wall_clock
        self._timeout = timeout
        self.picture = Picture(0, Status(address_in_words(host, port), away_since=wall_clock()))
        self._on_picture: list[OnPicture] = []
        self._on_events: list[OnEvents] = []
        self._woken = asyncio.Event()
        self._seen = asyncio.Event()
        self._questions: Questions | None = None

    def on_picture(self, callback: OnPicture) -> None:
        """Have a function called in the event loop with each new picture."""
        self._on_picture.append(callback)

    def on_events(self, callback: OnEvents) -> None:
        """Have a function called in the event loop with the server's new events."""
        self._on_events.append(callback)

    async def first_picture(self) -> None:
        """Wait until the server has been seen once."""
        await self._seen.wait()

    @property
    def questions(self) -> Questions | None:
        """The questions that the server answers now; None while it is away."""
        return self._questions

    async def run(self) -> None:
        """Follow the server until cancelled."""
        delay = FIRST_DELAY
        while True:
            try:
                async with await Connection.open(
                    self._host, self._port, self._notified, self._timeout
                ) as connection:
                    questions = Questions(connection, self._clock)
                    await questions.greet()
                    self._questions = questions
                    log.info("connected to spalloc server %s", self._describe(questions))
                    delay = FIRST_DELAY
                    await self._follow(questions, connection)
            except (ConnectionLostError, CommandRefusedError, UnreadableReplyError) as e:
                self._lost(str(e))
            finally:
                self._questions = None
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_DELAY)

    def _describe(self, questions: Questions) -> str:
        return f"{address_in_words(self._host, self._port)}, version {questions.version}"

    async def _follow(self, questions: Questions, connection: Connection) -> None:
        while not connection.lost:
            self._woken.clear()
            began = time.monotonic()
            answers = await questions.ask()
            server = address_in_words(self._host, self._port)
            status = replace(answers.status, server=server)
            self._publish(replace(answers, number=self.picture.number + 1, status=status))
            if questions.events:
                self._tell(questions.take_events())
            took = time.monotonic() - began
            await asyncio.sleep(max(PACE - took, took / SHARE - took, 0.0))
            if not questions.pending:
                await self._sleep(questions.seconds_to_next)
        raise ConnectionLostError("the server closed the connection")

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._woken.wait(), min(seconds, STALE))
        except asyncio.TimeoutError:
            if self._questions:
                self._questions.look_at_due()

    def _notified(self, word: str, value: Any) -> None:
        if self._questions:
            self._questions.note(word, value)
        self._woken.set()

    def _lost(self, trouble: str) -> None:
        status = self.picture.status
        if status.away_since is None:
            log.warning("the spalloc server is away: %s", trouble)
        elif status.trouble != trouble:
            log.info("the spalloc server is still away: %s", trouble)
        else:
            return
        status = replace(status, away_since=status.away_since or self._clock(), trouble=trouble)
        self._publish(replace(self.picture, number=self.picture.number + 1, status=status))

    def _publish(self, picture: Picture) -> None:
        self.picture = picture
        if picture.status.away_since is None:
            self._seen.set()
        for callback in self._on_picture:
            callback(picture)

    def _tell(self, events: list[EventReply]) -> None:
        for callback in self._on_events:
            callback(events)
