"""HTML from templates; everything put into one is escaped."""

from __future__ import annotations

import datetime
import itertools
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
import msgspec
from aiohttp import web

from spalloc_web._facility.marks import COLOURS, letters
from spalloc_web._version import __version__

LAYOUT = web.AppKey("layout", dict[str, Any])


def clock(seconds: float | None) -> str:
    """Write a moment as ``2026-11-28 13:05:09`` in UTC; a dash if it is not known."""
    if seconds is None:
        return "–"
    try:
        moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    except (ValueError, OverflowError, OSError):
        return "–"
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def iso(seconds: float | None) -> str:
    """Write a moment for the ``datetime`` of a ``<time>``."""
    return clock(seconds).replace(" ", "T") + "Z" if seconds is not None else ""


def span(seconds: float | None) -> str:
    """Write a length of time in its two largest units: ``2 h 5 min``; a dash if not known."""
    if seconds is None:
        return "–"
    seconds = max(0, round(seconds))
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for (unit, size), (finer, finer_size) in itertools.pairwise(units):
        if seconds >= size:
            # Seconds beside ten minutes and more are only restless.
            rest = 0 if finer_size == 1 and seconds >= 600 else seconds % size // finer_size
            return f"{seconds // size} {unit}" + (f" {rest} {finer}" if rest else "")
    return f"{seconds} s"


def size_of(args: list[Any] | tuple[Any, ...]) -> str:
    """Put a job's request into words, given its positional arguments."""
    given = [arg for arg in args if arg is not None]
    if len(given) == 3:
        return f"board ({given[0]}, {given[1]}, {given[2]})"
    if len(given) == 2:
        return f"{given[0]} × {given[1]} triads"
    count = given[0] if given else 1
    return "1 board" if count == 1 else f"{count} boards"


def path_part(text: str) -> str:
    """Escape text as one part of an address' path."""
    return quote(text, safe="")


def place(corner: list[int] | None) -> str:
    """Say where a job was: ``[x, y, w, h]`` of a block or ``[x, y, z]`` of a board."""
    if not corner:
        return "–"
    if len(corner) == 4:
        x, y, width, height = corner
        return f"{width} × {height} triads at ({x}, {y})"
    return f"board ({', '.join(str(part) for part in corner)})"


def expected(outlook: Any) -> str:
    """Say when a job may start; empty if the server cannot tell."""
    if isinstance(outlook, str):
        return outlook
    if isinstance(outlook, dict):
        outlook = [
            next((outlook[name] for name in names if name in outlook), None)
            for names in (("low", "from", "least"), ("high", "until", "most"))
        ]
    if isinstance(outlook, (list, tuple)) and len(outlook) >= 2:
        low, high = outlook[:2]
        if isinstance(low, (int, float)) and isinstance(high, (int, float)):
            return f"similar requests waited {span(low)} to {span(high)} lately; not promised"
    return ""


def query(parameters: msgspec.Struct, **changes: Any) -> str:
    """Write parameters as the query of an address; those that have their defaults are left out.

    Parameters
    ----------
    parameters
        As read from a request.
    changes
        Put in their place.
    """
    values = msgspec.to_builtins(parameters) | changes
    return urlencode({name: value for name, value in values.items() if value is not None})


class Templates:
    """All templates, loaded from this package."""

    def __init__(self) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("spalloc_web", "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.filters.update(
            clock=clock,
            expected=expected,
            iso=iso,
            letters=letters,
            part=path_part,
            place=place,
            query=query,
            size=size_of,
            span=span,
        )
        self._environment.globals.update(version=__version__, colours=COLOURS)

    def render(self, request: web.Request, name: str, /, **values: Any) -> str:
        """Fill in a template.

        Parameters
        ----------
        request
            That is answered: where links lead depends on its application.
        name
            Of the template.
        values
            For the template.
        """
        layout = request.app[LAYOUT]
        visitor = layout["person_of"](request)
        template = self._environment.get_template(name)
        return template.render(
            **layout,
            here=request.path,
            visitor=visitor,
            sees=visitor.user is not None or layout["open"],
            token=layout["form_token"](visitor.token) if visitor.token else "",
            **values,
        )


TEMPLATES = Templates()
