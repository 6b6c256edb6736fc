"""Events for tests, as a server tells them, written into a database."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spalloc_server._history.database import Database
from spalloc_server._history.history import History
from spalloc_server._history.recorder import Event, Recorder

#: A Sunday, 2026-03-01 00:00 UTC.
MARCH = 1772323200.0
DAY = 86400.0
STATE = 1_772_000_000_000_000


class Story:
    """Events in the order in which they are told, numbered."""

    def __init__(self, state: int = STATE, begin: float = MARCH) -> None:
        self.state = state
        self.now = begin
        self.events: list[dict[str, Any]] = []

    def tell(self, event: str, after: float = 0.0, **more: Any) -> dict[str, Any]:
        """Add an event, some seconds after the last one."""
        self.now += after
        number = self.state + len(self.events)
        told = {"number": number, "time": self.now, "event": event, "state": self.state, **more}
        self.events.append(told)
        return told

    def machine(self, name: str = "m", width: int = 4, height: int = 2, **more: Any) -> None:
        """Add a machine."""
        about = {"width": width, "height": height, "live": width * height * 3, **more}
        self.tell("machine changed", machine=name, change="added", **about)

    def created(self, job: int, after: float = 0.0, *args: int, **more: Any) -> None:
        about = {"owner": "ada", "host": "10.1.2.3", "keepalive": 60.0, **more}
        self.tell("created", after, job=job, args=list(args), kwargs={}, **about)

    def allocated(self, job: int, after: float = 0.0, place: Any = (0, 0, 0), **more: Any) -> None:
        boards = 1 if len(place) == 3 else place[2] * place[3] * 3
        about = {"machine": "m", "boards": boards, **more}
        self.tell("allocated", after, job=job, place=list(place), **about)

    def ready(self, job: int, after: float = 0.0) -> None:
        self.tell("ready", after, job=job)

    def ended(self, job: int, after: float = 0.0, **more: Any) -> None:
        about = {"reason": "done", "by": "client", "by_host": "10.1.2.3", **more}
        self.tell("ended", after, job=job, **about)

    def life(self, job: int, wait: float, run: float, place: Any = (0, 0, 0), **more: Any) -> None:
        """Tell of a whole job, from its creation to its end."""
        self.created(job, **more)
        self.allocated(job, wait, place)
        self.ready(job)
        self.ended(job, run)


def write(database: Database, events: Iterable[Event]) -> None:
    """Write events in one transaction."""
    with database.writing() as connection:
        recorder = Recorder(connection)
        for event in events:
            assert recorder.record(event), event
        recorder.finish()


def history_of(folder: Path, story: Story) -> History:
    """Return the history of a story, to be closed."""
    where = str(folder / "history.db")
    database = Database(where)
    write(database, story.events)
    database.close()
    return History(where, seconds=60.0)
