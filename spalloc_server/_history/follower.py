"""Follows a server's events and writes them into the database.

Owns the place up to which events were read, which is written in the same transaction as
the events: whenever the process ends, it goes on with the next event, and none is missed or
written twice.  Reading is by number; a notice of the server is only a hint to read on.

::

    connect --> read events by number until there are none --> wait for a hint, 30 s at most
       ^                                                            |
       +---- lost: wait 1, 2, 4 ... 30 s <-----------------+--------+
"""

from __future__ import annotations

import logging
import select as selectors  # `select` is SQLAlchemy's here
import time
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from spalloc_server._history.database import Database
from spalloc_server._history.errors import HistoryError
from spalloc_server._history.protocol import Client, ProtocolError
from spalloc_server._history.recorder import Recorder
from spalloc_server._history.tables import cursor
from spalloc_server._history.unheard import fill_in

log = logging.getLogger(__name__)

#: Events asked for at a time.
AT_A_TIME = 1000
#: Seconds after which the server is asked without a hint.
IDLE = 30.0
#: Seconds to wait before connecting again: at first, and at most.
AGAIN = (1.0, 30.0)
#: The first version of the server that tells events.
_FIRST_VERSION = (1, 1, 0)


class NoEvents(Exception):  # noqa: N818 - the server is not wrong
    """A server that tells no events."""


class Follower:
    """Follows one server.

    Parameters
    ----------
    database : Database
    address : (host, port)
    wake : sequence of files
        Waiting ends when one of them can be read.
    on_turn : callable
        Called with a sentence about how things are, at least every `IDLE` seconds while the
        server answers.

    Attributes
    ----------
    keep_names_days : int or None
        The last word of the server on it, from an earlier run maybe.
    """

    def __init__(
        self,
        database: Database,
        address: tuple[str, int],
        *,
        wake: Sequence[Any] = (),
        on_turn: Callable[[str], object] = lambda _: None,
        idle: float = IDLE,
    ) -> None:
        self._database = database
        self._address = address
        self._wake = wake
        self._on_turn = on_turn
        self._idle = idle
        self._fill_in = False
        with database.writing() as connection:
            self.keep_names_days: int | None = connection.scalar(
                select(cursor.c.keep_names_days)
            )

    def follow(self, stopped: Callable[[], bool]) -> None:
        """Follow until stopped, however often the connection is lost.

        Raises
        ------
        HistoryError
            If the database cannot be written.
        """
        pause = AGAIN[0]
        while not stopped():
            try:
                with self._connect() as client:
                    pause = AGAIN[0]
                    while not stopped():
                        self._catch_up(client, stopped)
                        client.wait(self._idle, self._wake)
            except (OSError, ProtocolError, NoEvents) as e:
                host, port = self._address
                log.warning("%s:%s: %s; trying again in %g s", host, port, e, pause)
                self._on_turn(f"no events: {e}")
                _wait(pause, self._wake)
                pause = min(AGAIN[1], pause * 2)

    def catch_up(self) -> int:
        """Read all events that there are now; returns the number of the last.

        Raises
        ------
        OSError, ProtocolError, NoEvents
            If the server cannot be read.
        HistoryError
            If the database cannot be written.
        """
        with self._connect() as client:
            return self._catch_up(client, lambda: False)

    # --- reading ---

    def _connect(self) -> Client:
        client = Client(self._address)
        try:
            version = str(client.call("version"))
            if _numbers(version) < _FIRST_VERSION:
                raise NoEvents(f"version {version} of the server tells no events, 1.1.0 does")
            facility = client.call("get_facility")
            if "list_events" not in facility["commands"]:
                raise NoEvents("the server does not let us read its events")
            self.keep_names_days = facility.get("keep_names_days")
            client.call("notify_events")
        except BaseException:
            client.close()
            raise
        return client

    def _catch_up(self, client: Client, stopped: Callable[[], bool]) -> int:
        with self._database.writing() as connection:
            after, known = self._cursor(connection)
        self._fill_in |= not known
        while True:
            reply = client.call("list_events", after, AT_A_TIME)
            self._fill_in |= bool(reply["lost"])
            # The server's jobs are asked for before the transaction: a server
            # that is slow must not keep the database locked.
            last = not reply["events"]
            jobs = _jobs(client) if last and self._fill_in else None
            with self._database.writing() as connection:
                before, _ = self._cursor(connection)
                if before != after:
                    raise HistoryError(
                        f"{self._database}: another process reads events into it, too"
                    )
                after = self._write(connection, reply, jobs)
            self._on_turn(f"read events up to {after}")
            if last or stopped():
                return after

    def _write(self, connection: Connection, reply: dict[str, Any], jobs: Any) -> int:
        """Write a reply, and how far it reaches, in one transaction."""
        row = connection.execute(select(cursor)).one()
        recorder = Recorder(connection)
        state = row.state
        for event in reply["events"]:
            recorder.record(event)
            state = event.get("state", state)
        if reply["lost"]:
            log.warning("events after %s were lost before they were read", row.after)
        if jobs is not None and state is not None:
            fill_in(recorder, state, time.time(), *jobs)
            self._fill_in = False
        recorder.finish()
        connection.execute(
            update(cursor).values(
                server="{}:{}".format(*self._address),
                after=reply["next"],
                state=state,
                read=time.time(),
                lost=row.lost + bool(reply["lost"]),
                keep_names_days=self.keep_names_days,
            )
        )
        return int(reply["next"])

    def _cursor(self, connection: Connection) -> tuple[int, bool]:
        """Return up to which number events were read, and whether any ever were."""
        row = connection.execute(select(cursor)).first()
        if row is not None:
            return row.after, row.after > 0
        values = {"id": 1, "server": "", "after": 0, "read": time.time(), "lost": 0}
        connection.execute(insert(cursor).values(**values))
        return 0, False


def _jobs(client: Client) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Ask for the jobs there are, and those that ended of late."""
    commands = client.call("get_facility")["commands"]
    live = client.call("list_jobs")
    ended = client.call("list_ended_jobs", 1000) if "list_ended_jobs" in commands else []
    return live, ended


def _numbers(version: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version.split("."))
    except ValueError:
        return ()


def _wait(seconds: float, files: Sequence[Any]) -> None:
    selectors.select(list(files), [], [], seconds)
