"""Writes events into the database.

Owns the tables of jobs, places, faults, reports and sizes, on the writing side.  Knows nothing
of servers or files: an event is a dict, as the protocol or a reader of old logs made it.  Each
event can be written any number of times; only the first time counts.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, insert, select, update

from spalloc_server._history.names import Names, insert_row
from spalloc_server._history.places import FORGOTTEN
from spalloc_server._history.rollups import ALL, Rollups, Subject
from spalloc_server._history.submissions import boards_asked
from spalloc_server._history.tables import faults, jobs, places, reports, sizes

log = logging.getLogger(__name__)

Event = Mapping[str, Any]

#: The largest number that is written: a request may ask for any.
_MOST_BOARDS = 2**31 - 1


class Party(NamedTuple):
    """The party that ended a job: a word of the protocol, a client's address, a principal."""

    word: str | None = None
    host: str | None = None
    principal: str | None = None


class Recorder:
    """Writes events, all in one transaction.

    Parameters
    ----------
    connection : Connection
        Of that transaction.
    """

    def __init__(self, connection: Connection) -> None:
        self.names = Names(connection)
        self.rollups = Rollups()
        self._connection = connection
        self._writers: dict[str, Callable[[Event], None]] = {
            "started": self._started,
            "created": self._created,
            "allocated": self._allocated,
            "ready": self._ready,
            "moved": self._moved,
            "ended": self._ended,
            "freed": self._freed,
            "board out": self._board_out,
            "board back": self._board_back,
            "report": self._report,
            "machine changed": self._machine_changed,
        }

    def record(self, event: Event) -> bool:
        """Write one event.

        Returns
        -------
        bool
            False if it lacks a part that events of its kind have, which is logged.
        """
        writer = self._writers.get(str(event.get("event")))
        if writer is None:
            return True
        try:
            writer({name: _storable(value) for name, value in event.items()})
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as e:
            log.warning("event left out: %s: %s: %r", type(e).__name__, e, dict(event))
            return False
        return True

    def finish(self) -> None:
        """Write the sums; to be called before the transaction ends."""
        self.rollups.flush(self._connection)

    # --- jobs ---

    def job(self, state: int, job: int) -> Row[Any] | None:
        """Return a job's row; None if it is not known."""
        return self._connection.execute(
            select(jobs).where(jobs.c.job == job, jobs.c.state == state)
        ).first()

    def open_jobs(self, state: int) -> list[Row[Any]]:
        """Return the jobs of a state that have not ended."""
        return list(
            self._connection.execute(
                select(jobs).where(jobs.c.ended.is_(None), jobs.c.state == state)
            )
        )

    def _started(self, event: Event) -> None:
        """End the jobs that a cold start forgot."""
        forgotten = self._connection.execute(
            select(jobs).where(
                jobs.c.ended.is_(None), jobs.c.state > 0, jobs.c.state < event["state"]
            )
        ).all()
        for row in forgotten:
            self.end(row, event["time"], FORGOTTEN, Party("server"))

    def _created(self, event: Event) -> None:
        state, job = int(event["state"]), int(event["job"])
        if self.job(state, job) is not None:
            return
        host, args = event.get("host"), list(event.get("args") or ())
        owner_id = self.names.owner(str(event["owner"]))
        network_id = self.names.network(host)
        self._connection.execute(
            insert(jobs).values(
                state=state,
                job=job,
                owner_id=owner_id,
                host_id=self.names.host(host),
                network_id=network_id,
                created=float(event["time"]),
                args=json.dumps(args),
                kwargs=json.dumps(event.get("kwargs") or {}),
                asked=min(boards_asked(args), _MOST_BOARDS),
                keepalive=event.get("keepalive"),
                moves=0,
                imported=state < 0,
            )
        )
        self.rollups.count_job(_subjects(owner_id, network_id), event["time"])

    def _allocated(self, event: Event) -> None:
        row = self._known(event)
        began = float(event["time"])
        if row is None or row.ended is not None or self._place(row.id, began) is not None:
            return
        machine_id = self.names.machine(event["machine"])
        x, y, w, h, z = _parts(event["place"])
        without = event.get("without")
        waited_since = row.created
        if row.moves:
            before = self._place(row.id)
            waited_since = row.created if before is None else (before.left or before.began)
        place = {
            "job_id": row.id,
            "machine_id": machine_id,
            **{"x": x, "y": y, "w": w, "h": h, "z": z},
            "boards": int(event["boards"]),
            "without": json.dumps(without) if without else None,
            "waited_since": waited_since,
            "began": began,
        }
        changes: dict[str, Any] = {
            "place_id": insert_row(self._connection, places, place),
            "machine_id": machine_id,
        }
        if row.allocated is None:
            changes["allocated"] = began
            machine: list[Subject] = [("machine", machine_id)]
            subjects = _subjects(row.owner_id, row.network_id) + machine
            self.rollups.count_job(machine, began)
            self.rollups.count_wait(subjects, began, began - row.created)
        self._change(row.id, changes)

    def _ready(self, event: Event) -> None:
        row = self._known(event)
        if row is not None and row.ready is None:
            self._change(row.id, {"ready": float(event["time"])})

    def _moved(self, event: Event) -> None:
        row = self._known(event)
        attempt = int(event["attempt"])
        if row is not None and row.moves < attempt:
            self._leave(row, float(event["time"]), str(event.get("fault") or ""))
            self._change(row.id, {"moves": attempt})

    def _ended(self, event: Event) -> None:
        row = self._known(event)
        if row is not None and row.ended is None:
            reason = event.get("reason")
            by = Party(event.get("by"), event.get("by_host"), event.get("by_principal"))
            self.end(row, event["time"], reason, by)

    def end(self, row: Row[Any], when: float, reason: str | None, by: Party) -> None:
        """End a job that has not ended.

        Parameters
        ----------
        row : Row
            Of `jobs`.
        when : float
            Unix time.
        reason : str or None
        by : Party
            See the events of the protocol.
        """
        self._leave(row, when, None)
        self._change(
            row.id,
            {
                "ended": float(when),
                "reason": reason,
                "ended_by": by.word,
                "ended_by_host_id": self.names.host(by.host),
                "ended_by_principal_id": self.names.principal(by.principal),
            },
        )

    def _freed(self, event: Event) -> None:
        row = self._known(event)
        if row is None:
            return
        x, y, *_ = _parts(event["place"])
        self._connection.execute(
            update(places)
            .where(
                places.c.job_id == row.id,
                places.c.x.is_not_distinct_from(x),
                places.c.y.is_not_distinct_from(y),
                places.c.left.is_not(None),
                places.c.off.is_(None),
            )
            .values(off=float(event["time"]))
        )

    def _leave(self, row: Row[Any], when: float, fault: str | None) -> None:
        """Note that a job has its boards no more, and count the time that it had them."""
        place = self._place(row.id)
        if place is None or place.left is not None:
            return
        self._connection.execute(
            update(places).where(places.c.id == place.id).values(left=when, fault=fault)
        )
        subjects = [*_subjects(row.owner_id, row.network_id), ("machine", place.machine_id)]
        self.rollups.count_use(subjects, place.boards, place.began, when)

    def _known(self, event: Event) -> Row[Any] | None:
        return self.job(int(event["state"]), int(event["job"]))

    def _place(self, job_row: int, began: float | None = None) -> Row[Any] | None:
        """Return the newest place of a job, or the one that began at a time."""
        query = select(places).where(places.c.job_id == job_row)
        if began is not None:
            query = query.where(places.c.began == began)
        return self._connection.execute(query.order_by(places.c.id.desc()).limit(1)).first()

    def _change(self, row_id: int, values: dict[str, Any]) -> None:
        self._connection.execute(update(jobs).where(jobs.c.id == row_id).values(**values))

    # --- boards ---

    def _board_out(self, event: Event) -> None:
        values = self._whereabouts(event)
        still_out = self._open_fault(values)
        told = {
            "kind": str(event["kind"]),
            "text": str(event.get("text") or ""),
            "sure": bool(event.get("sure", True)),
        }
        if still_out is not None:
            self._connection.execute(
                update(faults).where(faults.c.id == still_out.id).values(**told)
            )
            return
        job_id = self._job_id(event)
        if self._has(faults, values, faults.c.since == float(event["time"])):
            return
        self._connection.execute(
            insert(faults).values(**values, **told, job_id=job_id, since=float(event["time"]))
        )

    def _board_back(self, event: Event) -> None:
        still_out = self._open_fault(self._whereabouts(event))
        if still_out is not None:
            self._connection.execute(
                update(faults)
                .where(faults.c.id == still_out.id)
                .values(back=float(event["time"]), how=event.get("how"))
            )

    def _report(self, event: Event) -> None:
        machine_id = self.names.machine(event["machine"])
        x, y, z = event["board"]
        values = {"machine_id": machine_id, "x": x, "y": y, "z": z}
        if self._has(reports, values, reports.c.time == float(event["time"])):
            return
        self._connection.execute(
            insert(reports).values(
                **values,
                job_id=self._job_id(event),
                host_id=self.names.host(event.get("host")),
                time=float(event["time"]),
                text=str(event["text"]),
                done=event.get("done"),
            )
        )

    def _machine_changed(self, event: Event) -> None:
        removed = event["change"] == "removed"
        values = {
            "machine_id": self.names.machine(event["machine"]),
            "since": float(event["time"]),
            "width": 0 if removed else int(event["width"]),
            "height": 0 if removed else int(event["height"]),
            "live": 0 if removed else int(event["live"]),
        }
        if not self._has(sizes, values):
            self._connection.execute(insert(sizes).values(**values))

    def _whereabouts(self, event: Event) -> dict[str, Any]:
        """Return the columns that tell of which board, or frame, an event is."""
        x, y, z = event.get("board") or (None, None, None)
        physical = event.get("physical") or (*(event.get("frame") or (None, None)), None)
        cabinet, frame, board = physical
        if x is None and frame is None:
            raise ValueError("neither a board nor a frame")
        return {
            "machine_id": self.names.machine(event["machine"]),
            **{"x": x, "y": y, "z": z, "cabinet": cabinet, "frame": frame, "board": board},
        }

    def _open_fault(self, values: Mapping[str, Any]) -> Row[Any] | None:
        query = select(faults).where(faults.c.back.is_(None))
        keys = ("machine_id", "cabinet", "frame") if values["x"] is None else ("machine_id",)
        for name in (*keys, "x", "y", "z"):
            query = query.where(faults.c[name].is_not_distinct_from(values[name]))
        return self._connection.execute(query).first()

    def _has(self, table: Any, values: Mapping[str, Any], *more: Any) -> bool:
        query = select(table.c.id).where(*more)
        for name, value in values.items():
            query = query.where(table.c[name].is_not_distinct_from(value))
        return self._connection.execute(query.limit(1)).first() is not None

    def _job_id(self, event: Event) -> int | None:
        if event.get("job") is None:
            return None
        row = self._known(event)
        return None if row is None else int(row.id)


def _storable(value: Any) -> Any:
    """Return text without characters that databases refuse, and anything else as it is."""
    if not isinstance(value, str) or (value.isascii() and "\0" not in value):
        return value
    return value.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _subjects(owner_id: int, network_id: int | None) -> list[Subject]:
    found: list[Subject] = [ALL, ("owner", owner_id)]
    if network_id is not None:
        found.append(("network", network_id))
    return found


def _parts(
    place: list[int] | None,
) -> tuple[int | None, int | None, int | None, int | None, int | None]:
    """Return x, y, w, h and z of a place, None those that it has not, or that nobody knows."""
    if place is None:
        return None, None, None, None, None
    if len(place) == 3:
        x, y, z = place
        return x, y, None, None, z
    x, y, w, h = place
    return x, y, w, h, None
