"""Puts the application together."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Callable

from aiohttp import web

from spalloc_web._accounts.accounts import Accounts
from spalloc_web._facility.ended_jobs import EndedJobs
from spalloc_web._facility.follower import Follower
from spalloc_web._facility.front import Front
from spalloc_web._facility.places import Places
from spalloc_web._http import api, login, ordering
from spalloc_web._http.context import CONTEXT, Context, person_of, sight_of
from spalloc_web._http.files import Files
from spalloc_web._http.forms import FormKey
from spalloc_web._http.guard import add_headers, errors_in_words
from spalloc_web._http.pages import PAGES
from spalloc_web._http.templates import LAYOUT
from spalloc_web._live.broadcaster import Broadcaster
from spalloc_web._notices.sender import Sender
from spalloc_web._past.history import History
from spalloc_web._settings import Settings
from spalloc_web._sight import Sight

_Cleanup = Callable[[web.Application], AsyncIterator[None]]


def make_app(
    settings: Settings, history: History | None = None, sender: Sender | None = None
) -> web.Application:
    """Make the application; it follows the server from its start to its end.

    Parameters
    ----------
    settings
        Checked.
    history
        The history database; closed at the end.
    sender
        Of notices; run and ended with the application.

    Raises
    ------
    UsersFileError
        If the users' file cannot be read.
    """
    app = web.Application(middlewares=[errors_in_words], client_max_size=1 << 16)
    follower = Follower(*settings.server)
    broadcaster = Broadcaster(
        follower.picture, notices=sender.troubles if sender else list
    )
    follower.on_picture(broadcaster.publish)
    context = Context(
        settings,
        follower,
        Places(follower),
        EndedJobs(follower),
        broadcaster,
        history,
        sender.troubles if sender else list,
        Accounts(settings.users) if settings.users else None,
        Front(*settings.server),
        FormKey(),
    )
    files = Files()
    app[CONTEXT] = context
    app[LAYOUT] = {
        "base": settings.base,
        "static": f"{settings.base}/static/{files.digest}",
        "status": lambda: context.picture.status,
        "has_history": history is not None,
        "open": settings.anonymous is not Sight.NONE,
        "has_log_in": context.accounts is not None,
        "person_of": person_of,
        "form_token": context.form_key.token,
    }
    _add_routes(app, settings.base, files)
    app.on_response_prepare.append(add_headers)
    app.cleanup_ctx.append(_followed(context, sender))
    app.on_shutdown.append(_end_streams)
    return app


def _add_routes(app: web.Application, base: str, files: Files) -> None:
    app.add_routes([web.get(f"{base}{path}", page) for path, page in PAGES.items()])
    app.add_routes(
        [
            web.get(f"{base}/login", login.show_log_in),
            web.post(f"{base}/login", login.log_in),
            web.post(f"{base}/logout", login.log_out),
            web.get(f"{base}/account", login.account),
        ]
    )
    app.add_routes(ordering.routes(base))
    app.add_routes(api.routes(base))
    app.router.add_get(f"{base}/events", _events)
    app.router.add_get(f"{base}/static/{{digest}}/{{name:.+}}", files.serve)
    app.router.add_get(f"{base}/health", _health)
    if base:
        app.router.add_get(base, _to_first_page)


def _followed(context: Context, sender: Sender | None) -> _Cleanup:
    async def run(_: web.Application) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(context.follower.run(), name="follower")]
        if sender:
            tasks.append(asyncio.create_task(sender.run(context.follower), name="notices"))
        yield
        for task in tasks:
            # More than once: Pythons before 3.12 lose a cancellation now and then in wait_for.
            while not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=0.5)
        if context.history:
            context.history.close()

    return run


async def _events(request: web.Request) -> web.StreamResponse:
    context, sight = request.app[CONTEXT], sight_of(request)
    token = person_of(request).token
    if context.accounts is None or token is None:
        return await context.broadcaster.serve(request, sight)
    still_open = functools.partial(context.accounts.sessions.is_open, token)
    return await context.broadcaster.serve(request, sight, still_open)


async def _health(request: web.Request) -> web.Response:
    """Say whether this process is well: for containers and load balancers."""
    context = request.app[CONTEXT]
    away = context.picture.status.away_since
    return api.json_response(
        {
            "status": "ok",
            "server": "here" if away is None else "away",
            "pages": context.broadcaster.open_streams,
        },
    )


async def _to_first_page(request: web.Request) -> web.Response:
    raise web.HTTPPermanentRedirect(f"{request.app[CONTEXT].settings.base}/")


async def _end_streams(app: web.Application) -> None:
    app[CONTEXT].broadcaster.close()
