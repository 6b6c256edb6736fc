"""A reader of events that goes on by number, whatever becomes of the server."""

from __future__ import annotations

import threading
from typing import Any

from tests.support.crash_ledger import Connection, Ledger


class Reader:
    """Reads events, and holds the server to what it has read."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self._after = 0

    def read(self, connection: Connection) -> bool:
        """Ask once; returns whether there was anything."""
        reply = connection.call("list_events", self._after, 50)
        assert not reply["lost"]
        for event in reply["events"]:
            assert event["number"] > self._after, "an event was seen before"
            self._after = event["number"]
            self.events.append(event)
        assert reply["next"] == self._after
        return bool(reply["events"])

    def read_all(self, connection: Connection) -> None:
        """Read up to the last event."""
        while self.read(connection):
            pass

    def check(self, ledger: Ledger) -> None:
        """Check that nothing was missed and nothing told twice."""
        created = [event["job"] for event in self.events if event["event"] == "created"]
        ended = [event["job"] for event in self.events if event["event"] == "ended"]
        assert len(created) == len(set(created))
        assert len(ended) == len(set(ended))
        assert set(created) - set(ended) == ledger.alive.keys()
        assert ledger.ended <= set(ended)
        assert len({event["state"] for event in self.events}) == 1
        before = None
        for event in self.events:
            if event["event"] == "started":
                assert event["last"] == before, "events before a start were missed"
            before = event["number"]


class ReadingThread(threading.Thread):
    """Reads all the time, until the server dies."""

    def __init__(self, port: int, reader: Reader) -> None:
        super().__init__()
        self._port = port
        self._reader = reader
        self.failure: BaseException | None = None
        self.enough = threading.Event()

    def run(self) -> None:
        """Read until the connection breaks."""
        try:
            connection = Connection(self._port)
        except OSError:
            return
        try:
            while not self.enough.is_set():
                self._reader.read(connection)
        except OSError:
            pass
        except BaseException as e:  # noqa: BLE001 - for the test's own thread
            self.failure = e
        finally:
            connection.close()
