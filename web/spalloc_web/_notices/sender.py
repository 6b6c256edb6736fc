"""Sends notices, from threads of its own.

Events are taken down as they arrive; each destination has its own cursor, so that nothing is
sent twice over a restart, and nothing missed that the server still keeps.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from urllib.request import urlopen

import msgspec

from spalloc_web._facility.connection import CommandRefusedError, ConnectionLostError
from spalloc_web._facility.follower import Follower
from spalloc_web._facility.questions import EVENTS_AT_A_TIME, Questions, read_event
from spalloc_web._facility.replies import EventReply
from spalloc_web._notices.memory import Memory
from spalloc_web._notices.news import News, news_of
from spalloc_web._notices.post import HOUR, Message, plan
from spalloc_web._settings import Destination, SettingError, Settings

log = logging.getLogger(__name__)

#: Seconds between looks at the waiting news.
PERIOD = 5.0
#: Seconds until a message that could not be sent is tried again: doubling from first to last.
FIRST_WAIT, LAST_WAIT = 30.0, 1800.0
#: Seconds that one message may take; the thread goes on, nobody waits for it.
SEND_TIMEOUT = 30.0
#: Seconds between looks at the server's health page.
HEALTH_PERIOD = 30.0

_Answer = TypeVar("_Answer")
Deliver = Callable[[Destination, Message], bool]


class _Route:
    """One destination: when it is tried next, and its troubles."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self.next_try = 0.0
        self.delay = FIRST_WAIT
        self.given_up = 0
        self.trouble = False
        self.busy = False


