"""The span of time that a page or an answer is about."""

from __future__ import annotations

import time

import msgspec
from aiohttp import web

from spalloc_web._http.query import Moment, moment

#: Seconds of a span that nobody chose: four weeks.
USUAL = 28 * 86400.0
#: Longest span, seconds: a hundred years.
LONGEST = 100 * 366 * 86400.0


class Span(msgspec.Struct, frozen=True):
    """From `since` up to `until`; the last four weeks unless something else is asked for."""

    since: Moment | None = None
    until: Moment | None = None


def span_of(wanted: Span) -> tuple[float, float]:
    """Return a span's ends in Unix seconds.

    Raises
    ------
    aiohttp.web.HTTPBadRequest
        If it ends before it begins, or is longer than a hundred years.
    """
    until = moment(wanted.until, "until")
    until = time.time() if until is None else until
    since = moment(wanted.since, "since")
    since = until - USUAL if since is None else since
    if not 0 < until - since <= LONGEST:
        raise web.HTTPBadRequest(
            text="The span ends before it begins, or is longer than a hundred years."
        )
    return since, until
