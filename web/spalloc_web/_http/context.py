"""The objects behind handlers, and how much a reader may see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from spalloc_web._facility.ended_jobs import EndedJobs
from spalloc_web._facility.follower import Follower
from spalloc_web._facility.picture import Picture
from spalloc_web._facility.places import Places
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
    """

    settings: Settings
    follower: Follower
    places: Places
    ended: EndedJobs
    broadcaster: Broadcaster
    history: History | None
    notice_troubles: Callable[[], list[str]]

    @property
    def picture(self) -> Picture:
        """The newest picture."""
        return self.follower.picture


CONTEXT = web.AppKey("context", Context)


def sight_of(request: web.Request) -> Sight:
    """Return how much this reader sees.

    Raises
    ------
    aiohttp.web.HTTPUnauthorized
        If readers that are not logged in see nothing.
    """
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
