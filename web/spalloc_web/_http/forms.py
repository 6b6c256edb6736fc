"""Reads forms: only those that this program's own pages send, for the same person.

Each form holds a token, made of the browser's cookie with a key of this process; another site
knows neither.  Browsers tell besides from which site a request comes.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from typing import TypeVar
from urllib.parse import parse_qsl, urlsplit

import msgspec
from aiohttp import web

from spalloc_web._http.query import typed

#: Seconds that the body of a form may take.
PATIENCE = 20.0
_MOST_FIELDS = 40
_KIND = "application/x-www-form-urlencoded"
#: The field of each form that holds its token.
TOKEN = "token"

Parameters = TypeVar("Parameters", bound=msgspec.Struct)


class FormKey:
    """Makes and checks the tokens of forms; its key ends with the process."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def token(self, secret: str) -> str:
        """Return the token of forms for the browser that has this cookie."""
        return hmac.new(self._key, secret.encode(), hashlib.sha256).hexdigest()

    def fits(self, token: str, secret: str) -> bool:
        """Whether a token is of a form for this browser."""
        return hmac.compare_digest(self.token(secret).encode(), token.encode())


async def read_form(
    request: web.Request, shape: type[Parameters], key: FormKey, secret: str | None
) -> Parameters:
    """Read a form.

    Parameters
    ----------
    request
        The request.
    shape
        A Struct with a field for each input; those with defaults may be empty.
    key
        Of the process.
    secret
        The browser's cookie that the form was made for; None if it has none.

    Raises
    ------
    aiohttp.web.HTTPForbidden
        If another site sent it, or it is of another session or process.
    aiohttp.web.HTTPBadRequest, aiohttp.web.HTTPUnsupportedMediaType
        If it is no form, or an input is missing, unknown, given twice or not of its type.
    aiohttp.web.HTTPRequestTimeout
        If it does not arrive.
    """
    _check_site(request)
    if request.query:
        raise web.HTTPBadRequest(text="A form has no parameters in its address.")
    values = await _values(request)
    token = values.pop(TOKEN, "")
    if secret is None or not key.fits(token, secret):
        raise web.HTTPForbidden(
            text="This form is too old, or of another log-in: go back, load its page anew, and"
            " send it again. Cookies have to be allowed."
        )
    return typed(dict(request.match_info) | {k: v for k, v in values.items() if v}, shape)


def _check_site(request: web.Request) -> None:
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site is not None:
        same = site in ("same-origin", "none")
    elif origin is not None:
        same = _host(f"//{request.host}") == _host(origin) is not None
    else:
        # Programs such as curl say neither; the token decides.
        same = True
    if not same:
        raise web.HTTPForbidden(text="Another site sent this form; nothing was done.")


def _host(address: str) -> str | None:
    # Without the port: a web server in front may not pass it on.
    try:
        return urlsplit(address).hostname
    except ValueError:
        return None


async def _values(request: web.Request) -> dict[str, str]:
    if request.content_type != _KIND:
        raise web.HTTPUnsupportedMediaType(text=f"A form is sent as {_KIND}.")
    try:
        body = await asyncio.wait_for(request.read(), PATIENCE)
    except asyncio.TimeoutError as e:
        raise web.HTTPRequestTimeout(text="The form did not arrive.") from e
    try:
        pairs = parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
        for _, value in pairs:
            value.encode()
    except ValueError as e:
        raise web.HTTPBadRequest(text="This is no form in UTF-8.") from e
    values: dict[str, str] = {}
    for name, value in pairs:
        if name in values:
            raise web.HTTPBadRequest(text=f"Parameter {name[:40]!r} is given twice.")
        values[name] = value
    return values
