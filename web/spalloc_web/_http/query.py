"""Reads the parameters of requests into typed values, or says why they cannot be."""

from __future__ import annotations

import datetime
import re
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web

#: Beyond it JavaScript loses digits.
LARGEST = 1 << 53
#: Years that are taken: the days before and after them have a date, too.
_FIRST_YEAR, _LAST_YEAR = 1900, 9998

JobId = Annotated[int, msgspec.Meta(ge=0, le=LARGEST, description="number of a job")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
Coordinate = Annotated[int, msgspec.Meta(ge=0, le=100_000)]
Corner = Annotated[int, msgspec.Meta(ge=0, le=2)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=1000)]
#: As `PastPage.next` gives it: a time and a number that a database can hold.
Cursor = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[0-9]{1,20}([.][0-9]{1,20})?(/[0-9]{1,18})?\Z",
        description="the `next` of the page before",
    ),
]
Moment = Annotated[
    str,
    msgspec.Meta(
        max_length=40,
        description="a day (2026-11-28) or a moment (2026-11-28T12:00, UTC unless it says so)",
    ),
]

Parameters = TypeVar("Parameters", bound=msgspec.Struct)


class NoParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For pages that take none."""


def read_parameters(request: web.Request, shape: type[Parameters]) -> Parameters:
    """Read path and query of a request.

    Parameters
    ----------
    request
        The request.
    shape
        A Struct with a field for each parameter; fields with defaults are optional.

    Raises
    ------
    aiohttp.web.HTTPBadRequest
        If a parameter is missing, unknown, given twice, or not of its type.
    """
    values: dict[str, str] = dict(request.match_info)
    for name, value in request.query.items():
        if name in values:
            raise web.HTTPBadRequest(text=f"Parameter {name[:40]!r} is given twice.")
        if value:
            values[name] = value
    return typed(values, shape)


def typed(values: dict[str, str], shape: type[Parameters]) -> Parameters:
    """Read parameters that were taken apart.

    Parameters
    ----------
    values
        By name.
    shape
        A Struct with a field for each parameter; fields with defaults are optional.

    Raises
    ------
    aiohttp.web.HTTPBadRequest
        If a parameter is missing, unknown, or not of its type.
    """
    for name in values:
        if name not in shape.__struct_fields__:
            known = ", ".join(shape.__struct_fields__) or "none"
            raise web.HTTPBadRequest(
                text=f"There is no parameter {name[:40]!r}; there are: {known}."
            )
    try:
        return msgspec.convert(values, shape, strict=False)
    except msgspec.ValidationError as e:
        raise web.HTTPBadRequest(text=_explained(str(e), values)) from e


def _explained(text: str, values: dict[str, str]) -> str:
    """Name the parameter and its value in msgspec's words."""
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", text):
        return f"Parameter {missing[1]!r} is missing."
    match = re.search(r"^(.*) - at `\$\.(\w+)`$", text)
    if not match:
        return f"{text}."
    about, name = match.groups()
    return f"Parameter {name!r}, {values.get(name, '')[:60]!r}: {about.lower()}."


def moment(text: str | None, name: str) -> float | None:
    """Read a day or moment.

    Parameters
    ----------
    text
        ISO 8601, or None.
    name
        Of the parameter, for the error.

    Returns
    -------
    float or None
        Unix time, seconds.

    Raises
    ------
    aiohttp.web.HTTPBadRequest
        If it is neither.
    """
    if text is None:
        return None
    try:
        # Pythons before 3.11 do not read the Z.
        read = datetime.datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", text))
        if read.tzinfo is None:
            read = read.replace(tzinfo=datetime.timezone.utc)
        if not _FIRST_YEAR <= read.year <= _LAST_YEAR:
            raise ValueError(f"year {read.year}")
        seconds = read.timestamp()
    except (ValueError, OverflowError) as e:
        raise web.HTTPBadRequest(
            text=f"Parameter {name!r}, {text[:40]!r}: neither a day like 2026-11-28"
            " nor a moment like 2026-11-28T12:00, of the years 1900 to 9998."
        ) from e
    return seconds
