"""The objects behind handlers, and how much a reader may see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from spalloc_web._accounts.accounts import Accounts
from spalloc_web._accounts.rights import Access
from spalloc_web._accounts.sessions import Session
from spalloc_web._accounts.users import User
from spalloc_web._facility.ended_jobs import EndedJobs
from spalloc_web._facility.follower import Follower
from spalloc_web._facility.front import Front
from spalloc_web._facility.picture import Picture
from spalloc_web._facility.places import Places
from spalloc_web._http.forms import FormKey
from spalloc_web._http.visitor import Visitor, visitor_of
from spalloc_web._live.broadcaster import Broadcaster
from spalloc_web._past.history import History
from spalloc_web._settings import Settings
from spalloc_web._sight import Sight


@dataclass(frozen=True)
class Context:
    """The objects behind one application.

    Attributes
    ----------
    history : History or None
        None if the administrator has named no database.
    notice_troubles : callable
        Returns sentences about notices that could not be sent.
    accounts : Accounts or None
        None if nobody can log in.
    front : Front
        Gives commands for users.
    form_key : FormKey
        Of all forms.
    """

    settings: Settings
    follower: Follower
    places: Places
    ended: EndedJobs
    broadcaster: Broadcaster
    history: History | None
    notice_troubles: Callable[[], list[str]]
    accounts: Accounts | None
    front: Front
    form_key: FormKey

    @property
    def picture(self) -> Picture:
        """The newest picture."""
        return self.follower.picture


CONTEXT = web.AppKey("context", Context)


@dataclass(frozen=True)
class LoggedIn(Visitor):
    """A visitor that is logged in."""

    token: str
    user: User
    session: Session[Any]


def person_of(request: web.Request) -> Visitor:
    """Return the person behind a request."""
    context = request.app[CONTEXT]
    return visitor_of(request, context.settings, context.accounts)


def logged_in(request: web.Request, access: Access = "read") -> LoggedIn:
    """Return the user behind a request.

    Parameters
    ----------
    access
        The least rights that are needed.

    Raises
    ------
    aiohttp.web.HTTPUnauthorized
        If nobody is logged in.
    aiohttp.web.HTTPForbidden
        If the user has not these rights.
    """
    visitor = person_of(request)
    if visitor.user is None or visitor.token is None or visitor.session is None:
        raise web.HTTPUnauthorized(text="This is for people who are logged in.")
    if not visitor.user.may(access):
        raise web.HTTPForbidden(
            text=f"This needs the right to {access}; {visitor.user.name} has the right to"
            f" {visitor.user.access}."
        )
    return LoggedIn(
        visitor.address, visitor.tls, visitor.token, visitor.user, visitor.session
    )


def sight_of(request: web.Request) -> Sight:
    """Return how much this reader sees.

    Raises
    ------
    aiohttp.web.HTTPUnauthorized
        If readers that are not logged in see nothing.
    """
    if person_of(request).user:
        return Sight.ALL
    sight = request.app[CONTEXT].settings.anonymous
    if sight is Sight.NONE:
        raise web.HTTPUnauthorized(text="These pages are for people who are logged in.")
    return sight


def names_seen(request: web.Request, what: str) -> None:
    """Refuse readers that may not see owners and hosts.

    Parameters
    ----------
    what
        Named in the refusal: for example "Owners".

    Raises
    ------
    aiohttp.web.HTTPForbidden
        If this reader may not.
    """
    if not sight_of(request).names:
        raise web.HTTPForbidden(text=f"{what} are shown only to people who are logged in.")