class Sender:
    """All destinations.

    Parameters
    ----------
    destinations
        Of notices.
    memory
        Where cursors and waiting news are kept.
    deliver
        Sends a message to a destination, in a thread; returns whether it was taken.
    health : str or None
        Address of the server's health page.
    wall_clock
        Returns Unix time, seconds.

    Attributes
    ----------
    period : float
        Seconds between looks at the waiting news.
    """

    def __init__(
        self,
        destinations: tuple[Destination, ...],
        memory: Memory,
        deliver: Deliver,
        health: str | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._routes = [_Route(destination) for destination in destinations]
        self._memory = memory
        self._deliver = deliver
        self._health = health
        self._clock = wall_clock
        self._memory_trouble: str | None = None
        self._disk_ill: bool | None = None
        # One for each destination, so that a slow one delays no other; one for the health page.
        self._threads = ThreadPoolExecutor(
            len(destinations) + 1, thread_name_prefix="notices"
        )
        self._files = ThreadPoolExecutor(1, thread_name_prefix="notices-file")
        self._arrived: deque[tuple[Questions | None, list[EventReply]]] = deque()
        self.period = PERIOD

    def troubles(self) -> list[str]:
        """Return a sentence for each trouble, to be shown on the pages."""
        said = [self._memory_trouble] if self._memory_trouble else []
        for route in self._routes:
            name = route.destination.name
            if route.given_up:
                said.append(f"{route.given_up} notices to {name} were given up after a day")
            elif route.trouble:
                said.append(f"notices to {name} cannot be sent")
        return said

    async def run(self, follower: Follower) -> None:
        """Send notices until cancelled."""
        follower.on_events(lambda events: self._arrived.append((follower.questions, events)))
        caught_up_with: Questions | None = None
        next_look = 0.0
        try:
            while True:
                questions = follower.questions
                if questions is not None and questions is not caught_up_with:
                    await self._catch_up(questions)
                    caught_up_with = questions
                await self._take_arrived(caught_up_with)
                if self._health and time.monotonic() >= next_look:
                    next_look = time.monotonic() + HEALTH_PERIOD
                    await self.look_at_health(self._health)
                await self.send_due()
                await asyncio.sleep(self.period)
        finally:
            self.close()

    def close(self) -> None:
        """End the threads, but for a message under way, and close the file."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._files.shutdown(wait=True, cancel_futures=True)
        self._memory.close()

    async def _take_arrived(self, questions: Questions | None) -> None:
        """Take down the events of a connection that has been caught up with.

        Those of a newer one wait: events between the two have to come first.
        """
        while self._arrived and self._arrived[0][0] is questions:
            await self.take(self._arrived.popleft()[1])

    async def _file(self, function: Callable[..., _Answer], *args: Any) -> _Answer:
        """Call a function of the memory in its thread: a slow disk holds nothing up."""
        return await asyncio.get_running_loop().run_in_executor(self._files, function, *args)

    # --- taking news down -----------------------------------------------------------------

    async def take(self, events: list[EventReply]) -> None:
        """Take down the news in events."""
        if not events:
            return
        now = self._clock()
        news = [each for event in events if (each := news_of(event, now))]
        for route in self._routes:
            name, kinds = route.destination.name, route.destination.kinds
            try:
                after = await self._file(self._memory.cursor, name)
                mine = [each for each in news if each.number > after and each.kind in kinds]
                await self._file(self._memory.take, name, mine, events[-1].number)
                self._memory_trouble = None
            except sqlite3.Error as e:
                self._tell_memory(e)

    def _tell_memory(self, error: sqlite3.Error) -> None:
        text = f"notices cannot be kept: {error}"
        if text != self._memory_trouble:
            log.error("%s", text)
        self._memory_trouble = text

    async def _catch_up(self, questions: Questions) -> None:
        """Take down events of the time without this process, as far as the server knows.

        A destination without a cursor begins now: nobody wants a history of mails.
        """
        if "list_events" not in questions.commands:
            return
        try:
            names = [route.destination.name for route in self._routes]
            cursors = [await self._file(self._memory.cursor, name) for name in names]
            after = min((cursor for cursor in cursors if cursor), default=0)
            while after:
                reply = await questions.call("list_events", after, EVENTS_AT_A_TIME)
                events = [event for each in reply["events"] if (event := read_event(each))]
                await self.take(events)
                if len(events) < EVENTS_AT_A_TIME:
                    return
                after = events[-1].number
        except (ConnectionLostError, CommandRefusedError, KeyError, TypeError) as e:
            log.info("events for notices are not to be had: %s", e)
        except sqlite3.Error as e:
            self._tell_memory(e)

    async def look_at_health(self, address: str) -> None:
        """Look at the server's health page, and take down a change of its disk's state."""
        loop = asyncio.get_running_loop()
        ill, text = await loop.run_in_executor(self._threads, disk_trouble, address)
        if ill is None or ill == bool(self._disk_ill):
            return
        self._disk_ill = ill
        said = f"The server's disk is in trouble: {text}." if ill else "The server's disk is well."
        now = self._clock()
        for route in self._routes:
            if "disk" not in route.destination.kinds:
                continue
            news = News(int(now * 1e6), now, "disk", said)
            try:
                # Number 0 leaves the cursor where it is.
                await self._file(self._memory.take, route.destination.name, [news], 0)
            except sqlite3.Error as e:
                self._tell_memory(e)

    # --- sending --------------------------------------------------------------------------

    async def send_due(self) -> None:
        """Send due messages; a destination that is slow goes on by itself."""
        sending = [
            asyncio.create_task(self._send_to(route), name=f"notices-{route.destination.name}")
            for route in self._routes
            if not route.busy and route.next_try <= self._clock()
        ]
        if sending:
            await asyncio.wait(sending, timeout=self.period)

    async def _send_to(self, route: _Route) -> None:
        route.busy = True
        try:
            await self._send_all(route)
        except sqlite3.Error as e:
            self._tell_memory(e)
        finally:
            route.busy = False

    async def _send_all(self, route: _Route) -> None:
        name, now = route.destination.name, self._clock()
        waiting = await self._file(self._memory.waiting, name)
        lately = await self._file(self._memory.sent_since, name, now - HOUR)
        todo = plan(waiting, lately, now)
        if todo.too_old:
            await self._file(self._memory.forget, todo.too_old)
            route.given_up += len(todo.too_old)
            log.error("%d notices to %s were given up after a day", len(todo.too_old), name)
        for message in todo.messages:
            if not await self._deliver_one(route.destination, message):
                route.trouble = True
                route.next_try = self._clock() + route.delay
                route.delay = min(2 * route.delay, LAST_WAIT)
                log.warning("a notice to %s was not taken; it is tried again", name)
                return
            await self._file(self._memory.note_sent, name, message.keys, self._clock())
            route.trouble, route.given_up, route.delay = False, 0, FIRST_WAIT

    async def _deliver_one(self, destination: Destination, message: Message) -> bool:
        loop = asyncio.get_running_loop()
        sending = loop.run_in_executor(self._threads, self._deliver, destination, message)
        try:
            return await asyncio.wait_for(sending, SEND_TIMEOUT)
        except asyncio.TimeoutError:
            return False
        except Exception as e:  # noqa: BLE001
            # The boundary to Apprise and its plug-ins.  Their texts may hold the address.
            log.debug("Apprise failed with %s", type(e).__name__)
            return False


def disk_trouble(address: str) -> tuple[bool | None, str]:
    """Ask the server's health page about its disk.

    Parameters
    ----------
    address
        Of the page, as the administrator gave it.

    Returns
    -------
    ill, text
        `ill` is None if the page does not answer: then nothing is known.
    """
    try:
        # The page answers 503 while something is wrong.
        with urlopen(address, timeout=5) as answer:
            body = answer.read(1 << 16)
    except OSError as e:
        read = getattr(e, "read", None)
        if read is None:
            return None, ""
        body = read(1 << 16)
    try:
        problems = msgspec.json.decode(body)["problems"]
        texts = [str(each["text"]) for each in problems if each["what"] == "disk"]
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
        return None, ""
    return bool(texts), "; ".join(texts)


def make_sender(settings: Settings) -> Sender | None:
    """Return the sender of notices, or None if there are no destinations.

    Raises
    ------
    SettingError
        If a destination's address is none that Apprise knows, Apprise is not installed, or
        the folder cannot be used.
    """
    if not settings.destinations:
        return None
    try:
        import apprise  # noqa: PLC0415 - an extra, needed by nothing else
    except ImportError as e:
        raise SettingError("notices need Apprise: install spalloc-web[notices]") from e

    # Its lines hold addresses, and these hold passwords; the outcome is logged here.
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    doors = {}
    for destination in settings.destinations:
        door = apprise.Apprise()
        if not door.add(destination.url):
            raise SettingError(
                f"[notice {destination.name}]: its url is none that Apprise knows"
            )
        doors[destination.name] = door

    def deliver(destination: Destination, message: Message) -> bool:
        return bool(doors[destination.name].notify(title=message.title, body=message.body))

    assert settings.state_dir
    try:
        memory = Memory(settings.state_dir / "notices.db")
    except (OSError, sqlite3.Error) as e:
        raise SettingError(f"state_dir {str(settings.state_dir)!r}: {e}") from e
    return Sender(settings.destinations, memory, deliver, settings.health)
