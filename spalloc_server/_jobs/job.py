"""A job, and the rows in which it is shown.

Owns the facts of one job and the rows made of them, which are kept until
one of these facts changes.  Knows nothing of machines' insides, threads
or hardware.
"""

from __future__ import annotations

from collections import Counter
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from spalloc_server import _clock
from spalloc_server._jobs.job_request import ANY_BOARD, JobRequest
from spalloc_server._places import Board

if TYPE_CHECKING:
    from collections.abc import Collection

    from spalloc_server._jobs.ended_jobs import Ending
    from spalloc_server.allocator import Footprint
    from spalloc_server.configuration import Machine
    from spalloc_server.job_queue import RegionRecord
    from spalloc_server.links import Links

Shown = TypeVar("Shown")


class JobState(IntEnum):
    """Where a job is in its life; the numbers are the protocol's."""

    #: Nothing is known of it (any more).
    unknown = 0
    #: It waits for boards.
    queued = 1
    #: Its boards are being powered on or off.
    power = 2
    #: Its boards may be used.
    ready = 3
    #: It has ended; its reason is remembered for a while.
    destroyed = 4


class JobStateTuple(NamedTuple):
    """The answer of ``get_job_state``."""

    state: JobState
    power: bool | None
    keepalive: float | None
    reason: str | None
    start_time: float | None
    keepalivehost: str | None


class JobMachineInfoTuple(NamedTuple):
    """The answer of ``get_job_machine_info``; width and height in chips."""

    width: int | None
    height: int | None
    connections: dict[tuple[int, int], str] | None
    machine_name: str | None
    boards: set[Board] | None


class JobTuple(NamedTuple):
    """A row of ``list_jobs``."""

    job_id: int
    owner: str
    start_time: float
    keepalive: float | None
    state: JobState
    power: bool | None
    args: tuple[int, ...]
    kwargs: dict[str, Any]
    allocated_machine_name: str | None
    boards: set[Board] | None
    keepalivehost: str


class MachineTuple(NamedTuple):
    """A row of ``list_machines``; width and height in triads."""

    name: str
    tags: set[str]
    width: int
    height: int
    dead_boards: set[Board]
    dead_links: set[tuple[int, int, int, Links]]


class _ShownAttribute(Generic[Shown]):
    """An attribute that the rows show: setting it makes them stale.

    Its value is in the job's ``__dict__``, where it is read without our help.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    if TYPE_CHECKING:  # a descriptor that cannot get is passed over when a job is read

        def __get__(self, job: _Job, owner: type) -> Shown: ...

    def __set__(self, job: _Job, value: Shown) -> None:
        job.__dict__[self._name] = value
        job.forget_rows()


class _Job:
    """A job that is queued or has boards.

    Guarded by the controller's lock, like all of the controller's state.

    Attributes
    ----------
    deadline : float or None
        Monotonic time, seconds, at which it ends unless it is kept alive.
    boards, periphery, torus, width, height, connections, allocated_machine
        None until boards are allocated.  Width and height in chips;
        connections {(chip x, chip y) relative to the job: host name}.
    place : list of int or None
        [x, y, width, height] of its block, or [x, y, z] of its single board.
    origin : (x, y)
        The machine's chip that is the job's (0, 0).
    request : JobRequest
        The boards asked for; `args` and `kwargs` are the same as the arguments of
        ``create_job``.
    bmp_requests_until_ready : int
        How many frames have yet to answer before the job is ready.
    attempts : int
        How many allocations were given up because boards failed.
    principal : str or None
        The identity that the job belongs to; None for a job of an older state.
    code : str or None
        Hash of the code by which another principal may take the job over.
    was_ready : bool
        Whether the present boards have been handed to the user.
    frames_asked : Counter
        How many answers each of these frames has yet to give.
    waits_for : dict
        {machine: boards out of service for which it is known to wait there}.
    fault : str or None
        The fault for which the job was moved last.
    allocated_at, ready_at : float or None
        Unix times: of the present allocation, and of its first time ready.
    ending : Ending or None
        The party that is ending the job; None if it is the queue.
    tenancy : int
        Counts the allocations that the job has had, so that the answers to an
        earlier one's requests can be told apart.
    """

    start_time = _ShownAttribute[float]()
    keepalive = _ShownAttribute[float | None]()
    keepalive_host = _ShownAttribute[str | None]()
    state = _ShownAttribute[JobState]()
    power = _ShownAttribute[bool | None]()
    boards = _ShownAttribute[set[Board] | None]()
    allocated_machine: _ShownAttribute[Machine | None] = _ShownAttribute()

    def __init__(
        self,
        job_id: int,
        owner: str,
        start_time: float,
        keepalive: float | None,
        *,
        keepalive_host: str | None = None,
        request: JobRequest = ANY_BOARD,
        principal: str | None = None,
    ) -> None:
        self.id = job_id
        self.owner = owner
        # There are no rows yet that they could make stale.
        self.__dict__.update(
            start_time=start_time, keepalive=keepalive, keepalive_host=keepalive_host
        )
        self.principal = principal
        self.code: str | None = None
        self.request = request
        self.args = request.what
        self.kwargs = request.keywords
        self.deadline: float | None = None
        self.bmp_requests_until_ready = 0
        self.attempts = 0
        self.fault: str | None = None
        self.ending: Ending | None = None
        self.tenancy = 0
        self.forget_boards()

    def forget_boards(self) -> None:
        """Be a queued job, as before any boards were allocated."""
        self.__dict__.update(
            state=JobState.queued, power=None, boards=None, allocated_machine=None
        )
        self.forget_rows()
        self.periphery: Collection[tuple[int, int, int, Links]] | None = None
        self.torus: int | None = None
        self.width: int | None = None
        self.height: int | None = None
        self.connections: dict[tuple[int, int], str] | None = None
        self.place: list[int] | None = None
        self.origin = (0, 0)
        self.bmp_requests_until_ready = 0
        self.frames_asked: Counter[tuple[int, int]] = Counter()
        self.waits_for: dict[str, frozenset[Board]] = {}
        self.was_ready = False
        self.allocated_at: float | None = None
        self.ready_at: float | None = None

    def forget_rows(self) -> None:
        """Make the rows anew when they are next asked for."""
        self._state_row: JobStateTuple | None = None
        self._row: JobTuple | None = None

    @property
    def allocated_machine_name(self) -> str | None:
        """Name of the machine that the job has boards of."""
        return None if self.allocated_machine is None else self.allocated_machine.name

    def state_row(self) -> JobStateTuple:
        """Return the answer of ``get_job_state``; the same object until it changes."""
        row = self._state_row
        if row is None:
            row = self._state_row = JobStateTuple(
                self.state, self.power, self.keepalive, None, self.start_time, self.keepalive_host
            )
        return row

    def row(self) -> JobTuple:
        """Return the job's row of ``list_jobs``; the same object until it changes."""
        row = self._row
        if row is None:
            row = self._row = JobTuple(
                self.id,
                self.owner,
                self.start_time,
                self.keepalive,
                self.state,
                self.power,
                self.args,
                self.kwargs,
                self.allocated_machine_name,
                self.boards,
                self.keepalive_host or "",
            )
        return row


