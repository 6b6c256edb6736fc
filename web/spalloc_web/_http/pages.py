"""The pages for people."""

from __future__ import annotations

import datetime
import time
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from aiohttp import web

from spalloc_web._facility.places import AwayError
from spalloc_web._facility.replies import BOARD_STATES
from spalloc_web._http.context import CONTEXT, names_seen, sight_of
from spalloc_web._http.endpoints import (
    OneBoard,
    OneJob,
    OneMachine,
    PastFilter,
    UsageFilter,
    past_jobs,
    usage,
    usage_days,
    usage_faults,
)
from spalloc_web._http.geometry import view_box
from spalloc_web._http.query import Cursor, Name, NoParameters, moment, read_parameters
from spalloc_web._http.span import Span, span_of
from spalloc_web._http.subjects import (
    NO_HISTORY,
    board_of,
    job_of,
    machine_of,
    past_job_of,
    past_job_shown,
)
from spalloc_web._http.templates import TEMPLATES
from spalloc_web._past.history import HistoryAwayError
from spalloc_web._past.shapes import PastJob, PastPage
from spalloc_web._shown.views import job_shown, machine_summary

#: Jobs on a page.
PAGE = 100


class NowChoice(msgspec.Struct, frozen=True):
    """The choices that the first page keeps in its address."""

    machine: Name | None = None
    owner: Name | None = None
    state: Name | None = None
    sort: Name | None = None
    job: Name | None = None
    board: Name | None = None
    zoom: Name | None = None


class OneOwner(msgspec.Struct, frozen=True):
    """Names an owner, and the last job of the page before."""

    owner: Name
    after: Cursor | None = None


def page(request: web.Request, template: str, **values: Any) -> web.Response:
    """Answer with a page."""
    return web.Response(
        text=TEMPLATES.render(request, template, **values), content_type="text/html"
    )


async def now(request: web.Request) -> web.Response:
    """Show all machines, jobs and the queue, live."""
    sight = sight_of(request)
    read_parameters(request, NowChoice)
    picture = request.app[CONTEXT].picture
    counts = dict.fromkeys(BOARD_STATES, 0)
    for machine in picture.machines.values():
        for state, number in machine.counts().items():
            word = state if state in counts else "out"
            counts[word] += number
    machines = [(machine, view_box(machine)) for machine in picture.machines.values()]
    return page(
        request, "now.html", picture=picture, counts=counts, machines=machines, sight=sight
    )


async def machines(request: web.Request) -> web.Response:
    """List all machines."""
    sight_of(request)
    read_parameters(request, NoParameters)
    picture = request.app[CONTEXT].picture
    rows = [machine_summary(m, picture.jobs.values()) for m in picture.machines.values()]
    return page(request, "machines.html", machines=rows, states=BOARD_STATES)


async def machine(request: web.Request) -> web.Response:
    """Show one machine: its map, its boards as a table, its jobs, its past."""
    sight = sight_of(request)
    which = read_parameters(request, OneMachine)
    shown = machine_of(request, which.name)
    context = request.app[CONTEXT]
    jobs = [
        job_shown(job, sight)
        for job in context.picture.jobs.values()
        if job.machine == which.name
    ]
    past, trouble = await _past(request, machine=which.name, limit=20)
    return page(
        request,
        "machine.html",
        machine=shown,
        view_box=view_box(shown),
        counts=shown.counts(),
        states=BOARD_STATES,
        jobs=jobs,
        past=past,
        trouble=trouble,
        sight=sight,
    )


async def machine_boards(request: web.Request) -> web.Response:
    """Show one machine's boards as a table."""
    sight = sight_of(request)
    which = read_parameters(request, OneMachine)
    shown = machine_of(request, which.name)
    try:
        places = await request.app[CONTEXT].places.of(shown)
    except AwayError:
        places = {}
    return page(request, "boards.html", machine=shown, places=places, sight=sight)


async def board(request: web.Request) -> web.Response:
    """Show one board, now and in the past."""
    sight = sight_of(request)
    which = read_parameters(request, OneBoard)
    detail = await board_of(request, which.name, which.x, which.y, which.z)
    shown = machine_of(request, which.name)
    return page(
        request,
        "board.html",
        board=detail,
        machine=shown,
        view_box=view_box(shown),
        sight=sight,
    )


async def job(request: web.Request) -> web.Response:
    """Show one job, now or in the past."""
    sight = sight_of(request)
    which = read_parameters(request, OneJob)
    detail = await job_of(request, which.job_id)
    name = detail.job.machine if detail.job else None
    shown = request.app[CONTEXT].picture.machines.get(name) if name else None
    return page(
        request,
        "job.html",
        detail=detail,
        machine=shown,
        view_box=view_box(shown) if shown else None,
        sight=sight,
    )


