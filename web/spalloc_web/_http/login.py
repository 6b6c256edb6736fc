"""Pages to log in and out, and the page of one's own account."""

from __future__ import annotations

import re
import secrets
from typing import Any, Literal

import msgspec
from aiohttp import web

from spalloc_web._accounts.accounts import Accounts, LaterError, WrongError
from spalloc_web._facility.front import FrontError
from spalloc_web._http.context import CONTEXT, logged_in, person_of
from spalloc_web._http.forms import read_form
from spalloc_web._http.query import NoParameters, read_parameters
from spalloc_web._http.templates import TEMPLATES
from spalloc_web._http.visitor import (
    SESSION_COOKIE,
    VISIT_COOKIE,
    drop_cookie,
    read_cookie,
    set_cookie,
    trouble_with_log_in,
)

#: A path of ours: printable ASCII without ``\``, ``//`` and ``/.``, which browsers or libraries
#: may take for another host's once they have made it shorter.
_LOCAL = re.compile(r"/(?!.*/[/.])(?![/.])[!-\[\]-~]{0,1000}")


class LogIn(msgspec.Struct, frozen=True):
    """The page to go on to."""

    next: str | None = None


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form of a log-in."""

    name: str = ""
    password: str = ""
    next: str | None = None

    def __repr__(self) -> str:
        return "Credentials()"


class LogOut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The form of a log-out."""

    everywhere: Literal["yes"] | None = None


def _accounts(request: web.Request) -> Accounts:
    accounts = request.app[CONTEXT].accounts
    if accounts is None:
        raise web.HTTPNotFound(text="Nobody can log in here: no users' file is set up.")
    return accounts


async def show_log_in(request: web.Request) -> web.Response:
    """Show the form to log in."""
    _accounts(request)
    wanted = read_parameters(request, LogIn)
    if person_of(request).user:
        raise web.HTTPSeeOther(_local(request, wanted.next))
    return _form(request, 200, name="", following=wanted.next)


async def log_in(request: web.Request) -> web.Response:
    """Log a user in."""
    accounts, context = _accounts(request), request.app[CONTEXT]
    visitor = person_of(request)
    secret = read_cookie(request, VISIT_COOKIE, tls=visitor.tls)
    given = await read_form(request, Credentials, context.form_key, secret)
    if trouble_with_log_in(request, context.settings, visitor):
        return _form(request, 403, name="", following=given.next)
    try:
        token = await accounts.log_in(given.name, given.password, visitor.address)
    except WrongError as e:
        return _form(request, 403, given.name, given.next, str(e))
    except LaterError as e:
        refused = _form(request, 429, given.name, given.next, str(e))
        refused.headers["Retry-After"] = str(e.seconds)
        return refused
    if visitor.token:
        accounts.sessions.close(visitor.token)
    response = web.HTTPSeeOther(_local(request, given.next))
    set_cookie(response, SESSION_COOKIE, token, tls=visitor.tls)
    drop_cookie(response, VISIT_COOKIE, tls=visitor.tls)
    raise response


async def log_out(request: web.Request) -> web.Response:
    """End the session, or all of the user's."""
    accounts, context = _accounts(request), request.app[CONTEXT]
    visitor = person_of(request)
    response = web.HTTPSeeOther(f"{context.settings.base}/")
    if visitor.user and visitor.token:
        given = await read_form(request, LogOut, context.form_key, visitor.token)
        if given.everywhere:
            accounts.sessions.close_all(visitor.user.name)
        accounts.sessions.close(visitor.token)
        drop_cookie(response, SESSION_COOKIE, tls=visitor.tls)
    raise response


async def account(request: web.Request) -> web.Response:
    """Show a user's own rights, here and at the server."""
    accounts, context = _accounts(request), request.app[CONTEXT]
    read_parameters(request, NoParameters)
    visitor = logged_in(request)
    at_server, trouble = None, None
    try:
        at_server = await context.front.standing(visitor.user.name, visitor.address)
    except FrontError as e:
        trouble = str(e)
    return _page(
        request,
        200,
        "account.html",
        at_server=at_server,
        trouble=trouble,
        sessions=accounts.sessions.count(visitor.user.name),
    )


def _form(
    request: web.Request,
    status: int,
    name: str,
    following: str | None,
    refusal: str | None = None,
) -> web.Response:
    context, visitor = request.app[CONTEXT], person_of(request)
    secret = read_cookie(request, VISIT_COOKIE, tls=visitor.tls) or secrets.token_urlsafe(24)
    response = _page(
        request,
        status,
        "login.html",
        name=name[:64],
        following=_local(request, following),
        refusal=refusal,
        trouble=trouble_with_log_in(request, context.settings, visitor),
        log_in_token=context.form_key.token(secret),
    )
    set_cookie(response, VISIT_COOKIE, secret, tls=visitor.tls)
    return response


def _page(request: web.Request, status: int, template: str, /, **values: Any) -> web.Response:
    text = TEMPLATES.render(request, template, **values)
    return web.Response(text=text, status=status, content_type="text/html")


def _local(request: web.Request, path: str | None) -> str:
    """Return a path of ours to go on to; the first page in the place of anything else."""
    base = request.app[CONTEXT].settings.base
    if path and _LOCAL.fullmatch(path) and path.startswith(f"{base}/"):
        return path
    return f"{base}/"
