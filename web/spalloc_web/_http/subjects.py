"""Gathers all that is known of one job or board; pages and JSON show the same."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web
from msgspec import structs

from spalloc_web._facility.ended_jobs import EndedJobReply
from spalloc_web._facility.picture import Job, Machine
from spalloc_web._facility.places import AwayError, Place
from spalloc_web._http.context import CONTEXT, sight_of
from spalloc_web._past.history import HistoryAwayError
from spalloc_web._past.shapes import BoardEvent, BoardPast, JobPast, PastJob
from spalloc_web._shown.details import BoardDetail, JobDetail, PlaceRow
from spalloc_web._shown.views import job_shown, waiting_shown
from spalloc_web._sight import Sight

#: Said where no database is named.
NO_HISTORY = "No history database is set up."
#: Seconds between the beginnings of one job, as told by server and history.
SAME = 1.0
#: Chips of a board's first chip within its triad of 12 x 12, by z.
_CHIP_IN_TRIAD = ((0, 0), (8, 4), (4, 8))


def machine_of(request: web.Request, name: str) -> Machine:
    """Return a machine.

    Raises
    ------
    aiohttp.web.HTTPNotFound
        If the server has none of that name.
    """
    machine = request.app[CONTEXT].picture.machines.get(name)
    if machine is None:
        raise web.HTTPNotFound(text=f"There is no machine {name[:60]!r}.")
    return machine


async def places_of(request: web.Request, machine: Machine) -> list[PlaceRow]:
    """Return the places of a machine's boards.

    Raises
    ------
    aiohttp.web.HTTPServiceUnavailable
        If the server is away and they are not known yet.
    """
    try:
        places = await request.app[CONTEXT].places.of(machine)
    except AwayError as e:
        raise web.HTTPServiceUnavailable(text=str(e)) from e
    names = sight_of(request).names
    return [
        PlaceRow(
            board=board,
            cabinet=place.cabinet,
            frame=place.frame,
            position=place.board,
            address=place.address if names else None,
        )
        for board, place in places.items()
    ]


async def board_of(request: web.Request, name: str, x: int, y: int, z: int) -> BoardDetail:
    """Return all that is known of a board.

    Raises
    ------
    aiohttp.web.HTTPNotFound
        If there is no such machine or board.
    """
    sight = sight_of(request)
    row = machine_of(request, name).board(x, y, z)
    if row is None:
        raise web.HTTPNotFound(text=f"Machine {name!r} has no board ({x}, {y}, {z}).")
    place = await _place_of(request, name, (x, y, z))
    past, trouble = await _past_of_board(request, name, (x, y, z))
    dx, dy = _CHIP_IN_TRIAD[z]
    return BoardDetail(
        machine=name,
        board=(x, y, z),
        chip=(12 * x + dx, 12 * y + dy),
        state=row.state,
        job_id=row.job_id,
        text=row.text if sight.names else None,
        cabinet=place.cabinet if place else None,
        frame=place.frame if place else None,
        position=place.board if place else None,
        address=place.address if place and sight.names else None,
        events=[e if sight.names else _without_text(e) for e in past.events],
        jobs=[past_job_shown(job, sight) for job in past.jobs],
        history=trouble,
    )


def _without_text(event: BoardEvent) -> BoardEvent:
    return structs.replace(event, text=None)


async def _place_of(
    request: web.Request, name: str, board: tuple[int, int, int]
) -> Place | None:
    context = request.app[CONTEXT]
    try:
        return (await context.places.of(context.picture.machines[name])).get(board)
    except (AwayError, KeyError):
        return None


async def _past_of_board(
    request: web.Request, name: str, board: tuple[int, int, int]
) -> tuple[BoardPast, str | None]:
    nothing = BoardPast(events=[], jobs=[])
    history = request.app[CONTEXT].history
    if history is None:
        return nothing, NO_HISTORY
    try:
        return await history.board(name, board), None
    except HistoryAwayError as e:
        return nothing, f"The history does not answer: {e}."


async def job_of(request: web.Request, job_id: int) -> JobDetail:
    """Return all that is known of a job.

    Raises
    ------
    aiohttp.web.HTTPNotFound
        If neither the server nor the history knows it.
    aiohttp.web.HTTPServiceUnavailable
        If the server does not know it and the history does not answer.
    """
    sight = sight_of(request)
    context = request.app[CONTEXT]
    picture = context.picture
    job = picture.jobs.get(job_id)
    waiting = next((each for each in picture.queue if each.job_id == job_id), None)
    past, trouble = await _past_of_job(request, job_id)
    if job and past and not _same(job, past.job):
        # Numbers repeat after a cold start: that one is another job.
        past = None
    if job and past:
        job = replace(
            job,
            allocated=job.allocated or past.job.allocated,
            ready=job.ready or past.job.ready,
        )
    ended = past.job if past else None
    if job is None and (ended is None or ended.ended is None):
        ended = await _ended_job(request, job_id) or ended
    if job is None and ended is None:
        if trouble and context.history:
            raise web.HTTPServiceUnavailable(text=trouble)
        raise web.HTTPNotFound(text=f"There is no job {job_id}, or it is long gone.")
    return JobDetail(
        job_id=job_id,
        job=job_shown(job, sight) if job else None,
        waiting=waiting_shown(waiting) if waiting else None,
        boards=list(job.boards) if job else [],
        past=past_job_shown(ended, sight) if ended else None,
        spells=[
            s if sight.names else structs.replace(s, fault=None)
            for s in (past.spells if past else [])
        ],
        history=trouble,
    )


def _same(job: Job, past: PastJob) -> bool:
    """Whether a job of the history is the one that lives now: they began together."""
    return None not in (job.created, past.created) and abs(
        (job.created or 0.0) - (past.created or 0.0)
    ) < SAME


async def _past_of_job(request: web.Request, job_id: int) -> tuple[JobPast | None, str | None]:
    history = request.app[CONTEXT].history
    if history is None:
        return None, NO_HISTORY
    try:
        return await history.job(job_id), None
    except HistoryAwayError as e:
        return None, f"The history does not answer: {e}."


async def _ended_job(request: web.Request, job_id: int) -> PastJob | None:
    try:
        job = await request.app[CONTEXT].ended.find(job_id)
    except AwayError:
        return None
    return past_job_of(job) if job else None


def past_job_of(job: EndedJobReply) -> PastJob:
    """Make a past job of one that the server remembers."""
    return PastJob(
        job_id=job.job_id,
        owner=job.owner,
        host=job.host,
        created=job.created,
        allocated=job.allocated,
        ready=job.ready,
        ended=job.ended,
        machine=job.machine,
        place=job.place,
        boards=job.boards,
        reason=job.reason,
        ended_by=job.party,
    )


def past_job_shown(job: PastJob, sight: Sight) -> PastJob:
    """Show a past job."""
    if sight.names:
        return job
    return structs.replace(job, owner=None, host=None, reason=None, ended_by=None)