async def jobs(request: web.Request) -> web.Response:
    """List jobs of the past, filtered; without a history, those that the server remembers."""
    sight = sight_of(request)
    wanted = read_parameters(request, PastFilter)
    if wanted.owner is not None or wanted.reason is not None:
        names_seen(request, "Owners and reasons")
    moment(wanted.since, "since")
    moment(wanted.until, "until")
    trouble = following = None
    rows: list[PastJob] = []
    if request.app[CONTEXT].history is None:
        trouble = f"{NO_HISTORY} These are the jobs that the server remembers."
        rows = await _remembered(request, wanted)
    else:
        try:
            found = await past_jobs(request, wanted)
            rows, following = found.jobs, found.next
        except HistoryAwayError as e:
            trouble = f"The history does not answer: {e}."
    return page(
        request,
        "jobs.html",
        wanted=wanted,
        rows=rows,
        trouble=trouble,
        following=following,
        sight=sight,
    )


async def _remembered(request: web.Request, wanted: PastFilter) -> list[PastJob]:
    try:
        ended = await request.app[CONTEXT].ended.newest()
    except AwayError:
        return []
    since, until = moment(wanted.since, "since"), moment(wanted.until, "until")
    found = [
        past_job_shown(past_job_of(each), sight_of(request))
        for each in ended
        if (wanted.owner is None or each.owner == wanted.owner)
        and (wanted.machine is None or each.machine == wanted.machine)
        and (wanted.reason is None or wanted.reason in (each.reason or ""))
        and (since is None or (each.ended or 0) >= since)
        and (until is None or (each.created or 0) < until)
    ]
    return found[: wanted.limit]


async def owner(request: web.Request) -> web.Response:
    """Show one owner's jobs, now and in the past."""
    sight = sight_of(request)
    names_seen(request, "Owners")
    which = read_parameters(request, OneOwner)
    context = request.app[CONTEXT]
    running = [
        job_shown(each, sight)
        for each in context.picture.jobs.values()
        if each.owner == which.owner
    ]
    past, trouble = await _past(request, owner=which.owner, limit=PAGE, after=which.after)
    if not running and not past.jobs and trouble is None:
        raise web.HTTPNotFound(text=f"Nobody is known as {which.owner[:60]!r}.")
    waiting = {w.job_id: w for w in context.picture.queue}
    return page(
        request,
        "owner.html",
        owner=which.owner,
        jobs=running,
        waiting=waiting,
        past=past,
        trouble=trouble,
        sight=sight,
    )


async def _past(request: web.Request, **filters: Any) -> tuple[PastPage, str | None]:
    history = request.app[CONTEXT].history
    nothing = PastPage(jobs=[], next=None)
    if history is None:
        return nothing, NO_HISTORY
    try:
        found = await history.jobs(**filters)
    except HistoryAwayError as e:
        return nothing, f"The history does not answer: {e}."
    shown = [past_job_shown(each, sight_of(request)) for each in found.jobs]
    return PastPage(jobs=shown, next=found.next), None


async def usage_page(request: web.Request) -> web.Response:
    """Show use, waits and faults over a span."""
    sight = sight_of(request)
    wanted = read_parameters(request, Span)
    since, until = span_of(wanted)
    tables: dict[str, list[Any]] = {"machines": [], "days": [], "owners": [], "faults": []}
    trouble = None
    if request.app[CONTEXT].history is None:
        trouble = NO_HISTORY
    else:
        try:
            tables["machines"] = await usage(request, _by("machine", wanted))
            tables["days"] = await usage_days(request, wanted)
            tables["faults"] = await usage_faults(request, wanted)
            if sight.names:
                tables["owners"] = await usage(request, _by("owner", wanted))
        except HistoryAwayError as e:
            trouble = f"The history does not answer: {e}."
    return page(
        request,
        "usage.html",
        since=_day(since),
        until=_day(until),
        spans=_spans(),
        trouble=trouble,
        sight=sight,
        **tables,
    )


def _by(what: str, wanted: Span) -> UsageFilter:
    return UsageFilter(since=wanted.since, until=wanted.until, by=what)


def _day(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc).strftime("%Y-%m-%d")


def _spans() -> list[tuple[str, str]]:
    """Return usual spans: words, and the day they begin with."""
    today = time.time()
    days = (("1 week", 7), ("4 weeks", 28), ("3 months", 91), ("1 year", 365))
    return [(words, _day(today - 86400 * number)) for words, number in days]


PAGES: dict[str, Callable[[web.Request], Awaitable[web.Response]]] = {
    "/": now,
    "/machines": machines,
    "/machines/{name}": machine,
    "/machines/{name}/boards": machine_boards,
    "/machines/{name}/boards/{x}/{y}/{z}": board,
    "/jobs": jobs,
    "/jobs/{job_id}": job,
    "/owners/{owner}": owner,
    "/usage": usage_page,
}
