"""A picture of all that the server shares, at one moment; values that never change.

Pages, the JSON interface and the frames of events are all made of these.  Knows nothing of
connections, clocks or HTTP.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spalloc_web._facility.replies import BoardRow, JobReply, MachineReply, WaitingReply

#: States of a job in the protocol's numbers, and the words that pages use.
JOB_STATES = {0: "unknown", 1: "queued", 2: "power", 3: "ready", 4: "destroyed"}
QUEUED = 1


@dataclass(frozen=True)
class Machine:
    """A machine and its boards.

    Attributes
    ----------
    name, tags
        As configured.
    width, height : int
        In triads.
    dead_links : tuple of (x, y, z, link)
        As the server lists them.
    boards : tuple of BoardRow
        Sorted by (y, x, z).
    exact : bool
        Whether the server itself told the boards' states.  Older servers do not; then they
        are worked out from dead boards and jobs, and resting boards are shown as free.
    event : int or None
        Number of the last event that the boards' states contain.
    """

    name: str
    width: int
    height: int
    tags: tuple[str, ...] = ()
    dead_links: tuple[tuple[int, int, int, int], ...] = ()
    boards: tuple[BoardRow, ...] = ()
    exact: bool = True
    event: int | None = None

    def board(self, x: int, y: int, z: int) -> BoardRow | None:
        """Return a board, or None if the machine has none there."""
        for row in self.boards:
            if row[:3] == (x, y, z):
                return row
        return None

    def counts(self) -> dict[str, int]:
        """Return how many boards there are of each state."""
        counts: dict[str, int] = {}
        for row in self.boards:
            counts[row.state] = counts.get(row.state, 0) + 1
        return counts


@dataclass(frozen=True)
class Job:
    """A job that has not ended.

    Attributes
    ----------
    mark : int or None
        Number of its letter and colour while it has boards; see `spalloc_web._facility.marks`.
    created, allocated, ready : float or None
        Unix time, seconds; None where it is not known.
    keepalive : float or None
        Seconds; None: it never times out.
    """

    job_id: int
    state: str
    owner: str = ""
    host: str = ""
    created: float | None = None
    allocated: float | None = None
    ready: float | None = None
    keepalive: float | None = None
    power: bool | None = None
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    machine: str | None = None
    boards: tuple[tuple[int, int, int], ...] = ()
    mark: int | None = None


@dataclass(frozen=True)
class Status:
    """How the connection to the server stands, and the server's words about itself.

    Attributes
    ----------
    server : str
        Its host and port.
    version : str or None
        None before the first connection.
    away_since : float or None
        Unix time, seconds, since when it cannot be reached; None while it can.
    trouble : str or None
        Why it cannot be reached.
    as_of : float or None
        Unix time, seconds, of the last look at the server.
    message : str or None
        The operators' message to everybody.
    missing : tuple of str
        Commands that this server does not have and the pages would like to use.
    """

    server: str
    version: str | None = None
    away_since: float | None = None
    trouble: str | None = None
    as_of: float | None = None
    message: str | None = None
    accepting: bool | None = None
    scheduling: str | None = None
    patience: float | None = None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Picture:
    """All that is known at one moment.

    Attributes
    ----------
    number : int
        Counts up from 1 with each picture of this process; 0: nothing has been seen yet.
    machines : dict
        By name, in the server's order (priority).
    jobs : dict
        By id, oldest first.
    queue : tuple of WaitingReply
        Waiting jobs in their order; empty also if the server does not tell.
    """

    number: int
    status: Status
    machines: Mapping[str, Machine] = field(default_factory=dict)
    jobs: Mapping[int, Job] = field(default_factory=dict)
    queue: tuple[WaitingReply, ...] = ()


def in_order(rows: list[BoardRow]) -> tuple[BoardRow, ...]:
    """Return boards sorted by (y, x, z), the order of the pages."""
    return tuple(sorted(rows, key=lambda row: (row.y, row.x, row.z)))


def boards_of_old_server(machine: MachineReply, jobs: list[JobReply]) -> tuple[BoardRow, ...]:
    """Work out boards' states for a server that has no `list_boards`.

    Parameters
    ----------
    machine
        The machine.
    jobs
        All jobs of the server.

    Returns
    -------
    tuple of BoardRow
        Sorted as by `in_order`; their states are ``dead``, ``used`` or ``free``.
    """
    dead = set(machine.dead_boards)
    users = {
        board: job.job_id
        for job in jobs
        if job.allocated_machine_name == machine.name
        for board in job.boards or ()
    }
    rows = []
    for y in range(machine.height):
        for x in range(machine.width):
            for z in range(3):
                user = users.get((x, y, z))
                living = "free" if user is None else "used"
                state = "dead" if (x, y, z) in dead else living
                rows.append(BoardRow(x, y, z, state, user, None))
    return tuple(rows)


def waiting_of_old_server(jobs: list[JobReply]) -> tuple[WaitingReply, ...]:
    """Return the queue of a server that has no `list_queue`: jobs in order of arrival."""
    queued = [job for job in jobs if job.state == QUEUED]
    return tuple(
        WaitingReply(job.job_id, position=place, ahead=place - 1)
        for place, job in enumerate(queued, start=1)
    )
