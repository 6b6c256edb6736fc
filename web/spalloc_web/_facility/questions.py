"""Which commands to send to make the picture current, and how their replies are put together.

Notifications mark parts of the picture as old; `Questions.ask` asks for those parts alone.
Knows the protocol's commands; knows nothing of reconnecting.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from spalloc_web._facility.connection import Connection
from spalloc_web._facility.marks import Marks
from spalloc_web._facility.picture import (
    JOB_STATES,
    Job,
    Machine,
    Picture,
    Status,
    boards_of_old_server,
    in_order,
    waiting_of_old_server,
)
from spalloc_web._facility.replies import (
    BoardsReply,
    EventReply,
    FacilityReply,
    JobReply,
    MachineReply,
    QueueReply,
    TimesReply,
    WaitingReply,
    read,
)

#: Commands beyond those of version 1.0.0 that the pages use.
WANTED = (
    "list_boards",
    "list_places",
    "list_job_times",
    "list_queue",
    "list_ended_jobs",
    "list_events",
    "notify_events",
)
#: The first version that can be asked for `get_facility`.
FACILITY_SINCE = (1, 1, 0)
#: Seconds between looks at the list of machines, the queue and the facility, at least.
MACHINES_PACE, QUEUE_PACE, FACILITY_PACE = 2.0, 1.0, 10.0
#: Seconds after which everything is looked at anew.
LOOK_ANEW = 30.0
#: Events asked for at a time; the server's own limit.
EVENTS_AT_A_TIME = 1000
#: Kinds of events that change no board.
_NO_BOARD_CHANGES = frozenset({"created", "message", "power", "ready"})


class Questions:
    """The questions on one connection, and the parts of the picture that are old.

    Parameters
    ----------
    connection
        To the server.
    wall_clock
        Returns Unix time, seconds.

    Attributes
    ----------
    version : str
        Of the server, after `greet`.
    commands : frozenset of str
        As `get_facility` lists them.
    events : list of EventReply
        New ones, until `take_events`.
    """

    def __init__(self, connection: Connection, wall_clock: Callable[[], float]) -> None:
        self._connection = connection
        self._clock = wall_clock
        self.version = ""
        self.commands: frozenset[str] = frozenset()
        self.events: list[EventReply] = []
        self._facility = FacilityReply()
        self._machines: list[MachineReply] = []
        self._boards: dict[str, Machine] = {}
        self._jobs: list[JobReply] = []
        self._queue: tuple[WaitingReply, ...] = ()
        self._times: dict[int, dict[str, float]] = {}
        self._marks = Marks()
        self._after: int | None = None
        self._old_boards: set[str] = set()
        self._jobs_old = True
        self._events_old = False
        # Monotonic seconds at which each of these may be, and has to be, asked next.
        self._next = {"machines": 0.0, "queue": 0.0, "facility": 0.0, "all": 0.0}
        self._old = {"machines", "queue", "facility"}

    # --- old parts -------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether something is old that may be asked for at once."""
        now = time.monotonic()
        return (
            self._jobs_old
            or self._events_old
            or bool(self._old_boards)
            or any(self._next[part] <= now for part in self._old)
        )

    @property
    def seconds_to_next(self) -> float:
        """Seconds until something has to be asked although nothing was notified."""
        now = time.monotonic()
        due = [self._next[part] for part in self._old]
        return max(0.0, min([*due, self._next["facility"], self._next["all"]]) - now)

    def note(self, word: str, value: Any) -> None:
        """Take a notification: remember the parts that it makes old."""
        if word == "jobs_changed":
            self._jobs_old = True
            self._old.add("queue")
        elif word == "machines_changed":
            names = value if isinstance(value, list) else []
            self._old_boards.update(name for name in names if isinstance(name, str))
            self._old.update(("machines", "queue"))
        elif word == "events_until":
            self._events_old = True

    def look_at_due(self) -> None:
        """Mark all parts as old that have not been looked at for a long time."""
        now = time.monotonic()
        if self._next["facility"] <= now:
            self._old.add("facility")
        if self._next["all"] <= now:
            self._look_anew()

    def _look_anew(self) -> None:
        self._next["all"] = time.monotonic() + LOOK_ANEW
        self._jobs_old = True
        self._old.update(("machines", "queue"))
        self._old_boards.update(machine.name for machine in self._machines)

    # --- asking -----------------------------------------------------------------------------

    async def greet(self) -> None:
        """Ask for version and facility, and subscribe to changes."""
        self.version = str(await self._connection.call("version"))
        if _release(self.version) >= FACILITY_SINCE:
            reply = await self._connection.call("get_facility")
            self._facility = read(reply, FacilityReply, "get_facility")
            self.commands = frozenset(self._facility.commands)
        subscriptions = ["notify_job", "notify_machine"]
        if {"notify_events", "list_events"} <= self.commands:
            subscriptions.append("notify_events")
        await self._connection.call_all([(name, (), {}) for name in subscriptions])
        await self._learn_times()

    async def _learn_times(self) -> None:
        """Ask when jobs got their boards of which no event was heard."""
        if "list_job_times" not in self.commands:
            return
        reply = await self._connection.call("list_job_times")
        for job in read(reply, list[TimesReply], "list_job_times"):
            known = self._times.setdefault(job.job_id, {})
            for kind, when in (("allocated", job.allocated), ("ready", job.ready)):
                if when is not None:
                    known.setdefault(kind, when)

    async def ask(self) -> Picture:
        """Ask for all that is old, and return the picture of all that is known.

        Returns
        -------
        Picture
            Its number is 0.

        Raises
        ------
        ConnectionLostError, CommandRefusedError, UnreadableReplyError
            If the server is not to be had.
        """
        if self._next["all"] <= time.monotonic():
            self._look_anew()
        if self._events_old and self._after is not None:
            await self._ask_events()
        parts = self._take_old()
        names = sorted(self._old_boards)
        self._old_boards.clear()
        commands = self._commands_for(parts, [name for name in names if name in self._boards])
        if commands:
            replies = await self._connection.call_all(list(commands.values()))
            self._take(dict(zip(commands, replies, strict=True)))
        fresh = [m.name for m in self._machines if m.name not in self._boards]
        if fresh:
            await self._ask_boards(fresh)
        self._work_out_old_boards()
        return self._picture()

    def _take_old(self) -> set[str]:
        """Return the parts that are asked for now, and take them as fresh."""
        now = time.monotonic()
        parts = {part for part in self._old if self._next[part] <= now}
        self._old -= parts
        paces = {"machines": MACHINES_PACE, "queue": QUEUE_PACE, "facility": FACILITY_PACE}
        for part in parts:
            self._next[part] = now + paces[part]
        if self._jobs_old:
            parts.add("jobs")
            self._jobs_old = False
        return parts

    def _commands_for(
        self, parts: set[str], names: list[str]
    ) -> dict[tuple[str, str], tuple[str, tuple[object, ...], dict[str, object]]]:
        commands: dict[tuple[str, str], tuple[str, tuple[object, ...], dict[str, object]]] = {}
        if "facility" in parts and "get_facility" in self.commands:
            commands["get_facility", ""] = ("get_facility", (), {})
        if "machines" in parts:
            commands["list_machines", ""] = ("list_machines", (), {})
        if "list_boards" in self.commands:
            for name in names:
                commands["list_boards", name] = ("list_boards", (name,), {})
        if "jobs" in parts:
            commands["list_jobs", ""] = ("list_jobs", (), {})
        if "queue" in parts and "list_queue" in self.commands:
            commands["list_queue", ""] = ("list_queue", (), {})
        return commands

    def _take(self, replies: dict[tuple[str, str], Any]) -> None:
        for (command, name), reply in replies.items():
            if command == "get_facility":
                self._facility = read(reply, FacilityReply, command)
            elif command == "list_machines":
                self._take_machines(read(reply, list[MachineReply], command))
            elif command == "list_boards":
                self._take_boards(name, reply)
            elif command == "list_jobs":
                self._jobs = read(reply, list[JobReply], command)
            elif command == "list_queue":
                self._queue = tuple(read(reply, QueueReply, command).jobs)

    def _take_machines(self, machines: list[MachineReply]) -> None:
        self._machines = machines
        shapes = {machine.name: machine for machine in machines}
        for name, known in list(self._boards.items()):
            machine = shapes.get(name)
            if machine is None or (machine.width, machine.height) != (known.width, known.height):
                del self._boards[name]
            else:
                self._boards[name] = replace(
                    known,
                    tags=tuple(machine.tags),
                    dead_links=tuple(machine.dead_links),
                )

    def _take_boards(self, name: str, reply: Any) -> None:
        if reply is None:
            # Unknown by now: the list of machines is asked for next.
            self._boards.pop(name, None)
            self._old.add("machines")
            self._next["machines"] = 0.0
            return
        boards = read(reply, BoardsReply, "list_boards")
        for machine in self._machines:
            if machine.name == name:
                self._boards[name] = _with_boards(machine, boards)
        if boards.event is not None and self._after is None:
            self._after = boards.event
            self._events_old = True

    async def _ask_boards(self, names: list[str]) -> None:
        if "list_boards" in self.commands:
            replies = await self._connection.call_all(
                [("list_boards", (name,), {}) for name in names]
            )
            for name, reply in zip(names, replies, strict=True):
                self._take_boards(name, reply)

    async def _ask_events(self) -> None:
        """Ask for the events since the last known, and note which boards they change."""
        self._events_old = False
        reply = await self._connection.call("list_events", self._after, EVENTS_AT_A_TIME)
        if not isinstance(reply, dict) or not isinstance(reply.get("events"), list):
            return
        if reply.get("lost"):
            self._look_anew()
            await self._learn_times()
        events = [event for each in reply["events"] if (event := read_event(each))]
        following = reply.get("next")
        if isinstance(following, int):
            self._after = following
        elif events:
            self._after = events[-1].number
        if len(events) >= EVENTS_AT_A_TIME:
            self._events_old = True
        for event in events:
            self._note_event(event)
        self.events.extend(events)

    def _note_event(self, event: EventReply) -> None:
        machine = event.more.get("machine")
        if event.kind not in _NO_BOARD_CHANGES:
            if isinstance(machine, str):
                self._old_boards.add(machine)
            elif event.kind not in {"ended"}:
                self._old_boards.update(m.name for m in self._machines)
        job_id, when = event.more.get("job"), event.more.get("time")
        if event.kind in {"allocated", "ready"} and isinstance(job_id, int):
            if isinstance(when, (int, float)):
                self._times.setdefault(job_id, {})[event.kind] = float(when)
        elif event.kind == "ended" and isinstance(job_id, int):
            self._times.pop(job_id, None)
        elif event.kind in {"machine changed", "started"}:
            self._old.add("machines")
        elif event.kind == "message":
            self._old.add("facility")
            self._next["facility"] = 0.0

    def take_events(self) -> list[EventReply]:
        """Return the new events, and forget them."""
        events, self.events = self.events, []
        return events

    # --- the picture ------------------------------------------------------------------------

    def _work_out_old_boards(self) -> None:
        if "list_boards" in self.commands:
            return
        self._boards = {
            machine.name: Machine(
                machine.name,
                machine.width,
                machine.height,
                tuple(machine.tags),
                tuple(machine.dead_links),
                boards_of_old_server(machine, self._jobs),
                exact=False,
            )
            for machine in self._machines
        }

    def _picture(self) -> Picture:
        self._marks.update([job.job_id for job in self._jobs if job.boards])
        queue = self._queue
        if "list_queue" not in self.commands:
            queue = waiting_of_old_server(self._jobs)
        return Picture(
            0,
            self._status(),
            {m.name: self._boards[m.name] for m in self._machines if m.name in self._boards},
            {job.job_id: self._job(job) for job in self._jobs},
            queue,
        )

    def _job(self, job: JobReply) -> Job:
        times = self._times.get(job.job_id, {})
        return Job(
            job.job_id,
            JOB_STATES.get(job.state, "unknown"),
            job.owner,
            job.keepalivehost or "",
            job.start_time,
            times.get("allocated"),
            times.get("ready"),
            job.keepalive,
            job.power,
            tuple(job.args),
            job.kwargs,
            job.allocated_machine_name,
            tuple(job.boards or ()),
            self._marks.of(job.job_id),
        )

    def _status(self) -> Status:
        facility = self._facility
        return Status(
            "",
            self.version,
            as_of=self._clock(),
            message=facility.message,
            accepting=facility.accepting,
            scheduling=facility.scheduling,
            patience=facility.patience,
            missing=tuple(name for name in WANTED if name not in self.commands),
        )

    # --- for single pages -------------------------------------------------------------------

    async def call(self, command: str, *args: object, **kwargs: object) -> Any:
        """Send a command that only reads; see `Connection.call`."""
        return await self._connection.call(command, *args, **kwargs)

    async def call_all(
        self, commands: list[tuple[str, tuple[object, ...], dict[str, object]]]
    ) -> list[Any]:
        """Send several commands that only read; see `Connection.call_all`."""
        return await self._connection.call_all(commands)


def _with_boards(machine: MachineReply, boards: BoardsReply) -> Machine:
    return Machine(
        machine.name,
        machine.width,
        machine.height,
        tuple(machine.tags),
        tuple(machine.dead_links),
        in_order(boards.boards),
        event=boards.event,
    )


def _release(version: str) -> tuple[int, ...]:
    """Read a version; anything that is none counts as the oldest."""
    try:
        return tuple(int(part) for part in version.split(".")[:3])
    except ValueError:
        return (0,)


def read_event(event: Any) -> EventReply | None:
    """Read an event of `list_events`; None if it has neither number nor kind."""
    if not isinstance(event, dict):
        return None
    number, kind = event.get("number"), event.get("event")
    if not isinstance(number, int) or not isinstance(kind, str):
        return None
    return EventReply(number, kind, event)
