"""Answers the paths of the JSON interface, as JSON or as CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec
from aiohttp import web

from spalloc_web._http.endpoints import ENDPOINTS, Endpoint, away
from spalloc_web._http.openapi import document
from spalloc_web._http.query import read_parameters
from spalloc_web._past.history import HistoryAwayError
from spalloc_web._past.shapes import PastPage

PREFIX = "/api/v1"
#: Spreadsheets take text that begins with one of these for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def routes(base: str) -> list[web.RouteDef]:
    """Return the interface's routes.

    Parameters
    ----------
    base
        The first part of all paths.
    """
    made = [web.get(f"{base}{PREFIX}/openapi.json", _openapi(base))]
    for endpoint in ENDPOINTS:
        path = f"{base}{PREFIX}{endpoint.path}"
        if endpoint.csv:
            made.append(web.get(f"{path}.csv", _as_csv(endpoint)))
        made.append(web.get(path, _as_json(endpoint)))
    return made


def _as_json(endpoint: Endpoint) -> Any:
    async def answer(request: web.Request) -> web.Response:
        return json_response(await _give(endpoint, request))

    return answer


def _as_csv(endpoint: Endpoint) -> Any:
    assert endpoint.csv
    fields = endpoint.csv.__struct_fields__
    name = endpoint.path.strip("/").replace("/", "-")

    async def answer(request: web.Request) -> web.Response:
        answer = await _give(endpoint, request)
        rows = answer.jobs if isinstance(answer, PastPage) else answer
        return web.Response(
            body=table(fields, rows).encode(),
            content_type="text/csv",
            charset="utf-8",
            headers={"Content-Disposition": f'attachment; filename="{name}.csv"'},
        )

    return answer


async def _give(endpoint: Endpoint, request: web.Request) -> Any:
    try:
        return await endpoint.give(request, read_parameters(request, endpoint.parameters))
    except HistoryAwayError as e:
        raise away(e) from e


def _openapi(base: str) -> Any:
    body = msgspec.json.format(msgspec.json.encode(document(base + PREFIX)))

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    return answer


def json_response(value: Any) -> web.Response:
    """Answer with a value as JSON, compressed if it is long and the reader takes that."""
    response = web.Response(body=msgspec.json.encode(value), content_type="application/json")
    if response.body_length > 2048:
        response.enable_compression()
    return response


def table(fields: tuple[str, ...], rows: list[Any]) -> str:
    """Write rows as CSV (RFC 4180) with a line of names.

    Parameters
    ----------
    fields
        Attributes of the rows, in order.
    rows
        Lists and objects in them are written as JSON; text that a spreadsheet would take for
        a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(fields)
    for row in rows:
        writer.writerow([_cell(getattr(row, name)) for name in fields])
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, (list, dict, tuple)):
        return msgspec.json.encode(value).decode()
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
