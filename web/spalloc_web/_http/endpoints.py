"""The table of the JSON interface: paths, parameters, answers, and the functions that give them.

The OpenAPI document is made of the same table, so that the two cannot differ.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from spalloc_web._facility.places import AwayError
from spalloc_web._http.context import CONTEXT, names_seen, sight_of
from spalloc_web._http.query import (
    Coordinate,
    Corner,
    Cursor,
    JobId,
    Limit,
    Moment,
    Name,
    NoParameters,
    moment,
)
from spalloc_web._http.span import Span, span_of
from spalloc_web._http.subjects import (
    NO_HISTORY,
    board_of,
    job_of,
    machine_of,
    past_job_of,
    past_job_shown,
    places_of,
)
from spalloc_web._past.history import History, HistoryAwayError
from spalloc_web._past.shapes import DayRow, FaultRow, PastJob, PastPage, UsageRow
from spalloc_web._shown.details import BoardDetail, JobDetail, PlaceRow
from spalloc_web._shown.shapes import (
    JobShown,
    MachineShown,
    MachineSummary,
    StatusShown,
    WaitingShown,
    Whole,
)
from spalloc_web._shown.views import (
    job_shown,
    machine_shown,
    machine_summary,
    status_shown,
    waiting_shown,
    whole,
)

JOB_WORDS = ("queued", "power", "ready", "unknown", "destroyed")


class OneMachine(msgspec.Struct, frozen=True):
    """Names a machine."""

    name: Name


class OneBoard(msgspec.Struct, frozen=True):
    """Names a board."""

    name: Name
    x: Coordinate
    y: Coordinate
    z: Corner


class OneJob(msgspec.Struct, frozen=True):
    """Names a job."""

    job_id: JobId


class JobFilter(msgspec.Struct, frozen=True):
    """Which jobs to list."""

    machine: Name | None = None
    owner: Name | None = None
    state: Name | None = None


class EndedFilter(msgspec.Struct, frozen=True):
    """Which ended jobs to list, as the server remembers them."""

    limit: Limit = 100
    before: JobId | None = None


class PastFilter(msgspec.Struct, frozen=True):
    """Which jobs of the history to list."""

    owner: Name | None = None
    machine: Name | None = None
    reason: Name | None = None
    since: Moment | None = None
    until: Moment | None = None
    limit: Limit = 100
    after: Cursor | None = None


class UsageFilter(Span, frozen=True):
    """The use to tell of."""

    by: Name = "machine"


USAGE_BY = ("owner", "machine", "day", "network")


@dataclass(frozen=True)
class Endpoint:
    """A path of the interface.

    Attributes
    ----------
    path : str
        Below ``/api/v1``; parameters in braces.
    parameters : type
        Struct of the parameters in path and query.
    answer : type
        Of the JSON in the answer.
    give : callable
        Gives it, for a request and its parameters.
    csv : type or None
        Of the rows of the table ``PATH.csv``, if there is one.
    """

    path: str
    summary: str
    parameters: type[msgspec.Struct]
    answer: Any
    give: Callable[[web.Request, Any], Awaitable[Any]]
    csv: type[msgspec.Struct] | None = None


async def _state(request: web.Request, _: NoParameters) -> Whole:
    context = request.app[CONTEXT]
    status = status_shown(
        context.picture.status, time.time(), context.notice_troubles()
    )
    return whole(context.picture, sight_of(request), status)


async def _status(request: web.Request, _: NoParameters) -> StatusShown:
    context = request.app[CONTEXT]
    sight_of(request)
    return status_shown(
        context.picture.status, time.time(), context.notice_troubles()
    )


async def _machines(request: web.Request, _: NoParameters) -> list[MachineSummary]:
    sight_of(request)
    picture = request.app[CONTEXT].picture
    return [machine_summary(m, picture.jobs.values()) for m in picture.machines.values()]


async def _machine(request: web.Request, which: OneMachine) -> MachineShown:
    return machine_shown(machine_of(request, which.name), sight_of(request))


async def _places(request: web.Request, which: OneMachine) -> list[PlaceRow]:
    sight_of(request)
    return await places_of(request, machine_of(request, which.name))


async def _board(request: web.Request, which: OneBoard) -> BoardDetail:
    return await board_of(request, which.name, which.x, which.y, which.z)


async def _jobs(request: web.Request, wanted: JobFilter) -> list[JobShown]:
    sight = sight_of(request)
    if wanted.owner is not None:
        names_seen(request, "Owners")
    if wanted.state is not None and wanted.state not in JOB_WORDS:
        raise web.HTTPBadRequest(
            text=f"Parameter 'state', {wanted.state[:40]!r}: one of {', '.join(JOB_WORDS)}."
        )
    return [
        job_shown(job, sight)
        for job in request.app[CONTEXT].picture.jobs.values()
        if (wanted.machine is None or job.machine == wanted.machine)
        and (wanted.owner is None or job.owner == wanted.owner)
        and (wanted.state is None or job.state == wanted.state)
    ]


async def _job(request: web.Request, which: OneJob) -> JobDetail:
    return await job_of(request, which.job_id)


async def _queue(request: web.Request, _: NoParameters) -> list[WaitingShown]:
    sight_of(request)
    return [waiting_shown(waiting) for waiting in request.app[CONTEXT].picture.queue]


async def _ended(request: web.Request, wanted: EndedFilter) -> list[PastJob]:
    sight = sight_of(request)
    try:
        jobs = await request.app[CONTEXT].ended.newest()
    except AwayError as e:
        raise web.HTTPServiceUnavailable(text=f"{e}.") from e
    if wanted.before is not None:
        ids = [job.job_id for job in jobs]
        start = ids.index(wanted.before) + 1 if wanted.before in ids else len(jobs)
        jobs = jobs[start:]
    return [past_job_shown(past_job_of(job), sight) for job in jobs[: wanted.limit]]


def history_of(request: web.Request) -> History:
    """Return the history.

    Raises
    ------
    aiohttp.web.HTTPServiceUnavailable
        If none is set up.
    """
    history = request.app[CONTEXT].history
    if history is None:
        raise web.HTTPServiceUnavailable(text=NO_HISTORY)
    return history


async def past_jobs(request: web.Request, wanted: PastFilter) -> PastPage:
    """Return jobs of the history.

    Raises
    ------
    HistoryAwayError
        If it does not answer.
    """
    sight = sight_of(request)
    if wanted.owner is not None or wanted.reason is not None:
        names_seen(request, "Owners and reasons")
    page = await history_of(request).jobs(
        owner=wanted.owner,
        machine=wanted.machine,
        reason=wanted.reason,
        since=moment(wanted.since, "since"),
        until=moment(wanted.until, "until"),
        limit=wanted.limit,
        after=wanted.after,
    )
    return PastPage(jobs=[past_job_shown(job, sight) for job in page.jobs], next=page.next)


async def usage(request: web.Request, wanted: UsageFilter) -> list[UsageRow]:
    """Return use by owner, machine, day or network."""
    sight_of(request)
    if wanted.by not in USAGE_BY:
        raise web.HTTPBadRequest(
            text=f"Parameter 'by', {wanted.by[:40]!r}: one of {', '.join(USAGE_BY)}."
        )
    if wanted.by in {"owner", "network"}:
        names_seen(request, "Owners and networks")
    since, until = span_of(wanted)
    return await history_of(request).usage(since, until, wanted.by)


async def usage_days(request: web.Request, wanted: Span) -> list[DayRow]:
    """Return use of each machine on each day."""
    sight_of(request)
    since, until = span_of(wanted)
    return await history_of(request).days(since, until)


async def usage_faults(request: web.Request, wanted: Span) -> list[FaultRow]:
    """Return faults by frame."""
    sight_of(request)
    since, until = span_of(wanted)
    return await history_of(request).faults(since, until)


ENDPOINTS = (
    Endpoint("/state", "Everything at this moment", NoParameters, Whole, _state),
    Endpoint("/status", "How the server stands", NoParameters, StatusShown, _status),
    Endpoint("/machines", "All machines", NoParameters, list[MachineSummary], _machines),
    Endpoint("/machines/{name}", "A machine's boards", OneMachine, MachineShown, _machine),
    Endpoint(
        "/machines/{name}/places", "Where its boards are", OneMachine, list[PlaceRow], _places
    ),
    Endpoint("/machines/{name}/boards/{x}/{y}/{z}", "A board", OneBoard, BoardDetail, _board),
    Endpoint("/jobs", "Jobs that have not ended", JobFilter, list[JobShown], _jobs, csv=JobShown),
    Endpoint("/jobs/{job_id}", "A job, now or in the past", OneJob, JobDetail, _job),
    Endpoint("/queue", "Waiting jobs", NoParameters, list[WaitingShown], _queue),
    Endpoint(
        "/ended", "Jobs that ended lately", EndedFilter, list[PastJob], _ended, csv=PastJob
    ),
    Endpoint(
        "/history/jobs", "Jobs of the history", PastFilter, PastPage, past_jobs, csv=PastJob
    ),
    Endpoint("/usage", "Use in a span", UsageFilter, list[UsageRow], usage, csv=UsageRow),
    Endpoint(
        "/usage/days", "Use of machines by day", Span, list[DayRow], usage_days, csv=DayRow
    ),
    Endpoint(
        "/usage/faults", "Faults by frame", Span, list[FaultRow], usage_faults, csv=FaultRow
    ),
)


def away(error: HistoryAwayError) -> web.HTTPServiceUnavailable:
    """Make the refusal of a question that the history does not answer."""
    return web.HTTPServiceUnavailable(text=f"The history does not answer: {error}.")
