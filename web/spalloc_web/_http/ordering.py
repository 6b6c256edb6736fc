"""Pages of orders: the question, the order itself, its result; and the operators' own page."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from aiohttp import web

from spalloc_web._facility.front import FrontError, RefusedError
from spalloc_web._facility.replies import UnreadableReplyError
from spalloc_web._http.context import CONTEXT, LoggedIn, logged_in
from spalloc_web._http.forms import read_form
from spalloc_web._http.query import Name, read_parameters
from spalloc_web._http.templates import TEMPLATES
from spalloc_web._orders.boards import OutRow, out_of_service
from spalloc_web._orders.jobs import JobRow
from spalloc_web._orders.shapes import (
    BadOrderError,
    Desk,
    NothingThereError,
    NotYoursError,
    Order,
    Result,
)
from spalloc_web._orders.table import ORDERS

log = logging.getLogger(__name__)

#: Boards and jobs on the operators' page.
MOST_ROWS = 500

_Page = Callable[[web.Request], Awaitable[web.Response]]


class OneResult(msgspec.Struct, frozen=True):
    """Names a result."""

    key: Name


class AccessAsked(msgspec.Struct, frozen=True):
    """Names somebody, to be told the rule of the server's policy that counts."""

    address: Name | None = None
    user: Name | None = None
    certificate: Name | None = None
    unix_user: Name | None = None


class AccessFound(msgspec.Struct, frozen=True):
    """The rule that counts for somebody."""

    principal: str
    access: str
    rule: int | None = None
    who: str | None = None
    isolation: str = "none"


class _Jobs(msgspec.Struct, frozen=True):
    jobs: list[JobRow]


def routes(base: str) -> list[web.RouteDef]:
    """Return the routes of all orders.

    Parameters
    ----------
    base
        The first part of all paths.
    """
    made = [web.get(f"{base}/operate", operate), web.get(f"{base}/done/{{key}}", done)]
    for order in ORDERS:
        path = f"{base}/orders/{order.word}"
        made += [web.get(path, _question(order)), web.post(path, _giving(order))]
    return made


def _question(order: Order) -> _Page:
    async def show(request: web.Request) -> web.Response:
        visitor = logged_in(request, order.access)
        asked = read_parameters(request, order.asked)
        with _in_words(order):
            question = await order.ask(_desk(request, visitor, order.command), asked)
        return _page(request, "order.html", question=question, order=order)

    return show


def _giving(order: Order) -> _Page:
    async def give(request: web.Request) -> web.Response:
        visitor, context = logged_in(request, order.access), request.app[CONTEXT]
        given = await read_form(request, order.given, context.form_key, visitor.token)
        try:
            with _in_words(order):
                result = await order.give(_desk(request, visitor, order.command), given)
        except web.HTTPException as e:
            log.warning("%s, %s: order %s refused: %r", *_giver(visitor), order.word, e.text)
            raise
        log.info("%s, %s: order %s: %r", *_giver(visitor), order.word, result.title)
        key = visitor.session.keep(result)
        raise web.HTTPSeeOther(f"{context.settings.base}/done/{key}")

    return give


def _giver(visitor: LoggedIn) -> tuple[str, str]:
    return visitor.user.name, visitor.address or "an unknown address"


def _desk(request: web.Request, visitor: LoggedIn, command: str) -> Desk:
    context = request.app[CONTEXT]
    questions = context.follower.questions
    if questions is None:
        raise web.HTTPServiceUnavailable(text="The server is away; nothing was done.")
    if command not in questions.commands:
        raise web.HTTPConflict(
            text=f"The server's version {questions.version} takes no such orders."
        )
    return Desk(visitor.user, visitor.address, context.picture, context.front)


@contextmanager
def _in_words(order: Order) -> Iterator[None]:
    """Turn an order that cannot be carried out into an answer with the reason."""
    try:
        yield
    except BadOrderError as e:
        raise web.HTTPBadRequest(text=str(e)) from e
    except NotYoursError as e:
        raise web.HTTPForbidden(text=str(e)) from e
    except NothingThereError as e:
        raise web.HTTPNotFound(text=str(e)) from e
    except RefusedError as e:
        raise web.HTTPConflict(text=f"The server refuses: {e}") from e
    except (FrontError, UnreadableReplyError) as e:
        raise web.HTTPServiceUnavailable(text=f"{order.word}: {e}") from e


async def done(request: web.Request) -> web.Response:
    """Show the result of an order."""
    visitor = logged_in(request)
    result = visitor.session.results.get(read_parameters(request, OneResult).key)
    if not isinstance(result, Result):
        raise web.HTTPNotFound(text="This result is no longer remembered.")
    return _page(request, "done.html", result=result)


async def operate(request: web.Request) -> web.Response:
    """Show the operators' page: the message, boards out of service, all jobs, and access."""
    visitor = logged_in(request, "operate")
    asked = read_parameters(request, AccessAsked)
    names = {name: value for name, value in msgspec.to_builtins(asked).items() if value}
    out: list[OutRow] = []
    jobs: list[JobRow] = []
    access: AccessFound | None = None
    trouble = None
    try:
        desk = _desk(request, visitor, "operate")
        out = await out_of_service(desk)
        jobs = (await desk.operate(_Jobs, do="jobs")).jobs
        if names:
            access = await desk.operate(AccessFound, do="access", **names)
    except (FrontError, UnreadableReplyError, web.HTTPException) as e:
        trouble = e.text if isinstance(e, web.HTTPException) else str(e)
    return _page(
        request,
        "operate.html",
        trouble=trouble,
        asked=asked,
        access=access,
        out=out[:MOST_ROWS],
        more_out=len(out) - MOST_ROWS,
        jobs=jobs[:MOST_ROWS],
        more_jobs=len(jobs) - MOST_ROWS,
        machines=list(request.app[CONTEXT].picture.machines),
    )


def _page(request: web.Request, template: str, /, **values: Any) -> web.Response:
    return web.Response(
        text=TEMPLATES.render(request, template, **values), content_type="text/html"
    )