def plain_request(job: _Job) -> dict[str, Any]:
    """Return the facts of a job's creation as plain builtins (see `_jobs.book`)."""
    return {
        "owner": job.owner,
        "start_time": job.start_time,
        "keepalive": job.keepalive,
        "host": job.keepalive_host,
        "args": list(job.args),
        "kwargs": {
            name: sorted(value) if name == "tags" else value for name, value in job.kwargs.items()
        },
        "principal": job.principal,
    }


def plain_allocation(
    job: _Job, machine_name: str, allocation_id: int, outcome: Footprint
) -> dict[str, Any]:
    """Return the boards of a job as a book has them."""
    return {
        "machine": machine_name,
        "id": allocation_id,
        "outcome": list(outcome),
        "boards": sorted(list(board) for board in job.boards or ()),
        "periphery": sorted([x, y, z, int(n)] for x, y, z, n in job.periphery or ()),
        "torus": int(job.torus or 0),
    }


def plain_region(record: RegionRecord | None, age: float | None) -> dict[str, Any] | None:
    """Return the place that is kept for a job as a book has it.

    Parameters
    ----------
    record : RegionRecord or None
        None if no place is kept.
    age : float or None
        Seconds since one first was; None if none ever was.
    """
    if age is None:
        return None
    plain: dict[str, Any] = {"machine": None, "place": None, "closed": False}
    if record is not None:
        place = list(record.place)
        plain = {"machine": record.machine, "place": place, "closed": record.closed}
    return {**plain, "age": age, "at": _clock.wall()}


def plain_job(
    job: _Job, allocation: dict[str, Any] | None, region: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return a job with its boards as a book has it."""
    return {
        **plain_request(job),
        "state": int(job.state),
        "power": job.power,
        "attempts": job.attempts,
        "fault": job.fault,
        "was_ready": job.was_ready,
        "code": job.code,
        "allocated_at": job.allocated_at,
        "ready_at": job.ready_at,
        "allocation": allocation,
        "region": region,
    }


def job_from_plain(job_id: int, record: dict[str, Any]) -> _Job:
    """Return a queued job as a book's record describes it.

    Raises
    ------
    KeyError, TypeError, ValueError
        If the record does not describe a job.
    """
    job = _Job(
        job_id,
        record["owner"],
        record["start_time"],
        record["keepalive"],
        keepalive_host=record["host"],
        request=JobRequest.parse(tuple(record["args"]), dict(record["kwargs"])),
    )
    job.attempts = record["attempts"]
    job.principal, job.code = record["principal"], record["code"]
    job.fault = record["fault"]
    return job
